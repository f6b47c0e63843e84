/* test_match.c - pictures and texts compared by the heads of stage 1: `blip2 match`. */
#include "eval/eval.h"
#include "tests/shell.h"
#include "tests/world.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static error e;

/* ---- a model of stage 1, made by the program once for all tests ---------------------------------------- */
static void train(train_task task, const char *name)
{
    train_config c = world_config(task);
    world_write(&c, name);
    WORKS("train", IN_FOLDER(name), "--quiet");
}

static void begin(void)
{
    folder_begin();
    WORKS("dataset", "make", "scenes", IN_FOLDER("world"), "--size", "16", "--train", "64", "--val", "4",
          "--test", "12", "--test-unseen", "4", "--documents", "60", "--quiet");
    WORKS("tokenize", "--train", "bert", "--size", "140", "--out", IN_FOLDER("bert"),
          IN_FOLDER("world/text.txt"));
    train(TRAIN_VIT, "vit.yaml");
    train(TRAIN_STAGE1, "stage1.yaml");
}

#define MODEL IN_FOLDER("stage1/model.h5")

/* The first pictures of the test split. */
static const char *test_picture(char to[512], long i)
{
    record_list l;
    char name[300];
    ck_assert_msg(records_read(IN_FOLDER("world/test.jsonl"), &l, &e) && i < l.count, "%s", e.text);
    snprintf(name, sizeof name, "world/%s", l.items[i].image);
    record_list_free(&l);
    return folder_path(to, name);
}
#define PICTURE(i) test_picture((char[512]){ 0 }, (i))

typedef struct numbers { double itc, itm, probability; } numbers;

/* Line `at` of what was printed; its text must be `text`. */
static numbers line_of(const char *out, long at, const char *text)
{
    for (; at > 0; at--)
        out = strchr(out, '\n') + 1;
    json_t *o = json_loadb(out, strcspn(out, "\n"), JSON_REJECT_DUPLICATES, NULL);
    ck_assert_msg(json_is_object(o) && json_object_size(o) == 5 && json_object_get(o, "image"), "%s", out);
    ck_assert_str_eq(json_string_value(json_object_get(o, "text")), text);
    numbers n = { json_number_value(json_object_get(o, "itc")), json_number_value(json_object_get(o, "itm")),
                  json_number_value(json_object_get(o, "itm_probability")) };
    json_decref(o);
    return n;
}

static numbers alone(const char *image, const char *text, const char *reference)
{
    said s = BLIP2("match", "--json", "--reference", reference, MODEL, image, text);
    ck_assert_msg(s.code == 0, "%s", s.err);
    numbers n = line_of(s.out, 0, text);
    shell_free(s);
    return n;
}

static bool equal(numbers a, numbers b)
{
    double near = REAL == 64 ? 1e-8 : 1e-4;                /* nine digits are printed */
    return fabs(a.itc - b.itc) < near && fabs(a.itm - b.itm) < near
           && fabs(a.probability - b.probability) < near;
}

/* ---- matching ------------------------------------------------------------------------------------------ */
START_TEST(texts_of_any_length_together_match_as_each_alone)
{
    static const char *const texts[] = { "", "a red circle", "a", "a blue square top left , a red cross" };
    said s = BLIP2("match", "--json", MODEL, PICTURE(0), texts[0], texts[1], texts[2], texts[3]);
    ck_assert_msg(s.code == 0, "%s", s.err);
    for (long i = 0; i < 4; i++) {
        numbers together = line_of(s.out, i, texts[i]), apart = alone(PICTURE(0), texts[i], "lavis");
        ck_assert_msg(equal(together, apart), "%s: %g %g, alone %g %g", texts[i], together.itc, together.itm,
                      apart.itc, apart.itm);
        ck_assert(fabs(apart.itc) <= 1 && apart.probability > 0 && apart.probability < 1);
    }
    ck_assert(!equal(line_of(s.out, 1, texts[1]), alone(PICTURE(1), texts[1], "lavis")));
    shell_free(s);
}
END_TEST

START_TEST(lavis_cleans_a_text_and_hugging_face_does_not)
{
    const char *plain = "a red circle", *marked = "A red: circle!";
    ck_assert(equal(alone(PICTURE(0), plain, "lavis"), alone(PICTURE(0), marked, "lavis")));
    ck_assert(equal(alone(PICTURE(0), plain, "hf"), alone(PICTURE(0), plain, "lavis")));
    ck_assert(!equal(alone(PICTURE(0), plain, "hf"), alone(PICTURE(0), marked, "hf")));
}
END_TEST

START_TEST(lavis_cuts_a_text_at_its_length_and_hugging_face_later)
{
    char base[400] = "", longer[500];
    for (int i = 0; i < 30; i++)                           /* 30 tokens; the model's max_txt_len is 24 */
        strcat(base, "a ");
    snprintf(longer, sizeof longer, "%sred", base);
    ck_assert(equal(alone(PICTURE(0), base, "lavis"), alone(PICTURE(0), longer, "lavis")));
    ck_assert(!equal(alone(PICTURE(0), base, "hf"), alone(PICTURE(0), longer, "hf")));
    for (int i = 0; i < 60; i++)                           /* more than there are positions */
        strcat(base, "a ");
    alone(PICTURE(0), base, "hf");
}
END_TEST

/* More texts than in one pass, each against itself alone. */
START_TEST(the_probability_is_the_softmax_of_both_logits)
{
    enum { N = 6, T = 8, TEXTS = 40 };
    blip2_model m;
    blip2_config c = tiny_config();
    tape *t = ag_tape_new();
    eval_match found[TEXTS];
    blip2_model_init(&m, nn_store_new(4), &c);
    ck_assert_msg(nn_build(m.store, true, &e), "%s", e.text);
    tensor *x = tiny_normal(t, 8, DIMS(1, N, c.qformer.memory_width));
    blip2_text texts = tiny_text(t, &c, TEXTS, T, 0, 5, 9);
    eval_match_texts(&m, t, x->data, N, texts, found);
    nn_kv *memory = ag_alloc(t, c.qformer.layers * (long)sizeof *memory);
    blip2_image_queries(&m, t, x, memory, NULL);
    for (long j = 0; j < TEXTS; j++) {
        blip2_text one = { 1, T, texts.ids + j * T, texts.mask + j * T };
        const tensor *both = ag_softmax(t, blip2_itm_logits(&m, t, memory, NULL, one, NULL));
        ck_assert_double_eq_tol(found[j].probability, (double)both->data[1], TINY_ROUNDING);
    }
    nn_store_free(m.store);
    ag_tape_free(t);
}
END_TEST

/* evaluate's scores by `product` against what match prints of the same pairs: cosine + temperature * log
 * odds. */
START_TEST(itc_times_itm_is_what_match_prints_of_both)
{
    FILE *f = fopen(IN_FOLDER("product.yaml"), "w");
    ck_assert(f && fprintf(f, "model: {file: %s}\ndatasets: {root: %s, list: test.jsonl}\n"
                              "run: {tasks: [retrieval], rerank: product, k_test: 4, output_dir: %s}\n",
                           MODEL, IN_FOLDER("world"), IN_FOLDER("product")) > 0 && !fclose(f));
    WORKS("evaluate", IN_FOLDER("product.yaml"));
    eval_session session;
    ck_assert_msg(eval_open(&session, MODEL, &e), "%s", e.text);
    double temperature = (double)*session.model.temp->data;                /* learned */
    eval_close(&session);
    json_t *o = json_load_file(IN_FOLDER("product/retrieval.json"), 0, NULL);
    const json_t *rows = json_object_get(o, "scores_i2t"), *texts = json_object_get(o, "texts");
    long read = 0;
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < json_array_size(texts); j++) {
            double score = json_number_value(json_array_get(json_array_get(rows, i), j));
            if (score < -99)
                continue;
            numbers n = alone(PICTURE((long)i), json_string_value(json_array_get(texts, j)), "lavis");
            double expected = n.itc + temperature * log(n.probability / (1 - n.probability));
            ck_assert_double_eq_tol(score, expected, REAL == 64 ? 1e-6 : 1e-4);
            read++;
        }
    ck_assert_int_eq(read, 3 * 4);
    json_decref(o);
}
END_TEST

START_TEST(what_cannot_be_matched_is_refused_in_one_line)
{
    FAILS(2, "a model, a picture and a text are needed", "match", MODEL, PICTURE(0));
    FAILS(2, "--reference: expected lavis or hf, found \"paper\"", "match", "--reference", "paper", MODEL,
          PICTURE(0), "a");
    FAILS(1, "vit/model.h5: cannot compare pictures with texts: it has no stage-1 heads", "match",
          IN_FOLDER("vit/model.h5"), PICTURE(0), "a");
    FAILS(1, "none.png: cannot be opened", "match", MODEL, IN_FOLDER("none.png"), "a");
    FAILS(1, "test.jsonl: not a picture", "match", MODEL, IN_FOLDER("world/test.jsonl"), "a");
    folder_write_bytes("list.txt", "a.png\0b.png\n", 12);
    FAILS(1, "list.txt: a zero byte", "match", MODEL, "--images", IN_FOLDER("list.txt"), "a");
}
END_TEST

START_TEST(a_bad_picture_is_left_out_of_an_index_and_told)
{
    FILE *f = fopen(IN_FOLDER("list.txt"), "w");
    ck_assert(f && fprintf(f, "%s\n%s\n%s\n", PICTURE(0), IN_FOLDER("none.png"), PICTURE(1)) > 0
              && !fclose(f));
    said s = BLIP2("embed", MODEL, "--images", IN_FOLDER("list.txt"), "-o", IN_FOLDER("some.h5"), "--json");
    ck_assert_msg(s.code == 1 && strstr(s.err, "none.png: cannot be opened"), "%s", s.err);
    ck_assert_msg(strstr(s.out, "\"images\":2}") != NULL, "%s", s.out);
    shell_free(s);
    s = BLIP2("search", MODEL, "--index", IN_FOLDER("some.h5"), "a red circle", "--json");
    ck_assert_msg(s.code == 0 && !strstr(s.out, "none.png"), "%s", s.err);
    shell_free(s);
    FAILS(1, "some.h5.tmp", "embed", MODEL, "--images", IN_FOLDER("list.txt"), "-o", IN_FOLDER("no/some.h5"));
}
END_TEST

Suite *suite_match(void)
{
    Suite *s = suite_create("match");
    TCase *c = tcase_create("match");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_unchecked_fixture(c, begin, folder_end);
    tcase_add_test(c, texts_of_any_length_together_match_as_each_alone);
    tcase_add_test(c, lavis_cleans_a_text_and_hugging_face_does_not);
    tcase_add_test(c, lavis_cuts_a_text_at_its_length_and_hugging_face_later);
    tcase_add_test(c, the_probability_is_the_softmax_of_both_logits);
    tcase_add_test(c, itc_times_itm_is_what_match_prints_of_both);
    tcase_add_test(c, what_cannot_be_matched_is_refused_in_one_line);
    tcase_add_test(c, a_bad_picture_is_left_out_of_an_index_and_told);
    suite_add_tcase(s, c);
    return s;
}
