/* test_cli.c - the command line as a user meets it: what it does with mistakes, with broken files, with
 * signals, and that every answer meant for programs is JSON.                                               */
#include "tests/shell.h"
#include "tests/world.h"
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;

/* ---- a folder with a world and models, made by the program, once for all tests ------------------------- */
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
          "--test", "12",
          "--test-unseen", "4", "--documents", "60", "--quiet");
    WORKS("tokenize", "--train", "bert", "--size", "140", "--out", IN_FOLDER("bert"),
          IN_FOLDER("world/text.txt"));
    WORKS("tokenize", "--train", "bpe", "--size", "300", "--out", IN_FOLDER("llm"),
          IN_FOLDER("world/text.txt"));
    train(TRAIN_LM, "lm.yaml");
    train(TRAIN_VIT, "vit.yaml");
    train(TRAIN_STAGE1, "stage1.yaml");
    train(TRAIN_STAGE2, "stage2.yaml");
}

static const char *picture_name(void)
{
    static char name[300];
    DIR *d = opendir(IN_FOLDER("world/test"));
    for (struct dirent *entry; d && (entry = readdir(d)); )
        if (entry->d_name[0] != '.')
            snprintf(name, sizeof name, "world/test/%s", entry->d_name);
    closedir(d);
    return name;
}
#define PICTURE IN_FOLDER(picture_name())
#define MODEL IN_FOLDER("stage2/model.h5")

/* No file that was being written. */
static void nothing_half_written(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d)); )
        ck_assert_msg(!strstr(entry->d_name, ".tmp."), "%s is left", entry->d_name);
    if (d)
        closedir(d);
}

/* ---- commands and options ---------------------------------------------------------------------------- */
static const char *const commands[] = { "caption", "answer", "match", "attention", "train", "evaluate",
                                        "inspect", "dataset", "tokenize", "bench", "gradcheck" };
enum { COMMANDS = 11 };

START_TEST(unknown_words_are_usage_and_the_nearest_known_one_is_named)
{
    FAILS(2, "unknown command \"trian\", did you mean train?", "trian");
    FAILS(2, "unknown command \"zzzzzz\"; `blip2 help` lists them", "zzzzzz");
    FAILS(2, "unknown command \"trian\", did you mean train?", "help", "trian");
    FAILS(2, "caption: unknown option --beems, did you mean --beams?", "caption", "--beems", "3", MODEL,
          PICTURE);
    FAILS(2, "unknown option --resum, did you mean --resume?", "train", "x.yaml", "--resum");
    FAILS(2, "unknown option --zzzzzz", "inspect", "--zzzzzz", MODEL);
    FAILS(2, "unknown option -j", "inspect", "-j", MODEL);
}
END_TEST

START_TEST(values_of_options_are_checked)
{
    FAILS(2, "--beams: expected a whole number from 1 to 64, found \"x\"", "caption", "--beams", "x", MODEL,
          PICTURE);
    FAILS(2, "--beams: expected a whole number from 1 to 64, found \"0\"", "caption", "--beams=0", MODEL,
          PICTURE);
    FAILS(2, "--beams: expected a whole number from 1 to 64, found \"\"", "caption", "--beams=", MODEL,
          PICTURE);
    FAILS(2, "--beams: expected a whole number from 1 to 64, found \"99999999999999999999\"", "caption",
          "--beams=99999999999999999999", MODEL, PICTURE);
    FAILS(2, "--beams needs a value", "caption", MODEL, PICTURE, "--beams");
    FAILS(2, "--json takes no value", "caption", "--json=1", MODEL, PICTURE);
    FAILS(2, "--length-penalty: expected a number from -10 to 10, found \"nan\"", "caption",
          "--length-penalty", "nan", MODEL, PICTURE);
    FAILS(2, "--device cuda: not built in this version; expected cpu", "caption", "--device", "cuda", MODEL,
          PICTURE);
    FAILS(2, "--threads: expected a whole number", "caption", "--threads", "-1", MODEL, PICTURE);
}
END_TEST

START_TEST(words_that_are_missing_or_too_many_are_usage)
{
    FAILS(2, "a configuration is needed", "train");
    FAILS(2, "a configuration is needed", "evaluate");
    FAILS(2, "a model and a picture are needed", "caption", MODEL);
    FAILS(2, "a model, a picture and a question are needed", "answer", MODEL, PICTURE);
    FAILS(2, "one model file is needed", "inspect");
    FAILS(2, "one model file is needed", "inspect", MODEL, MODEL);
    FAILS(2, "expected import, fetch, inspect or make scenes", "dataset");
    FAILS(2, "expected import, fetch, inspect or make scenes", "dataset", "make", "scenes");
    FAILS(2, "--train: expected bert or bpe, found \"other\"", "tokenize", "--train", "other");
    FAILS(2, "unknown option -o", "inspect", "-o", MODEL);
    FAILS(2, "files of text and --out DIR are needed", "tokenize", "--train", "bpe");
    FAILS(2, "expected: bench stage1", "bench");
    said s = shell_run((const char *const[]){ NULL });
    ck_assert(s.code == 2 && strstr(s.out, "Commands:"));
    shell_free(s);
}
END_TEST

START_TEST(what_is_not_built_says_so_and_is_absent_from_help)
{
    static const char *const later[] = { "ablate" };
    said s = BLIP2("help");
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        char line[40];
        FAILS(2, "not built in this version", later[i], "x");
        FAILS(2, "not built in this version", "help", later[i]);
        snprintf(line, sizeof line, "\n  %s ", later[i]);
        ck_assert_msg(!strstr(s.out, line), "%s is in help", later[i]);
    }
    shell_free(s);
    FAILS(2, "expected --llm", "bench", "generate", "--llm", "opt");
    FAILS(2, "expected --llm", "bench", "stage2", "--dtype", "f8");
    FAILS(2, "expected --tower", "bench", "vision", "--tower", "vit");
    FAILS(2, "--dtype: expected as-is", "convert", "x", "-o", "y.h5", "--dtype", "f8");
    FAILS(2, "--compute: expected f32, bf16 or bf16-fast", "match", "x.h5", "x.png", "x", "--compute", "f16");
}
END_TEST

START_TEST(help_lists_every_command_and_every_option)
{
    static const char *const options[COMMANDS] = {
        "--prompt --beams --max-new-tokens --min-length --length-penalty --repetition-penalty",
        "--beams --max-new-tokens --length-penalty", "--reference", "--text --out", "--resume --dry-run",
        "", "",
        "--force --config --size --cells --colours --test-unseen --documents --sheet",
        "--train --size --min-count --out",
        "--batch --text --ragged --hidden --layers --heads --queries --repeats", "--seeds" };
    said all = BLIP2("help");
    ck_assert(all.code == 0 && strstr(all.out, "Exit codes:"));
    for (int i = 0; i < COMMANDS; i++) {
        char line[64], list[512];
        snprintf(line, sizeof line, "\n  %s ", commands[i]);
        ck_assert_msg(strstr(all.out, line) != NULL, "%s", commands[i]);
        said s = BLIP2("help", commands[i]), same = BLIP2(commands[i], "--help");
        ck_assert(s.code == 0 && same.code == 0 && !*s.err);
        ck_assert_str_eq(s.out, same.out);
        snprintf(list, sizeof list, "%s --json --quiet --threads --seed --device", options[i]);
        for (char *o = strtok(list, " "); o; o = strtok(NULL, " ")) {
            snprintf(line, sizeof line, "\n  %s ", o);
            ck_assert_msg(strstr(s.out, line) != NULL, "help %s: %s", commands[i], o);
        }
        for (const char *l = s.out; *l; l += strcspn(l, "\n") + 1)
            ck_assert_msg(strcspn(l, "\n") <= 120, "help %s: %.*s", commands[i], (int)strcspn(l, "\n"), l);
        shell_free(s);
        shell_free(same);
    }
    shell_free(all);
}
END_TEST

START_TEST(the_version_says_what_computes)
{
    said s = BLIP2("--version");
    ck_assert(s.code == 0 && strstr(s.out, "OpenBLAS"));
    ck_assert_ptr_nonnull(strstr(s.out, REAL == 64 ? "real = double" : "real = float"));
    shell_free(s);
}
END_TEST

/* With spinning threads a step takes thirty times as long where another program has one of two cores. */
START_TEST(threads_that_wait_soon_sleep_unless_told_otherwise)
{
    for (int told = 0; told < 2; told++) {
        unsetenv("OMP_WAIT_POLICY");
        unsetenv("GOMP_SPINCOUNT");
        setenv("OMP_DISPLAY_ENV", "VERBOSE", 1);
        if (told)
            setenv("GOMP_SPINCOUNT", "77", 1);
        said s = BLIP2("--version");
        ck_assert(s.code == 0 && strstr(s.err, told ? "GOMP_SPINCOUNT = '77'" : "GOMP_SPINCOUNT = '1000'"));
        shell_free(s);
    }
}
END_TEST

/* ---- configurations ---------------------------------------------------------------------------------- */
START_TEST(all_problems_of_a_configuration_are_told_at_once)
{
    folder_write("bad.yaml", "run:\n  batch_size_trian: 3\n  init_lr: fast\n  seed: -1\n  seed: 2\n"
                 "model:\n  vit: {patch: 8.5}\n  colour: red\ndatasets: 7\n");
    said s = BLIP2("train", IN_FOLDER("bad.yaml"));
    ck_assert_msg(s.code == 2, "%d: %s", s.code, s.err);
    static const char *const all[] = { "bad.yaml:2:3: run.batch_size_trian: ", "did you mean",
                                       "bad.yaml:3:12: run.init_lr: ",
                                       "bad.yaml:4:9: run.seed: ", "bad.yaml:5:3: run.seed: ",
                                       "model.vit.patch: ",
                                       "model.colour: ", "bad.yaml:9:" };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ck_assert_msg(strstr(s.err, all[i]) != NULL, "%s in: %s", all[i], s.err);
    shell_free(s);
    FAILS(2, "run.init_lr", "train", IN_FOLDER("bad.yaml"));
    FAILS(2, "run.taks", "train", IN_FOLDER("lm.yaml"), "run.taks=lm");
    FAILS(2, "run.seed", "train", IN_FOLDER("lm.yaml"), "run.seed=many");
    folder_write("bad2.yaml", "run: {k_tests: 1}\n");
    FAILS(2, "run.k_tests", "evaluate", IN_FOLDER("bad2.yaml"));
    FAILS(2, "run.task", "train", IN_FOLDER("lm.yaml"), "run.task=stage9");
}
END_TEST

START_TEST(a_dry_run_prints_a_configuration_and_writes_nothing)
{
    char out[600];
    snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER("dry"));
    said s = BLIP2("train", IN_FOLDER("stage2.yaml"), "--dry-run", out);
    ck_assert_msg(s.code == 0, "%s", s.err);
    ck_assert(!folder_has("dry") && strstr(s.out, "# opt_model ") && strstr(s.out, "# memory at the peak: "));
    folder_write("again.yaml", s.out);                     /* what it needs stands in comments */
    said again = BLIP2("train", IN_FOLDER("again.yaml"), "--dry-run");
    *strstr(s.out, "# memory") = *strstr(again.out, "# memory") = 0;       /* what is free changes */
    ck_assert_str_eq(s.out, again.out);
    shell_free(s);
    shell_free(again);
}
END_TEST

/* ---- files that are not what they should be ---------------------------------------------------------- */
/* Its first bytes or all of them (0), one of them changed. */
static void copy(const char *from, const char *to, long bytes, long flip)
{
    long n;
    char *text = folder_load(from, &n);
    if (flip)
        text[flip] ^= 1;
    folder_write_bytes(to, text, bytes && bytes < n ? bytes : n);
    mem_free(text);
}

/* A file whose configuration and parameters are of two models. */
static void mixed_model(const char *path)
{
    blip2_model m;
    blip2_config c = tiny_config();
    nn_store *store = nn_store_new(1);
    blip2_model_init(&m, store, &c);
    ck_assert(nn_build(store, false, &e));
    m.config.qformer.hidden += 4;
    m.config.embed += 1;
    ck_assert_msg(blip2_save(&m, path, "", NULL, 0, &e), "%s", e.text);
    nn_store_free(store);
}

START_TEST(a_model_file_that_is_wrong_is_refused_in_one_line)
{
    copy("stage2/model.h5", "cut.h5", 20000, 0);
    copy("stage2/model.h5", "flipped.h5", 0, 20);                /* in the superblock */
    folder_write("text.h5", "no model at all\n");
    folder_write("empty.h5", "");
    mixed_model(IN_FOLDER("mixed.h5"));
    ck_assert(!mkfifo(IN_FOLDER("pipe"), 0600));
    static const struct { const char *file, *says; } all[] = {
        { "none.h5", "none.h5: cannot be opened; No such file" }, { "world", "world: not a regular file" },
        { "pipe", "pipe: not a regular file" }, { "cut.h5", "cut.h5: " }, { "flipped.h5", "flipped.h5: " },
        { "text.h5", "text.h5: " }, { "empty.h5", "empty.h5: " }, { "world/text.txt", "text.txt: " },
        { "mixed.h5", "mixed.h5: does not fit the model: " } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        FAILS(1, all[i].says, "inspect", IN_FOLDER(all[i].file));
        FAILS(1, all[i].says, "caption", IN_FOLDER(all[i].file), PICTURE);
        FAILS(1, all[i].says, "answer", IN_FOLDER(all[i].file), PICTURE, "what ?");
    }
    FAILS(1, "intermediate/dense/weight: ", "inspect", IN_FOLDER("mixed.h5"));
    FAILS(1, "cannot answer: it has no language model", "answer", IN_FOLDER("stage1/model.h5"), PICTURE,
          "what ?");
}
END_TEST

START_TEST(a_picture_that_is_wrong_is_refused_and_the_others_get_their_captions)
{
    copy(picture_name(), "cut.png", 200, 0);
    folder_write("text.png", "no picture\n");
    ck_assert(!mkfifo(IN_FOLDER("pipe.png"), 0600));
    static const struct { const char *file, *says; } all[] = {
        { "cut.png", "cut.png: " }, { "text.png", "text.png: " },
            { "pipe.png", "pipe.png: not a regular file" },
        { "none.png", "none.png: cannot be opened" }, { "world", "world: not a regular file" } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        FAILS(1, all[i].says, "caption", MODEL, IN_FOLDER(all[i].file));
        FAILS(1, all[i].says, "answer", MODEL, IN_FOLDER(all[i].file), "what ?");
    }
    said s = BLIP2("caption", "--json", MODEL, IN_FOLDER("cut.png"), PICTURE, "--beams", "1");
    json_t *line = json_loads(s.out, JSON_ALLOW_NUL, NULL);    /* an untrained model says anything */
    ck_assert_msg(s.code == 1 && strstr(s.err, "blip2: error: ") == s.err && json_is_object(line), "%s%s",
                  s.out, s.err);
    json_decref(line);
    shell_free(s);
    FAILS(1, "a\\x0ab: cannot be opened", "caption", MODEL, "a\nb");       /* still one line */
}
END_TEST

START_TEST(a_picture_of_one_pixel_has_a_caption)
{
    static const unsigned char pixel[] = {
        137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0,
            144, 119, 83,
        222, 0, 0, 0, 12, 73, 68, 65, 84, 120, 156, 99, 248, 207, 192, 0, 0, 3, 1, 1, 0, 201, 254, 146, 239,
        0, 0, 0, 0,
        73, 69, 78, 68, 174, 66, 96, 130 };
    folder_write_bytes("pixel.png", pixel, sizeof pixel);
    WORKS("caption", MODEL, IN_FOLDER("pixel.png"), "--max-new-tokens", "3", "--beams", "2");
    WORKS("answer", MODEL, IN_FOLDER("pixel.png"), "", "--beams", "1");
}
END_TEST

START_TEST(what_is_drawn_is_drawn_anew_for_each_picture)
{
    static const char heat[] = "temperature=20";
    said s = BLIP2("caption", MODEL, PICTURE, PICTURE, "--sample", heat, "--json", "--max-new-tokens", "12");
    said again = BLIP2("caption", MODEL, PICTURE, PICTURE, "--sample", heat, "--json", "--max-new-tokens", "12");
    char *second = strchr(s.out, '\n');
    ck_assert_msg(!s.code && second && second[1], "%s%s", s.out, s.err);
    ck_assert_msg(strncmp(s.out, second + 1, (size_t)(second - s.out)), "%s", s.out);
    ck_assert_str_eq(s.out, again.out);
    shell_free(s);
    shell_free(again);
}
END_TEST

START_TEST(a_data_set_that_is_wrong_is_told_before_anything_is_written)
{
    char list[600], out[600];
    snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER("new"));
    folder_write("world/bad.jsonl",
                 "{\"image\": \"train/000001.png\", \"captions\": [\"a\"]}\n{\"image\": 7}\nno\n");
    snprintf(list, sizeof list, "datasets.train=bad.jsonl");
    FAILS(1, "bad.jsonl: ", "train", IN_FOLDER("vit.yaml"), list, out);
    folder_write("world/gone.jsonl", "{\"image\": \"train/none.png\", \"captions\": [\"a\"]}\n");
    FAILS(1, "train/none.png", "train", IN_FOLDER("vit.yaml"), "datasets.train=gone.jsonl",
          "run.batch_size_train=1", out);
    FAILS(1, "world/none.jsonl: cannot be opened", "train", IN_FOLDER("vit.yaml"),
          "datasets.train=none.jsonl", out);
    folder_write("world/out.jsonl", "{\"image\": \"../vit.yaml\", \"captions\": [\"a\"]}\n");
    FAILS(1, "out.jsonl", "train", IN_FOLDER("vit.yaml"), "datasets.train=out.jsonl",
          "run.batch_size_train=1", out);
    ck_assert(!folder_has("new"));
}
END_TEST

/* ---- output ------------------------------------------------------------------------------------------ */
START_TEST(output_that_cannot_be_written_is_an_error_and_leaves_nothing_half_written)
{
    char out[600];
    FAILS(1, "/proc/blip2: cannot be made", "train", IN_FOLDER("lm.yaml"), "run.output_dir=/proc/blip2/x",
          "--quiet");
    snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER("lm.yaml"));
    FAILS(1, "lm.yaml: not a folder", "train", IN_FOLDER("lm.yaml"), out, "--quiet");
    snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER("small"));
    shell_next.file_bytes = 40000;
    FAILS(1, "small/model.h5: ", "train", IN_FOLDER("lm.yaml"), out, "--quiet");
    ck_assert(folder_has("small/log.jsonl") && !folder_has("small/model.h5"));
    nothing_half_written(IN_FOLDER("small"));
    shell_next.file_bytes = 1000;
    FAILS(1, "vocab", "tokenize", "--train", "bpe", "--size", "300", "--out", IN_FOLDER("v"),
          IN_FOLDER("world/text.txt"));
    nothing_half_written(IN_FOLDER("v"));
    shell_next.file_bytes = 1000;
    FAILS(1, "w2", "dataset", "make", "scenes", IN_FOLDER("w2"), "--train", "64", "--quiet");
    ck_assert(!folder_has("w2"));
    shell_next.out = "/dev/full";
    FAILS(1, "standard output: cannot be written", "caption", MODEL, PICTURE, "--beams", "1");
    shell_next.out = "/dev/full";
    FAILS(1, "standard output: cannot be written", "help");
}
END_TEST

START_TEST(quiet_runs_say_nothing)
{
    said s = BLIP2("train", IN_FOLDER("lm.yaml"), "--quiet");
    ck_assert_msg(s.code == 0 && !*s.out && !*s.err, "%s%s", s.out, s.err);
    shell_free(s);
    s = BLIP2("train", IN_FOLDER("lm.yaml"), "run.log_freq=1");
    ck_assert_msg(s.code == 0 && strstr(s.err, "Train: data epoch: [0]  [1/") && !strchr(s.err, '\r'), "%s",
                  s.err);
    shell_free(s);
}
END_TEST

/* Every line of stdout is a JSON object with these keys. */
static void lines_have(said s, const char *keys)
{
    int lines = 0;
    ck_assert_msg(s.code == 0, "%s", s.err);
    for (char *line = s.out, *end; *line; line = end + 1, lines++) {
        end = strchr(line, '\n');
        ck_assert_msg(end != NULL, "no end: %s", line);
        json_t *o = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        ck_assert_msg(json_is_object(o), "no JSON object: %s", line);
        char list[256];
        snprintf(list, sizeof list, "%s", keys);
        for (char *key = strtok(list, " "); key; key = strtok(NULL, " "))
            ck_assert_msg(json_object_get(o, key) != NULL, "%s is missing in %s", key, line);
        json_decref(o);
    }
    ck_assert_int_gt(lines, 0);
    shell_free(s);
}

START_TEST(with_json_every_line_is_an_object)
{
    char file[600], root[600], out[600];
    copy(picture_name(), "na\"me\xff.png", 0, 0);          /* no UTF-8, and a quote */
    lines_have(BLIP2("caption", "--json", MODEL, PICTURE, IN_FOLDER("na\"me\xff.png"), "--beams", "2"),
               "image caption ids score");
    lines_have(BLIP2("answer", "--json", MODEL, PICTURE, "what ?", "say \"yes\"\n"),
               "image question answer ids score");
    lines_have(BLIP2("inspect", "--json", MODEL), "model source sealed parameters tensors parts missing");
    lines_have(BLIP2("train", "--json", IN_FOLDER("lm.yaml"), "--quiet"),
               "model steps stopped seconds peak_rss_mb");
    lines_have(BLIP2("dataset", "make", "scenes", IN_FOLDER("w3"), "--json", "--train", "8", "--quiet"),
               "folder train seconds");
    lines_have(BLIP2("tokenize", "--json", "--train", "bpe", "--size", "300", "-o", IN_FOLDER("v3"),
                     IN_FOLDER("world/text.txt")), "folder tokens");
    lines_have(BLIP2("bench", "stage1", "--batch", "2", "--text", "5", "--hidden", "8", "--layers", "2",
                     "--heads", "2",
                     "--queries", "2", "--tokens", "3", "--width", "4", "--vocab", "20", "--embed", "4",
                     "--repeats", "2"),
               "case batch threads seconds seconds_min gflops peak_rss_mb");
    if (REAL == 64)
        lines_have(BLIP2("gradcheck", "layer_norm", "--json"), "what variants seeds worst tolerance ok");
    snprintf(file, sizeof file, "model.file=%s", MODEL);
    snprintf(root, sizeof root, "datasets.root=%s", IN_FOLDER("world"));
    snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER("some/answers"));
    folder_write("eval.yaml", "run: {limit: 6}\n");
    lines_have(BLIP2("evaluate", "--json", IN_FOLDER("eval.yaml"), file, root, out),
               "model list captions vqa");
    ck_assert(folder_has("some/answers/metrics.json") && folder_has("some/answers/captions.json")
              && folder_has("some/answers/vqa.json"));
}
END_TEST

START_TEST(evaluate_prints_what_re_ranking_gains_under_its_row)
{
    char file[600], root[600], out[600];
    snprintf(file, sizeof file, "model.file=%s", IN_FOLDER("stage1/model.h5"));
    snprintf(root, sizeof root, "datasets.root=%s", IN_FOLDER("world"));
    snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER("found"));
    folder_write("eval.yaml", "run: {limit: 6, k_test: 3, tasks: [retrieval]}\n");
    said s = BLIP2("evaluate", IN_FOLDER("eval.yaml"), file, root, out);
    ck_assert_msg(s.code == 0, "%s", s.err);
    const char *itc = strstr(s.out, "\n  itc "), *itm = strstr(s.out, "\n  itm "),
               *gain = strstr(s.out, "\n    over itc ");
    double found[2], more;
    ck_assert_msg(itc && itm && gain && itc < itm && itm < gain, "%s", s.out);
    ck_assert(sscanf(itc, " itc %lf", &found[0]) == 1 && sscanf(itm, " itm %lf", &found[1]) == 1
              && sscanf(gain, " over itc %lf", &more) == 1);
    ck_assert_msg(fabs(found[1] - found[0] - more) < 2e-3, "%s", s.out);
    shell_free(s);
}
END_TEST

/* run.min_len and run.length_penalty are those of captions; --seed is the resamples'. */
START_TEST(answers_have_lengths_of_their_own)
{
    char file[600], root[600], out[600];
    snprintf(file, sizeof file, "model.file=%s", MODEL);
    snprintf(root, sizeof root, "datasets.root=%s", IN_FOLDER("world"));
    snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER("said"));
    folder_write("eval.yaml", "run: {limit: 4, min_len: 8, length_penalty: 2, controls: false}\n");
    said s = BLIP2("evaluate", "--json", IN_FOLDER("eval.yaml"), file, root, out, "--seed", "7",
                   "run.answer_length_penalty=0.5");
    ck_assert_msg(s.code == 0, "%s", s.err);
    json_t *o = json_loads(s.out, 0, NULL);
    const json_t *answers = json_object_get(json_object_get(o, "vqa"), "settings"),
                 *captions = json_object_get(json_object_get(o, "captions"), "settings");
    ck_assert(json_integer_value(json_object_get(answers, "min_len")) == 1
              && json_real_value(json_object_get(answers, "length_penalty")) == 0.5);
    ck_assert(json_integer_value(json_object_get(captions, "min_len")) == 8
              && json_real_value(json_object_get(captions, "length_penalty")) == 2
              && json_integer_value(json_object_get(captions, "seed")) == 7);
    json_decref(o);
    shell_free(s);
}
END_TEST

START_TEST(what_would_be_read_is_not_written_over)
{
    FAILS(2, "is what is read", "embed", IN_FOLDER("stage1/model.h5"), "--images", IN_FOLDER("world/test"),
          "-o", IN_FOLDER("stage1/model.h5"));
    FAILS(2, "bert/vocab.txt: is of another tokenizer", "tokenize", "--train", "bpe", "--size", "300", "-o",
          IN_FOLDER("bert"), IN_FOLDER("world/text.txt"));
    ck_assert(!mkdir(IN_FOLDER("cased"), 0700));
    folder_write("cased/tokenizer_config.json", "{\"do_lower_case\": false}");
    FAILS(2, "tokenizer_config.json: is of another tokenizer", "tokenize", "--train", "bert", "-o",
          IN_FOLDER("cased"), IN_FOLDER("world/text.txt"));
    folder_write("latin.txt", "caf\xe9\n");
    FAILS(1, "latin.txt: vocabulary: text: not UTF-8", "tokenize", "--train", "bert", "-o", IN_FOLDER("v4"),
          IN_FOLDER("world/text.txt"), IN_FOLDER("latin.txt"));
}
END_TEST

START_TEST(checks_need_the_double_build)
{
    if (REAL == 32)
        FAILS(2, "run blip2-f64 gradcheck", "gradcheck", "all");
    else
        FAILS(2, "unknown operation, module or loss \"layernorm\", did you mean layer_norm?", "gradcheck",
              "softmax", "layernorm");
}
END_TEST

/* ---- signals ----------------------------------------------------------------------------------------- */
static void wait_for_lines(const char *name, int lines)
{
    for (int tries = 0; tries < 6000; tries++, usleep(10000)) {
        FILE *f = fopen(IN_FOLDER(name), "r");
        int met = 0;
        for (int c; f && (c = getc(f)) != EOF; )
            met += c == '\n';
        if (f)
            fclose(f);
        if (met >= lines)
            return;
    }
    ck_abort_msg("%s does not grow", name);
}

START_TEST(a_signal_ends_training_with_whole_files)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    signal(SIGHUP, SIG_DFL);                               /* nohup makes children ignore it */
    for (int k = 0; k < 3; k++) {
        char name[32], log[64], out[600];
        int fds[2];
        blip2_model m;
        bool sealed;
        snprintf(name, sizeof name, "stopped-%d", k);
        snprintf(log, sizeof log, "%s/log.jsonl", name);
        snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER(name));
        pid_t pid = shell_start((const char *const[]){ "train", IN_FOLDER("lm.yaml"), "run.max_iters=1000000",
                                                       out, NULL }, fds);
        wait_for_lines(log, 2);
        kill(pid, signals[k]);
        said s = shell_wait(pid, fds);
        ck_assert_msg(s.code == 128 + signals[k], "exit code %d: %s", s.code, s.err);
        ck_assert(strstr(s.out, "stopped, --resume goes on") && !strstr(s.err, "error"));
        shell_free(s);
        nothing_half_written(IN_FOLDER(name));
        snprintf(log, sizeof log, "%s/model.h5", name);
        ck_assert_msg(blip2_open(&m, IN_FOLDER(log), &sealed, &e) && sealed, "%s", e.text);
        blip2_close(&m);
        snprintf(log, sizeof log, "%s/checkpoint.h5", name);
        ck_assert(folder_has(log));
    }
}
END_TEST

Suite *suite_cli(void)
{
    Suite *s = suite_create("cli");
    TCase *c = tcase_create("cli");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_unchecked_fixture(c, begin, folder_end);
    tcase_add_test(c, unknown_words_are_usage_and_the_nearest_known_one_is_named);
    tcase_add_test(c, values_of_options_are_checked);
    tcase_add_test(c, words_that_are_missing_or_too_many_are_usage);
    tcase_add_test(c, what_is_not_built_says_so_and_is_absent_from_help);
    tcase_add_test(c, help_lists_every_command_and_every_option);
    tcase_add_test(c, the_version_says_what_computes);
    tcase_add_test(c, threads_that_wait_soon_sleep_unless_told_otherwise);
    tcase_add_test(c, all_problems_of_a_configuration_are_told_at_once);
    tcase_add_test(c, a_dry_run_prints_a_configuration_and_writes_nothing);
    tcase_add_test(c, a_model_file_that_is_wrong_is_refused_in_one_line);
    tcase_add_test(c, a_picture_that_is_wrong_is_refused_and_the_others_get_their_captions);
    tcase_add_test(c, a_picture_of_one_pixel_has_a_caption);
    tcase_add_test(c, what_is_drawn_is_drawn_anew_for_each_picture);
    tcase_add_test(c, a_data_set_that_is_wrong_is_told_before_anything_is_written);
    tcase_add_test(c, output_that_cannot_be_written_is_an_error_and_leaves_nothing_half_written);
    tcase_add_test(c, quiet_runs_say_nothing);
    tcase_add_test(c, with_json_every_line_is_an_object);
    tcase_add_test(c, evaluate_prints_what_re_ranking_gains_under_its_row);
    tcase_add_test(c, answers_have_lengths_of_their_own);
    tcase_add_test(c, what_would_be_read_is_not_written_over);
    tcase_add_test(c, checks_need_the_double_build);
    tcase_add_test(c, a_signal_ends_training_with_whole_files);
    suite_add_tcase(s, c);
    return s;
}
