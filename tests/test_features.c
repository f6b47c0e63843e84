/* test_features.c - a cache of what a frozen tower makes of the pictures: the same losses as without, made
 * once, gone on with when its making was stopped, made anew when it does not fit, refused when it is
 * damaged. */
#include "base/rows.h"
#include "tests/world.h"
#include "train/ranks.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;
static char warnings[4096], notes[4096];
static volatile int stop;
static bool stop_filling;
static double losses[64];
static long lines;

static bool make(const ag_ranks *r, void *context, error *why)
{
    (void)r, (void)context, (void)why;
    world_make();
    return true;
}

static void begin(void)                            /* OpenMP of this process is for the tests */
{
    folder_begin();
    ck_assert_msg(ranks_processes(1, make, &(int){ 0 }, sizeof(int), NULL, &e), "%s", e.text);
}

static void add_line(char to[4096], const char *text)
{
    size_t used = strlen(to);
    snprintf(to + used, 4096 - used, "%s\n", text);
}

static void on_warning(void *context, const char *text) { (void)context; add_line(warnings, text); }

static void on_note(void *context, const char *text)
{
    (void)context;
    add_line(notes, text);
    stop = stop_filling && strstr(text, "to be computed");
}

static void on_step(void *context, const train_line *line)
{
    (void)context;
    if (lines < 64)
        losses[lines++] = line->losses->value[0];
}

static bool run(const train_config *c, bool resume, long ranks, train_result *result)
{
    static const train_watch watch = { .warn = on_warning, .note = on_note, .step = on_step };
    stop = 0;
    lines = 0;
    warnings[0] = notes[0] = 0;
    return train_run(c, &(train_options){ .resume = resume, .stop = &stop, .watch = &watch, .ranks = ranks },
                     result, &e);
}

static train_result must(const train_config *c)
{
    train_result result = { 0 };
    ck_assert_msg(run(c, false, 0, &result), "%s", e.text);
    return result;
}

static void must_fail(const train_config *c, error_kind kind, const char *says)
{
    train_result result;
    ck_assert(!run(c, false, 0, &result));
    ck_assert_msg(strstr(e.text, says) != NULL, "expected \"%s\", found \"%s\"", says, e.text);
    ck_assert_int_eq(e.kind, kind);
}

/* Two data sets, one with everything drawn, one whole; 8 steps, more than a visit of the second. */
static train_config of(const char *name, const char *cache)
{
    train_config c = world_config(TRAIN_STAGE1);
    c.pretrained.count = 0;
    c.freeze.count = 1;
    world_text(c.freeze.item[0], "visual_encoder");
    world_text(c.bert_tokenizer, IN_FOLDER("bert"));
    world_text(c.output_dir, IN_FOLDER(name));
    c.sets.count = 2;
    for (int k = 0; k < 2; k++) {
        snprintf(c.sets.name[k], CONFIG_NAMED_SIZE, "set%d", k);
        c.set[k] = c.data;
        c.set[k].view = k ? TRAIN_VIEW_WHOLE : TRAIN_VIEW_RANDOM;
        c.set[k].ratio = k ? 1 : 3;
        c.set[k].flip = 0;
    }
    world_text(c.set[1].train_list, "test.jsonl");
    c.data.root[0] = 0;
    c.batch = 4;
    c.accumulate = 2;
    c.max_iters = 16;
    if (cache) {
        world_text(c.feature_cache, IN_FOLDER(cache));
        c.cache_views = 3;
        c.cache_dtype = 2;
    }
    return c;
}

/* Equal but for rounding, which depends on where in a batch a picture stands. */
static void same_run(const char *what, const double *x, const double *y)
{
    for (long i = 0; i < lines; i++)
        ck_assert_msg(fabs(x[i] - y[i]) < 1e-5, "%s, step %ld: %.9g %.9g", what, i + 1, x[i], y[i]);
}

static void keep(double to[64]) { memcpy(to, losses, sizeof losses); }

/* ---- the same numbers ---------------------------------------------------------------------------------- */
START_TEST(features_that_are_read_train_like_features_that_are_computed)
{
    train_config without = of("without", NULL), with = of("with", "cache/f.h5");
    train_config again = of("again", "cache/f.h5");
    double first[64], second[64];
    struct stat before, after;
    must(&without);
    keep(first);
    must(&with);
    keep(second);
    ck_assert_int_eq(lines, 16);
    same_run("with a cache", first, second);
    ck_assert_msg(strstr(notes, "208 views of 5 x 16 in f32")
                  && strstr(notes, "an epoch of 80 pictures reads"), "%s", notes);
    ck_assert_str_eq(warnings, "");
    ck_assert(!stat(IN_FOLDER("cache/f.h5"), &before));
    again.num_workers = 5;
    ag_threads(3);
    must(&again);
    ck_assert(folder_same("with/model.h5", "again/model.h5"));
    ck_assert(!strstr(notes, "to be computed") && !stat(IN_FOLDER("cache/f.h5"), &after));
    ck_assert(before.st_ino == after.st_ino && before.st_mtime == after.st_mtime);
}
END_TEST

START_TEST(short_numbers_change_the_losses_a_little)
{
    double exact[64];
    train_config c = of("f32", "f32.h5");
    must(&c);
    keep(exact);
    for (int dtype = 0; dtype < 2; dtype++) {
        double most = 0, bound = dtype ? 4e-2 : 5e-3;
        c = of("short", "short.h5");
        c.cache_dtype = dtype;
        must(&c);
        for (long i = 0; i < lines; i++)
            most = fmax(most, fabs(losses[i] - exact[i]));
        ck_assert_msg(most > 0 && most < bound, "%d: %g", dtype, most);
    }
    ck_assert_msg(strstr(warnings, "features: expected 5 x 16, bf16, found 5 x 16, f16"), "%s", warnings);
}
END_TEST

START_TEST(a_view_comes_back_after_as_many_visits_as_there_are_views)
{
    train_config a = of("a", "a.h5"), b = of("b", "b.h5");
    a.cache_views = 1;                                     /* 64 of 3/4 x 8 places a step: the second visit */
    a.max_iters = b.max_iters = 14;
    must(&a);
    double one[64];
    keep(one);
    must(&b);
    ck_assert(fabs(one[0] - losses[0]) < 1e-5 && fabs(one[13] - losses[13]) > 1e-4);
}
END_TEST

START_TEST(a_run_with_a_cache_goes_on_to_the_same_bytes)
{
    train_config whole = of("whole", "f.h5"), parts = of("parts", "f.h5");
    train_result result;
    whole.schedule = parts.schedule = TRAIN_CONSTANT;      /* else it follows from the number of steps */
    must(&whole);
    parts.max_iters = 9;
    parts.save_freq = 4;
    must(&parts);
    parts.max_iters = 16;
    ck_assert_msg(run(&parts, true, 0, &result), "%s", e.text);
    ck_assert_int_eq(lines, 7);                            /* from the checkpoint of its end */
    ck_assert(folder_same("whole/model.h5", "parts/model.h5"));
}
END_TEST

START_TEST(ranks_make_and_read_one_cache)
{
    train_config two = of("two", "two.h5"), one = of("one", "one.h5"), again = of("again", "two.h5");
    train_result result;
    two.batch = again.batch = 2;
    ck_assert_msg(run(&two, false, 2, &result), "%s", e.text);
    ck_assert_msg(run(&again, false, 2, &result), "%s", e.text);
    must(&one);
    ck_assert(folder_same("two/model.h5", "again/model.h5"));
    ck_assert(!folder_has("two.h5.part"));
    two = of("two", "two.h5");                             /* what two ranks made, read by one */
    must(&two);
    ck_assert(folder_same("two/model.h5", "one/model.h5"));
}
END_TEST

/* ---- making it ----------------------------------------------------------------------------------------- */
START_TEST(what_was_stopped_while_it_was_made_is_gone_on_with)
{
    train_config whole = of("whole", "whole.h5"), parts = of("parts", "parts.h5");
    must(&whole);
    stop_filling = true;
    ck_assert(must(&parts).stopped && lines == 0);
    ck_assert(folder_has("parts.h5.part") && !folder_has("parts.h5"));
    stop_filling = false;
    must(&parts);
    ck_assert(folder_same("whole/model.h5", "parts/model.h5"));
    ck_assert(!folder_has("parts.h5.part"));
}
END_TEST

START_TEST(rows_that_were_not_written_or_not_whole_are_made_again)
{
    train_config whole = of("whole", "whole.h5"), parts = of("parts", "parts.h5");
    train_result result;
    must(&whole);
    for (long at = 40; at < 500; at += 37) {
        file_fail_at(at, ENOSPC, true);
        bool ok = run(&parts, false, 0, &result);
        file_fail_at(0, 0, false);
        if (ok)
            break;
        ck_assert_msg(strstr(e.text, "No space left") || strstr(e.text, "cannot be"), "%s", e.text);
    }
    remove(IN_FOLDER("parts.h5"));
    stop_filling = true;
    ck_assert(must(&parts).stopped);
    stop_filling = false;
    long n, m;
    char *bytes = folder_load("whole.h5", &n), *part = folder_load("parts.h5.part", &m);
    ck_assert_int_eq(n, m);
    bytes[n / 2] ^= 1;                                     /* all rows there, one of them with a wrong byte */
    folder_write_bytes("parts.h5.part", bytes, n);
    mem_free(bytes);
    mem_free(part);
    must(&parts);
    ck_assert_msg(strstr(notes, "; 1 to be computed"), "%s", notes);
    ck_assert(folder_same("whole/model.h5", "parts/model.h5"));
}
END_TEST

/* ---- one that does not fit ----------------------------------------------------------------------------- */
static void must_be_made_anew(train_config *c, const char *why)
{
    must(c);
    ck_assert_msg(strstr(warnings, "does not fit this run and is made anew") && strstr(warnings, why),
                  "expected %s, found %s", why, warnings);
    must(c);
    ck_assert_msg(!strstr(warnings, "does not fit"), "%s", warnings);
}

START_TEST(a_cache_of_another_tower_list_or_view_is_made_anew_aloud)
{
    train_config c = of("run", "f.h5");
    c.cache_seed = 7;
    must(&c);
    c.cache_views = 2;
    must_be_made_anew(&c, "views: expected 64 pictures, 2 views");
    c.cache_seed = 8;
    must_be_made_anew(&c, "seed");
    c.set[0].magnitude = 4;
    must_be_made_anew(&c, "views: ");
    c.set[0].max_samples = 63;
    must_be_made_anew(&c, "list: ");
    c.seed = 43;                                           /* the tower starts from it */
    must_be_made_anew(&c, "tower: ");
    for (int k = 0; k < 2; k++)
        c.set[k].view = TRAIN_VIEW_WHOLE;
    must_be_made_anew(&c, "whole");
    c.cache_seed = 9;                                      /* which nothing follows from now */
    must(&c);
    ck_assert_msg(!strstr(warnings, "does not fit"), "%s", warnings);
    FILE *f = fopen(IN_FOLDER("world/train/000005.png"), "a");     /* another file of the same name */
    ck_assert(f && fputc(0, f) == 0 && !fclose(f));
    must_be_made_anew(&c, "list: ");
}
END_TEST

START_TEST(what_cannot_have_a_cache_is_usage)
{
    train_config c = of("run", "f.h5");
    c.freeze.count = 0;
    must_fail(&c, ERROR_USAGE, "run.feature_cache: expected a frozen tower");
    c = world_config(TRAIN_VIT);
    world_text(c.feature_cache, IN_FOLDER("f.h5"));
    must_fail(&c, ERROR_USAGE, "run.feature_cache: expected task stage1 or stage2, found vit");
    ck_assert(!folder_has("f.h5"));
}
END_TEST

START_TEST(features_too_large_for_f16_are_told)
{
    train_config c = of("run", "f.h5");
    c.cache_dtype = 0;
    real large[5 * 16];
    for (int i = 0; i < 5 * 16; i++)
        large[i] = 1e5;
    h5_out *f = h5_create(IN_FOLDER("large.h5"), &e);
    ck_assert(f != NULL);
    h5_write(f, "visual_encoder/pos_embed", H5_REALS, 3, (const long[]){ 1, 5, 16 }, large);
    ck_assert_msg(h5_finish(f, &e), "%s", e.text);
    snprintf(c.pretrained.item[c.pretrained.count++], CONFIG_TEXT_SIZE, "%s:visual_encoder.pos_embed",
             IN_FOLDER("large.h5"));
    must_fail(&c, ERROR_RUN, "features are too large for f16; bf16 and f32 hold them");
    c.cache_dtype = 1;
    must(&c);
}
END_TEST

/* ---- damage -------------------------------------------------------------------------------------------- */
static void flip(const char *name, long at)
{
    long n;
    char *bytes = folder_load(name, &n);
    FILE *f = fopen(IN_FOLDER(name), "r+");
    ck_assert(f && !fseek(f, at < 0 ? n + at : at, SEEK_SET));
    fputc(bytes[at < 0 ? n + at : at] ^ 4, f);
    ck_assert(!fclose(f));
    mem_free(bytes);
}

START_TEST(a_damaged_cache_is_refused)
{
    train_config c = of("run", "f.h5");
    long n;
    must(&c);
    char *bytes = folder_load("f.h5", &n);
    const long places[] = { 9, 100, 600, n / 2, n - 30, n - 4 };
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
        train_result result;
        flip("f.h5", places[k]);
        ck_assert_msg(!run(&c, false, 0, &result), "place %ld of %ld", places[k], n);
        ck_assert_msg(strstr(e.text, "damaged") || strstr(e.text, "HDF5"), "%s", e.text);
        flip("f.h5", places[k]);
    }
    must(&c);
    ck_assert_str_eq(warnings, "");
    for (long cut = 0; cut < n; cut += n / 7) {
        train_result result;
        folder_write_bytes("f.h5", bytes, cut);
        ck_assert_msg(!run(&c, false, 0, &result), "cut at %ld of %ld", cut, n);
    }
    mem_free(bytes);
}
END_TEST

START_TEST(another_file_in_its_place_stays)
{
    train_config c = of("run", NULL);
    must(&c);
    c = of("other", "run/model.h5");
    must_fail(&c, ERROR_RUN, "run.feature_cache: expected a file of features, found something else");
    world_text(c.feature_cache, IN_FOLDER("world/train.jsonl"));
    must_fail(&c, ERROR_RUN, "not an HDF5 file");
}
END_TEST

/* ---- broken pictures ----------------------------------------------------------------------------------- */
START_TEST(broken_pictures_are_no_part_of_it)
{
    train_config a = of("a", NULL), b = of("b", "f.h5");
    double first[64];
    a.max_bad_fraction = b.max_bad_fraction = 0.1;
    ck_assert(!truncate(IN_FOLDER("world/train/000005.png"), 60));
    ck_assert(!truncate(IN_FOLDER("world/test/000073.png"), 0));
    ck_assert_int_eq(must(&a).bad_samples, 2);
    keep(first);
    for (int k = 0; k < 2; k++) {                          /* the second time it is known which */
        ck_assert_int_eq(must(&b).bad_samples, 2);
        ck_assert_msg(strstr(warnings, "2 of 80 pictures cannot be used and are left out")
                      && strstr(warnings, "000005.png"), "%s", warnings);
        same_run("without the broken", first, losses);
        ck_assert_int_eq(strstr(notes, "to be computed") == NULL, k);
    }
    b.max_bad_fraction = 0.01;
    must_fail(&b, ERROR_RUN, "2 of 80 pictures cannot be used; datasets.on_bad_sample is skip");
}
END_TEST

/* ---- numbers in 16 bits -------------------------------------------------------------------------------- */
START_TEST(short_floats_are_the_nearest)
{
    for (int h = 0; h < 0x10000; h++)
        for (int k = 0; k < 2; k++) {
            h5_stored as = k ? H5_BF16 : H5_F16;
            uint16_t bits = (uint16_t)h, back;
            real x;
            widen_reals(as, 1, &bits, &x);
            narrow_reals(as, 1, &x, &back);
            ck_assert_msg(back == bits || isnan(x), "%d %04x: %g %04x", k, h, (double)x, back);
            int exponent = k ? h >> 7 & 255 : h >> 10 & 31;
            double exact = k ? ldexp(128 + (h & 127), exponent - 134)
                             : ldexp(1024 + (h & 1023), exponent - 25);
            if (exponent > 0 && exponent < (k ? 255 : 31))
                ck_assert(fabs((double)x) == exact && !!signbit(x) == h >> 15);
        }
    for (uint64_t i = 0; i < 200000; i++) {                /* between two neighbours, to the nearer */
        uint16_t low = (uint16_t)(ag_uniform(3, 2 * i) * 0x7bff), high = (uint16_t)(low + 1), got;
        real a, b, x;
        widen_reals(H5_F16, 1, &low, &a);
        widen_reals(H5_F16, 1, &high, &b);
        double share = i % 3 ? ag_uniform(3, 2 * i + 1) : 0.5;
        x = (real)(float)((double)a + share * ((double)b - (double)a));
        narrow_reals(H5_F16, 1, &x, &got);
        double below = (double)x - (double)a, above = (double)b - (double)x;
        ck_assert(got == (below < above ? low : below > above ? high : low & 1 ? high : low));
    }
    real large[3] = { 65504, 65519, 65520 };
    uint16_t three[3];
    ck_assert_int_eq(narrow_reals(H5_F16, 3, large, three), 1);
    ck_assert(three[0] == 0x7bff && three[1] == 0x7bff && three[2] == 0x7c00);
}
END_TEST

Suite *suite_features(void)
{
    Suite *s = suite_create("features");
    TCase *c = tcase_create("features");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, begin, folder_end);
    tcase_add_test(c, features_that_are_read_train_like_features_that_are_computed);
    tcase_add_test(c, short_numbers_change_the_losses_a_little);
    tcase_add_test(c, a_view_comes_back_after_as_many_visits_as_there_are_views);
    tcase_add_test(c, a_run_with_a_cache_goes_on_to_the_same_bytes);
    tcase_add_test(c, ranks_make_and_read_one_cache);
    tcase_add_test(c, what_was_stopped_while_it_was_made_is_gone_on_with);
    tcase_add_test(c, rows_that_were_not_written_or_not_whole_are_made_again);
    tcase_add_test(c, a_cache_of_another_tower_list_or_view_is_made_anew_aloud);
    tcase_add_test(c, what_cannot_have_a_cache_is_usage);
    tcase_add_test(c, features_too_large_for_f16_are_told);
    tcase_add_test(c, a_damaged_cache_is_refused);
    tcase_add_test(c, another_file_in_its_place_stays);
    tcase_add_test(c, broken_pictures_are_no_part_of_it);
    tcase_add_test(c, short_floats_are_the_nearest);
    suite_add_tcase(s, c);
    return s;
}
