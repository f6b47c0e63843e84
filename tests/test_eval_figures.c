/* test_eval_figures.c - what a run of `evaluate` tells and counts: how far it is, records of one picture, and
 * pictures and questions without words, which give no figure.                                              */
#include "tests/eval_case.h"
#include "eval/metrics.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static error e;

/* ---- who hears of it ----------------------------------------------------------------------------------- */
typedef struct heard { int parts; char part[16][40]; long done[16], of[16]; } heard;

static void hear(void *context, const char *what, long done, long of)
{
    heard *h = context;
    int i = 0;
    while (i < h->parts && strcmp(h->part[i], what))
        i++;
    ck_assert(i < 16 && done <= of && (i == h->parts || done >= h->done[i]));
    if (i == h->parts)
        snprintf(h->part[h->parts++], sizeof h->part[0], "%s", what);
    h->done[i] = done;
    h->of[i] = of;
}

START_TEST(every_part_says_how_far_it_is)
{
    static const char *const parts[] = { "pictures decoded", "pictures", "captions", "perplexity",
        "perplexity, shuffled", "answers", "answers, blind", "answers, shuffled" };
    heard h = { 0 };
    world_train_all(TRAIN_STAGE2);
    eval_config c = case_config("stage2/model.h5", "test.jsonl", "heard");
    c.watch = (eval_watch){ .context = &h, .progress = hear };
    c.limit = 5;
    c.batch = 2;
    json_decref(case_run(&c));
    ck_assert_int_eq(h.parts, 8);
    for (int i = 0; i < h.parts; i++)
        ck_assert_msg(!strcmp(h.part[i], parts[i]) && h.done[i] == h.of[i], "%s: %ld", h.part[i], h.done[i]);
    c = case_config("stage1/model.h5", "test.jsonl", "heard");
    h = (heard){ 0 };
    c.watch = (eval_watch){ .context = &h, .progress = hear };
    case_task(&c, "retrieval");
    json_decref(case_run(&c));
    ck_assert_int_eq(h.parts, 4);
    ck_assert_str_eq(h.part[2], "re-ranking");
    ck_assert_str_eq(h.part[3], "matching");
}
END_TEST

/* ---- records of one picture ---------------------------------------------------------------------------- */
/* A caption a record, as the field's lists have it; pictures 0, 1, 2 with 2, 1 and 2 of them. */
static const case_line one_a_record[] = { { 0, 10, "\"caption\": \"a red circle\"" },
                                          { 1, 11, "\"caption\": \"a blue square\"" },
                                          { 0, 10, "\"caption\": \"one round thing\"" },
                                          { 2, 12, "\"caption\": \"a green cross\"" },
                                          { 2, 12, "\"caption\": \"it is green\"" } };

START_TEST(captions_of_all_records_of_a_picture_are_candidates)
{
    static const char *const texts[] = { "a red circle", "one round thing", "a blue square", "a green cross",
                                         "it is green" };
    world_train_all(TRAIN_STAGE1);
    case_list("world/each.jsonl", one_a_record, 5);
    eval_config c = case_config("stage1/model.h5", "each.jsonl", "each");
    case_task(&c, "retrieval");
    c.retrieval_captions = 0;
    json_t *figures = case_run(&c), *kept = case_file("each/retrieval.json");
    const json_t *r = json_object_get(figures, "retrieval");
    ck_assert(case_value(r, "pictures") == 3 && case_value(r, "texts") == 5);
    for (size_t j = 0; j < 5; j++)
        ck_assert_str_eq(json_string_value(json_array_get(json_object_get(kept, "texts"), j)), texts[j]);
    json_t *right = json_pack("[[i,i],[i],[i,i]]", 0, 1, 2, 3, 4);
    ck_assert(json_equal(json_object_get(kept, "img2txt"), right));
    json_decref(right);
    json_decref(kept);
    json_decref(figures);
    c.retrieval_captions = 1;
    figures = case_run(&c);
    ck_assert(case_value(json_object_get(figures, "retrieval"), "texts") == 3);
    json_decref(figures);
    case_task(&c, "captions");
    c.limit = 2;                                           /* pictures, not records */
    figures = case_run(&c);
    kept = case_file("each/captions_references.json");
    ck_assert(case_value(json_object_get(figures, "captions"), "pictures") == 2);
    ck_assert(json_array_size(json_object_get(kept, "annotations")) == 3);
    json_decref(kept);
    json_decref(figures);
}
END_TEST

/* What the tower sees of a picture is read once, however many records it has. */
START_TEST(another_picture_is_never_the_own)
{
    static const case_line lines[] = {
        { 0, 10, "\"questions\": [{\"question\": \"a ?\", \"answer\": \"b\"}]" },
        { 0, 10, "\"questions\": [{\"question\": \"c ?\", \"answer\": \"d\"}]" },
        { 1, 11, "\"questions\": [{\"question\": \"e ?\", \"answer\": \"f\"}]" },
        { 1, 11, "\"questions\": [{\"question\": \"g ?\", \"answer\": \"h\"}]" } };
    heard h = { 0 };
    world_train_all(TRAIN_STAGE2);
    eval_config c = case_config("stage2/model.h5", "pairs.jsonl", "pairs");
    case_task(&c, "vqa");
    c.watch = (eval_watch){ .context = &h, .progress = hear };
    case_list("world/pairs.jsonl", lines, 4);
    json_t *figures = case_run(&c);
    ck_assert(h.of[1] == 2 && case_value(json_object_get(json_object_get(figures, "vqa"), "shuffled"),
                                         "questions") == 4);
    json_t *others = case_file("pairs/vqa_shuffled.json");
    json_decref(figures);
    /* each record asks what its picture's neighbour shows: the same answers from a list that says so */
    static const case_line turned[] = {
        { 1, 10, "\"questions\": [{\"question\": \"a ?\", \"answer\": \"b\"}]" },
        { 1, 10, "\"questions\": [{\"question\": \"c ?\", \"answer\": \"d\"}]" },
        { 0, 11, "\"questions\": [{\"question\": \"e ?\", \"answer\": \"f\"}]" },
        { 0, 11, "\"questions\": [{\"question\": \"g ?\", \"answer\": \"h\"}]" } };
    case_list("world/pairs.jsonl", turned, 4);
    c.watch.progress = NULL;
    json_decref(case_run(&c));
    json_t *own = case_file("pairs/vqa.json");
    for (size_t i = 0; i < 4; i++)
        ck_assert(json_equal(json_object_get(json_array_get(own, i), "answer"),
                             json_object_get(json_array_get(others, i), "answer")));
    json_decref(own);
    json_decref(others);
    case_list("world/pairs.jsonl", lines, 2);             /* one picture: there is no other */
    figures = case_run(&c);
    const json_t *m = json_object_get(figures, "vqa");
    ck_assert(json_object_get(m, "blind") && !json_object_get(m, "shuffled")
              && !folder_has("pairs/vqa_shuffled.json"));
    json_decref(figures);
}
END_TEST

START_TEST(without_room_for_all_features_the_answers_are_the_same)
{
    world_train_all(TRAIN_STAGE2);
    json_t *wrote[2][3];
    for (int k = 0; k < 2; k++) {
        eval_config c = case_config("stage2/model.h5", "test.jsonl", "room");
        c.memory_mb = k ? 0.001 : 0;
        c.batch = 5;
        json_t *figures = case_run(&c);
        ck_assert_msg(!!strstr(case_warning(figures, 0), "do not fit into 0.001 MiB of run.memory_mb") == k,
                      "%s", case_warning(figures, 0));
        ck_assert(case_value(json_object_get(figures, "captions"), "perplexity_shuffled") > 0);
        json_decref(figures);
        wrote[k][0] = case_file("room/vqa.json");
        wrote[k][1] = case_file("room/vqa_shuffled.json");
        wrote[k][2] = case_file("room/captions.json");
    }
    for (int i = 0; i < 3; i++) {
        ck_assert(json_equal(wrote[0][i], wrote[1][i]));
        json_decref(wrote[0][i]);
        json_decref(wrote[1][i]);
    }
    eval_config c = case_config("stage1/model.h5", "test.jsonl", "never");
    c.memory_mb = 0.001;
    case_task(&c, "retrieval");
    ck_assert(!eval_run(&c, &e) && !folder_has("never"));
    ck_assert_msg(strstr(e.text, "the features of 16 pictures, "), "%s", e.text);
}
END_TEST

/* ---- what is not there gives no figure ----------------------------------------------------------------- */
static const case_line mixed[] = { { 0, 1, "\"caption\": \"a red circle\"" },
                                   { 1, 2, "\"questions\": [{\"question\": \"a ?\", \"answer\": \"b\"}]" },
                                   { 2, 3, "\"caption\": \"a green cross\"" } };

START_TEST(pictures_without_captions_are_no_candidates)
{
    world_train_all(TRAIN_STAGE1);
    case_list("world/mixed.jsonl", mixed, 3);
    eval_config c = case_config("stage1/model.h5", "mixed.jsonl", "mixed");
    case_task(&c, "retrieval");
    json_t *figures = case_run(&c), *kept = case_file("mixed/retrieval.json");
    ck_assert(case_value(json_object_get(figures, "retrieval"), "pictures") == 2);
    ck_assert_msg(strstr(case_warning(figures, 0), "retrieval: 1 of 3 pictures of mixed.jsonl have no "
                         "caption"), "%s", case_warning(figures, 0));
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(kept, "images"), 1)), CASE_PICTURE(2));
    json_decref(kept);
    json_decref(figures);
    case_list("world/mixed.jsonl", mixed + 1, 1);         /* questions alone */
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "mixed.jsonl: nothing to measure in it"), "%s", e.text);
}
END_TEST

START_TEST(nothing_to_measure_is_no_0)
{
    world_train_all(TRAIN_STAGE2);
    case_list("world/said.jsonl", mixed, 1);
    eval_config c = case_config("stage2/model.h5", "said.jsonl", "said");
    json_t *figures = case_run(&c);                        /* captions and vqa */
    ck_assert(json_object_get(figures, "captions") && !json_object_get(figures, "vqa")
              && !folder_has("said/vqa.json"));
    ck_assert_msg(strstr(case_warning(figures, 0), "vqa: left out: no picture of said.jsonl has a question"),
                  "%s", case_warning(figures, 0));
    json_decref(figures);
    case_list("world/said.jsonl", mixed + 1, 1);
    figures = case_run(&c);
    const json_t *m = json_object_get(figures, "captions");
    ck_assert(case_value(m, "pictures") == 1 && !json_object_get(m, "exact"));
    ck_assert_ptr_nonnull(json_object_get(figures, "vqa"));
    ck_assert_msg(strstr(case_warning(figures, 0), "captions: not scored: 1 of 1 pictures"), "%s",
                  case_warning(figures, 0));
    json_decref(figures);
}
END_TEST

START_TEST(itc_alone_leaves_its_scores)
{
    world_train_all(TRAIN_STAGE1);
    eval_config c = case_config("stage1/model.h5", "test.jsonl", "itc");
    case_task(&c, "retrieval");
    c.k_test = 0;
    json_t *figures = case_run(&c);
    const json_t *r = json_object_get(figures, "retrieval"), *itc = json_object_get(r, "itc");
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(r, "settings"), "rerank")), "itc");
    char *text = score_retrieval_file(IN_FOLDER("itc/retrieval.json"), &(score_options){ .seed = 42 }, &e);
    ck_assert_msg(text != NULL, "%s", e.text);
    json_t *scored = json_loads(text, 0, NULL);
    ck_assert_double_eq_tol(case_value(scored, "txt_r5"), case_value(itc, "txt_r5"), 1e-9);
    ck_assert_double_eq_tol(case_value(scored, "img_r5"), case_value(itc, "img_r5"), 1e-9);
    json_decref(scored);
    json_decref(figures);
    mem_free(text);
}
END_TEST

START_TEST(settings_of_writing_reach_the_text)
{
    world_train_all(TRAIN_STAGE2);
    json_t *wrote[4];
    for (int k = 0; k < 4; k++) {
        eval_config c = case_config("stage2/model.h5", "test.jsonl", "written");
        c.controls = false;
        c.limit = 6;
        c.max_len = 12;
        c.repetition_penalty = k == 1 ? 9 : 1;
        c.reference = k == 2 ? BLIP2_HF : BLIP2_LAVIS;
        if (k == 3)
            world_text(c.prompt, "there is a blue");
        json_t *figures = case_run(&c);
        const json_t *settings = json_object_get(json_object_get(figures, "captions"), "settings");
        ck_assert(case_value(settings, "repetition_penalty") == (k == 1 ? 9 : 1));
        ck_assert(!json_object_get(json_object_get(figures, "captions"), "shuffled"));     /* no controls */
        ck_assert_str_eq(json_string_value(json_object_get(settings, "reference")), k == 2 ? "hf" : "lavis");
        if (k == 3)
            ck_assert_str_eq(json_string_value(json_object_get(settings, "prompt")), "there is a blue");
        json_decref(figures);
        wrote[k] = case_file("written/captions.json");
    }
    ck_assert(!json_equal(wrote[0], wrote[1]) && !json_equal(wrote[0], wrote[3]));
    for (size_t i = 0; i < json_array_size(wrote[2]); i++)  /* without the prompt that Hugging Face repeats */
        ck_assert(strncmp(json_string_value(json_object_get(json_array_get(wrote[2], i), "caption")),
                          "a photo of", 10));
    for (int k = 0; k < 4; k++)
        json_decref(wrote[k]);
}
END_TEST

START_TEST(files_of_questions_are_in_the_challenges_form)
{
    static const char *const keys[] = { "info", "task_type", "data_type", "data_subtype", "license" };
    world_train_all(TRAIN_STAGE2);
    eval_config c = case_config("stage2/model.h5", "test.jsonl", "form");
    case_task(&c, "vqa");
    c.controls = false;
    c.limit = 2;
    json_decref(case_run(&c));
    json_t *questions = case_file("form/vqa_questions.json"),
           *annotations = case_file("form/vqa_annotations.json");
    for (int i = 0; i < 5; i++)
        ck_assert_msg(json_object_get(questions, keys[i]) && json_object_get(annotations, keys[i]), "%s",
                      keys[i]);
    json_decref(questions);
    json_decref(annotations);
}
END_TEST

/* A test's questions, whose answers others keep: they are asked, and no figure counts them as wrong. */
START_TEST(questions_without_an_answer_are_asked_and_not_counted)
{
    static const case_line asked[] = {
        { 0, 1, "\"questions\": [{\"question_id\": 7, \"question\": \"a ?\", \"answer\": \"\"}]" },
        { 1, 2, "\"questions\": [{\"question_id\": 5, \"question\": \"a ?\", \"answer\": \"b\", "
                "\"type\": \"other\", \"question_type\": \"what is\"}]" } };
    world_train_all(TRAIN_STAGE2);
    case_list("world/asked.jsonl", asked, 2);
    eval_config c = case_config("stage2/model.h5", "asked.jsonl", "asked");
    case_task(&c, "vqa");
    json_t *figures = case_run(&c), *results = case_file("asked/vqa.json"),
           *people = case_file("asked/vqa_annotations.json"), *blind = case_file("asked/vqa_blind.json");
    const json_t *list = json_object_get(people, "annotations");
    ck_assert(case_value(json_object_get(json_object_get(figures, "vqa"), "model"), "questions") == 1);
    ck_assert(json_array_size(results) == 2 && json_array_size(blind) == 2 && json_array_size(list) == 1);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(list, 0), "question_type")), "what is");
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(list, 0), "answer_type")), "other");
    ck_assert_msg(strstr(case_warning(figures, 0), "vqa: 1 of 2 questions of asked.jsonl have no answer"),
                  "%s", case_warning(figures, 0));
    json_decref(figures);
    case_list("world/asked.jsonl", asked, 1);             /* none has one */
    figures = case_run(&c);
    ck_assert(json_object_get(figures, "vqa") && !json_object_get(json_object_get(figures, "vqa"), "model"));
    ck_assert(!folder_has("asked/vqa_blind.json"));
    json_decref(figures);
    json_decref(results);
    json_decref(people);
    json_decref(blind);
}
END_TEST

Suite *suite_eval_figures(void)
{
    Suite *s = suite_create("eval_figures");
    TCase *c = tcase_create("runs");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, case_begin, folder_end);
    tcase_add_test(c, every_part_says_how_far_it_is);
    tcase_add_test(c, captions_of_all_records_of_a_picture_are_candidates);
    tcase_add_test(c, another_picture_is_never_the_own);
    tcase_add_test(c, without_room_for_all_features_the_answers_are_the_same);
    tcase_add_test(c, pictures_without_captions_are_no_candidates);
    tcase_add_test(c, nothing_to_measure_is_no_0);
    tcase_add_test(c, itc_alone_leaves_its_scores);
    tcase_add_test(c, settings_of_writing_reach_the_text);
    tcase_add_test(c, files_of_questions_are_in_the_challenges_form);
    tcase_add_test(c, questions_without_an_answer_are_asked_and_not_counted);
    suite_add_tcase(s, c);
    return s;
}
