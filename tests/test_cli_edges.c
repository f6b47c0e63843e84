/* test_cli_edges.c - the command line where a hand slips: outputs that would cost a file, options that mean
 * nothing, words before and behind their place; and what stands between programs: pipes, quiet, JSON. */
#include "tests/shell.h"
#include "tests/world.h"
#include "data/data.h"
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static error e;
#define MODEL IN_FOLDER("stage1/model.h5")
#define PICTURE IN_FOLDER("world/p.png")

static void copy(const char *from, const char *to)
{
    long n;
    char *bytes = folder_load(from, &n);
    folder_write_bytes(to, bytes, n);
    mem_free(bytes);
}

/* HDF5's part of a sealed file, without the digests behind it. */
static void unseal(const char *from, const char *to)
{
    long n;
    char *bytes = folder_load(from, &n);
    uint64_t seal;
    memcpy(&seal, bytes + n - 16, sizeof seal);
    folder_write_bytes(to, bytes, n - (long)seal);
    mem_free(bytes);
}

static void make_files(void)
{
    record_list l;
    char first[300];
    world_make();
    world_train_all(TRAIN_STAGE2);
    ck_assert_msg(records_read(IN_FOLDER("world/test.jsonl"), &l, &e), "%s", e.text);
    snprintf(first, sizeof first, "world/%s", l.items[0].image);
    copy(first, "world/p.png");
    record_list_free(&l);
    unseal("stage1/model.h5", "bare.h5");
}

/* By another process: the tests are children of this one and would not have its OpenMP's threads. */
static void begin(void)
{
    int status = -1;
    folder_begin();
    pid_t pid = fork();
    if (!pid) {
        make_files();
        _exit(0);
    }
    ck_assert(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- what would be lost -------------------------------------------------------------------------------- */
START_TEST(an_output_takes_no_place_of_another_kind_of_file)
{
    long n, now;
    char *before = folder_load("stage1/model.h5", &n);
    folder_write("c.yaml", "run: {task: lm}\n");
    FAILS(2, "is a model, which would be lost", "preprocess", PICTURE, "-o", MODEL);
    FAILS(2, "expected a name that ends in .h5 .hdf5, found \"", "preprocess", PICTURE, "-o", PICTURE);
    FAILS(2, "expected a name that ends in .svg, found \"", "explain", "masks", "-o", MODEL);
    for (int k = 0; k < 2; k++)                            /* the second time one's own is there */
        WORKS("explain", "masks", "-o", IN_FOLDER("masks"));
    FAILS(2, "expected a name that ends in .html .htm, found \"", "report", IN_FOLDER("stage1"), "-o",
          IN_FOLDER("c.yaml"));
    FAILS(2, "expected a name that ends in .dot .gv, found \"", "graph", IN_FOLDER("c.yaml"), "-o",
          IN_FOLDER("c.yaml"));
    FAILS(2, "expected a name that ends in .h5 .hdf5", "convert", IN_FOLDER("c.yaml"), "-o",
          IN_FOLDER("c.yaml"));
    FAILS(2, "is a model, which would be lost", "embed", IN_FOLDER("bare.h5"), "--images",
          IN_FOLDER("world/test"), "-o", MODEL);
    ck_assert(!link(IN_FOLDER("c.yaml"), IN_FOLDER("c.dot")));
    FAILS(2, "c.dot is what is read", "graph", IN_FOLDER("c.yaml"), "-o", IN_FOLDER("c.dot"));
    ck_assert(!link(PICTURE, IN_FOLDER("p.h5")));
    FAILS(2, "p.h5 is what is read", "preprocess", PICTURE, "-o", IN_FOLDER("p.h5"));
    copy("world/p.png", "overview.png");
    FAILS(2, "overview.png in it is what is read", "attention", MODEL, IN_FOLDER("overview.png"), "-o",
          IN_FOLDER(""));
    ck_assert(!mkdir(IN_FOLDER("words"), 0700));
    copy("world/text.txt", "words/vocab.txt");
    FAILS(2, "words/vocab.txt: is what is read", "tokenize", "--train", "bert", "-o", IN_FOLDER("words"),
          IN_FOLDER("words/vocab.txt"));
    char *after = folder_load("stage1/model.h5", &now);
    ck_assert(n == now && !memcmp(before, after, (size_t)n));
    mem_free(before);
    mem_free(after);
    WORKS("preprocess", PICTURE, "--size", "16", "-o", IN_FOLDER("o.h5"));
    WORKS("preprocess", PICTURE, "--size", "16", "-o", IN_FOLDER("o.h5"));  /* its own may be replaced */
    WORKS("preprocess", PICTURE, "--size", "16", "-o", IN_FOLDER("plain"));
    WORKS("preprocess", PICTURE, "--size", "16", "-o", IN_FOLDER("plain"));
    FAILS(2, "expected a name that ends in .svg, found \"", "explain", "masks", "-o", IN_FOLDER("plain"));
}
END_TEST

/* ---- options and words --------------------------------------------------------------------------------- */
START_TEST(options_of_every_command_may_stand_before_a_part)
{
    said s = BLIP2("explain", "--threads", "1", "--json", "masks", "--queries", "2");
    ck_assert_msg(s.code == 0 && *s.out == '{', "%s", s.err);
    shell_free(s);
    s = BLIP2("bench", "--threads", "1", "ops", "--list");
    ck_assert_msg(s.code == 0 && strstr(s.out, "linear"), "%s", s.err);
    shell_free(s);
    FAILS(2, "unknown part \"mask\", did you mean masks?", "explain", "--json", "mask");
    FAILS(2, "expected what to explain", "explain", "--threads", "1");
    FAILS(2, "unknown option -json, did you mean --json?", "caption", "-json", MODEL, PICTURE);
    FAILS(2, "unknown option --beems=3, did you mean --beams?", "caption", "--beems=3", MODEL, PICTURE);
}
END_TEST

START_TEST(options_that_would_do_nothing_are_refused)
{
    FAILS(2, "--size, --min-count and --out go with --train", "tokenize", MODEL, "--size", "500");
    FAILS(2, "--keep-special goes with --decode", "tokenize", MODEL, "--keep-special");
    FAILS(2, "do not go with --decode", "tokenize", MODEL, "--decode", "--max", "3");
    FAILS(2, "do not go with --train", "tokenize", "--train", "bert", "--decode", "-o", IN_FOLDER("v"),
          IN_FOLDER("world/text.txt"));
    FAILS(2, "--tower goes with --grad", "trace", MODEL, MODEL, "-o", IN_FOLDER("t.h5"), "--tower");
    FAILS(2, "ops: --seed: the numbers are always the same", "bench", "ops", "--seed", "3");
}
END_TEST

START_TEST(lengths_and_prompts_that_cannot_be_are_refused)
{
    char longer[600], fits[600];
    memset(longer, 'a', 512);
    longer[512] = 0;
    snprintf(fits, sizeof fits, "%s", longer + 1);
    const char *model = IN_FOLDER("stage2/model.h5");
    FAILS(2, "--min-length: expected at most --max-new-tokens (4) and the start, found 50", "caption", model,
          PICTURE, "--min-length", "50", "--max-new-tokens", "4");
    FAILS(2, "--min-new-tokens: expected at most --max-new-tokens (4), found 5", "caption", model, PICTURE,
          "--min-new-tokens", "5", "--max-new-tokens", "4", "--reference", "hf");
    WORKS("caption", model, PICTURE, "--min-length", "5", "--max-new-tokens", "4");
    FAILS(2, "--prompt: expected at most 511 bytes, found 512", "answer", model, PICTURE, "what ?",
          "--prompt", longer);
    said s = BLIP2("answer", model, PICTURE, "what ?", "--prompt", fits);
    ck_assert_msg(s.code != 2, "%s", s.err);               /* its tokens may be more than the model takes */
    shell_free(s);
}
END_TEST

/* ---- between programs ---------------------------------------------------------------------------------- */
START_TEST(json_holds_every_character_of_a_name)
{
    const char *name = "\xc2\x85\x7f\xff.png";                     /* U+0085, DEL, no UTF-8 */
    copy("world/p.png", name);
    said s = BLIP2("match", "--json", MODEL, IN_FOLDER(name), "a");
    json_t *o = json_loads(s.out, 0, NULL);
    const char *image = json_string_value(json_object_get(o, "image"));
    ck_assert_msg(image && strstr(image, "/\xc2\x85\x7f\xef\xbf\xbd.png"), "%s%s", s.out, s.err);
    ck_assert_ptr_nonnull(strstr(s.out, "\\u0085\\u007f\\ufffd"));
    json_decref(o);
    shell_free(s);
}
END_TEST

/* One line of stderr for a file without digests; none with --quiet. */
static void warns(const char *const *words, const char *of)
{
    const char *quiet[SHELL_WORDS];
    int n = 0;
    for (; words[n]; n++)
        quiet[n] = words[n];
    quiet[n] = "--quiet";
    quiet[n + 1] = NULL;
    said s = shell_run(words);
    const char *first = strstr(s.err, "has no digests"), *again = first ? strstr(first + 1, "has no digests")
                                                                        : NULL;
    ck_assert_msg(s.code == 0 && first && !again && strstr(s.err, of), "%s: %d: %s", words[0], s.code, s.err);
    shell_free(s);
    s = shell_run(quiet);
    ck_assert_msg(s.code == 0 && !*s.err, "%s --quiet: %s", words[0], s.err);
    shell_free(s);
}
#define WARNS(of, ...) warns((const char *const[]){ __VA_ARGS__, NULL }, (of))

START_TEST(a_file_without_digests_is_told_once_and_not_with_quiet)
{
    const char *bare = IN_FOLDER("bare.h5");
    WARNS("bare.h5", "match", bare, PICTURE, "a");
    WARNS("bare.h5", "caption", bare, PICTURE);
    WARNS("bare.h5", "embed", bare, "--images", IN_FOLDER("world/test"), "-o", IN_FOLDER("i.h5"));
    unseal("i.h5", "j.h5");
    WARNS("j.h5", "search", MODEL, "--index", IN_FOLDER("j.h5"), "a");
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    WARNS("bare.h5", "tokenize", bare);
    ck_assert(!mkdir(IN_FOLDER("run"), 0700));
    folder_write("run/log.jsonl", "{\"step\":1,\"loss\":2}\n");
    copy("bare.h5", "run/model.h5");
    WARNS("run/model.h5", "report", IN_FOLDER("run"));
}
END_TEST

/* blip2 ... | head -n 1: ended by SIGPIPE, as any program, and nothing is said. */
START_TEST(a_reader_that_leaves_early_is_no_error)
{
    char first;
    int fds[2];
    signal(SIGPIPE, SIG_DFL);
    ck_assert(!mkfifo(IN_FOLDER("pipe"), 0600));
    int reader = open(IN_FOLDER("pipe"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    shell_next.out = IN_FOLDER("pipe");
    pid_t pid = shell_start((const char *const[]){ "explain", "masks", "--json", "--queries", "128", "--text",
                                                   "128", NULL }, fds);    /* more than a pipe holds */
    for (int tries = 0; read(reader, &first, 1) != 1; tries++) {
        ck_assert_int_lt(tries, 6000);
        usleep(10000);
    }
    close(reader);
    said s = shell_wait(pid, fds);
    ck_assert_msg(first == '{' && s.code == 128 + SIGPIPE && !*s.err, "%d: %s", s.code, s.err);
    shell_free(s);
}
END_TEST

Suite *suite_cli_edges(void)
{
    Suite *s = suite_create("cli_edges");
    TCase *c = tcase_create("cli_edges");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_unchecked_fixture(c, begin, folder_end);
    tcase_add_test(c, an_output_takes_no_place_of_another_kind_of_file);
    tcase_add_test(c, options_of_every_command_may_stand_before_a_part);
    tcase_add_test(c, options_that_would_do_nothing_are_refused);
    tcase_add_test(c, lengths_and_prompts_that_cannot_be_are_refused);
    tcase_add_test(c, json_holds_every_character_of_a_name);
    tcase_add_test(c, a_file_without_digests_is_told_once_and_not_with_quiet);
    tcase_add_test(c, a_reader_that_leaves_early_is_no_error);
    suite_add_tcase(s, c);
    return s;
}
