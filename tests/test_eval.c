/* test_eval.c - the figures of `evaluate` on hand-made data: captions read for what they name, answers
 * tallied by type, what chance reaches; and that what a run writes is what its figures say.                */
#include "tests/world.h"
#include "eval/internal.h"
#include "eval/metrics.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static error e;

/* ---- captions ---------------------------------------------------------------------------------------- */
static record_object red_circle[] = { { "red", "circle" } };
static record_object two[] = { { "red", "circle" }, { "blue", "square" } };
static record_object twins[] = { { "red", "circle" }, { "red", "circle" } };
static record pictures[] = { { .objects = red_circle, .object_count = 1 },
                             { .objects = two, .object_count = 2 }, { .objects = twins, .object_count = 2 } };
static const record_list list = { .items = pictures, .count = 3 };

START_TEST(a_caption_is_right_if_it_names_all_objects_and_no_other)
{
    static const struct { int picture; const char *text; bool right; } all[] = {
        { 0, "a red circle", true }, { 0, "red circle.", true },
            { 0, "there is one shape : a red circle top left", true },
        { 0, "", false }, { 0, "a circle", false }, { 0, "a red", false }, { 0, "a red square", false },
        { 0, "a blue circle", false }, { 0, "a red circle and a blue square", false },
        { 0, "a circle red", false },
        { 0, "a red red circle", true }, { 0, "a redcircle", false }, { 0, "a red circles", false },
        { 1, "a red circle and a blue square", true }, { 1, "a blue square , a red circle", true },
        { 1, "a red circle", false }, { 1, "a red square and a blue circle", false },
        { 1, "a red circle and a red circle", false }, { 1, "a red circle , a blue square , a red circle",
                                                         false },
        { 2, "a red circle and a red circle", true }, { 2, "a red circle", false },
        { 2, "a red circle and a blue square", false } };
    eval_words v = eval_words_of(&list);
    ck_assert(v.colours == 2 && v.shapes == 2);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ck_assert_msg(eval_names_objects(&v, &pictures[all[i].picture], all[i].text) == all[i].right,
                      "%d: %s", all[i].picture, all[i].text);
}
END_TEST

START_TEST(the_number_of_objects_is_read_whatever_they_are)
{
    int pairs[EVAL_PAIRS];
    char text[EVAL_PAIRS * 20 + 100] = "";
    eval_words v = eval_words_of(&list);
    ck_assert_int_eq(eval_pairs(&v, "a blue circle and a red square", pairs), 2);
    ck_assert_int_eq(eval_pairs(&v, "a green circle", pairs), 0);          /* a name that no object has */
    ck_assert_int_eq(eval_pairs(&v, " ,. ", pairs), 0);
    for (int i = 0; i < EVAL_PAIRS + 3; i++)
        strcat(text, "a red circle , ");
    ck_assert_int_eq(eval_pairs(&v, text, pairs), EVAL_PAIRS);
}
END_TEST

/* ---- answers ----------------------------------------------------------------------------------------- */
static double share(const json_t *o, const char *key)
{
    return json_is_number(json_object_get(o, key)) ? json_number_value(json_object_get(o, key)) : NAN;
}

START_TEST(answers_are_tallied_by_type)
{
    eval_tally t = { 0 };
    json_t *o = eval_tally_shares(&t);
    ck_assert(share(o, "all") == 0 && share(o, "questions") == 0 && json_object_size(o) == 2);
    json_decref(o);
    static const struct { const char *type; bool right; } all[] = {
        { "colour", true }, { "count", false }, { "colour", true }, { "", true }, { "colour", false },
            { "count", false },
        { "colour", false } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        eval_tally_add(&t, all[i].type, all[i].right);
    o = eval_tally_shares(&t);
    ck_assert(share(o, "colour") == 0.5 && share(o, "count") == 0 && share(o, "other") == 1);
    ck_assert(fabs(share(o, "all") - 3.0 / 7) < 1e-12 && share(o, "questions") == 7);
    json_decref(o);
}
END_TEST

START_TEST(more_types_than_rows_share_the_last_one)
{
    eval_tally t = { 0 };
    char names[EVAL_TYPES + 9][8];
    for (int i = 0; i < EVAL_TYPES + 9; i++) {
        snprintf(names[i], sizeof names[i], "t%d", i);
        eval_tally_add(&t, names[i], true);
    }
    ck_assert(t.count == EVAL_TYPES && t.asked == EVAL_TYPES + 9 && t.right == t.asked);
    json_t *o = eval_tally_shares(&t);
    ck_assert(share(o, "other") == 1 && share(o, "t0") == 1 && isnan(share(o, "t40")));
    json_decref(o);
}
END_TEST

/* ---- chance ------------------------------------------------------------------------------------------ */
START_TEST(chance_is_what_random_orders_reach)
{
    enum { N = 7, ORDERS = 40000 };
    static const long id[N] = { 0, 1, 1, 3, 1, 5, 5 };
    real scores[N * N];
    for (long k = 1; k <= 5; k += 2) {
        double sum = 0;
        for (uint64_t o = 0; o < ORDERS / N; o++) {
            for (long i = 0; i < N * N; i++)
                scores[i] = (real)ag_uniform(17 + (uint64_t)k, o * N * N + (uint64_t)i);
            sum += eval_recall(scores, N, N, id, id, k);
        }
        double mean = sum / (ORDERS / N);
        ck_assert_msg(fabs(eval_chance(N, id, k) - mean) < 0.01, "k %ld: %f, expected %f", k,
                      eval_chance(N, id, k), mean);
    }
    ck_assert_double_eq_tol(eval_chance(4, (const long[]){ 0, 1, 2, 3 }, 1), 0.25, 1e-15);
    ck_assert_double_eq_tol(eval_chance(4, (const long[]){ 0, 0, 0, 0 }, 1), 1, 1e-15);
    ck_assert_double_eq_tol(eval_chance(3, (const long[]){ 0, 1, 2 }, 9), 1, 1e-15);
}
END_TEST

START_TEST(shuffling_gives_every_picture_another_one)
{
    for (long n = 1; n < 7; n++) {
        bool met[7] = { false };
        for (long i = 0; i < n; i++) {
            long other = eval_other(n, i);
            ck_assert(other >= 0 && other < n && (other != i || n == 1) && !met[other]);
            met[other] = true;
        }
    }
}
END_TEST

/* ---- a run ------------------------------------------------------------------------------------------- */
static void begin(void)
{
    folder_begin();
    world_make();
}

static eval_config config_of(const char *model, const char *folder)
{
    eval_config c = eval_config_default();
    world_text(c.model, IN_FOLDER(model));
    world_text(c.root, IN_FOLDER("world"));
    world_text(c.output_dir, IN_FOLDER(folder));
    c.batch = 5;                                           /* does not divide the number of pictures */
    c.answer_length = 6;
    c.max_len = 8;
    return c;
}

static json_t *parsed(const char *text)
{
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    ck_assert_msg(o != NULL, "%s", text ? text : e.text);
    return o;
}

static json_t *file(const char *name)
{
    json_t *o = json_load_file(IN_FOLDER(name), 0, NULL);
    ck_assert_msg(o != NULL, "%s", name);
    return o;
}

/* Share of results whose answer is the truth, of one type or of all (NULL). */
static double share_right(const json_t *results, const char *said, const char *type)
{
    size_t i;
    json_t *r;
    double right = 0, asked = 0;
    json_array_foreach((json_t *)results, i, r)
        if (!type || !strcmp(json_string_value(json_object_get(r, "type")), type)) {
            right += json_equal(json_object_get(r, said), json_object_get(r, "truth"));
            asked++;
        }
    return right / asked;
}

START_TEST(figures_are_those_of_the_results)
{
    world_train_all(TRAIN_STAGE2);
    eval_config c = config_of("stage2/model.h5", "a/b/answers");
    char *text = eval_run(&c, &e);
    json_t *figures = parsed(text), *saved = file("a/b/answers/metrics.json");
    json_t *captions = file("a/b/answers/captions.json"), *answers = file("a/b/answers/vqa.json");
    ck_assert_int_eq(json_array_size(captions), 16);
    const json_t *model = json_object_get(json_object_get(figures, "vqa"), "model");
    ck_assert_int_eq(json_array_size(answers), (size_t)share(model, "questions"));
    static const char *const types[] = { "yes/no", "colour", "shape", "count", "position" };
    for (int i = 0; i < 5; i++)
        ck_assert_double_eq_tol(share(model, types[i]), share_right(answers, "answer", types[i]), 1e-5);
    ck_assert_double_eq_tol(share(model, "all"), share_right(answers, "answer", NULL), 1e-5);
    json_t *first = json_array_get(captions, 0), *asked = json_array_get(answers, 3);
    ck_assert(json_is_integer(json_object_get(first, "image_id"))
              && json_is_string(json_object_get(first, "caption")));
    ck_assert(json_integer_value(json_object_get(asked, "question_id")) == 3);
    ck_assert(json_is_string(json_object_get(asked, "answer"))
              && json_is_integer(json_object_get(asked, "image_id")));
    ck_assert(json_equal(json_object_get(saved, "captions"), json_object_get(figures, "captions")));
    for (int k = 0; k < 2; k++)                            /* the controls are asked the same questions */
        ck_assert(share(json_object_get(json_object_get(figures, "vqa"), k ? "blind" : "shuffled"),
                        "questions")
                  == share(model, "questions"));
    json_decref(figures);
    json_decref(saved);
    json_decref(captions);
    json_decref(answers);
    mem_free(text);
}
END_TEST

START_TEST(chance_is_the_captions_of_other_pictures)
{
    world_train_all(TRAIN_STAGE2);
    eval_config c = config_of("stage2/model.h5", "chance");
    char *text = eval_run(&c, &e);
    json_t *figures = parsed(text), *own = file("chance/captions.json"),
           *others = file("chance/captions_shuffled.json");
    size_t n = json_array_size(own);
    ck_assert(n > 1 && json_array_size(others) == n);
    for (size_t i = 0; i < n; i++) {
        json_t *o = json_array_get(others, i), *x = json_array_get(own, i),
               *y = json_array_get(own, (i + n / 2) % n);
        ck_assert(json_equal(json_object_get(o, "image_id"), json_object_get(x, "image_id"))
                  && json_equal(json_object_get(o, "caption"), json_object_get(y, "caption")));
    }
    char *again = score_caption_files(IN_FOLDER("chance/captions_shuffled.json"),
                                      IN_FOLDER("chance/captions_references.json"),
                                      &(score_options){ .whitespace = c.tokenizer == EVAL_WHITESPACE }, &e);
    json_t *scored = parsed(again);
    json_t *shuffled = json_object_get(json_object_get(figures, "captions"), "shuffled");
    ck_assert_double_eq_tol(share(scored, "CIDEr"), share(shuffled, "CIDEr"), 1e-9);
    ck_assert_double_eq_tol(share(scored, "Bleu_1"), share(shuffled, "Bleu_1"), 1e-9);
    json_decref(figures);
    json_decref(own);
    json_decref(others);
    json_decref(scored);
    mem_free(again);
    mem_free(text);
}
END_TEST

START_TEST(a_batch_changes_no_answer)
{
    world_train_all(TRAIN_STAGE2);
    for (int k = 0; k < 2; k++) {
        eval_config c = config_of("stage2/model.h5", k ? "one" : "five");
        c.batch = k ? 1 : 5;
        c.beams = 2;
        c.limit = 7;
        c.controls = false;
        char *text = eval_run(&c, &e);
        ck_assert_msg(text != NULL, "%s", e.text);
        mem_free(text);
    }
    json_t *a = file("one/vqa.json"), *b = file("five/vqa.json"), *x = file("one/captions.json"),
                *y = file("five/captions.json");
    ck_assert(json_equal(a, b) && json_equal(x, y) && json_array_size(x) == 7);
    json_decref(a);
    json_decref(b);
    json_decref(x);
    json_decref(y);
}
END_TEST

START_TEST(retrieval_stands_beside_chance)
{
    world_train_all(TRAIN_STAGE1);
    eval_config c = config_of("stage1/model.h5", "found");
    c.tasks = (config_list){ 1, { "retrieval" } };
    c.retrieval_pictures = 12;
    c.k_test = 4;
    char *text = eval_run(&c, &e);
    json_t *figures = parsed(text), *r = json_object_get(figures, "retrieval");
    ck_assert(share(r, "pictures") == 12 && share(r, "k_test") == 4);
    static const char *const keys[] = { "txt_r1", "txt_r5", "txt_r10", "img_r1", "img_r5", "img_r10",
                                        "r_mean", "mrr" };
    static const char *const rows[] = { "itc", "itm", "sum", "product" };
    for (int k = 0; k < 8; k++)
        for (int by = 0; by < 4; by++) {
            double x = share(json_object_get(r, rows[by]), keys[k]);
            ck_assert_msg(x >= 0 && x <= 100, "%s", keys[k]);
        }
    for (int k = 0; k < 8; k++) /* the gain of re-ranking is that of the rows above */
        for (int by = 1; by < 4; by++) {
            const json_t *row = json_object_get(r, rows[by]),
                         *gain = json_object_get(json_object_get(row, "over_itc"), keys[k]);
            double difference = share(row, keys[k]) - share(json_object_get(r, "itc"), keys[k]);
            ck_assert_double_eq_tol(json_number_value(json_array_get(gain, 0)), difference, 1e-9);
            ck_assert_double_le(json_number_value(json_array_get(gain, 1)), difference + 1e-9);
            ck_assert_double_ge(json_number_value(json_array_get(gain, 2)), difference - 1e-9);
        }
    json_t *chance = json_object_get(r, "chance");
    double r1 = share(chance, "txt_r1"), r5 = share(chance, "txt_r5");
    ck_assert_msg(r1 >= 100.0 / 12 - 1e-6 && r1 < r5 && r5 < 100, "%s", text);
    ck_assert_double_eq_tol(eval_chance_mrr(3, 1), (1 + 1 / 2.0 + 1 / 3.0) / 3, 1e-12);
    ck_assert_double_eq_tol(eval_chance_mrr(3, 2), 2 / 3.0 + 1 / 3.0 / 2, 1e-12);
    ck_assert(eval_chance_mrr(5, 5) == 1 && eval_chance_mrr(5, 0) == 0);
    const json_t *weight = json_object_get(r, "itm_weight");
    ck_assert(share(weight, "rows") > 0 && share(weight, "rows") <= 24);
    ck_assert_double_eq_tol(share(json_object_get(r, "settings"), "itm_weight"), 1, 1e-12);
    const json_t *itm = json_object_get(r, "itm_accuracy");
    ck_assert_double_eq_tol(share(itm, "accuracy"), (share(itm, "matched") + share(itm, "shuffled")) / 2,
                            1e-9);
    json_decref(figures);
    mem_free(text);
}
END_TEST

/* Scores that are kept go up evenly with the weight; at 0 the order is ITC's. */
START_TEST(itm_counts_as_much_as_its_weight)
{
    world_train_all(TRAIN_STAGE1);
    double score[3];                                       /* of the first pair that was read */
    for (int weight = 0; weight < 3; weight++) {
        eval_config c = config_of("stage1/model.h5", "weighed");
        c.tasks = (config_list){ 1, { "retrieval" } };
        c.k_test = 4;
        c.itm_weight = weight;
        c.rerank = EVAL_PRODUCT;
        char *text = eval_run(&c, &e);
        json_t *figures = parsed(text), *kept = file("weighed/retrieval.json"), *v;
        const json_t *r = json_object_get(figures, "retrieval"), *product = json_object_get(r, "product"),
                     *row = json_array_get(json_object_get(kept, "scores_i2t"), 0);
        const char *key;
        json_object_foreach(json_object_get(r, "itc"), key, v)
            if (json_is_number(v) && !weight)
                ck_assert_double_eq_tol(share(product, key), json_number_value(v), 1e-12);
        size_t j = 0;
        while (json_number_value(json_array_get(row, j)) < -1e5)
            j++;
        score[weight] = json_number_value(json_array_get(row, j));
        json_decref(kept);
        json_decref(figures);
        mem_free(text);
    }
    ck_assert(fabs(score[0]) <= 1 && score[1] != score[0]);
    ck_assert_double_eq_tol(score[2] - score[0], 2 * (score[1] - score[0]), 1e-9);
}
END_TEST

/* Every number in a, by its name, is in b. */
static void contains(const json_t *a, const json_t *b, double factor)
{
    const char *key;
    json_t *v;
    int numbers = 0;
    json_object_foreach((json_t *)b, key, v)
        if (json_is_number(v) && json_object_get(a, key)) {
            ck_assert_msg(fabs(share(a, key) - factor * json_number_value(v)) < 1e-9,
                          "%s: %.12g, expected %.12g", key, share(a, key), factor * json_number_value(v));
            numbers++;
        }
    ck_assert_int_ge(numbers, 2);
}

START_TEST(score_reads_the_figures_back_from_the_files)
{
    world_train_all(TRAIN_STAGE2);
    static const score_options exact = { .rule = SCORE_VQA_EXACT, .seed = 42 };
    eval_config c = config_of("stage2/model.h5", "said");
    char *text = eval_run(&c, &e);
    json_t *figures = parsed(text);
    mem_free(text);
    c = config_of("stage1/model.h5", "found");
    c.tasks = (config_list){ 1, { "retrieval" } };
    for (c.rerank = EVAL_SUM; c.rerank <= EVAL_ITC; c.rerank++) {
        text = eval_run(&c, &e);
        json_t *found = parsed(text), *m = json_object_get(found, "retrieval");
        char *again = score_retrieval_file(IN_FOLDER("found/retrieval.json"), &exact, &e);
        json_t *scored = parsed(again);
        contains(json_object_get(m, eval_rerank_names[c.rerank]), scored, 1);
        ck_assert((json_object_get(m, "sum") != NULL) == (c.rerank != EVAL_ITC));
        json_decref(found);
        json_decref(scored);
        mem_free(text);
        mem_free(again);
    }
    text = score_caption_files(IN_FOLDER("said/captions.json"), IN_FOLDER("said/captions_references.json"),
                               &exact, &e);
    json_t *captions = parsed(text);
    const json_t *mine = json_object_get(figures, "captions");
    contains(mine, captions, 1);
    ck_assert(json_equal(json_object_get(captions, "tokenizer"),
                         json_object_get(json_object_get(mine, "settings"), "tokenizer")));
    mem_free(text);
    text = score_vqa_files(IN_FOLDER("said/vqa.json"), IN_FOLDER("said/vqa_questions.json"),
                           IN_FOLDER("said/vqa_annotations.json"), &exact, &e);
    json_t *answers = parsed(text);
    const json_t *model = json_object_get(json_object_get(figures, "vqa"), "model");
    ck_assert_double_eq_tol(share(answers, "overall"), 100 * share(model, "all"), 1e-5);
    contains(json_object_get(answers, "perAnswerType"), model, 100);
    json_decref(figures);
    json_decref(captions);
    json_decref(answers);
    mem_free(text);
}
END_TEST

START_TEST(intervals_hold_the_figures_and_settings_stand_beside_them)
{
    static const char *const tasks[] = { "captions", "vqa" };
    static const char *const keys[] = { "num_beams", "max_len", "min_len", "length_penalty", "resamples",
                                        "seed" };
    world_train_all(TRAIN_STAGE2);
    eval_config c = config_of("stage2/model.h5", "said");
    c.tokenizer = EVAL_WHITESPACE;
    char *text = eval_run(&c, &e);
    json_t *figures = parsed(text), *m = json_object_get(json_object_get(figures, "vqa"), "model"), *bounds;
    const char *key;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 6; k++)
            ck_assert_msg(share(json_object_get(json_object_get(figures, tasks[i]), "settings"),
                                keys[k]) >= 0,
                          "%s: %s", tasks[i], keys[k]);
    for (int i = 0; i < 2; i++) {
        m = i ? m : json_object_get(figures, "captions");
        json_object_foreach(json_object_get(m, "interval_95"), key, bounds)
            ck_assert_msg(json_number_value(json_array_get(bounds, 0)) <= share(m, key) + 1e-9
                          && json_number_value(json_array_get(bounds, 1)) >= share(m, key) - 1e-9, "%s", key);
        m = json_object_get(json_object_get(figures, "vqa"), "model");
    }
    const json_t *said = json_object_get(json_object_get(figures, "captions"), "settings");
    ck_assert_str_eq(json_string_value(json_object_get(said, "tokenizer")), "whitespace");
    ck_assert_str_eq(json_string_value(json_object_get(said, "by")), "language model");
    json_decref(figures);
    mem_free(text);
}
END_TEST

/* An untrained model of V words has a perplexity of about V. */
START_TEST(perplexity_is_that_of_the_training_loss)
{
    world_train_all(TRAIN_STAGE1);
    eval_config c = config_of("stage1/model.h5", "itg");
    c.tasks = (config_list){ 1, { "captions" } };
    for (int k = 0; k < 2; k++) {
        c.batch = k ? 1 : 5;                               /* the mean is over tokens, not over batches */
        char *text = eval_run(&c, &e);
        json_t *figures = parsed(text), *m = json_object_get(figures, "captions");
        double loss = share(m, "lm_loss");
        static double first;
        first = k ? first : loss;
        ck_assert_msg(fabs(loss - log(140)) < 1 && fabs(loss - first) < 1e-4, "%g, %g", loss, first);
        ck_assert_double_eq_tol(share(m, "perplexity"), exp(loss), 1e-3);
        ck_assert(share(m, "tokens") > 16 * 4 && share(m, "perplexity_shuffled") > 1);
        ck_assert_str_eq(json_string_value(json_object_get(json_object_get(m, "settings"), "by")),
                         "ITG head");
        json_decref(figures);
        mem_free(text);
    }
}
END_TEST

START_TEST(answers_of_several_people_are_scored_by_both_rules)
{
    world_train_all(TRAIN_STAGE2);
    folder_write("world/people.jsonl",
        "{\"image\": \"test/000073.png\", \"image_id\": 3, \"questions\": [{\"question\": \"what ?\", "
        "\"question_id\": \"700\", \"type\": \"other\", \"answers\": [\"red\", {\"answer\": \"red\"}, "
        "\"a\", \"red\", "
        "\"red\", \"red\", \"red\", \"red\", \"red\", \"red\"]}]}\n"
        "{\"image\": \"test/000074.png\", \"image_id\": 4, \"questions\": [{\"question\": \"what ?\", "
        "\"question_id\": \"701\", \"answers\": [\"red\", \"blue\"]}]}\n");
    eval_config c = config_of("stage2/model.h5", "people");
    world_text(c.list, "people.jsonl");
    c.tasks = (config_list){ 1, { "vqa" } };
    char *text = eval_run(&c, &e);
    json_t *figures = parsed(text), *m = json_object_get(figures, "vqa"), *results = file("people/vqa.json");
    static const char *const rows[] = { "model_official", "model_lavis", "blind_official", "shuffled_lavis" };
    for (int i = 0; i < 4; i++)
        ck_assert_msg(share(json_object_get(m, rows[i]), "overall") >= 0, "%s", rows[i]);
    const json_t *one = json_array_get(results, 0);
    ck_assert(share(one, "question_id") == 700);
    ck_assert_str_eq(json_string_value(json_object_get(one, "truth")), "red");     /* the most frequent */
    json_decref(figures);
    json_decref(results);
    mem_free(text);
}
END_TEST

START_TEST(meteor_and_spice_come_from_a_program_of_the_user)
{
    world_train_all(TRAIN_STAGE1);
    folder_write("java", "#!/bin/sh\ncase \"$*\" in\n"
                 "*none.jar*) exit 1;;\n"
                 "*meteor.jar*) awk '/^SCORE( [|][|][|] [^|]*)+$/ { print 1, 2 }\n"
                 "/^EVAL/ { n = gsub(/1 2/, \"\"); for (i = 0; i < n; i++) print 0.5; print 0.25 }';;\n"
                 "*short.jar*) echo 1 2;;\n"
                 "*) sed 's/\"test\".*/\"scores\": {\"All\": {\"f\": 0.5}},/' \"$4\" >\"$6\";;\nesac\n");
    ck_assert(!chmod(IN_FOLDER("java"), 0700));
    setenv("PATH", folder_path((char[512]){ 0 }, ":/usr/bin:/bin"), 1);
    eval_config c = config_of("stage1/model.h5", "jars");
    c.tasks = (config_list){ 1, { "captions" } };
    char *text = eval_run(&c, &e);
    ck_assert(text && !strstr(text, "METEOR") && !strstr(text, "SPICE")); /* never unless configured */
    mem_free(text);
    static const char *const jars[] = { "meteor.jar", "spice.jar", "short.jar", "none.jar" };
    for (int k = 0; k < 4; k++)
        folder_write(jars[k], "");
    world_text(c.meteor_jar, IN_FOLDER("meteor.jar"));
    world_text(c.spice_jar, IN_FOLDER("spice.jar"));
    text = eval_run(&c, &e);
    json_t *figures = parsed(text), *m = json_object_get(figures, "captions");
    ck_assert(share(m, "METEOR") == 0.25 && share(m, "SPICE") == 0.5);
    json_decref(figures);
    mem_free(text);
    static const char *const fails[][2] = {                /* costs its own figure alone */
        { "short.jar", "METEOR is left out: %s/meteor_counts.txt: expected 16 lines of counts, found 1" },
        { "none.jar", "METEOR is left out: %s: java ended with an error" } };
    for (int k = 0; k < 2; k++) {
        char says[1200];
        world_text(c.meteor_jar, IN_FOLDER(fails[k][0]));
        snprintf(says, sizeof says, fails[k][1], IN_FOLDER(k ? "none.jar" : "jars"));
        text = eval_run(&c, &e);
        figures = parsed(text);
        m = json_object_get(figures, "captions");
        ck_assert(!json_object_get(m, "METEOR") && share(m, "SPICE") == 0.5 && share(m, "CIDEr") >= 0);
        const char *warned = json_string_value(json_array_get(json_object_get(figures, "warnings"), 0));
        ck_assert_msg(warned && strstr(warned, says), "%s", warned);
        json_decref(figures);
        mem_free(text);
    }
}
END_TEST

START_TEST(what_cannot_be_measured_is_told_before_anything_is_written)
{
    static const struct { const char *model, *task, *list, *says; int kind; } all[] = {
        { "lm/model.h5", "caption", "test.jsonl", "unknown task \"caption\", did you mean captions?",
          ERROR_USAGE },
        { "lm/model.h5", "captions", "test.jsonl", "cannot write text: it has no vision tower", ERROR_RUN },
        { "lm/model.h5", "retrieval", "test.jsonl", "it has no stage-1 heads", ERROR_RUN },
        { "none.h5", "vqa", "test.jsonl", "none.h5: cannot be opened", ERROR_RUN } };
    train_config lm = world_config(TRAIN_LM);
    world_train(&lm);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        eval_config c = config_of(all[i].model, "never");
        c.tasks.count = 1;
        world_text(c.tasks.item[0], all[i].task);
        world_text(c.list, all[i].list);
        ck_assert(!eval_run(&c, &e));
        ck_assert_msg(strstr(e.text, all[i].says) && (int)e.kind == all[i].kind, "%s", e.text);
        ck_assert(!folder_has("never"));
    }
}
END_TEST

Suite *suite_eval(void)
{
    Suite *s = suite_create("eval");
    TCase *figures = tcase_create("figures"), *runs = tcase_create("runs");
    tcase_add_test(figures, a_caption_is_right_if_it_names_all_objects_and_no_other);
    tcase_add_test(figures, the_number_of_objects_is_read_whatever_they_are);
    tcase_add_test(figures, answers_are_tallied_by_type);
    tcase_add_test(figures, more_types_than_rows_share_the_last_one);
    tcase_add_test(figures, chance_is_what_random_orders_reach);
    tcase_add_test(figures, shuffling_gives_every_picture_another_one);
    suite_add_tcase(s, figures);
    tcase_set_timeout(runs, TEST_SECONDS);
    tcase_add_checked_fixture(runs, begin, folder_end);
    tcase_add_test(runs, figures_are_those_of_the_results);
    tcase_add_test(runs, chance_is_the_captions_of_other_pictures);
    tcase_add_test(runs, a_batch_changes_no_answer);
    tcase_add_test(runs, retrieval_stands_beside_chance);
    tcase_add_test(runs, itm_counts_as_much_as_its_weight);
    tcase_add_test(runs, score_reads_the_figures_back_from_the_files);
    tcase_add_test(runs, intervals_hold_the_figures_and_settings_stand_beside_them);
    tcase_add_test(runs, perplexity_is_that_of_the_training_loss);
    tcase_add_test(runs, answers_of_several_people_are_scored_by_both_rules);
    tcase_add_test(runs, meteor_and_spice_come_from_a_program_of_the_user);
    tcase_add_test(runs, what_cannot_be_measured_is_told_before_anything_is_written);
    suite_add_tcase(s, runs);
    return s;
}
