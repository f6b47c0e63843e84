/* test_retrieval.c - scores of all pictures against all texts, re-ranking, recall. */
#include "eval/eval.h"
#include "tests/tests.h"
#include <math.h>
#include <string.h>

enum { IMAGES = 5, TEXTS = 40, N = 6, T = 8 };             /* more texts than in one pass */

static tape *t;
static blip2_config config;
static blip2_model m;
static blip2_text texts;
static tensor *features;

static void setup(void)
{
    error e;
    t = ag_tape_new();
    config = tiny_config();
    blip2_model_init(&m, nn_store_new(4), &config);
    ck_assert_msg(nn_build(m.store, true, &e), "%s", e.text);
    features = tiny_normal(t, 8, DIMS(IMAGES, N, config.qformer.memory_width));
    texts = tiny_text(t, &config, TEXTS, T, 0, 5, 9);
}

static void teardown(void)
{
    nn_store_free(m.store);
    ag_tape_free(t);
}

static eval_retrieval retrieve(long k)
{
    return eval_retrieve(&m, t, features->data, IMAGES, N, texts, k);
}

/* Picture i and text j alone. */
static void one_pair(long i, long j, double *itc, real logits[2])
{
    tensor *x = ag_slice(t, features, 0, i, 1);
    nn_kv *memory = ag_alloc(t, config.qformer.layers * (long)sizeof *memory);
    tensor *u = blip2_image_features(&m, t, blip2_image_queries(&m, t, x, memory, NULL));
    blip2_text text = { 1, T, texts.ids + j * T, texts.mask + j * T };
    tensor *w = blip2_text_feature(&m, t, blip2_text_hidden(&m, t, text));
    *itc = -2;
    for (long q = 0; q < u->dim[1]; q++) {
        double dot = 0;
        for (long e = 0; e < u->dim[2]; e++)
            dot += (double)u->data[q * u->dim[2] + e] * (double)w->data[e];
        *itc = fmax(*itc, dot);
    }
    memcpy(logits, blip2_itm_logits(&m, t, memory, NULL, text, NULL)->data, 2 * sizeof *logits);
}

START_TEST(reading_all_pairs_equals_reading_each_alone)
{
    eval_retrieval r = retrieve(TEXTS);
    for (long i = 0; i < IMAGES; i += 2)
        for (long j = 0; j < TEXTS; j += 7) {
            double itc;
            real logits[2];
            one_pair(i, j, &itc, logits);
            double odds = (double)logits[1] - (double)logits[0];
            ck_assert_double_eq_tol((double)r.itc[i * TEXTS + j], itc, 10 * TINY_ROUNDING);
            ck_assert_double_eq_tol((double)r.i2t[i * TEXTS + j], itc + (double)logits[1],
                                    10 * TINY_ROUNDING);
            ck_assert_double_eq_tol((double)r.odds[i * TEXTS + j], odds, 10 * TINY_ROUNDING);
            ck_assert(r.t2i[j * IMAGES + i] == r.i2t[i * TEXTS + j]);
        }
}
END_TEST

START_TEST(only_the_k_best_of_each_row_are_read)
{
    enum { K = 2 };
    eval_retrieval r = retrieve(K), all = retrieve(TEXTS);
    for (long i = 0; i < IMAGES; i++)
        for (long j = 0; j < TEXTS; j++) {
            long better_texts = 0, better_images = 0, at = i * TEXTS + j;
            for (long k = 0; k < TEXTS; k++)
                better_texts += r.itc[i * TEXTS + k] > r.itc[at];
            for (long k = 0; k < IMAGES; k++)
                better_images += r.itc[k * TEXTS + j] > r.itc[at];
            double text = better_texts < K ? (double)all.i2t[at] : -100;
            double image = better_images < K ? (double)all.i2t[at] : -100;
            ck_assert_double_eq_tol((double)r.i2t[at], text, 10 * TINY_ROUNDING);
            ck_assert_double_eq_tol((double)r.t2i[j * IMAGES + i], image, 10 * TINY_ROUNDING);
        }
}
END_TEST

START_TEST(no_pair_is_read_for_k_0_and_the_tape_is_as_before)
{
    ag_training(t, true);
    eval_retrieval r = retrieve(0);
    for (long p = 0; p < IMAGES * TEXTS; p++)
        ck_assert(r.i2t[p] == -100 && r.t2i[p] == -100 && r.odds[p] == 0 && r.itc[p] > -1.001);
    ck_assert_int_eq(ag_node_count(t), 0);
    ck_assert(ag_is_training(t));
    ck_assert(ag_record_on(t, true));
}
END_TEST

static void retrieve_all(void *context) { *(eval_retrieval *)context = retrieve(TEXTS); }

START_TEST(a_model_that_gives_no_numbers_fails_and_finds_nothing)
{
    eval_retrieval r;
    error e;
    m.itm_head.bias->data[1] = (real)NAN;
    ck_assert(!ag_try(t, retrieve_all, &r, &e));
    ck_assert_msg(strstr(e.text, "the logit of a picture and a text is not finite") != NULL, "%s", e.text);
    features->data[3] = (real)NAN;
    ck_assert(!ag_try(t, retrieve_all, &r, &e));
    ck_assert_msg(strstr(e.text, "similarity of a picture and a text is not finite") != NULL, "%s", e.text);
}
END_TEST

START_TEST(recall_counts_rows_whose_own_is_among_the_k_best)
{
    static const real scores[] = { 9, 1, 2,  3, 5, 4,  7, 8, 6,  1, 1, 1 };
    static const long rows[] = { 10, 20, 30, 10 }, columns[] = { 10, 20, 30 };
    ck_assert(eval_recall(scores, 3, 3, rows, columns, 1) == 2.0 / 3);
    ck_assert(eval_recall(scores, 3, 3, rows, columns, 2) == 2.0 / 3);
    ck_assert(eval_recall(scores, 3, 3, rows, columns, 3) == 1);
    ck_assert(eval_recall(scores + 9, 1, 3, rows + 3, columns, 2) == 0);   /* all alike: not found */
}
END_TEST

START_TEST(recall_takes_the_best_of_several_right_answers)
{
    static const real scores[] = { 1, 9, 5, 8 };
    static const long row[] = { 3 }, columns[] = { 3, 4, 3, 4 };
    ck_assert(eval_recall(scores, 1, 4, row, columns, 2) == 0);
    ck_assert(eval_recall(scores, 1, 4, row, columns, 3) == 1);
    ck_assert(eval_recall(scores, 1, 4, (long[]){ 7 }, columns, 4) == 0);
}
END_TEST

Suite *suite_retrieval(void)
{
    Suite *s = suite_create("retrieval");
    TCase *c = tcase_create("retrieval");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, reading_all_pairs_equals_reading_each_alone);
    tcase_add_test(c, only_the_k_best_of_each_row_are_read);
    tcase_add_test(c, no_pair_is_read_for_k_0_and_the_tape_is_as_before);
    tcase_add_test(c, a_model_that_gives_no_numbers_fails_and_finds_nothing);
    tcase_add_test(c, recall_counts_rows_whose_own_is_among_the_k_best);
    tcase_add_test(c, recall_takes_the_best_of_several_right_answers);
    suite_add_tcase(s, c);
    return s;
}
