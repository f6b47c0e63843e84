/* test_weigh.c - the weights of ITC and ITM: choices are made by known weights, which come back; and no
 * other weights make the choices more likely.                                                              */
#include "eval/internal.h"
#include "tests/tests.h"
#include <math.h>
#include <string.h>

enum { K = 8 };
static const double T = 0.07;

typedef struct world {                 /* n pictures, a text each; every row reads K candidates */
    tape *t;
    eval_retrieval r;
    eval_pairing p;
} world;

static long *own_of(tape *t, long j)
{
    long *list = ag_alloc(t, 2 * (long)sizeof *list);
    list[0] = j;
    list[1] = -1;
    return list;
}

/* Row i reads candidates i..i+K-1; the right one among them is drawn by exp(a x0 + b x1). Only pictures read:
 * of texts no row is told. */
static world choices_by(long n, double a, double b)
{
    world w = { .t = ag_tape_new(), .p = { .n = n, .m = n } };
    w.r = (eval_retrieval){ n, n, ag_alloc_real(w.t, n * n), ag_alloc_real(w.t, n * n),
                            ag_alloc_real(w.t, n * n), ag_alloc_real(w.t, n * n) };
    w.p.of_picture = ag_alloc(w.t, n * (long)sizeof *w.p.of_picture);
    w.p.of_text = ag_alloc(w.t, n * (long)sizeof *w.p.of_text);
    w.p.text = ag_alloc(w.t, n * (long)sizeof *w.p.text);
    for (long i = 0; i < n * n; i++)
        w.r.itc[i] = w.r.odds[i] = 0, w.r.i2t[i] = w.r.t2i[i] = -100;
    for (long i = 0; i < n; i++) {
        double share[K], sum = 0;
        for (long k = 0; k < K; k++) {
            long at = i * n + (i + k) % n;
            w.r.itc[at] = (real)(T * ag_normal(1, (uint64_t)at));
            w.r.odds[at] = (real)(2 * ag_normal(2, (uint64_t)at));
            w.r.i2t[at] = 0;
            sum += share[k] = exp(a * (double)w.r.itc[at] / T + b * (double)w.r.odds[at]);
        }
        double u = sum * ag_uniform(3, (uint64_t)i);
        long right = 0;
        while (right < K - 1 && (u -= share[right]) > 0)
            right++;
        w.p.of_picture[i] = own_of(w.t, (i + right) % n);
        w.p.of_text[i] = own_of(w.t, i);
        w.p.text[i] = (eval_candidate){ "", i, i, i };
    }
    return w;
}

/* The log likelihood with the prior, written plainly. */
static double likely(const world *w, double a, double b)
{
    double sum = -(pow(a - 1, 2) + pow(b - 1, 2)) / 2;
    long n = w->p.n;
    for (long i = 0; i < n; i++) {
        double all = 0;
        for (long k = 0; k < K; k++) {
            long at = i * n + (i + k) % n;
            all += exp(a * (double)w->r.itc[at] / T + b * (double)w->r.odds[at]);
        }
        long own = i * n + *w->p.of_picture[i];
        sum += a * (double)w->r.itc[own] / T + b * (double)w->r.odds[own] - log(all);
    }
    return sum;
}

START_TEST(the_weights_that_chose_come_back)
{
    static const double all[][2] = { { 1, 1 }, { 0.8, 0.25 }, { 1.5, 0 }, { 0.3, 2 } };
    const double *by = all[_i];
    world w = choices_by(2000, by[0], by[1]);
    eval_weight found = eval_weigh(w.t, &w.r, &w.p, T, K);
    ck_assert_int_eq(found.rows, 2000);
    ck_assert_msg(fabs(found.cosine - by[0]) < 0.12 && fabs(found.odds - by[1]) < 0.12, "%g %g",
                  found.cosine, found.odds);
    double half = (found.high - found.low) / 2;
    ck_assert_msg(half > 0.01 && half < 0.12 && fabs(found.odds - by[1]) < 2 * half, "+-%g", half);
    ck_assert_double_eq_tol(found.weight, fmax(found.odds, 0) / found.cosine, 1e-12);
    double top = likely(&w, found.cosine, found.odds);
    for (int d = 0; d < 4; d++)
        ck_assert(likely(&w, found.cosine + (d % 2 ? 1e-3 : -1e-3) * (d < 2),
                         found.odds + (d % 2 ? 1e-3 : -1e-3) * (d > 1)) < top);
    ag_tape_free(w.t);
}
END_TEST

/* The interval is as wide as estimates differ from draw to draw. */
START_TEST(the_interval_holds_the_truth_as_often_as_it_says)
{
    int held = 0;
    for (int draw = 0; draw < 200; draw++) {
        world w = choices_by(60 + draw, 1, 0.5);   /* another n: other numbers in every place */
        eval_weight found = eval_weigh(w.t, &w.r, &w.p, T, K);
        held += found.low < 0.5 && 0.5 < found.high;
        ag_tape_free(w.t);
    }
    ck_assert_msg(held > 174 && held < 200, "%d of 200", held);
}
END_TEST

/* Both ways of a pair count; a row without its right candidate, or with nothing else, tells nothing. */
START_TEST(rows_that_tell_nothing_are_left_out)
{
    world w = choices_by(40, 1, 1);
    eval_weight one = eval_weigh(w.t, &w.r, &w.p, T, K);
    for (long i = 0; i < 40; i++)      /* texts read the same pairs: half of the rows' right is not there */
        for (long k = 0; k < K; k++)
            w.r.t2i[(i + k) % 40 * 40 + i] = 0;
    eval_weight both = eval_weigh(w.t, &w.r, &w.p, T, K);
    ck_assert(one.rows == 40 && both.rows > 40 && both.rows <= 80);
    for (long i = 0; i < 40 * 40; i++)
        w.r.i2t[i] = w.r.t2i[i] = -100;
    eval_weight none = eval_weigh(w.t, &w.r, &w.p, T, K);
    ck_assert(none.rows == 0 && none.weight == 1);
    for (long i = 0; i < 40; i++)
        w.r.i2t[i * 40 + *w.p.of_picture[i]] = 0;
    ck_assert(eval_weigh(w.t, &w.r, &w.p, T, K).rows == 0);
    ag_tape_free(w.t);
}
END_TEST

/* Rows that both features tell apart without error have no finite best weights: the prior holds them. */
START_TEST(choices_without_error_end_at_finite_weights)
{
    world w = choices_by(50, 60, 60);
    eval_weight found = eval_weigh(w.t, &w.r, &w.p, T, K);
    ck_assert_msg(found.cosine > 1 && found.cosine < 20 && found.odds > 1 && found.odds < 20, "%g %g",
                  found.cosine, found.odds);
    ag_tape_free(w.t);
}
END_TEST

/* Where ITC's cosine speaks against the right one, no weight of the odds beside it is told. */
START_TEST(a_cosine_that_misleads_has_no_weight)
{
    world w = choices_by(500, -1, 1);
    eval_weight found = eval_weigh(w.t, &w.r, &w.p, T, K);
    ck_assert(found.cosine < 0 && isnan(found.weight));
    ag_tape_free(w.t);
}
END_TEST

Suite *suite_weigh(void)
{
    Suite *s = suite_create("weigh");
    TCase *c = tcase_create("conditional logit");
    tcase_add_loop_test(c, the_weights_that_chose_come_back, 0, 4);
    tcase_add_test(c, the_interval_holds_the_truth_as_often_as_it_says);
    tcase_add_test(c, rows_that_tell_nothing_are_left_out);
    tcase_add_test(c, choices_without_error_end_at_finite_weights);
    tcase_add_test(c, a_cosine_that_misleads_has_no_weight);
    suite_add_tcase(s, c);
    return s;
}
