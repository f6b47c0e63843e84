/* test_index.c - features kept in a file: what is found in them is what `match` says of each pair. */
#include "tests/world.h"
#include "data/data.h"
#include "eval/index.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static error e;
enum { PICTURES = 9, TEXTS = 3 };
static const char *const texts[TEXTS] = { "a red circle", "there is one shape : a blue square",
                                          "a green triangle" };
static char paths[PICTURES][512];
static const char *images[PICTURES];

static void begin(void)
{
    folder_begin();
    world_make();
    world_train_all(TRAIN_STAGE1);
    record_list l;
    ck_assert_msg(records_read(IN_FOLDER("world/test.jsonl"), &l, &e), "%s", e.text);
    for (int i = 0; i < PICTURES; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%s", IN_FOLDER("world"), l.items[i].image);
        images[i] = paths[i];
    }
    record_list_free(&l);
}

static eval_session opened(void)
{
    eval_session s;
    ck_assert_msg(eval_open(&s, IN_FOLDER("stage1/model.h5"), &e), "%s", e.text);
    return s;
}

static eval_index made(eval_session *s, bool of_images)
{
    eval_index x;
    const char *file = IN_FOLDER("index.h5");
    eval_index_job job = { .images = of_images, .names = of_images ? images : texts,
                           .n = of_images ? PICTURES : TEXTS, .model = "m" };
    ck_assert_msg(eval_index_make(s, &job, file, &e) == job.n, "%s", e.text);
    ck_assert_msg(eval_index_open(&x, file, &s->model, &e), "%s", e.text);
    return x;
}

/* What both heads say of one pair. */
static eval_match pair(eval_session *s, const char *image, const char *text)
{
    const blip2_config *c = &s->model.config;
    ag_mark here = ag_here(s->t);
    real *features = ag_alloc_real(s->t, eval_tokens(c) * c->vision.width);
    blip2_text words;
    eval_match m;
    ck_assert_msg(eval_features(s, &image, 1, features, &e), "%s", e.text);
    ck_assert_msg(eval_texts(s, &text, 1, BLIP2_LAVIS, &words, &e), "%s", e.text);
    eval_match_texts(&s->model, s->t, features, eval_tokens(c), words, &m);
    ag_rewind(s->t, here);
    return m;
}

static const double near = REAL == 64 ? 1e-10 : 1e-4;

START_TEST(the_nearest_pictures_come_first)
{
    eval_session s = opened();
    eval_index x = made(&s, true);
    eval_hit hits[PICTURES];
    ck_assert(x.n == PICTURES && x.images && !strcmp(x.names[4], images[4]));
    ck_assert_int_eq(eval_search(&s, &x, texts[0], false, PICTURES, 0, hits, &e), PICTURES);
    for (int i = 0; i < PICTURES; i++) {
        ck_assert(fabs(hits[i].itc - pair(&s, images[hits[i].at], texts[0]).itc) < near
                  && isnan(hits[i].itm));
        ck_assert(!i || hits[i - 1].itc >= hits[i].itc);
    }
    eval_index_close(&x);
    eval_close(&s);
}
END_TEST

START_TEST(the_matching_head_ranks_the_first_again)
{
    eval_session s = opened();
    eval_index x = made(&s, true);
    eval_hit plain[PICTURES], again[PICTURES];
    ck_assert_int_eq(eval_search(&s, &x, texts[1], false, PICTURES, 0, plain, &e), PICTURES);
    ck_assert_int_eq(eval_search(&s, &x, texts[1], false, PICTURES, 4, again, &e), PICTURES);
    for (int i = 0; i < 4; i++) {
        bool among = false;
        for (int k = 0; k < 4; k++)
            among |= plain[k].at == again[i].at;
        ck_assert(among && fabs(again[i].itm - pair(&s, images[again[i].at], texts[1]).itm) < near);
        ck_assert(!i || again[i - 1].itm >= again[i].itm);
    }
    for (int i = 4; i < PICTURES; i++)
        ck_assert(again[i].at == plain[i].at && isnan(again[i].itm));
    eval_index_close(&x);
    eval_close(&s);
}
END_TEST

START_TEST(a_picture_finds_texts_and_itself)
{
    eval_session s = opened();
    eval_hit hits[PICTURES];
    eval_index of_texts = made(&s, false);
    ck_assert_int_eq(eval_search(&s, &of_texts, images[2], true, TEXTS, TEXTS, hits, &e), TEXTS);
    for (int i = 0; i < TEXTS; i++)
        ck_assert(fabs(hits[i].itm - pair(&s, images[2], texts[hits[i].at]).itm) < near);
    eval_index_close(&of_texts);
    eval_index of_images = made(&s, true);
    ck_assert_int_eq(eval_search(&s, &of_images, images[5], true, 1, 0, hits, &e), 1);
    ck_assert(fabs(hits[0].itc - 1) < 1e-5);
    ck_assert_int_eq(eval_search(&s, &of_images, images[5], true, 1, 3, hits, &e), -1);
    ck_assert(strstr(e.text, "are both pictures") && e.kind == ERROR_USAGE);
    eval_index_close(&of_images);
    eval_close(&s);
}
END_TEST

START_TEST(what_is_no_index_of_this_model_is_refused)
{
    eval_session s = opened();
    eval_index x = made(&s, true);
    blip2_model other = s.model;
    eval_index_close(&x);
    other.config.embed++;
    ck_assert(!eval_index_open(&x, IN_FOLDER("index.h5"), &other, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "made by another model"));
    ck_assert(!eval_index_open(&x, IN_FOLDER("stage1/model.h5"), &s.model, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "no index of this program"));
    images[3] = "none.png";
    eval_index_job job = { .images = true, .names = images, .n = PICTURES, .model = "m" };
    ck_assert(eval_index_make(&s, &job, IN_FOLDER("never.h5"), &e) < 0);
    ck_assert_ptr_nonnull(strstr(e.text, "none.png: cannot be opened"));
    ck_assert(eval_index_make(&s, &job, IN_FOLDER("no/never.h5"), &e) < 0);        /* at once */
    ck_assert_ptr_nonnull(strstr(e.text, "cannot be created"));
    eval_close(&s);
}
END_TEST

/* One weight of the text side. */
static void spoil(eval_session *s, double value)
{
    s->model.text_proj.weight->data[0] = (real)value;
}

START_TEST(an_index_of_other_weights_is_refused)
{
    eval_session s = opened();
    eval_index x = made(&s, false);
    ck_assert(x.named);
    eval_index_close(&x);
    spoil(&s, 0.125);                                      /* as if it were trained on */
    ck_assert(!eval_index_open(&x, IN_FOLDER("index.h5"), &s.model, &e));
    ck_assert_msg(strstr(e.text, "index.h5: weights_xxh3: made by another model, or before") != NULL, "%s",
                  e.text);
    eval_close(&s);
}
END_TEST

START_TEST(features_that_are_no_numbers_are_neither_kept_nor_searched)
{
    eval_session s = opened();
    eval_hit hits[PICTURES];
    eval_index x = made(&s, true);
    spoil(&s, NAN);
    ck_assert_int_eq(eval_search(&s, &x, texts[0], false, PICTURES, 0, hits, &e), -1);
    ck_assert_msg(strstr(e.text, "the features of \"a red circle\" are not finite") != NULL, "%s", e.text);
    eval_index_job job = { .images = false, .names = texts, .n = TEXTS, .model = "m" };
    ck_assert_int_eq(eval_index_make(&s, &job, IN_FOLDER("bad.h5"), &e), -1);
    ck_assert_msg(strstr(e.text, "are not finite: the model is not whole") != NULL, "%s", e.text);
    ck_assert(access(IN_FOLDER("bad.h5"), F_OK) != 0);
    eval_index_close(&x);
    h5_out *f = h5_create(IN_FOLDER("bad.h5"), &e);        /* from another program */
    real numbers[1][64] = { { NAN } };
    h5_write(f, "features", H5_REALS, 2, (long[]){ 1, s.model.config.embed }, numbers);
    h5_write_text(f, "format", "blip2 index");
    h5_write_text(f, "kind", "texts");
    h5_write_text(f, "names", "[\"a\"]");
    ck_assert(s.model.config.embed <= 64 && h5_finish(f, &e));
    ck_assert(!eval_index_open(&x, IN_FOLDER("bad.h5"), &s.model, &e));
    ck_assert_msg(strstr(e.text, "bad.h5: features: not all are finite numbers") != NULL, "%s", e.text);
    eval_close(&s);
}
END_TEST

static void count_bad(void *context, const error *why)
{
    ck_assert_ptr_nonnull(strstr(why->text, "none.png: cannot be opened"));
    ++*(int *)context;
}

START_TEST(a_bad_picture_is_told_and_left_out)
{
    int bad = 0;
    eval_session s = opened();
    eval_index all = made(&s, true), rest;
    const char *kept = images[3];
    images[3] = "none.png";
    eval_index_job job = { .images = true, .names = images, .n = PICTURES, .model = "m", .bad = count_bad,
                           .context = &bad };
    ck_assert_msg(eval_index_make(&s, &job, IN_FOLDER("rest.h5"), &e) == PICTURES - 1, "%s", e.text);
    ck_assert_int_eq(bad, 1);
    ck_assert_msg(eval_index_open(&rest, IN_FOLDER("rest.h5"), &s.model, &e), "%s", e.text);
    long row = all.Q * all.embed;
    for (long i = 0; i < PICTURES - 1; i++) {
        long from = i + (i >= 3);
        ck_assert_str_eq(rest.names[i], all.names[from]);
        for (long k = 0; k < row; k++)
            ck_assert_double_eq_tol((double)rest.features[i * row + k], (double)all.features[from * row + k],
                                    TINY_ROUNDING);
    }
    images[3] = kept;
    eval_index_close(&all);
    eval_index_close(&rest);
    eval_close(&s);
}
END_TEST

Suite *suite_index(void)
{
    Suite *s = suite_create("index");
    TCase *c = tcase_create("search");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, begin, folder_end);
    tcase_add_test(c, the_nearest_pictures_come_first);
    tcase_add_test(c, the_matching_head_ranks_the_first_again);
    tcase_add_test(c, a_picture_finds_texts_and_itself);
    tcase_add_test(c, what_is_no_index_of_this_model_is_refused);
    tcase_add_test(c, an_index_of_other_weights_is_refused);
    tcase_add_test(c, features_that_are_no_numbers_are_neither_kept_nor_searched);
    tcase_add_test(c, a_bad_picture_is_told_and_left_out);
    suite_add_tcase(s, c);
    return s;
}
