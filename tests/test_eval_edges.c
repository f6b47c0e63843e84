/* test_eval_edges.c - evaluate and score where lists, files and settings are not as they should be: what is
 * told before a model is read, what is left out and said so, and what no figure may hide.                  */
#include "tests/shell.h"
#include "tests/world.h"
#include "eval/internal.h"
#include "eval/metrics.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;

static void begin(void)
{
    folder_begin();
    world_make();
}

static eval_config config_of(const char *model, const char *list, const char *folder)
{
    eval_config c = eval_config_default();
    world_text(c.model, IN_FOLDER(model));
    world_text(c.root, IN_FOLDER("world"));
    world_text(c.list, list);
    world_text(c.output_dir, IN_FOLDER(folder));
    c.answer_length = 5;
    c.max_len = 8;
    return c;
}

static void tasks_are(eval_config *c, const char *task)
{
    c->tasks.count = 1;
    world_text(c->tasks.item[0], task);
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(IN_FOLDER(name), "w");
    ck_assert(f && fputs(text, f) >= 0 && !fclose(f));
}

static bool there(const char *name) { return !access(IN_FOLDER(name), F_OK); }

static double value(const json_t *o, const char *key)
{
    return json_is_number(json_object_get(o, key)) ? json_number_value(json_object_get(o, key)) : NAN;
}

/* The figures of a run that must succeed. */
static json_t *run(const eval_config *c)
{
    char *text = eval_run(c, &e);
    ck_assert_msg(text != NULL, "%s", e.text);
    json_t *o = json_loads(text, 0, NULL);
    mem_free(text);
    return o;
}

static json_t *file(const char *name)
{
    json_t *o = json_load_file(IN_FOLDER(name), 0, NULL);
    ck_assert_msg(o != NULL, "%s", name);
    return o;
}

static const char *warning(const json_t *figures, size_t i)
{
    const char *text = json_string_value(json_array_get(json_object_get(figures, "warnings"), i));
    return text ? text : "";
}

/* Picture i of the test split, by its path in the list. */
static const char *picture_name(long i, char to[64])
{
    static record_list l;
    if (!l.count)
        ck_assert_msg(records_read(IN_FOLDER("world/test.jsonl"), &l, &e), "%s", e.text);
    snprintf(to, 64, "%s", l.items[i].image);
    return to;
}
#define PICTURE(i) picture_name((i), (char[64]){ 0 })

/* A list of lines "PICTURE ID REST": rest is more of the object. */
typedef struct line { long of; int id; const char *rest; } line;
static void write_list(const char *name, const line *lines, int n)
{
    FILE *f = fopen(IN_FOLDER(name), "w");
    ck_assert(f != NULL);
    for (int i = 0; i < n; i++)
        fprintf(f, "{\"image\": \"%s\", \"image_id\": %d, %s}\n", PICTURE(lines[i].of), lines[i].id,
                lines[i].rest);
    ck_assert(!fclose(f));
}

static void break_picture(long i)
{
    char name[80];
    snprintf(name, sizeof name, "world/%s", PICTURE(i));
    write_file(name, "\x89PNG\r\n\x1a\nnothing more");
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
    tasks_are(&c, "captoins");
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
    eval_config c = config_of("none.h5", "test.jsonl", "never");
    tasks_are(&c, "captions");
    world_text(c.model, "");
    ck_assert(!eval_run(&c, &e) && e.kind == ERROR_USAGE);
    ck_assert_str_eq(e.text, "model.file: expected a model file, found nothing");
    world_text(c.model, IN_FOLDER("llm/vocab.json"));      /* no model; it would be told on opening */
    c.tasks.count = 0;
    ck_assert(!eval_run(&c, &e) && e.kind == ERROR_USAGE);
    ck_assert_str_eq(e.text, "run.tasks: expected captions, vqa or retrieval, found none");
    tasks_are(&c, "captions");
    world_text(c.list, "none.jsonl");
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "none.jsonl: cannot be opened"), "%s", e.text);
    setenv("PATH", "/nowhere", 1);
    write_file("meteor.jar", "");
    world_text(c.list, "test.jsonl");
    world_text(c.meteor_jar, IN_FOLDER("meteor.jar"));
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "java, which runs it, is not on PATH"), "%s", e.text);
    ck_assert(!there("never"));
}
END_TEST

START_TEST(broken_pictures_are_told_first_or_left_out)
{
    world_train_all(TRAIN_STAGE1);
    eval_config c = config_of("llm/vocab.json", "test.jsonl", "broken");
    tasks_are(&c, "captions");
    break_picture(3);
    break_picture(9);
    ck_assert(!eval_run(&c, &e));                          /* the model, which is none, was not asked */
    ck_assert_msg(strstr(e.text, "2 of 16 pictures cannot be decoded; run.max_bad_fraction, now 0")
                  && strstr(e.text, PICTURE(3)) && strstr(e.text, PICTURE(9)), "%s", e.text);
    world_text(c.model, IN_FOLDER("stage1/model.h5"));
    c.max_bad_fraction = 0.2;
    json_t *figures = run(&c), *results = file("broken/captions.json");
    ck_assert(json_array_size(results) == 14);
    ck_assert_msg(strstr(warning(figures, 0), "2 of 16 pictures cannot be decoded and are left out")
                  && strstr(warning(figures, 0), PICTURE(9)), "%s", warning(figures, 0));
    for (size_t i = 0; i < 14; i++)
        ck_assert_str_ne(json_string_value(json_object_get(json_array_get(results, i), "image")), PICTURE(3));
    json_decref(figures);
    json_decref(results);
}
END_TEST

START_TEST(questions_whose_ids_come_twice_are_numbered)
{
    static const line lines[] = {
        { 0, 1, "\"questions\": [{\"question\": \"a ?\", \"answer\": \"b\", \"question_id\": 7}]" },
        { 1, 2, "\"questions\": [{\"question\": \"c ?\", \"answer\": \"d\", \"question_id\": 7}]" } };
    write_list("world/twice.jsonl", lines, 2);
    world_train_all(TRAIN_STAGE2);
    eval_config c = config_of("stage2/model.h5", "twice.jsonl", "twice");
    tasks_are(&c, "vqa");
    json_t *figures = run(&c), *results = file("twice/vqa.json");
    ck_assert_msg(strstr(warning(figures, 0), "twice.jsonl: question_id 7 stands there twice"), "%s",
                  warning(figures, 0));
    for (size_t i = 0; i < 2; i++)
        ck_assert(value(json_array_get(results, i), "question_id") == (double)i);
    json_decref(figures);
    json_decref(results);
}
END_TEST

START_TEST(a_run_that_fails_leaves_no_older_figures)
{
    world_train_all(TRAIN_STAGE1);
    eval_config c = config_of("stage1/model.h5", "test.jsonl", "again");
    tasks_are(&c, "captions");
    json_decref(run(&c));
    ck_assert(there("again/metrics.json") && there("again/evaluate.yaml") && there("again/captions.json"));
    write_file("again/vqa.json", "[]");                    /* of an older run; this one answers nothing */
    json_decref(run(&c));
    ck_assert(there("again/metrics.json") && !there("again/vqa.json"));
    ck_assert(!mkdir(IN_FOLDER("again/retrieval.json"), 0700));
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "an older result cannot be removed"), "%s", e.text);
    ck_assert(!there("again/metrics.json") && there("again/evaluate.yaml"));
    static const line lines[] = { { 0, 1, "\"caption\": \"a red circle\"" } };
    write_list("world/captions.json", lines, 1);
    c = config_of("stage1/model.h5", "captions.json", "world");
    tasks_are(&c, "captions");
    ck_assert(!eval_run(&c, &e) && there("world/captions.json"));
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
    eval_config c = config_of("stage1/model.h5", "test.jsonl", "bare");
    tasks_are(&c, "captions");
    c.limit = 2;
    json_t *figures = run(&c);
    ck_assert_msg(strstr(warning(figures, 0), "has no digests"), "%s", warning(figures, 0));
    json_decref(figures);
}
END_TEST

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
    eval_config c = config_of("stage2/model.h5", "test.jsonl", "heard");
    c.watch = (eval_watch){ .context = &h, .progress = hear };
    c.limit = 5;
    c.batch = 2;
    json_decref(run(&c));
    ck_assert_int_eq(h.parts, 8);
    for (int i = 0; i < h.parts; i++)
        ck_assert_msg(!strcmp(h.part[i], parts[i]) && h.done[i] == h.of[i], "%s: %ld", h.part[i], h.done[i]);
    c = config_of("stage1/model.h5", "test.jsonl", "heard");
    h = (heard){ 0 };
    c.watch = (eval_watch){ .context = &h, .progress = hear };
    tasks_are(&c, "retrieval");
    json_decref(run(&c));
    ck_assert_int_eq(h.parts, 4);
    ck_assert_str_eq(h.part[2], "re-ranking");
    ck_assert_str_eq(h.part[3], "matching");
}
END_TEST

/* ---- records of one picture ---------------------------------------------------------------------------- */
/* A caption a record, as the field's lists have it; pictures 0, 1, 2 with 2, 1 and 2 of them. */
static const line one_a_record[] = { { 0, 10, "\"caption\": \"a red circle\"" },
                                     { 1, 11, "\"caption\": \"a blue square\"" },
                                     { 0, 10, "\"caption\": \"one round thing\"" },
                                     { 2, 12, "\"caption\": \"a green cross\"" },
                                     { 2, 12, "\"caption\": \"it is green\"" } };

START_TEST(captions_of_all_records_of_a_picture_are_candidates)
{
    static const char *const texts[] = { "a red circle", "one round thing", "a blue square", "a green cross",
                                         "it is green" };
    world_train_all(TRAIN_STAGE1);
    write_list("world/each.jsonl", one_a_record, 5);
    eval_config c = config_of("stage1/model.h5", "each.jsonl", "each");
    tasks_are(&c, "retrieval");
    c.retrieval_captions = 0;
    json_t *figures = run(&c), *kept = file("each/retrieval.json");
    const json_t *r = json_object_get(figures, "retrieval");
    ck_assert(value(r, "pictures") == 3 && value(r, "texts") == 5);
    for (size_t j = 0; j < 5; j++)
        ck_assert_str_eq(json_string_value(json_array_get(json_object_get(kept, "texts"), j)), texts[j]);
    json_t *right = json_pack("[[i,i],[i],[i,i]]", 0, 1, 2, 3, 4);
    ck_assert(json_equal(json_object_get(kept, "img2txt"), right));
    json_decref(right);
    json_decref(kept);
    json_decref(figures);
    c.retrieval_captions = 1;
    figures = run(&c);
    ck_assert(value(json_object_get(figures, "retrieval"), "texts") == 3);
    json_decref(figures);
    tasks_are(&c, "captions");
    c.limit = 2;                                           /* pictures, not records */
    figures = run(&c);
    kept = file("each/captions_references.json");
    ck_assert(value(json_object_get(figures, "captions"), "pictures") == 2);
    ck_assert(json_array_size(json_object_get(kept, "annotations")) == 3);
    json_decref(kept);
    json_decref(figures);
}
END_TEST

/* What the tower sees of a picture is read once, however many records it has. */
START_TEST(another_picture_is_never_the_own)
{
    static const line lines[] = {
        { 0, 10, "\"questions\": [{\"question\": \"a ?\", \"answer\": \"b\"}]" },
        { 0, 10, "\"questions\": [{\"question\": \"c ?\", \"answer\": \"d\"}]" },
        { 1, 11, "\"questions\": [{\"question\": \"e ?\", \"answer\": \"f\"}]" },
        { 1, 11, "\"questions\": [{\"question\": \"g ?\", \"answer\": \"h\"}]" } };
    heard h = { 0 };
    world_train_all(TRAIN_STAGE2);
    eval_config c = config_of("stage2/model.h5", "pairs.jsonl", "pairs");
    tasks_are(&c, "vqa");
    c.watch = (eval_watch){ .context = &h, .progress = hear };
    write_list("world/pairs.jsonl", lines, 4);
    json_t *figures = run(&c);
    ck_assert(h.of[1] == 2 && value(json_object_get(json_object_get(figures, "vqa"), "shuffled"),
                                    "questions") == 4);
    json_t *others = file("pairs/vqa_shuffled.json");
    json_decref(figures);
    /* each record asks what its picture's neighbour shows: the same answers from a list that says so */
    static const line turned[] = {
        { 1, 10, "\"questions\": [{\"question\": \"a ?\", \"answer\": \"b\"}]" },
        { 1, 10, "\"questions\": [{\"question\": \"c ?\", \"answer\": \"d\"}]" },
        { 0, 11, "\"questions\": [{\"question\": \"e ?\", \"answer\": \"f\"}]" },
        { 0, 11, "\"questions\": [{\"question\": \"g ?\", \"answer\": \"h\"}]" } };
    write_list("world/pairs.jsonl", turned, 4);
    c.watch.progress = NULL;
    json_decref(run(&c));
    json_t *own = file("pairs/vqa.json");
    for (size_t i = 0; i < 4; i++)
        ck_assert(json_equal(json_object_get(json_array_get(own, i), "answer"),
                             json_object_get(json_array_get(others, i), "answer")));
    json_decref(own);
    json_decref(others);
    write_list("world/pairs.jsonl", lines, 2);             /* one picture: there is no other */
    figures = run(&c);
    const json_t *m = json_object_get(figures, "vqa");
    ck_assert(json_object_get(m, "blind") && !json_object_get(m, "shuffled")
              && !there("pairs/vqa_shuffled.json"));
    json_decref(figures);
}
END_TEST

START_TEST(without_room_for_all_features_the_answers_are_the_same)
{
    world_train_all(TRAIN_STAGE2);
    json_t *wrote[2][3];
    for (int k = 0; k < 2; k++) {
        eval_config c = config_of("stage2/model.h5", "test.jsonl", "room");
        c.memory_mb = k ? 0.001 : 0;
        c.batch = 5;
        json_t *figures = run(&c);
        ck_assert_msg(!!strstr(warning(figures, 0), "do not fit into 0.001 MiB of run.memory_mb") == k, "%s",
                      warning(figures, 0));
        ck_assert(value(json_object_get(figures, "captions"), "perplexity_shuffled") > 0);
        json_decref(figures);
        wrote[k][0] = file("room/vqa.json");
        wrote[k][1] = file("room/vqa_shuffled.json");
        wrote[k][2] = file("room/captions.json");
    }
    for (int i = 0; i < 3; i++) {
        ck_assert(json_equal(wrote[0][i], wrote[1][i]));
        json_decref(wrote[0][i]);
        json_decref(wrote[1][i]);
    }
    eval_config c = config_of("stage1/model.h5", "test.jsonl", "never");
    c.memory_mb = 0.001;
    tasks_are(&c, "retrieval");
    ck_assert(!eval_run(&c, &e) && !there("never"));
    ck_assert_msg(strstr(e.text, "the features of 16 pictures, "), "%s", e.text);
}
END_TEST

/* ---- what is not there gives no figure ----------------------------------------------------------------- */
static const line mixed[] = { { 0, 1, "\"caption\": \"a red circle\"" },
                              { 1, 2, "\"questions\": [{\"question\": \"a ?\", \"answer\": \"b\"}]" },
                              { 2, 3, "\"caption\": \"a green cross\"" } };

START_TEST(pictures_without_captions_are_no_candidates)
{
    world_train_all(TRAIN_STAGE1);
    write_list("world/mixed.jsonl", mixed, 3);
    eval_config c = config_of("stage1/model.h5", "mixed.jsonl", "mixed");
    tasks_are(&c, "retrieval");
    json_t *figures = run(&c), *kept = file("mixed/retrieval.json");
    ck_assert(value(json_object_get(figures, "retrieval"), "pictures") == 2);
    ck_assert_msg(strstr(warning(figures, 0), "retrieval: 1 of 3 pictures of mixed.jsonl have no caption"),
                  "%s", warning(figures, 0));
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(kept, "images"), 1)), PICTURE(2));
    json_decref(kept);
    json_decref(figures);
    write_list("world/mixed.jsonl", mixed + 1, 1);         /* questions alone */
    ck_assert(!eval_run(&c, &e));
    ck_assert_msg(strstr(e.text, "mixed.jsonl: nothing to measure in it"), "%s", e.text);
}
END_TEST

START_TEST(nothing_to_measure_is_no_0)
{
    world_train_all(TRAIN_STAGE2);
    write_list("world/said.jsonl", mixed, 1);
    eval_config c = config_of("stage2/model.h5", "said.jsonl", "said");
    json_t *figures = run(&c);                             /* captions and vqa */
    ck_assert(json_object_get(figures, "captions") && !json_object_get(figures, "vqa")
              && !there("said/vqa.json"));
    ck_assert_msg(strstr(warning(figures, 0), "vqa: left out: no picture of said.jsonl has a question"), "%s",
                  warning(figures, 0));
    json_decref(figures);
    write_list("world/said.jsonl", mixed + 1, 1);
    figures = run(&c);
    const json_t *m = json_object_get(figures, "captions");
    ck_assert(value(m, "pictures") == 1 && !json_object_get(m, "exact") && json_object_get(figures, "vqa"));
    ck_assert_msg(strstr(warning(figures, 0), "captions: not scored: 1 of 1 pictures"), "%s",
                  warning(figures, 0));
    json_decref(figures);
}
END_TEST

START_TEST(itc_alone_leaves_its_scores)
{
    world_train_all(TRAIN_STAGE1);
    eval_config c = config_of("stage1/model.h5", "test.jsonl", "itc");
    tasks_are(&c, "retrieval");
    c.k_test = 0;
    json_t *figures = run(&c);
    const json_t *r = json_object_get(figures, "retrieval"), *itc = json_object_get(r, "itc");
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(r, "settings"), "rerank")), "itc");
    char *text = score_retrieval_file(IN_FOLDER("itc/retrieval.json"), &(score_options){ .seed = 42 }, &e);
    ck_assert_msg(text != NULL, "%s", e.text);
    json_t *scored = json_loads(text, 0, NULL);
    ck_assert_double_eq_tol(value(scored, "txt_r5"), value(itc, "txt_r5"), 1e-9);
    ck_assert_double_eq_tol(value(scored, "img_r5"), value(itc, "img_r5"), 1e-9);
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
        eval_config c = config_of("stage2/model.h5", "test.jsonl", "written");
        c.controls = false;
        c.limit = 6;
        c.max_len = 12;
        c.repetition_penalty = k == 1 ? 9 : 1;
        c.reference = k == 2 ? BLIP2_HF : BLIP2_LAVIS;
        if (k == 3)
            world_text(c.prompt, "there is a blue");
        json_t *figures = run(&c);
        const json_t *settings = json_object_get(json_object_get(figures, "captions"), "settings");
        ck_assert(value(settings, "repetition_penalty") == (k == 1 ? 9 : 1));
        ck_assert_str_eq(json_string_value(json_object_get(settings, "reference")), k == 2 ? "hf" : "lavis");
        if (k == 3)
            ck_assert_str_eq(json_string_value(json_object_get(settings, "prompt")), "there is a blue");
        json_decref(figures);
        wrote[k] = file("written/captions.json");
    }
    ck_assert(!json_equal(wrote[0], wrote[1]) && !json_equal(wrote[0], wrote[3]));
    for (size_t i = 0; i < json_array_size(wrote[2]); i++)  /* without the prompt that Hugging Face repeats */
        ck_assert(strncmp(json_string_value(json_object_get(json_array_get(wrote[2], i), "caption")),
                          "a photo of", 10));
    for (int k = 0; k < 4; k++)
        json_decref(wrote[k]);
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
    write_file("r.json", "[{\"question_id\": 1, \"answer\": \"a\"}]");
    write_file("q.json", "{\"questions\": [{\"question_id\": 1, \"question\": \"a\"}, {\"question_id\": 2, "
                         "\"question\": \"b\"}]}");
    write_file("a.json", "{\"annotations\": [{\"question_id\": 1, \"answers\": [{\"answer\": \"a\"}]},"
                         "{\"question_id\": 2, \"answers\": [{\"answer\": \"b\"}]},"
                         "{\"question_id\": 3, \"answers\": [{\"answer\": \"b\"}]}]}");
    write_file("c.json", "[{\"image_id\": 1, \"caption\": \"a\"}]");
    write_file("ref.json", "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}, {\"image_id\": 2, "
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
        ck_assert_msg(value(o, "missing") == (k ? 1 : 2), "%s", text[k] ? text[k] : e.text);
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
    ck_assert_double_eq_tol(value(o, "img_r1"), 100 * 8.0 / N, 1e-9);
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
    write_file("ref.json", file_text);
    ck_assert(!score_caption_files(IN_FOLDER("c.json"), IN_FOLDER("ref.json"), &(score_options){ 0 }, &e));
    ck_assert_msg(strstr(e.text, "entry 0: caption: expected at most 65536 bytes, found 65537"), "%s",
                  e.text);
    mem_free(text);
}
END_TEST

START_TEST(options_of_score_are_of_what_they_mean_something_for)
{
    write_file("c.json", "[{\"image_id\": 1, \"caption\": \"a red cat\"}, {\"image_id\": 2, \"caption\": "
                         "\"a dog\"}]");
    write_file("ref.json", "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a red cat\"}, "
                           "{\"image_id\": 2, \"caption\": \"a bird\"}]}");
    write_file("r.json", "[{\"question_id\": 1, \"answer\": \"a\"}]");
    write_file("q.json", "{\"questions\": [{\"question_id\": 1, \"question\": \"a\"}]}");
    write_file("a.json", "{\"annotations\": [{\"question_id\": 1, \"answer_type\": \"x\\u001b[31m\", "
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
    write_file("java", "#!/bin/sh\ncase \"$*\" in\n"
               "*meteor.jar*) awk '/^SCORE( [|][|][|] [^|]*)+$/ { print 1, 2 }\n"
               "/^EVAL/ { n = gsub(/1 2/, \"\"); for (i = 0; i < n; i++) print 0.5; print 0.25 }';;\n"
               "*) sed 's/\"test\".*/\"scores\": {\"All\": {\"f\": 0.5}},/' \"$4\" >\"$6\";;\nesac\n");
    ck_assert(!chmod(IN_FOLDER("java"), 0700));
    ck_assert(!mkdir(IN_FOLDER("tmp"), 0700));
    write_file("meteor.jar", "");
    write_file("spice.jar", "");
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

START_TEST(files_of_questions_are_in_the_challenges_form)
{
    static const char *const keys[] = { "info", "task_type", "data_type", "data_subtype", "license" };
    world_train_all(TRAIN_STAGE2);
    eval_config c = config_of("stage2/model.h5", "test.jsonl", "form");
    tasks_are(&c, "vqa");
    c.controls = false;
    c.limit = 2;
    json_decref(run(&c));
    json_t *questions = file("form/vqa_questions.json"), *annotations = file("form/vqa_annotations.json");
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
    static const line asked[] = {
        { 0, 1, "\"questions\": [{\"question_id\": 7, \"question\": \"a ?\", \"answer\": \"\"}]" },
        { 1, 2, "\"questions\": [{\"question_id\": 5, \"question\": \"a ?\", \"answer\": \"b\", "
                "\"type\": \"other\", \"question_type\": \"what is\"}]" } };
    world_train_all(TRAIN_STAGE2);
    write_list("world/asked.jsonl", asked, 2);
    eval_config c = config_of("stage2/model.h5", "asked.jsonl", "asked");
    tasks_are(&c, "vqa");
    json_t *figures = run(&c), *results = file("asked/vqa.json"),
           *people = file("asked/vqa_annotations.json"), *blind = file("asked/vqa_blind.json");
    const json_t *list = json_object_get(people, "annotations");
    ck_assert(value(json_object_get(json_object_get(figures, "vqa"), "model"), "questions") == 1);
    ck_assert(json_array_size(results) == 2 && json_array_size(blind) == 2 && json_array_size(list) == 1);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(list, 0), "question_type")), "what is");
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(list, 0), "answer_type")), "other");
    ck_assert_msg(strstr(warning(figures, 0), "vqa: 1 of 2 questions of asked.jsonl have no answer"), "%s",
                  warning(figures, 0));
    json_decref(figures);
    write_list("world/asked.jsonl", asked, 1);             /* none has one */
    figures = run(&c);
    ck_assert(json_object_get(figures, "vqa") && !json_object_get(json_object_get(figures, "vqa"), "model"));
    ck_assert(!there("asked/vqa_blind.json"));
    json_decref(figures);
    json_decref(results);
    json_decref(people);
    json_decref(blind);
}
END_TEST

Suite *suite_eval_edges(void)
{
    Suite *s = suite_create("eval_edges");
    TCase *runs = tcase_create("runs"), *scores = tcase_create("scores");
    tcase_set_timeout(runs, TEST_SECONDS);
    tcase_add_checked_fixture(runs, begin, folder_end);
    tcase_add_test(runs, all_that_is_wrong_is_told_together);
    tcase_add_test(runs, one_problem_stands_alone);
    tcase_add_test(runs, broken_pictures_are_told_first_or_left_out);
    tcase_add_test(runs, questions_whose_ids_come_twice_are_numbered);
    tcase_add_test(runs, a_run_that_fails_leaves_no_older_figures);
    tcase_add_test(runs, a_file_without_digests_is_warned_of);
    tcase_add_test(runs, every_part_says_how_far_it_is);
    tcase_add_test(runs, captions_of_all_records_of_a_picture_are_candidates);
    tcase_add_test(runs, another_picture_is_never_the_own);
    tcase_add_test(runs, without_room_for_all_features_the_answers_are_the_same);
    tcase_add_test(runs, pictures_without_captions_are_no_candidates);
    tcase_add_test(runs, nothing_to_measure_is_no_0);
    tcase_add_test(runs, itc_alone_leaves_its_scores);
    tcase_add_test(runs, settings_of_writing_reach_the_text);
    tcase_add_test(runs, files_of_questions_are_in_the_challenges_form);
    tcase_add_test(runs, questions_without_an_answer_are_asked_and_not_counted);
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
