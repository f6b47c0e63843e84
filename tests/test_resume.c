/* test_resume.c - what the bytes of a run depend on, and what not: stopping and going on with everything
 * random switched on, pictures held or decoded when drawn, several data sets, broken pictures, damaged
 * checkpoints. */
#include "tests/watched.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a run with everything that is random ------------------------------------------------------------ */
static train_config full_run(const char *name)
{
    train_config c = world_config(TRAIN_STAGE1);
    c.pretrained.count = c.freeze.count = 0;
    world_text(c.bert_tokenizer, IN_FOLDER("bert"));
    world_text(c.output_dir, IN_FOLDER(name));
    c.sets.count = 2;
    for (int k = 0; k < 2; k++) {
        snprintf(c.sets.name[k], CONFIG_NAMED_SIZE, "set%d", k);
        c.set[k] = c.data;
        c.set[k].view = k ? TRAIN_VIEW_CROP : TRAIN_VIEW_RANDOM;
        c.set[k].ratio = k ? 1 : 3;
        c.set[k].flip = 0;
    }
    world_text(c.set[1].train_list, "test.jsonl");
    c.data.root[0] = 0;
    c.batch = 4;
    c.accumulate = 2;
    c.max_iters = 8;
    c.save_freq = 2;
    return c;
}

START_TEST(a_run_with_all_that_is_random_goes_on_to_the_same_bytes)
{
    static const char *const files[][2] = { { "whole/model.h5", "parts/model.h5" },
                                            { "whole/checkpoint.h5", "parts/checkpoint.h5" },
                                            { "whole/checkpoint.old.h5", "parts/checkpoint.old.h5" } };
    train_config whole = full_run("whole"), parts = full_run("parts");
    ag_threads(2);
    must(&whole, false);
    stop_at = 3;
    ck_assert(must(&parts, false).stopped);
    stop_at = 6;
    ck_assert(must(&parts, true).stopped);
    stop_at = 0;
    ck_assert_int_eq(must(&parts, true).steps, 8);
    for (int k = 0; k < 3; k++)
        ck_assert_msg(folder_same(files[k][0], files[k][1]), "%s", files[k][0]);
}
END_TEST

START_TEST(pictures_decoded_when_drawn_by_any_number_of_threads_give_the_same_bytes)
{
    train_config held = full_run("held"), drawn = full_run("drawn");
    must(&held, false);
    for (int k = 0; k < 3; k++) {
        drawn.memory_mb = 0;
        drawn.num_workers = (long[]){ 1, 2, 5 }[k];
        must(&drawn, false);
        ck_assert_msg(folder_same("held/model.h5", "drawn/model.h5"), "%ld workers", drawn.num_workers);
    }
    for (int k = 0; k < 2; k++)                            /* the same without anything drawn */
        held.set[k].view = drawn.set[k].view = TRAIN_VIEW_WHOLE;
    must(&held, false);
    must(&drawn, false);
    ck_assert(folder_same("held/model.h5", "drawn/model.h5"));
}
END_TEST

START_TEST(views_and_ratios_change_what_is_learned)
{
    train_config a = full_run("a"), b = full_run("b");
    must(&a, false);
    b.set[0].view = TRAIN_VIEW_CROP;
    must(&b, false);
    ck_assert(!folder_same("a/model.h5", "b/model.h5"));
    b = full_run("b");
    b.set[1].ratio = 2;
    must(&b, false);
    ck_assert(!folder_same("a/model.h5", "b/model.h5"));
    a.set[1].ratio = 2;
    must_fail(&a, true, ERROR_USAGE, "data sets, ratios and families");
}
END_TEST

START_TEST(captions_that_a_mirror_makes_wrong_are_told)
{
    train_config c = full_run("told");
    must(&c, false);
    ck_assert_msg(!strstr(warnings, "left from right"), "%s", warnings);
    c.set[1].flip = 0.5;
    must(&c, false);
    ck_assert_msg(strstr(warnings, "captions tell left from right"), "%s", warnings);
}
END_TEST

START_TEST(data_sets_that_do_not_fit_together_are_usage)
{
    train_config c = full_run("wrong");
    world_text(c.data.root, "somewhere");
    must_fail(&c, false, ERROR_USAGE,
              "datasets.root: expected nothing beside data sets that have names (set0)");
    c = full_run("wrong");
    c.set[1].image_size = 224;
    must_fail(&c, false, ERROR_USAGE, "image_size: expected model.vit.image_size, 16, found 224");
    c = full_run("wrong");
    c.set[0].min_scale = 0.9;
    c.set[0].max_scale = 0.6;
    must_fail(&c, false, ERROR_USAGE, "min_scale: expected at most max_scale, 0.6, found 0.9");
    ck_assert(!folder_has("wrong"));
}
END_TEST

/* ---- broken pictures --------------------------------------------------------------------------------- */
enum { BROKEN = 3 };

static void break_pictures(void)
{
    static const char *const files[BROKEN] = { "world/train/000005.png", "world/train/000033.png",
                                               "world/train/000064.png" };
    for (int k = 0; k < BROKEN; k++)
        ck_assert(!truncate(IN_FOLDER(files[k]), 60 * k));
}

/* The list without them. */
static void write_whole_list(void)
{
    char *text = folder_load("world/train.jsonl", NULL);
    FILE *to = fopen(IN_FOLDER("world/whole.jsonl"), "w");
    ck_assert_ptr_nonnull(to);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (!strstr(line, "000005.png") && !strstr(line, "000033.png") && !strstr(line, "000064.png"))
            fprintf(to, "%s\n", line);
    fclose(to);
    mem_free(text);
}

START_TEST(broken_pictures_are_left_out_counted_and_named)
{
    train_config c = full_run("broken"), again = full_run("again"), without = full_run("without");
    c.max_bad_fraction = again.max_bad_fraction = 0.05;
    break_pictures();
    write_whole_list();
    ck_assert_int_eq(must(&c, false).bad_samples, BROKEN);
    ck_assert_msg(strstr(warnings, "3 of 80 pictures cannot be used and are left out")
                  && strstr(warnings, "000033.png"), "%s", warnings);
    char *log = folder_load("broken/log.jsonl", NULL);
    ck_assert_ptr_nonnull(strstr(log, "\"bad_samples\":3"));
    mem_free(log);
    again.num_workers = 3;
    must(&again, false);
    ck_assert(folder_same("broken/model.h5", "again/model.h5"));
    world_text(without.set[0].train_list, "whole.jsonl");          /* as if they had never been there */
    ck_assert_int_eq(must(&without, false).bad_samples, 0);
    ck_assert(folder_same("broken/model.h5", "without/model.h5"));
}
END_TEST

START_TEST(too_many_broken_pictures_end_the_run_before_it_begins)
{
    train_config c = full_run("broken");
    break_pictures();
    const char *text = must_fail(&c, false, ERROR_RUN, "3 of 80 pictures cannot be used; "
                                 "datasets.on_bad_sample is skip, max_bad_fraction 0.01");
    ck_assert_ptr_nonnull(strstr(text, "\n  "));           /* which, and why */
    c.max_bad_fraction = 1;
    c.on_bad_sample = 1;
    must_fail(&c, false, ERROR_RUN, "datasets.on_bad_sample is stop");
    ck_assert(!folder_has("broken"));
}
END_TEST

static void break_all(long step)
{
    for (int i = 1; step == 2 && i <= 64; i++) {
        char name[64];
        snprintf(name, sizeof name, "world/train/%06d.png", i);
        ck_assert(!truncate(IN_FOLDER(name), 40));
    }
}

START_TEST(a_picture_that_breaks_during_the_run_ends_it)
{
    train_config c = full_run("late");
    c.memory_mb = 0;
    after_step = break_all;
    const char *text = must_fail(&c, false, ERROR_RUN, "it was whole when the run began");
    ck_assert_msg(strstr(text, "world/train/0000") != NULL, "%s", text);
}
END_TEST

/* ---- checkpoints ------------------------------------------------------------------------------------- */
START_TEST(a_save_that_was_interrupted_between_its_renames_is_brought_to_its_end)
{
    train_config whole = full_run("whole"), c = full_run("cut");
    must(&whole, false);
    stop_at = 4;
    must(&c, false);
    stop_at = 0;
    if (_i)                                                /* checkpoint.h5 has already become the old one */
        ck_assert(!rename(IN_FOLDER("cut/checkpoint.h5"), IN_FOLDER("cut/checkpoint.new.h5")));
    else {
        ck_assert(!rename(IN_FOLDER("cut/checkpoint.h5"), IN_FOLDER("cut/checkpoint.new.h5")));
        ck_assert(!rename(IN_FOLDER("cut/checkpoint.old.h5"), IN_FOLDER("cut/checkpoint.h5")));
    }
    ck_assert_int_eq(must(&c, true).steps, 8);
    ck_assert(folder_same("whole/model.h5", "cut/model.h5")
              && folder_same("whole/checkpoint.h5", "cut/checkpoint.h5")
              && folder_same("whole/checkpoint.old.h5", "cut/checkpoint.old.h5"));
    ck_assert(!folder_has("cut/checkpoint.new.h5"));
}
END_TEST

START_TEST(a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one)
{
    train_config whole = full_run("whole"), c = full_run("cut");
    must(&whole, false);
    stop_at = 5;
    must(&c, false);                                       /* of steps 5 and 4 */
    ck_assert(!truncate(IN_FOLDER("cut/checkpoint.h5"), 3000));
    stop_at = 6;
    must(&c, true);                                        /* from 4, saves 6 */
    ck_assert_msg(strstr(warnings, "going on from"), "%s", warnings);
    ck_assert(!truncate(IN_FOLDER("cut/checkpoint.h5"), 3000));
    stop_at = 0;
    ck_assert_int_eq(must(&c, true).steps, 8);             /* 4 is still there */
    ck_assert(folder_same("whole/model.h5", "cut/model.h5"));
    ck_assert(folder_has("cut/checkpoint.h5.damaged"));                    /* nothing is removed */
}
END_TEST

/* The place of eight bytes in a file: those of the run's seed. */
static long place_of_seed(const char *file, int64_t seed)
{
    long n, at = 0;
    char *bytes = folder_load(file, &n);
    while (at + 8 <= n && memcmp(bytes + at, &seed, 8))
        at++;
    mem_free(bytes);
    ck_assert_msg(at + 8 <= n, "%s: no seed in it", file);
    return at;
}

/* Numbers of the state are like all else: damage is passed over, not taken for another run. */
START_TEST(a_damaged_number_of_the_state_is_damage)
{
    train_config c = full_run("cut");
    c.seed = 0x123456789abc;
    stop_at = 5;
    must(&c, false);
    FILE *f = fopen(IN_FOLDER("cut/checkpoint.h5"), "r+");
    ck_assert(f && !fseek(f, place_of_seed("cut/checkpoint.h5", c.seed), SEEK_SET)
              && fputc(7, f) == 7 && !fclose(f));
    stop_at = 0;
    ck_assert_int_eq(must(&c, true).steps, 8);
    ck_assert_msg(strstr(warnings, "going on from"), "%s", warnings);
}
END_TEST

/* Whatever an earlier run has left behind in the folder. */
START_TEST(a_run_that_was_begun_anew_does_not_go_on_from_the_one_before)
{
    train_config c = full_run("again");
    stop_at = 5;
    must(&c, false);                                       /* checkpoints of steps 5 and 4 */
    c.save_freq = 0;
    c.init_lr /= 2;
    stop_at = 0;
    c.max_iters = 1;
    must(&c, false);                                       /* and this one leaves its own */
    ck_assert(strstr(warnings, "starts anew") && folder_has("again/checkpoint.h5.aside")
              && folder_has("again/checkpoint.old.h5.aside"));
    c.max_iters = 3;
    train_config alone = full_run("alone");
    alone.save_freq = 0;
    alone.init_lr /= 2;
    alone.max_iters = 3;
    must(&alone, false);
    ck_assert_int_eq(must(&c, true).steps, 3);
    ck_assert(folder_same("again/model.h5", "alone/model.h5"));
}
END_TEST

/* As many samples, another text. */
static void change_a_word(const char *file)
{
    char *text = folder_load(file, NULL), *at = strstr(text, "circle");
    ck_assert_ptr_nonnull(at);
    memcpy(at, "square", 6);
    folder_write(file, text);
    mem_free(text);
}

START_TEST(a_list_that_has_changed_is_told)
{
    static const char says[] = "have as many samples as the checkpoint's, but not the same";
    train_config c = _i ? world_config(TRAIN_LM) : full_run("run");
    world_text(c.output_dir, IN_FOLDER("run"));
    c.max_iters = 8;
    stop_at = 3;
    must(&c, false);
    stop_at = 4;
    must(&c, true);
    ck_assert_msg(!strstr(warnings, says), "%s", warnings);
    change_a_word(_i ? "world/text.txt" : "world/test.jsonl");     /* of the second data set */
    stop_at = 5;
    must(&c, true);
    ck_assert_msg(strstr(warnings, says), "%s", warnings);
    stop_at = 0;
    ck_assert_int_eq(must(&c, true).steps, 8);             /* its checkpoint is of the new list */
    ck_assert_msg(!strstr(warnings, says), "%s", warnings);
}
END_TEST

START_TEST(what_killed_processes_left_half_written_is_cleaned)
{
    train_config c = full_run("swept");
    ck_assert(!mkdir(IN_FOLDER("swept"), 0777));
    folder_write("swept/checkpoint.new.h5.tmp.999999999", "");                     /* no such process */
    must(&c, true);
    ck_assert(!folder_has("swept/checkpoint.new.h5.tmp.999999999"));
}
END_TEST

START_TEST(a_killed_run_goes_on_to_the_same_bytes)         /* `make test-kill` does it more often */
{
    char here[512], command[2048];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    ck_assert_int_gt(n, 0);
    here[n] = 0;
    *strrchr(here, '/') = 0;
    snprintf(command, sizeof command, "TMPDIR=%s %s/test-kill 3 11 %s/blip2%s >%s 2>&1", IN_FOLDER(""), here,
             here, REAL == 64 ? "-f64" : "", IN_FOLDER("kills.txt"));
    int status = system(command);
    char *told = folder_load("kills.txt", NULL);
    ck_assert_msg(status == 0 && strstr(told, "3 passed, 0 failed"), "%s", told);
    mem_free(told);
}
END_TEST

Suite *suite_resume(void)
{
    Suite *s = suite_create("resume");
    TCase *c = tcase_create("resume");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, watched_begin, folder_end);
    tcase_add_test(c, a_run_with_all_that_is_random_goes_on_to_the_same_bytes);
    tcase_add_test(c, pictures_decoded_when_drawn_by_any_number_of_threads_give_the_same_bytes);
    tcase_add_test(c, views_and_ratios_change_what_is_learned);
    tcase_add_test(c, captions_that_a_mirror_makes_wrong_are_told);
    tcase_add_test(c, data_sets_that_do_not_fit_together_are_usage);
    tcase_add_test(c, broken_pictures_are_left_out_counted_and_named);
    tcase_add_test(c, too_many_broken_pictures_end_the_run_before_it_begins);
    tcase_add_test(c, a_picture_that_breaks_during_the_run_ends_it);
    tcase_add_loop_test(c, a_save_that_was_interrupted_between_its_renames_is_brought_to_its_end, 0, 2);
    tcase_add_test(c, a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one);
    tcase_add_test(c, a_damaged_number_of_the_state_is_damage);
    tcase_add_test(c, a_run_that_was_begun_anew_does_not_go_on_from_the_one_before);
    tcase_add_loop_test(c, a_list_that_has_changed_is_told, 0, 2);
    tcase_add_test(c, what_killed_processes_left_half_written_is_cleaned);
    tcase_add_test(c, a_killed_run_goes_on_to_the_same_bytes);
    suite_add_tcase(s, c);
    return s;
}
