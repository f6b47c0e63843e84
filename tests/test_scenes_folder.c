/* test_scenes_folder.c - the folder of a synthetic world: the same bytes by any number of threads, and
 * nothing left or replaced where it cannot be made. */
#include "tests/scenes_case.h"
#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void same_files(const char *a, const char *b, bool expected)
{
    static const char *const files[] = { "train.jsonl", "test.jsonl", "test_unseen.jsonl", "text.txt",
        "sheet.png",
        "train/000001.png", "train/000600.png", "test/000700.png", "test_unseen/000760.png" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char one[64], other[64];
        snprintf(one, sizeof one, "%s/%s", a, files[i]);
        snprintf(other, sizeof other, "%s/%s", b, files[i]);
        ck_assert_msg(folder_same(one, other) == expected, "%s", files[i]);
    }
}

START_TEST(the_bytes_do_not_depend_on_the_threads)
{
    scenes_options o = small_world();
    static const char *const names[] = { "one", "three", "four", "eight" };
    static const int threads[] = { 1, 3, 4, 8 };
    for (int i = 0; i < 4; i++) {
        omp_set_num_threads(threads[i]);
        make_world(&o, names[i]);
        same_files("one", names[i], true);
    }
}
END_TEST

START_TEST(another_seed_gives_another_world)
{
    scenes_options o = small_world();
    make_world(&o, "a");
    o.seed = 2;
    make_world(&o, "b");
    same_files("a", "b", false);
}
END_TEST

START_TEST(a_folder_that_exists_is_an_error_unless_forced)
{
    scenes_options o = small_world();
    error e = { 0 };
    make_world(&o, "w");
    ck_assert(!scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e));
    ck_assert_int_eq(e.kind, ERROR_USAGE);
    ck_assert_ptr_nonnull(strstr(e.text, "exists already"));
    o.seed = 2;
    ck_assert_msg(scenes_make(&o, IN_FOLDER("w"), true, NULL, NULL, &e), "%s", e.text);
    make_world(&o, "b");
    same_files("w", "b", true);
    ck_assert_int_eq(folder_count(), 2);
}
END_TEST

START_TEST(a_folder_of_something_else_is_never_replaced)
{
    scenes_options o = small_world();
    error e = { 0 };
    ck_assert_int_eq(mkdir(IN_FOLDER("mine"), 0777), 0);
    ck_assert(!scenes_make(&o, IN_FOLDER("mine"), true, NULL, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "expected a folder with world.yaml in it"));
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

static bool stop_at_once(void *context, const char *what, long done, long total)
{
    (void)context, (void)what, (void)done, (void)total;
    return false;
}

START_TEST(what_is_stopped_leaves_nothing)
{
    scenes_options o = small_world();
    error e = { 0 };
    ck_assert(!scenes_make(&o, IN_FOLDER("w"), false, stop_at_once, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "stopped"));
    ck_assert_int_eq(folder_count(), 0);
}
END_TEST

START_TEST(a_full_disk_is_an_error_and_leaves_nothing)
{
    static const rlim_t limits[] = { 100, 10000, 100000 };
    scenes_options o = small_world();
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 3; i++) {
        error e = { 0 };
        struct rlimit before, limit;
        getrlimit(RLIMIT_FSIZE, &before);
        limit = (struct rlimit){ limits[i], before.rlim_max };
        setrlimit(RLIMIT_FSIZE, &limit);
        bool made = scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e);
        setrlimit(RLIMIT_FSIZE, &before);
        ck_assert(!made);
        ck_assert_msg(strstr(e.text, "cannot be written") != NULL, "%s", e.text);
        ck_assert_int_eq(folder_count(), 0);
    }
}
END_TEST

START_TEST(memory_that_is_out_is_an_error_and_leaves_nothing)
{
    scenes_options o = small_world();
    error e = { 0 };
    o.train = 4;
    o.val = o.test = o.test_unseen = o.documents = 1;
    o.sheet = 1;
    bool made = false;
    omp_set_num_threads(2);
    for (long nth = 1; !made; nth += 1 + nth/4) {
        mem_fail_at(nth, nth % 2);
        made = scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e);
        mem_fail_at(0, false);
        ck_assert_int_eq(folder_count(), made);
        ck_assert_int_lt(nth, 100000);
    }
}
END_TEST

START_TEST(what_a_killed_process_left_is_removed)
{
    scenes_options o = small_world();
    char stale[64];
    pid_t child = fork();
    if (!child)
        _exit(0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    snprintf(stale, sizeof stale, "w.tmp.%ld", (long)child);
    ck_assert_int_eq(mkdir(IN_FOLDER(stale), 0777), 0);
    ck_assert_int_eq(mkdir(IN_FOLDER("w.tmp.1"), 0777), 0);        /* of a process that lives */
    make_world(&o, "w");
    ck_assert_int_eq(folder_count(), 2);
}
END_TEST

START_TEST(all_wrong_options_are_reported_at_once)
{
    scenes_options o = small_world();
    error e = { 0 };
    strcpy(o.colours, "red,gren,blue,blue");
    strcpy(o.counts, "1,1,1,1,1");
    strcpy(o.wordings, "1,x");
    o.radius = 9;
    ck_assert(!scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e));
    ck_assert_int_eq(e.kind, ERROR_USAGE);
    ck_assert_ptr_nonnull(strstr(e.text, "unknown name \"gren\", did you mean green"));
    ck_assert_ptr_nonnull(strstr(e.text, "blue stands there twice"));
    ck_assert_ptr_nonnull(strstr(e.text, "counts: 5 shapes do not fit; cells is 2"));
    ck_assert_ptr_nonnull(strstr(e.text, "wordings: expected weights"));
    ck_assert_ptr_nonnull(strstr(e.text, "radius: expected 0.05 to 0.7, found 9"));
    ck_assert_int_eq(folder_count(), 0);
}
END_TEST

START_TEST(a_world_without_a_place_for_a_split_is_an_error)
{
    scenes_options o = small_world();
    error e = { 0 };
    strcpy(o.colours, "red");
    strcpy(o.shapes, "circle");
    strcpy(o.held_out, "");
    o.cells = 1;
    strcpy(o.counts, "1");
    o.test_unseen = 0;
    ck_assert(!scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e));
    ck_assert_msg(strstr(e.text, "no scene belongs there") != NULL, "%s", e.text);
    ck_assert_int_eq(folder_count(), 0);
}
END_TEST

Suite *suite_scenes_folder(void)
{
    Suite *s = suite_create("scenes_folder");
    TCase *c = tcase_create("folder");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, the_bytes_do_not_depend_on_the_threads);
    tcase_add_test(c, another_seed_gives_another_world);
    tcase_add_test(c, a_folder_that_exists_is_an_error_unless_forced);
    tcase_add_test(c, a_folder_of_something_else_is_never_replaced);
    tcase_add_test(c, what_is_stopped_leaves_nothing);
    tcase_add_test(c, a_full_disk_is_an_error_and_leaves_nothing);
    tcase_add_test(c, memory_that_is_out_is_an_error_and_leaves_nothing);
    tcase_add_test(c, what_a_killed_process_left_is_removed);
    tcase_add_test(c, all_wrong_options_are_reported_at_once);
    tcase_add_test(c, a_world_without_a_place_for_a_split_is_an_error);
    suite_add_tcase(s, c);
    return s;
}
