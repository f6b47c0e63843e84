/* test_config_open.c - files that include others, and texts that speak of other keys: what is meant is taken,
 * what is not is told with its place. */
#include "tests/tests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct settings {
    long seed, size;
    double lr;
    bool freeze;
    char root[CONFIG_TEXT_SIZE], images[CONFIG_TEXT_SIZE], out[CONFIG_TEXT_SIZE], other[CONFIG_TEXT_SIZE];
    int shade;
    config_list files;
} settings;
#define AT(field) offsetof(settings, field)
static const config_key keys[] = {
    { "model.size", CONFIG_INT, AT(size), 1, 4096, NULL, "side of a picture" },
    { "model.freeze", CONFIG_BOOL, AT(freeze), 0, 0, NULL, "frozen tower" },
    { "model.shade", CONFIG_CHOICE, AT(shade), 0, 0, "red green blue", "colour" },
    { "model.files", CONFIG_LIST, AT(files), 0, 0, NULL, "files" },
    { "model.out", CONFIG_TEXT, AT(other), 0, 0, NULL, "another folder" },
    { "data.root", CONFIG_TEXT, AT(root), 0, 0, NULL, "folder of all" },
    { "data.images", CONFIG_TEXT, AT(images), 0, 0, NULL, "folder of pictures" },
    { "run.out", CONFIG_TEXT, AT(out), 0, 0, NULL, "folder of the run" },
    { "run.seed", CONFIG_INT, AT(seed), 0, 0, NULL, "seed" },
    { "run.lr", CONFIG_REAL, AT(lr), 0, 1, NULL, "learning rate" },
};
static settings s;
static error e;

/* a.yaml of the test's folder, with one word of the command line or none */
static bool take(const char *text, const char *word)
{
    char *words[] = { (char *)word };
    config_table t = { "", keys, (int)(sizeof keys / sizeof *keys), &s };
    s = (settings){ .size = 224, .seed = 42 };
    folder_write("a.yaml", text);
    return config_open(IN_FOLDER("a.yaml"), words, word != NULL, &t, 1, &e);
}

static void refused(const char *text, const char *word, const char *what)
{
    ck_assert_msg(!take(text, word), "taken: %s", text);
    ck_assert_int_eq(e.kind, ERROR_USAGE);
    ck_assert_msg(strstr(e.text, what) != NULL, "of \"%.200s\" was said: %s", text, e.text);
}

/* ---- include ------------------------------------------------------------------------------------------- */
START_TEST(own_keys_replace_those_of_included_files)
{
    folder_write("base.yaml", "model: {size: 100, shade: green}\nrun: {seed: 1, out: base}\n");
    folder_write("more.yaml", "run: {seed: 2}\n");
    ck_assert_msg(take("include: base.yaml\nrun: {out: own}\n", NULL), "%s", e.text);
    ck_assert(s.size == 100 && s.shade == 1 && s.seed == 1);
    ck_assert_str_eq(s.out, "own");
    ck_assert_msg(take("include: [base.yaml, more.yaml]\n", "model.size=5"), "%s", e.text);
    ck_assert(s.size == 5 && s.seed == 2);                 /* the later file, and the command line last */
}
END_TEST

START_TEST(paths_start_from_the_folder_of_the_file_they_stand_in)
{
    char text[600];
    ck_assert(!mkdir(IN_FOLDER("deep"), 0700));
    folder_write("deep/one.yaml", "include: two.yaml\nmodel: {size: 7}\n");
    folder_write("deep/two.yaml", "run: {seed: 9}\nmodel: {size: 8}\n");
    ck_assert_msg(take("include: deep/one.yaml\n", NULL), "%s", e.text);
    ck_assert(s.size == 7 && s.seed == 9);
    snprintf(text, sizeof text, "include: %s\n", IN_FOLDER("deep/two.yaml"));          /* an absolute one */
    ck_assert_msg(take(text, NULL), "%s", e.text);
    ck_assert(s.size == 8);
}
END_TEST

START_TEST(mistakes_of_included_files_are_told_with_their_own_places)
{
    folder_write("base.yaml", "model:\n  size: 0\n  shape: 3\n");
    refused("include: base.yaml\nrun: {seeds: 1}\n", NULL, "a.yaml: 3 problems\n");
    ck_assert_ptr_nonnull(strstr(e.text, "base.yaml:2:9: model.size: "));
    ck_assert_ptr_nonnull(strstr(e.text, "base.yaml:3:3: model.shape: unknown key"));
    ck_assert_ptr_nonnull(strstr(e.text, "a.yaml:2:7: run.seeds: unknown key, did you mean"));
    refused("include: none.yaml\n", NULL, "a.yaml:1:10: include: ");
    ck_assert_ptr_nonnull(strstr(e.text, "none.yaml"));
    refused("run: {seed: 1}\ninclude: base.yaml\n", NULL, "a.yaml:2:1: include: expected before all other");
    refused("include: {a: b}\n", NULL, "include: expected a file, or a list of files");
    refused("include: [[a]]\n", NULL, "include: expected a list of files");
    refused("include: a.yaml\n", NULL, "included 8 deep here; does one include itself?");
    folder_write("four.yaml", "include: [three.yaml, three.yaml, three.yaml, three.yaml]\n");
    folder_write("three.yaml", "include: [two.yaml, two.yaml, two.yaml, two.yaml, two.yaml]\n");
    folder_write("two.yaml", "include: [one.yaml, one.yaml, one.yaml, one.yaml, one.yaml]\n");
    folder_write("one.yaml", "run: {seed: 1}\n");
    refused("include: four.yaml\n", NULL, "include: two.yaml: more than 64 files in all");
    folder_write("zero.yaml", "");
    refused("include: zero.yaml\n", NULL, "zero.yaml: empty");
}
END_TEST

START_TEST(a_text_that_is_no_file_includes_nothing)
{
    const char text[] = "include: /etc/passwd\n";
    config_table t = { "", keys, (int)(sizeof keys / sizeof *keys), &s };
    ck_assert(!config_read_text("stored", text, strlen(text), &t, 1, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "only a file can include others"));
}
END_TEST

/* ---- ${...} -------------------------------------------------------------------------------------------- */
START_TEST(texts_may_speak_of_other_keys)
{
    setenv("BLIP2_TEST_PLACE", "/place", 1);
    ck_assert_msg(take("data: {root: '${env:BLIP2_TEST_PLACE}/coco', images: '${root}/pictures'}\n"
                       "model: {files: ['${root}/a', plain, '${data.images}/b'], shade: blue}\n"
                       "run: {out: 'out/${model.shade}-${seed}$'}\n", "run.seed=7"), "%s", e.text);
    ck_assert_str_eq(s.root, "/place/coco");
    ck_assert_str_eq(s.images, "/place/coco/pictures");
    ck_assert_str_eq(s.files.item[0], "/place/coco/a");
    ck_assert_str_eq(s.files.item[1], "plain");
    ck_assert_str_eq(s.files.item[2], "/place/coco/pictures/b");
    ck_assert_str_eq(s.out, "out/blue-7$");                /* with what the command line says */
    ck_assert_msg(take("run: {out: x}\nmodel: {out: '${run.out}/y'}", "data.root=${run.out}/z"), "%s",
                  e.text);
    ck_assert_str_eq(s.other, "x/y");
    ck_assert_str_eq(s.root, "x/z");
}
END_TEST

START_TEST(what_a_text_cannot_speak_of_is_told)
{
    unsetenv("BLIP2_TEST_PLACE");
    refused("run: {out: '${env:BLIP2_TEST_PLACE}'}", NULL,
            "run.out: ${env:BLIP2_TEST_PLACE}: the environment has none");
    refused("run: {out: '${run.sed}'}", NULL,
            "run.out: ${run.sed}: no key of this name, did you mean run.seed?");
    refused("data: {root: '${out}'}", NULL, "data.root: ${out}: 2 keys end so, run.out among them");
    refused("run: {out: '${lr}'}", NULL, "only texts, whole numbers and choices");
    refused("run: {out: '${model.files}'}", NULL, "only texts, whole numbers and choices");
    refused("run: {out: 'a${seed'}", NULL, "run.out: \"a${seed\": ${ without its }");
    refused("run: {out: '${run.out}'}", NULL, "speaks of itself");
    refused("run: {out: '${root}'}\ndata: {root: '${out}'}", NULL, "2 keys end so");
    refused("run: {out: '${root}'}\ndata: {root: '${run.out}'}", NULL, "speaks of itself");
#define TEN(x) x x x x x x x x x x
    refused("data: {root: '', images: '" TEN("${root}") "'}\nrun: {out: '" TEN("${images}") "'}\n"
            "model: {out: '" TEN("${run.out}") "'}", NULL, "more than 1000 of these");
    char text[1200] = "data: {root: ", *end = text + strlen(text);
    memset(end, 'x', 400);
    strcpy(end + 400, "}\nrun: {out: '${root}${root}'}");
    refused(text, NULL, "becomes longer than 511 bytes");
}
END_TEST

START_TEST(memory_that_runs_out_anywhere_is_an_error)
{
    folder_write("base.yaml", "model: {size: 100, shade: green}\n");
    for (long nth = 1; ; nth++) {
        mem_fail_at(nth, true);
        bool ok = take("include: base.yaml\nrun: {out: '${seed}'}\n", NULL);
        mem_fail_at(0, false);
        if (ok)
            break;
        ck_assert_int_gt((int)strlen(e.text), 0);
    }
    ck_assert(s.size == 100 && !strcmp(s.out, "42"));
    ck_assert_int_eq(mem_live(), 0);
}
END_TEST

Suite *suite_config_open(void)
{
    Suite *suite = suite_create("config_open");
    TCase *c = tcase_create("files");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, own_keys_replace_those_of_included_files);
    tcase_add_test(c, paths_start_from_the_folder_of_the_file_they_stand_in);
    tcase_add_test(c, mistakes_of_included_files_are_told_with_their_own_places);
    tcase_add_test(c, a_text_that_is_no_file_includes_nothing);
    tcase_add_test(c, texts_may_speak_of_other_keys);
    tcase_add_test(c, what_a_text_cannot_speak_of_is_told);
    tcase_add_test(c, memory_that_runs_out_anywhere_is_an_error);
    suite_add_tcase(suite, c);
    return suite;
}
