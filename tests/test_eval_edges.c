/* test_eval_edges.c - evaluate and score where lists, files and settings are not as they should be: what is
 * told before a model is read, what is left out and said so, and what is no result to score.               */
#include "tests/eval_case.h"
#include "tests/shell.h"
#include "eval/metrics.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;

static void break_picture(long i)
{
    char name[80];
    snprintf(name, sizeof name, "world/%s", CASE_PICTURE(i));
    folder_write(name, "\x89PNG\r\n\x1a\nnothing more");
}

/* ---- before the model is read -------------------------------------------------------------------------- */
START_TEST(all_that_is_wrong_is_told_together)
{
    eval_config c = eval_config_default();
    static const char *const says[] = {
        "evaluate: 7 problems", "model.file: expected a model file, found nothing",
        "datasets.root: expected the folder of test.jsonl",
        "unknown task \"captoins\", did you mean captions?",
        "run.min_len: expected at most run.max_len, 4, found 9",
        "run.answer_min_len: expected at most run.answer_len, 3, found 5",
        "run.prompt: it is that of captions", "none/meteor.jar: cannot be read" };
    case_task(&c, "captoins");
    c.min_len = 9;
    c.max_len = 4;
    c.answer_min_length = 5;
    c.answer_length = 3;
    world_text(c.prompt, "Question: {} Answer:");
    world_text(c.meteor_jar, IN_FOLDER("none/meteor.jar"));
    ck_assert(!eval_run(&c, &e) && e.kind == ERROR_USAGE);
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        ck_assert_msg(strstr(e.text, says[i]), "%s: %s", says[i], e.text);
}
END_TEST

START_TEST(one_problem_stands_alone)
{
    eval_config c = case_config("none.h5", "test.jsonl", "never");
    case_task(&c, "captions");
    world_text(c.model, "");
    ck_assert(!eval_run(&c, &e) && e.kind == ERROR_USAGE);
    ck_assert_str_eq(e.text, "model.file: expected a model file, found nothing");
    world_text(c.model, IN_FOLDER("llm/vocab.json"));      /* no model; it would be told on opening */
    c.tasks.count = 0;
    ck_assert(!eval_run(&c, &e) && e.kind == ERROR_USAGE);
    ck_assert_str_eq(e.text, "run.tasks: expected captions, vqa or retrieval, found none");
    case_task(&c, "captions");
    world_text(c.list, "none.jsonl");
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "none.jsonl: cannot be opened"), "%s", e.text);
    setenv("PATH", "/nowhere", 1);
    folder_write("meteor.jar", "");
    world_text(c.list, "test.jsonl");
    world_text(c.meteor_jar, IN_FOLDER("meteor.jar"));
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "java, which runs it, is not on PATH"), "%s", e.text);
    ck_assert(!folder_has("never"));
}
END_TEST

START_TEST(broken_pictures_are_told_first_or_left_out)
{
    world_train_all(TRAIN_STAGE1);
    eval_config c = case_config("llm/vocab.json", "test.jsonl", "broken");
    case_task(&c, "captions");
    break_picture(3);
    break_picture(9);
    ck_assert(!eval_run(&c, &e));                          /* the model, which is none, was not asked */
    ck_assert_msg(strstr(e.text, "2 of 16 pictures cannot be decoded; run.max_bad_fraction, now 0")
                  && strstr(e.text, CASE_PICTURE(3)) && strstr(e.text, CASE_PICTURE(9)), "%s", e.text);
    world_text(c.model, IN_FOLDER("stage1/model.h5"));
    c.max_bad_fraction = 0.2;
    json_t *figures = case_run(&c), *results = case_file("broken/captions.json");
    ck_assert(json_array_size(results) == 14);
    ck_assert_msg(strstr(case_warning(figures, 0), "2 of 16 pictures cannot be decoded and are left out")
                  && strstr(case_warning(figures, 0), CASE_PICTURE(9)), "%s", case_warning(figures, 0));
    for (size_t i = 0; i < 14; i++)
        ck_assert_str_ne(json_string_value(json_object_get(json_array_get(results, i), "image")),
                         CASE_PICTURE(3));
    json_decref(figures);
    json_decref(results);
}
END_TEST

START_TEST(questions_whose_ids_come_twice_are_numbered)
{
    static const case_line lines[] = {
        { 0, 1, "\"questions\": [{\"question\": \"a ?\", \"answer\": \"b\", \"question_id\": 7}]" },
        { 1, 2, "\"questions\": [{\"question\": \"c ?\", \"answer\": \"d\", \"question_id\": 7}]" } };
    case_list("world/twice.jsonl", lines, 2);
    world_train_all(TRAIN_STAGE2);
    eval_config c = case_config("stage2/model.h5", "twice.jsonl", "twice");
    case_task(&c, "vqa");
    json_t *figures = case_run(&c), *results = case_file("twice/vqa.json");
    ck_assert_msg(strstr(case_warning(figures, 0), "twice.jsonl: question_id 7 stands there twice"), "%s",
                  case_warning(figures, 0));
    for (size_t i = 0; i < 2; i++)
        ck_assert(case_value(json_array_get(results, i), "question_id") == (double)i);
    json_decref(figures);
    json_decref(results);
}
END_TEST

START_TEST(a_run_that_fails_leaves_no_older_figures)
{
    world_train_all(TRAIN_STAGE1);
    eval_config c = case_config("stage1/model.h5", "test.jsonl", "again");
    case_task(&c, "captions");
    json_decref(case_run(&c));
    ck_assert(folder_has("again/metrics.json") && folder_has("again/evaluate.yaml")
              && folder_has("again/captions.json"));
    folder_write("again/vqa.json", "[]");                  /* of an older run; this one answers nothing */
    json_decref(case_run(&c));
    ck_assert(folder_has("again/metrics.json") && !folder_has("again/vqa.json"));
    ck_assert(!mkdir(IN_FOLDER("again/retrieval.json"), 0700));
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "an older result cannot be removed"), "%s", e.text);
    ck_assert(!folder_has("again/metrics.json") && folder_has("again/evaluate.yaml"));
    static const case_line lines[] = { { 0, 1, "\"caption\": \"a red circle\"" } };
    case_list("world/captions.json", lines, 1);
    c = case_config("stage1/model.h5", "captions.json", "world");
    case_task(&c, "captions");
    ck_assert(!eval_run(&c, &e) && folder_has("world/captions.json"));
    ck_assert_msg(strstr(e.text, "captions.json, the list itself"), "%s", e.text);
}
END_TEST

/* Cuts a file where HDF5's superblock says that its data end. */
static void cut_digests(const char *path)
{
    unsigned char head[48];
    long end = 0;
    FILE *f = fopen(path, "rb");
    ck_assert(f && fread(head, sizeof head, 1, f) == 1 && !fclose(f));
    for (int i = 7, at = head[8] < 2 ? 40 : 28; i >= 0; i--)
        end = end << 8 | head[at + i];
    ck_assert(!truncate(path, end));
}

START_TEST(a_file_without_digests_is_warned_of)
{
    world_train_all(TRAIN_STAGE1);
    cut_digests(IN_FOLDER("stage1/model.h5"));
    eval_config c = case_config("stage1/model.h5", "test.jsonl", "bare");
    case_task(&c, "captions");
    c.limit = 2;
    json_t *figures = case_run(&c);
    ck_assert_msg(strstr(case_warning(figures, 0), "has no digests"), "%s", case_warning(figures, 0));
    json_decref(figures);
}
END_TEST

/* ---- configurations of LAVIS --------------------------------------------------------------------------- */
START_TEST(keys_of_lavis_are_told_how_they_are_written_here)
{
    static const char text[] =
        "model:\n  arch: blip2_opt\n  model_type: caption_coco_opt2.7b\n  use_grad_checkpoint: False\n"
        "datasets:\n  coco_caption:\n    vis_processor:\n      eval:\n        name: blip_image_eval\n"
        "    text_processor:\n      eval:\n        name: blip_caption\n"
        "run:\n  task: captioning\n  batch_size_train: 16\n  batch_size_eval: 16\n  num_workers: 4\n"
        "  max_len: 30\n  min_len: 8\n  num_beams: 5\n  inference_method: generate\n  seed: 42\n"
        "  output_dir: out\n  evaluate: True\n  test_splits: [test]\n  device: cuda\n  world_size: 1\n"
        "  dist_url: env://\n  distributed: True\n";
    eval_config c = eval_config_default();
    config_table tables[EVAL_TABLES];
    eval_config_tables(&c, tables);
    ck_assert(!config_read_text("caption.yaml", text, sizeof text - 1, tables, EVAL_TABLES, &e));
    ck_assert_msg(!strstr(e.text, "unknown key") && strstr(e.text, "15 problems"), "%s", e.text);
    ck_assert(strstr(e.text, "datasets.coco_caption.vis_processor: LAVIS's; a data set has no name here")
              && strstr(e.text, "run.task: LAVIS's; here run.tasks")
              && strstr(e.text, "run.test_splits: LAVIS's; here datasets.list"));
    ck_assert(c.max_len == 30 && c.min_len == 8 && c.beams == 5 && c.batch == 16);
}
END_TEST

/* ---- score --------------------------------------------------------------------------------------------- */
START_TEST(results_of_a_part_are_refused_unless_told)
{
    const score_options all = { .seed = 1 }, some = { .seed = 1, .partial = true };
    folder_write("r.json", "[{\"question_id\": 1, \"answer\": \"a\"}]");
    folder_write("q.json", "{\"questions\": [{\"question_id\": 1, \"question\": \"a\"}, {\"question_id\": 2, "
                         "\"question\": \"b\"}]}");
    folder_write("a.json", "{\"annotations\": [{\"question_id\": 1, \"answers\": [{\"answer\": \"a\"}]},"
                         "{\"question_id\": 2, \"answers\": [{\"answer\": \"b\"}]},"
                         "{\"question_id\": 3, \"answers\": [{\"answer\": \"b\"}]}]}");
    folder_write("c.json", "[{\"image_id\": 1, \"caption\": \"a\"}]");
    folder_write("ref.json", "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}, {\"image_id\": 2, "
                           "\"caption\": \"b\"}]}");
    ck_assert(!score_vqa_files(IN_FOLDER("r.json"), IN_FOLDER("q.json"), IN_FOLDER("a.json"), &all, &e));
    ck_assert_msg(strstr(e.text, "1 of the 2 questions of ") && strstr(e.text, "--partial"), "%s", e.text);
    ck_assert(!score_vqa_files(IN_FOLDER("r.json"), NULL, IN_FOLDER("a.json"), &all, &e));
    ck_assert_msg(strstr(e.text, "2 of the 3 questions of "), "%s", e.text);
    ck_assert(!score_caption_files(IN_FOLDER("c.json"), IN_FOLDER("ref.json"), &all, &e));
    ck_assert_msg(strstr(e.text, "1 of the 2 pictures of "), "%s", e.text);
    char *text[2] = {
        score_vqa_files(IN_FOLDER("r.json"), IN_FOLDER("q.json"), IN_FOLDER("a.json"), &some, &e),
        score_caption_files(IN_FOLDER("c.json"), IN_FOLDER("ref.json"), &some, &e) };
    for (int k = 0; k < 2; k++) {
        json_t *o = text[k] ? json_loads(text[k], 0, NULL) : NULL;
        ck_assert_msg(case_value(o, "missing") == (k ? 1 : 2), "%s", text[k] ? text[k] : e.text);
        json_decref(o);
        mem_free(text[k]);
    }
}
END_TEST

/* Texts of a picture that are all found or all missed say no more than the picture does. */
START_TEST(texts_of_a_picture_are_drawn_together)
{
    enum { N = 12, K = 5 };
    FILE *f = fopen(IN_FOLDER("scores.json"), "w");
    for (int way = 0; way < 2; way++) {
        int rows = way ? N * K : N, columns = way ? N : N * K;
        fprintf(f, way ? ", \"scores_t2i\": [" : "{\"scores_i2t\": [");
        for (int r = 0; r < rows; r++) {
            fprintf(f, r ? ",[" : "[");
            for (int c = 0; c < columns; c++) {            /* every third picture and its texts miss */
                int own = (way ? r : c) / K == (way ? c : r), of = way ? r / K : r;
                fprintf(f, c ? ",%d" : "%d", of % 3 ? own : 1 - own);
            }
            fputc(']', f);
        }
        fprintf(f, way ? "], \"txt2img\": [" : "], \"img2txt\": [");
        for (int r = 0; r < rows; r++)
            if (way)
                fprintf(f, r ? ",%d" : "%d", r / K);
            else
                fprintf(f, "%s[%d,%d,%d,%d,%d]", r ? "," : "", K * r, K*r + 1, K*r + 2, K*r + 3, K*r + 4);
        fputc(']', f);
    }
    ck_assert(fputs("}\n", f) >= 0 && !fclose(f));
    char *text = score_retrieval_file(IN_FOLDER("scores.json"), &(score_options){ .seed = 3 }, &e);
    ck_assert_msg(text != NULL, "%s", e.text);
    json_t *o = json_loads(text, 0, NULL);
    const json_t *sure = json_object_get(o, "interval_95");
    ck_assert_double_eq_tol(case_value(o, "img_r1"), 100 * 8.0 / N, 1e-9);
    ck_assert(json_equal(json_object_get(sure, "txt_r1"), json_object_get(sure, "img_r1")));
    ck_assert(json_number_value(json_array_get(json_object_get(sure, "img_r1"), 0)) < 45);
    json_decref(o);
    mem_free(text);
}
END_TEST

START_TEST(long_captions_are_read_in_time_and_too_long_ones_refused)
{
    enum { BYTES = 60000, MOST = 65536 };
    char *text = mem_new(MOST + 40), file_text[100];
    ptb *p = ptb_new(&e);
    for (int i = 0; i < BYTES; i++)
        text[i] = "a,"[i % 2];
    char *tokens = ptb_tokens(p, text);                    /* was a minute and more, growing by the square */
    ck_assert(tokens && strlen(tokens) == BYTES - 1 && !strncmp(tokens, "a a a a", 7));
    mem_free(tokens);
    ptb_free(p);
    memset(text, 'a', MOST + 1);
    FILE *f = fopen(IN_FOLDER("c.json"), "w");
    fprintf(f, "[{\"image_id\": 1, \"caption\": \"%s\"}]", text);
    ck_assert(!fclose(f));
    snprintf(file_text, sizeof file_text, "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}]}");
    folder_write("ref.json", file_text);
    ck_assert(!score_caption_files(IN_FOLDER("c.json"), IN_FOLDER("ref.json"), &(score_options){ 0 }, &e));
    ck_assert_msg(strstr(e.text, "entry 0: caption: expected at most 65536 bytes, found 65537"), "%s",
                  e.text);
    mem_free(text);
}
END_TEST

START_TEST(options_of_score_are_of_what_they_mean_something_for)
{
    folder_write("c.json", "[{\"image_id\": 1, \"caption\": \"a red cat\"}, {\"image_id\": 2, \"caption\": "
                         "\"a dog\"}]");
    folder_write("ref.json", "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a red cat\"}, "
                           "{\"image_id\": 2, \"caption\": \"a bird\"}]}");
    folder_write("r.json", "[{\"question_id\": 1, \"answer\": \"a\"}]");
    folder_write("q.json", "{\"questions\": [{\"question_id\": 1, \"question\": \"a\"}]}");
    folder_write("a.json", "{\"annotations\": [{\"question_id\": 1, \"answer_type\": \"x\\u001b[31m\", "
                         "\"answers\": [{\"answer\": \"a\"}]}]}");
    FAILS(2, "--rule: it means nothing for captions", "score", "captions", IN_FOLDER("c.json"),
          IN_FOLDER("ref.json"), "--rule", "lavis");
    FAILS(2, "--each: expected --json beside it", "score", "captions", IN_FOLDER("c.json"),
          IN_FOLDER("ref.json"), "--each");
    FAILS(2, "--meteor-jar: it means nothing for vqa", "score", "vqa", IN_FOLDER("r.json"),
          IN_FOLDER("q.json"), IN_FOLDER("a.json"), "--meteor-jar", "x");
    FAILS(1, "none.jar: cannot be read", "score", "captions", IN_FOLDER("c.json"), IN_FOLDER("ref.json"),
          "--spice-jar", IN_FOLDER("none.jar"));
    said s = BLIP2("score", "vqa", IN_FOLDER("r.json"), IN_FOLDER("q.json"), IN_FOLDER("a.json"));
    ck_assert_msg(s.code == 0 && strstr(s.out, "x\\x1b[31m") && !strchr(s.out, '\x1b'), "%s%s", s.out, s.err);
    shell_free(s);
    folder_write("java", "#!/bin/sh\ncase \"$*\" in\n"
                 "*meteor.jar*) awk '/^SCORE( [|][|][|] [^|]*)+$/ { print 1, 2 }\n"
                 "/^EVAL/ { n = gsub(/1 2/, \"\"); for (i = 0; i < n; i++) print 0.5; print 0.25 }';;\n"
                 "*) sed 's/\"test\".*/\"scores\": {\"All\": {\"f\": 0.5}},/' \"$4\" >\"$6\";;\nesac\n");
    ck_assert(!chmod(IN_FOLDER("java"), 0700));
    ck_assert(!mkdir(IN_FOLDER("tmp"), 0700));
    folder_write("meteor.jar", "");
    folder_write("spice.jar", "");
    setenv("PATH", folder_path((char[512]){ 0 }, ":/usr/bin:/bin"), 1);
    setenv("TMPDIR", IN_FOLDER("tmp"), 1);
    s = BLIP2("score", "captions", IN_FOLDER("c.json"), IN_FOLDER("ref.json"), "--meteor-jar",
              IN_FOLDER("meteor.jar"), "--spice-jar", IN_FOLDER("spice.jar"), "--json");
    ck_assert_msg(s.code == 0 && strstr(s.out, "\"METEOR\": 0.25") && strstr(s.out, "\"SPICE\": 0.5"),
                  "%s%s", s.out, s.err);
    ck_assert(!rmdir(IN_FOLDER("tmp")));                   /* nothing is left in it */
    shell_free(s);
}
END_TEST

Suite *suite_eval_edges(void)
{
    Suite *s = suite_create("eval_edges");
    TCase *runs = tcase_create("runs"), *scores = tcase_create("scores");
    tcase_set_timeout(runs, TEST_SECONDS);
    tcase_add_checked_fixture(runs, case_begin, folder_end);
    tcase_add_test(runs, all_that_is_wrong_is_told_together);
    tcase_add_test(runs, one_problem_stands_alone);
    tcase_add_test(runs, broken_pictures_are_told_first_or_left_out);
    tcase_add_test(runs, questions_whose_ids_come_twice_are_numbered);
    tcase_add_test(runs, a_run_that_fails_leaves_no_older_figures);
    tcase_add_test(runs, a_file_without_digests_is_warned_of);
    suite_add_tcase(s, runs);
    tcase_set_timeout(scores, TEST_SECONDS);
    tcase_add_checked_fixture(scores, folder_begin, folder_end);
    tcase_add_test(scores, keys_of_lavis_are_told_how_they_are_written_here);
    tcase_add_test(scores, results_of_a_part_are_refused_unless_told);
    tcase_add_test(scores, texts_of_a_picture_are_drawn_together);
    tcase_add_test(scores, long_captions_are_read_in_time_and_too_long_ones_refused);
    tcase_add_test(scores, options_of_score_are_of_what_they_mean_something_for);
    suite_add_tcase(s, scores);
    return s;
}
