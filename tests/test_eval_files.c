/* test_eval_files.c - what evaluate leaves in its folder: files that score to the same figures, nothing of a
 * program that failed, and nothing lost of what was there to be read.                                      */
#include "tests/shell.h"
#include "tests/eval_case.h"
#include "eval/metrics.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;

static eval_config config_of(const char *model, const char *list, const char *folder, const char *task)
{
    eval_config c = eval_config_default();
    world_text(c.model, IN_FOLDER(model));
    world_text(c.root, IN_FOLDER("world"));
    world_text(c.list, list);
    world_text(c.output_dir, IN_FOLDER(folder));
    c.tasks.count = 1;
    world_text(c.tasks.item[0], task);
    c.answer_length = 5;
    c.max_len = 8;
    return c;
}

static json_t *parsed(char *text)
{
    ck_assert_msg(text != NULL, "%s", e.text);
    json_t *o = json_loads(text, 0, NULL);
    mem_free(text);
    return o;
}

/* A list of the test split's first n pictures; rest (n) is more of each object. */
static void write_list(const char *name, int n, const char *const *rest)
{
    record_list l;
    FILE *f = fopen(IN_FOLDER(name), "w");
    ck_assert(f && records_read(IN_FOLDER("world/test.jsonl"), &l, &e));
    for (int i = 0; i < n; i++)
        fprintf(f, "{\"image\": \"%s\", \"image_id\": %d, %s}\n", l.items[i].image, i + 1, rest[i]);
    ck_assert(!fclose(f));
    record_list_free(&l);
}

/* ---- retrieval ----------------------------------------------------------------------------------------- */
/* Texts that read the same are right for several pictures, and each is drawn with its own all the same. */
START_TEST(the_file_of_scores_has_the_intervals_of_the_run)
{
    static const char *const rest[] = {
        "\"captions\": [\"a red circle\", \"a thing\"]", "\"captions\": [\"a thing\", \"a blue square\"]",
        "\"caption\": \"a red circle\"", "\"captions\": [\"a thing\", \"a green cross\", \"a blue square\"]",
        "\"caption\": \"a thing\"", "\"caption\": \"a blue square\"", "\"caption\": \"a thing\"",
        "\"captions\": [\"a red circle\", \"a yellow square\"]", "\"caption\": \"a thing\"",
        "\"caption\": \"a green square\"" };
    world_train_all(TRAIN_STAGE1);
    write_list("world/same.jsonl", 10, rest);
    eval_config c = config_of("stage1/model.h5", "same.jsonl", "same", "retrieval");
    c.retrieval_captions = 0;
    c.rerank = EVAL_ITC;
    json_t *figures = parsed(eval_run(&c, &e));
    const score_options o = { .seed = (uint64_t)c.seed };
    json_t *scored = parsed(score_retrieval_file(IN_FOLDER("same/retrieval.json"), &o, &e));
    const json_t *itc = json_object_get(json_object_get(figures, "retrieval"), "itc"), *v;
    const json_t *sure = json_object_get(scored, "interval_95");
    const char *key;
    ck_assert_uint_eq(json_object_size(sure), 6);
    json_object_foreach(json_object_get(itc, "interval_95"), key, v)
        for (size_t k = 0; k < 2; k++)
            ck_assert_msg(fabs(json_number_value(json_array_get(v, k))
                               - json_number_value(json_array_get(json_object_get(sure, key), k))) < 1e-9,
                          "%s: %s", key, k ? "to" : "from");
    json_decref(figures);
    json_decref(scored);
}
END_TEST

START_TEST(resamples_that_count_nothing_are_passed_over)
{
    const double sums[] = { 1, 0, 0, 0 }, counts[] = { 2, 0, 0, 0 }, none[] = { 0, 0, 0, 0 };
    score_interval i = score_bootstrap_ratio(4, sums, counts, 0.95, 1000, 1);
    ck_assert(i.low == 0.5 && i.high == 0.5);
    i = score_bootstrap_ratio(4, sums, none, 0.95, 1000, 1);
    ck_assert(isnan(i.low) && isnan(i.high));
    folder_write("own.json", "{\"scores_i2t\": [[1, 0], [0, 1]], \"scores_t2i\": [[1, 0], [0, 1]], "
                           "\"img2txt\": [0, 1], \"txt2img\": [0, 1], \"own_image\": [0, 2]}");
    ck_assert(!score_retrieval_file(IN_FOLDER("own.json"), &(score_options){ 0 }, &e));
    ck_assert_msg(strstr(e.text, "own_image: entry 1: expected the number of a picture from 0 to 1"), "%s",
                  e.text);
}
END_TEST

START_TEST(retrieval_needs_room_for_its_own_pictures_alone)
{
    eval_session s;
    world_train_all(TRAIN_STAGE1);
    eval_config c = config_of("stage1/model.h5", "test.jsonl", "all", "retrieval");
    c.retrieval_pictures = 3;
    json_t *all = parsed(eval_run(&c, &e));
    ck_assert_msg(eval_open(&s, c.model, &e), "%s", e.text);
    double each = (double)(eval_tokens(&s.model.config) * s.model.config.vision.width) * (double)sizeof(real);
    eval_close(&s);
    c.memory_mb = 3.5 * each / (1 << 20);
    for (int k = 0; k < 2; k++) {                          /* alone, and beside a task that goes on without */
        c.tasks.count = 1 + k;
        world_text(c.tasks.item[1], "captions");
        json_t *figures = parsed(eval_run(&c, &e));
        ck_assert(!json_object_get(figures, "warnings") == !k);
        ck_assert(json_equal(json_object_get(figures, "retrieval"), json_object_get(all, "retrieval")));
        json_decref(figures);
    }
    c.retrieval_pictures = 4;
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "the features of 4 pictures") && strstr(e.text, "MiB"), "%s", e.text);
    json_decref(all);
}
END_TEST

/* ---- answers ------------------------------------------------------------------------------------------- */
#define PEOPLE "\"answers\": [\"b\", \"b\", \"c\"]}]"
static const char *const asked[] = {
    "\"questions\": [{\"question_id\": 7, \"question\": \"a ?\", \"answer\": \"\"}]",
    "\"questions\": [{\"question_id\": 5, \"question\": \"a ?\", \"answer\": \"b\", " PEOPLE,
    "\"questions\": [{\"question_id\": 6, \"question\": \"c ?\", \"answer\": \"b\", " PEOPLE };

START_TEST(one_question_without_an_answer_costs_no_figure)
{
    world_train_all(TRAIN_STAGE2);
    write_list("world/asked.jsonl", 3, asked);
    eval_config c = config_of("stage2/model.h5", "asked.jsonl", "asked", "vqa");
    json_t *figures = parsed(eval_run(&c, &e));
    const json_t *m = json_object_get(figures, "vqa");
    const json_t *official = json_object_get(m, "shuffled_official");
    ck_assert(case_value(official, "questions") == 2 && case_value(official, "unannotated") == 1);
    ck_assert(json_object_get(json_object_get(official, "perAnswerType"), "other"));   /* none has a type */
    ck_assert(case_value(json_object_get(m, "settings"), "answers_at_least") == 3);
    ck_assert(json_object_get(m, "model_lavis")
              && !json_object_get(json_object_get(m, "settings"), "vqa_accuracy"));
    char results[512], questions[512], annotations[512];
    folder_path(results, "asked/vqa.json");
    folder_path(questions, "asked/vqa_questions.json");
    folder_path(annotations, "asked/vqa_annotations.json");
    said s = BLIP2("score", "vqa", results, questions, annotations, "--json");
    json_t *scored = json_loads(s.out, 0, NULL);
    ck_assert_msg(s.code == 0 && case_value(scored, "unannotated") == 1, "%s%s", s.out, s.err);
    ck_assert(case_value(scored, "overall") == case_value(json_object_get(m, "model_official"), "overall"));
    json_decref(scored);
    json_decref(figures);
    shell_free(s);
    /* without the questions nobody says that it was asked */
    ck_assert(!score_vqa_files(results, NULL, annotations, &(score_options){ 0 }, &e));
    ck_assert_msg(strstr(e.text, "question_id 7 is not in"), "%s", e.text);
}
END_TEST

START_TEST(answers_of_no_annotation_are_no_figure)
{
    folder_write("r.json", "[{\"question_id\": 1, \"answer\": \"a\"}]");
    folder_write("q.json", "{\"questions\": [{\"question_id\": 1, \"question\": \"a\"}]}");
    folder_write("a.json", "{\"annotations\": [{\"question_id\": 2, \"answers\": [{\"answer\": \"a\"}]}]}");
    FAILS(1, "expected one of each, or --partial", "score", "vqa", IN_FOLDER("r.json"), IN_FOLDER("q.json"),
          IN_FOLDER("a.json"));
    FAILS(1, "r.json: none of its questions is in", "score", "vqa", IN_FOLDER("r.json"), IN_FOLDER("q.json"),
          IN_FOLDER("a.json"), "--partial");
}
END_TEST

START_TEST(answers_to_compare_with_nothing_are_counted)
{
    char model[560], root[560], out[560];
    world_train_all(TRAIN_STAGE2);
    write_list("world/asked.jsonl", 1, asked);
    snprintf(model, sizeof model, "model.file=%s", IN_FOLDER("stage2/model.h5"));
    snprintf(root, sizeof root, "datasets.root=%s", IN_FOLDER("world"));
    snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER("none"));
    folder_write("vqa.yaml", "run:\n  tasks: [vqa]\n  answer_len: 5\n");
    said s = BLIP2("evaluate", IN_FOLDER("vqa.yaml"), model, root, out, "datasets.list=asked.jsonl",
                   "--quiet");
    ck_assert_msg(s.code == 0 && !strcmp(s.out, "vqa\n  1 answers written, none to compare with\n"), "%s%s",
                  s.out, s.err);
    shell_free(s);
}
END_TEST

/* ---- before the model is read -------------------------------------------------------------------------- */
START_TEST(a_folder_that_takes_no_results_is_told_first)
{
    static const char *const rest[] = { "\"caption\": \"a red circle\"" };
    eval_config c = config_of("none.h5", "test.jsonl", "file/below", "captions");
    folder_write("file", "");
    ck_assert(!eval_run(&c, &e) && e.kind == ERROR_USAGE);
    ck_assert_msg(strstr(e.text, "evaluate: 2 problems") && strstr(e.text, "run.output_dir: ")
                  && strstr(e.text, "file: not a folder") && strstr(e.text, "none.h5"), "%s", e.text);
    write_list("world/vqa.json", 1, rest);
    c = config_of("none.h5", "vqa.json", "world", "captions");
    ck_assert(!eval_run(&c, &e) && e.kind == ERROR_USAGE && folder_has("world/vqa.json"));
    ck_assert_msg(strstr(e.text, "evaluate: 2 problems") && strstr(e.text, "vqa.json, the list itself"), "%s",
                  e.text);
    world_text(c.output_dir, "");
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "run.output_dir: expected a folder, found nothing"), "%s", e.text);
}
END_TEST

/* ---- programs that fail -------------------------------------------------------------------------------- */
/* A METEOR that counts only the first, a SPICE that works. */
static void install_java(void)
{
    folder_write("java", "#!/bin/sh\ncase \"$*\" in\n*meteor.jar*) echo 1 2;;\n"
               "*) sed 's/\"test\".*/\"scores\": {\"All\": {\"f\": 0.5}},/' \"$4\" >\"$6\";;\nesac\n");
    ck_assert(!chmod(IN_FOLDER("java"), 0700));
    folder_write("meteor.jar", "");
    folder_write("spice.jar", "");
    setenv("PATH", folder_path((char[512]){ 0 }, ":/usr/bin:/bin"), 1);
}

START_TEST(a_jar_that_fails_costs_score_its_own_figure_alone)
{
    install_java();
    ck_assert(!mkdir(IN_FOLDER("tmp"), 0700));
    setenv("TMPDIR", IN_FOLDER("tmp"), 1);
    folder_write("c.json", "[{\"image_id\": 1, \"caption\": \"a cat\"}, "
                         "{\"image_id\": 2, \"caption\": \"b\"}]");
    folder_write("ref.json", "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a cat\"}, "
                           "{\"image_id\": 2, \"caption\": \"a bird\"}]}");
    said s = BLIP2("score", "captions", IN_FOLDER("c.json"), IN_FOLDER("ref.json"), "--meteor-jar",
                   IN_FOLDER("meteor.jar"), "--spice-jar", IN_FOLDER("spice.jar"), "--json");
    ck_assert_msg(s.code == 0 && strstr(s.out, "CIDEr") && strstr(s.out, "\"SPICE\": 0.5")
                  && !strstr(s.out, "METEOR") && strstr(s.err, "warning: METEOR is left out: "), "%s%s",
                  s.out, s.err);
    ck_assert(!rmdir(IN_FOLDER("tmp")));                   /* nothing is left in it */
    shell_free(s);
}
END_TEST

START_TEST(a_jar_that_fails_leaves_no_files)
{
    world_train_all(TRAIN_STAGE1);
    install_java();
    eval_config c = config_of("stage1/model.h5", "test.jsonl", "jars", "captions");
    world_text(c.meteor_jar, IN_FOLDER("meteor.jar"));
    world_text(c.spice_jar, IN_FOLDER("spice.jar"));
    json_decref(parsed(eval_run(&c, &e)));
    ck_assert(folder_has("jars/spice.json"));
    ck_assert(!folder_has("jars/meteor_captions.txt") && !folder_has("jars/meteor_counts.txt")
              && !folder_has("jars/meteor_sum.txt"));
    *c.meteor_jar = *c.spice_jar = 0;
    json_decref(parsed(eval_run(&c, &e)));
    ck_assert(!folder_has("jars/spice_input.json") && !folder_has("jars/spice.json")
              && !folder_has("jars/spice.txt"));
}
END_TEST

/* ---- who hears of it ----------------------------------------------------------------------------------- */
typedef struct heard { int parts, begun; const char *part; } heard;

static void hear(void *context, const char *what, long done, long of)
{
    heard *h = context;
    (void)of;
    if (h->part && !strcmp(h->part, what))
        return;
    h->part = what;
    h->parts++;
    h->begun += done == 0;
}

START_TEST(every_part_is_told_of_when_it_begins)
{
    heard h = { 0 };
    world_train_all(TRAIN_STAGE1);
    eval_config c = config_of("stage1/model.h5", "test.jsonl", "heard", "retrieval");
    c.watch = (eval_watch){ .context = &h, .progress = hear };
    json_decref(parsed(eval_run(&c, &e)));
    ck_assert_int_eq(h.parts, 4);
    ck_assert_int_eq(h.begun, 4);
}
END_TEST

Suite *suite_eval_files(void)
{
    Suite *s = suite_create("eval_files");
    TCase *runs = tcase_create("runs"), *scores = tcase_create("scores");
    tcase_set_timeout(runs, TEST_SECONDS);
    tcase_add_checked_fixture(runs, case_begin, folder_end);
    tcase_add_test(runs, the_file_of_scores_has_the_intervals_of_the_run);
    tcase_add_test(runs, retrieval_needs_room_for_its_own_pictures_alone);
    tcase_add_test(runs, one_question_without_an_answer_costs_no_figure);
    tcase_add_test(runs, answers_to_compare_with_nothing_are_counted);
    tcase_add_test(runs, a_folder_that_takes_no_results_is_told_first);
    tcase_add_test(runs, a_jar_that_fails_leaves_no_files);
    tcase_add_test(runs, every_part_is_told_of_when_it_begins);
    suite_add_tcase(s, runs);
    tcase_set_timeout(scores, TEST_SECONDS);
    tcase_add_checked_fixture(scores, folder_begin, folder_end);
    tcase_add_test(scores, resamples_that_count_nothing_are_passed_over);
    tcase_add_test(scores, answers_of_no_annotation_are_no_figure);
    tcase_add_test(scores, a_jar_that_fails_costs_score_its_own_figure_alone);
    suite_add_tcase(s, scores);
    return s;
}
