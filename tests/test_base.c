/* test_base.c - errors say what they should, and files are written whole or not at all. */
#include "tests/tests.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;

/* ---- errors -------------------------------------------------------------------------------------------- */
START_TEST(names_from_files_are_safe_to_print)
{
    ck_assert_str_eq(QUOTE("caf\xc3\xa9 \xf0\x9f\x90\xb1"), "caf\xc3\xa9 \xf0\x9f\x90\xb1");
    ck_assert_str_eq(QUOTE("a\nb\x1b[31m\x7f"), "a\\x0ab\\x1b[31m\\x7f");
    ck_assert_str_eq(QUOTE("\xff \xc3( \xc2\x85"), "\\xff \\xc3( \\xc2\\x85");
    ck_assert_str_eq(QUOTE("\xc0\x80 \xe0\x80\x80 \xed\xa0\x80"),
                     "\\xc0\\x80 \\xe0\\x80\\x80 \\xed\\xa0\\x80");
    char name[400];
    memset(name, 'a', 399);
    name[399] = 0;
    ck_assert_int_eq((int)strlen(QUOTE(name)), 203);
    ck_assert_str_eq(QUOTE(name) + 200, "...");
}
END_TEST

START_TEST(the_most_alike_word_is_found_and_no_other)
{
    static const char *const words[] = { "init_lr", "min_lr", "seed" };
    ck_assert_str_eq(nearest("init_rl", words, 3), "init_lr");
    ck_assert_str_eq(nearest("sede", words, 3), "seed");
    ck_assert_ptr_null(nearest("batch_size", words, 3));
}
END_TEST

START_TEST(problems_become_one_line_or_a_list_with_a_headline)
{
    e.lines = 0;
    ck_assert(error_close(&e, ERROR_USAGE, "%d problems", e.lines));
    error_line(&e, "first");
    ck_assert(!error_close(&e, ERROR_USAGE, "%d problems", e.lines));
    ck_assert_str_eq(e.text, "first");
    ck_assert_int_eq(e.kind, ERROR_USAGE);
    e.lines = 0;
    for (int i = 0; i < 30; i++)
        error_line(&e, "line %d", i);
    error_close(&e, ERROR_RUN, "%d problems", e.lines);
    ck_assert_int_eq(strncmp(e.text, "30 problems\n  line 0\n  line 1\n", 30), 0);
    ck_assert_ptr_nonnull(strstr(e.text, "\n  line 19"));
    ck_assert_ptr_null(strstr(e.text, "line 20"));
}
END_TEST

/* ---- files --------------------------------------------------------------------------------------------- */
static bool write_text(const char *path, const char *text)
{
    file_out *f = file_create(path, &e);
    if (!f)
        return false;
    file_print(f, "%s", text);
    return file_finish(f, &e);
}

static void holds(const char *path, const char *text)
{
    long bytes;
    char *found = file_load(path, 1 << 20, &bytes, &e);
    ck_assert_msg(found != NULL, "%s", e.text);
    ck_assert_str_eq(found, text);
    mem_free(found);
}

START_TEST(output_appears_only_when_it_is_whole)
{
    const char *path = IN_FOLDER("a");
    ck_assert(write_text(path, "old"));
    file_out *f = file_create(path, &e);
    file_print(f, "%s", "new");
    holds(path, "old");
    ck_assert_int_eq(folder_count(), 2);
    ck_assert(file_finish(f, &e));
    holds(path, "new");
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

START_TEST(abandoned_output_leaves_no_trace)
{
    file_out *f = file_create(IN_FOLDER("a"), &e);
    file_write(f, "x", 1);
    file_abandon(f);
    ck_assert_int_eq(folder_count(), 0);
}
END_TEST

START_TEST(any_failing_call_leaves_the_old_file_and_no_temporary)
{
    static const int numbers[] = { ENOSPC, EIO, EDQUOT };
    const char *path = IN_FOLDER("a");
    ck_assert(write_text(path, "old"));
    long failed = 0;
    for (int k = 0; k < 6; k++)
        for (long nth = 1; ; nth++) {
            file_fail_at(nth, numbers[k / 2], k % 2);
            bool ok = write_text(path, "new");
            file_fail_at(0, 0, false);
            if (ok)
                ck_assert(write_text(path, "old"));
            if (ok)
                break;
            failed++;
            ck_assert_ptr_nonnull(strstr(e.text, strerror(numbers[k / 2])));
            ck_assert_int_eq(folder_count(), 1);
            holds(path, strstr(e.text, "is written, but") ? "new" : "old");
            ck_assert(write_text(path, "old"));
        }
    ck_assert_int_eq(failed, 6 * 6);  /* open, write, fsync, rename, and open and fsync of the folder */
}
END_TEST

START_TEST(short_and_interrupted_calls_are_taken_up_again)
{
    for (long nth = 1; nth < 12; nth++)
        for (int number = 0; number < 2; number++) {
            file_fail_at(nth, number ? EINTR : 0, false);
            bool ok = write_text(IN_FOLDER("a"), "some text that is long enough to be cut");
            file_fail_at(0, 0, false);
            ck_assert_msg(ok, "%s", e.text);
            file_fail_at(nth, number ? EINTR : 0, false);
            holds(IN_FOLDER("a"), "some text that is long enough to be cut");
            file_fail_at(0, 0, false);
        }
}
END_TEST

START_TEST(temporaries_of_dead_processes_are_removed)
{
    char name[64];
    close(open(IN_FOLDER("a.tmp.999999999"), O_CREAT | O_WRONLY, 0600));  /* larger than any process number */
    close(open(IN_FOLDER("b.tmp.999999999"), O_CREAT | O_WRONLY, 0600));
    sprintf(name, "a.tmp.%ld", (long)getppid());
    close(open(IN_FOLDER(name), O_CREAT | O_WRONLY, 0600));
    ck_assert(write_text(IN_FOLDER("a"), "x"));
    ck_assert_int_eq(folder_count(), 3);           /* a, a.tmp of the living, b.tmp of the dead */
    ck_assert_int_eq(file_sweep(IN_FOLDER(".")), 1);
    ck_assert_int_eq(folder_count(), 2);
}
END_TEST

START_TEST(only_regular_files_are_read_and_replaced)
{
    long bytes;
    mkfifo(IN_FOLDER("pipe"), 0600);
    ck_assert_int_eq(file_open(IN_FOLDER("pipe"), &bytes, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "not a regular file"));
    ck_assert_int_eq(file_open("/dev/zero", &bytes, &e), -1);
    ck_assert_int_eq(file_open(IN_FOLDER("."), &bytes, &e), -1);
    ck_assert_int_eq(file_open(IN_FOLDER("absent"), &bytes, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, strerror(ENOENT)));
    ck_assert_ptr_null(file_create("/dev/null", &e));
    ck_assert_ptr_null(file_create(IN_FOLDER("pipe"), &e));
    ck_assert_ptr_null(file_create(IN_FOLDER("no/such/folder"), &e));
}
END_TEST

START_TEST(a_link_keeps_pointing_at_the_replaced_file)
{
    ck_assert(write_text(IN_FOLDER("a"), "old"));
    ck_assert_int_eq(symlink("a", IN_FOLDER("link")), 0);
    ck_assert(write_text(IN_FOLDER("link"), "new"));
    holds(IN_FOLDER("a"), "new");
    struct stat about;
    ck_assert(!lstat(IN_FOLDER("link"), &about) && S_ISLNK(about.st_mode));
}
END_TEST

START_TEST(a_file_over_the_limit_is_refused)
{
    long bytes;
    ck_assert(write_text(IN_FOLDER("a"), "12345"));
    ck_assert_ptr_null(file_load(IN_FOLDER("a"), 4, &bytes, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "at most 4 bytes, found 5"));
}
END_TEST

Suite *suite_base(void)
{
    Suite *s = suite_create("base");
    TCase *errors = tcase_create("errors"), *c = tcase_create("files");
    tcase_add_test(errors, names_from_files_are_safe_to_print);
    tcase_add_test(errors, the_most_alike_word_is_found_and_no_other);
    tcase_add_test(errors, problems_become_one_line_or_a_list_with_a_headline);
    suite_add_tcase(s, errors);
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, output_appears_only_when_it_is_whole);
    tcase_add_test(c, abandoned_output_leaves_no_trace);
    tcase_add_test(c, any_failing_call_leaves_the_old_file_and_no_temporary);
    tcase_add_test(c, short_and_interrupted_calls_are_taken_up_again);
    tcase_add_test(c, temporaries_of_dead_processes_are_removed);
    tcase_add_test(c, only_regular_files_are_read_and_replaced);
    tcase_add_test(c, a_link_keeps_pointing_at_the_replaced_file);
    tcase_add_test(c, a_file_over_the_limit_is_refused);
    suite_add_tcase(s, c);
    return s;
}
