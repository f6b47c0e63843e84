/* test_golden.c - the runner of reference values sees every change of them: each output of each small case is
 * moved in a copy, and the runner must name exactly that dataset. */
#include "tests/tests.h"
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const cases[] = {
    "a_bert_layer", "c_stage1_infer", "g_gen_stage1", "f_posembed", "h_lr_schedules" };
enum { CASES = sizeof cases / sizeof *cases };
static char said[1 << 20];
static error e;

/* Runs the golden runner that lies beside this program; its exit code. What it prints stands in `said`. */
static int run(const char *path)
{
    char command[2000] = "\"", *slash;
    ssize_t n = readlink("/proc/self/exe", command + 1, 1000);
    ck_assert_int_gt((int)n, 0);
    slash = strrchr(command, '/');
    const char *build = sizeof(real) == 8 ? "-f64" : "";
    snprintf(slash, sizeof command - (size_t)(slash - command), "/golden%s\" \"%s\" 2>&1", build, path);
    FILE *f = popen(command, "r");
    ck_assert_ptr_nonnull(f);
    said[fread(said, 1, sizeof said - 1, f)] = 0;
    int status = pclose(f);
    ck_assert_msg(WIFEXITED(status), "%s\n%s", command, said);
    return WEXITSTATUS(status);
}

static bool is_said(const char *text)
{
    return strstr(said, text) != NULL;
}

static int problems(void)
{
    int n = 0;
    for (const char *p = said; (p = strstr(p, "\n    ")); p++)
        n++;
    return n;
}

static const char *copy(const char *name, char to[512])
{
    char from[200];
    long n;
    snprintf(from, sizeof from, "tests/golden/data/%s.h5", name);
    char *all = file_load(from, 1 << 24, &n, &e);
    ck_assert_msg(all != NULL, "%s", e.text);
    folder_path(to, "case.h5");
    file_out *f = file_create(to, &e);
    file_write(f, all, n);
    ck_assert(file_finish(f, &e));
    mem_free(all);
    return to;
}

/* Moves one value of a dataset: an integer by 1, a number by `by` of the largest, by `by` where that is 0. */
static void move(const char *path, const char *name, double by)
{
    hid_t f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), d = H5Dopen2(f, name, H5P_DEFAULT);
    hid_t type = H5Dget_type(d), space = H5Dget_space(d);
    hssize_t n = H5Sget_simple_extent_npoints(space), at = n / 2;
    double *x = mem_new((size_t)n * sizeof *x), largest = 0;
    ck_assert(n > 0 && H5Dread(d, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) >= 0);
    for (hssize_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(x[i]));
    x[at] += H5Tget_class(type) == H5T_INTEGER ? 1 : by * (largest < 1e-12 ? 1 : largest);
    ck_assert_int_ge(H5Dwrite(d, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, x), 0);
    mem_free(x);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(d);
    H5Fclose(f);
}

START_TEST(the_small_cases_pass)
{
    ck_assert_msg(run("tests/golden/data") == 0, "%s", said);
    for (int i = 0; i < CASES; i++)
        ck_assert(is_said(cases[i]));
    ck_assert_msg(is_said(" passed, 0 failed") && is_said("words.jsonl") && is_said("bytes.jsonl"), "%s",
                  said);
}
END_TEST

START_TEST(a_moved_output_is_named_and_nothing_else)
{
    char path[512];
    long n;
    h5 *f = h5_open(copy(cases[_i], path), &e);
    char **all = h5_list(f, "out", &n, &e);
    h5_close(f);
    ck_assert_int_gt(n, 0);
    long step = n > 40 ? 7 : 1;
    for (long i = 0; i < n; i += step) {
        char line[700];
        move(copy(cases[_i], path), all[i], sizeof(real) == 4 ? 1e-3 : 1e-6);
        ck_assert_msg(run(path) == 1, "%s was moved:\n%s", all[i], said);
        snprintf(line, sizeof line, "\n    %s: ", all[i]);
        ck_assert_msg(is_said(line) && problems() == 1, "%s was moved:\n%s", all[i], said);
        ck_assert(is_said("0 passed, 1 failed, 0 skipped"));
    }
    h5_list_free(all, n);
}
END_TEST

START_TEST(a_changed_id_is_named_with_its_line)
{
    ck_assert(mkdir(IN_FOLDER("tiny"), 0777) == 0);
    folder_write("tiny/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\n");
    folder_write("tiny.jsonl", "{\"text\": \"red\", \"ids\": [2, 4, 3]}\n"
                 "{\"text\": \"\", \"ids\": [2, 3], \"decoded\": \"\"}\n");
    ck_assert_msg(run(IN_FOLDER("tiny.jsonl")) == 0, "%s", said);
    folder_write("tiny.jsonl", "{\"text\": \"red\", \"ids\": [2, 4, 3]}\n"
                 "{\"text\": \"red\", \"ids\": [2, 1, 3], \"more\": 1}\n");
    ck_assert_msg(run(IN_FOLDER("tiny.jsonl")) == 1, "%s", said);
    ck_assert_msg(is_said("line 2: ids: other ids") && is_said("line 2: more: was not compared"), "%s", said);
    ck_assert_msg(!is_said("line 1"), "%s", said);
}
END_TEST

START_TEST(an_output_that_nothing_compares_is_named)
{
    char path[512];
    hid_t f = H5Fopen(copy("h_lr_schedules", path), H5F_ACC_RDWR, H5P_DEFAULT), space = H5Screate(H5S_SCALAR);
    double x = 1;
    hid_t d = H5Dcreate2(f, "out/more", H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(d, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, &x);
    H5Dclose(d);
    H5Fclose(f);
    ck_assert_int_eq(run(path), 1);
    ck_assert_msg(is_said("\n    out/more: was not compared") && problems() == 1, "%s", said);
}
END_TEST

static void remove_link(const char *path, const char *name)
{
    hid_t f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    ck_assert_int_ge(H5Ldelete(f, name, H5P_DEFAULT), 0);
    H5Fclose(f);
}

START_TEST(a_gradient_that_the_reference_does_not_have_is_named)
{
    char path[512];
    remove_link(copy("a_bert_layer", path), "out/cross_text_only/grads/cross/output/dense/weight");
    ck_assert_int_eq(run(path), 1);
    ck_assert_msg(is_said("\n    out/cross_text_only/grads/cross/output/dense/weight: has a gradient here "
                          "and none") && problems() == 1, "%s", said);
}
END_TEST

START_TEST(missing_inputs_and_weights_fail_the_case_by_name)
{
    char path[512];
    remove_link(copy("a_bert_layer", path), "inputs/cross_text_only/cot");
    ck_assert(run(path) == 1 && is_said("inputs/cross_text_only/cot: missing"));
    remove_link(copy("a_bert_layer", path), "weights/plain/output/dense/bias");
    ck_assert(run(path) == 1 && is_said("weights/plain/output/dense/bias: missing"));
    remove_link(copy("a_bert_layer", path), "out");
    ck_assert(run(path) == 1 && is_said("FAIL"));
}
END_TEST

START_TEST(a_kind_that_is_not_built_is_skipped_with_the_reason)
{
    char path[512];
    hid_t f = H5Fopen(copy("h_lr_schedules", path), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t a = H5Aopen(f, "kind", H5P_DEFAULT), type = H5Aget_type(a);
    const char *kind = "of_tomorrow";
    ck_assert_int_ge(H5Awrite(a, type, &kind), 0);
    H5Tclose(type);
    H5Aclose(a);
    H5Fclose(f);
    ck_assert_int_eq(run(path), 0);
    ck_assert(is_said("SKIP not built in this version") && is_said("0 passed, 0 failed, 1 skipped"));
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_a_notice_and_no_failure)
{
    setenv("CI", "true", 1);
    ck_assert_int_eq(run(IN_FOLDER("absent")), 0);
    ck_assert(is_said("is not there") && is_said("0 passed, 0 failed, 0 skipped"));
    ck_assert_int_eq(run(IN_FOLDER(".")), 1);              /* there, and nothing in it */
}
END_TEST

Suite *suite_golden(void)
{
    Suite *s = suite_create("golden");
    TCase *c = tcase_create("runner");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, the_small_cases_pass);
    tcase_add_loop_test(c, a_moved_output_is_named_and_nothing_else, 0, CASES);
    tcase_add_test(c, a_changed_id_is_named_with_its_line);
    tcase_add_test(c, an_output_that_nothing_compares_is_named);
    tcase_add_test(c, a_gradient_that_the_reference_does_not_have_is_named);
    tcase_add_test(c, missing_inputs_and_weights_fail_the_case_by_name);
    tcase_add_test(c, a_kind_that_is_not_built_is_skipped_with_the_reason);
    tcase_add_test(c, a_folder_that_is_not_there_is_a_notice_and_no_failure);
    suite_add_tcase(s, c);
    return s;
}
