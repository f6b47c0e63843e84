/* test_dropout.c - which elements dropout takes, and on what that depends: the key and the place. */
#include "tests/tests.h"
#include <math.h>
#include <stdlib.h>

static tensor *ones(tape *t, int ndim, const long *dim)
{
    tensor *x = ag_new(t, ndim, dim);
    for (long i = 0; i < x->size; i++)
        x->data[i] = 1;
    return x;
}

static tape *training(uint64_t seed, uint32_t step, uint32_t pass, const int *sample)
{
    tape *t = ag_tape_new();
    ag_training(t, true);
    ag_seed(t, (ag_random){ .seed = seed, .step = step, .pass = pass, .sample = sample });
    return t;
}

START_TEST(dropout_keeps_its_share_and_scales_what_it_keeps)
{
    static const double ps[] = { 0.1, 0.5, 0.9, 1 };
    double p = ps[_i], q = round((1 - p) * 65536) / 65536;
    tape *t = training(3, 1, 0, NULL);
    const tensor *y = ag_dropout(t, ones(t, DIMS(4, 50, 300)), (ag_drop){ p, 2 });
    long kept = 0, odd = 0;
    for (long i = 0; i < y->size; i++) {
        kept += y->data[i] != 0;
        odd += y->data[i] != 0 && y->data[i] != (real)(1 / q);
    }
    ck_assert_int_eq(odd, 0);
    double n = (double)y->size;
    ck_assert_double_le(fabs((double)kept - n * q), 4 * sqrt(n * q * (1 - q)));
    ag_tape_free(t);
}
END_TEST

START_TEST(dropout_is_nothing_outside_training_or_at_p_0)
{
    tape *t = training(3, 1, 0, NULL);
    tensor *x = ones(t, DIMS(3, 4));
    ck_assert_ptr_eq(ag_dropout(t, x, (ag_drop){ 0, 2 }), x);
    ag_training(t, false);
    ck_assert_ptr_eq(ag_dropout(t, x, (ag_drop){ 0.5, 2 }), x);
    ag_tape_free(t);
}
END_TEST

static double share_alike(const tensor *a, const tensor *b)
{
    long alike = 0;
    for (long i = 0; i < a->size; i++)
        alike += a->data[i] == b->data[i];
    return (double)alike / (double)a->size;
}

/* With half of all kept, two independent draws agree in half of the places. */
START_TEST(seed_step_pass_site_and_sample_each_draw_anew)
{
    static const int zero[] = { 0, 0 }, other[] = { 5, 5 };
    tape *t[6] = { training(3, 1, 0, zero), training(4, 1, 0, zero), training(3, 2, 0, zero),
                   training(3, 1, 1, zero), training(3, 1, 0, other), training(3, 1, 0, zero) };
    const tensor *y[6];
    for (int i = 0; i < 6; i++)
        y[i] = ag_dropout(t[i], ones(t[i], DIMS(2, 40, 200)), (ag_drop){ 0.5, i == 5 ? 3 : 2 });
    for (int i = 1; i < 6; i++)
        ck_assert_double_eq_tol(share_alike(y[0], y[i]), 0.5, 0.02);
    ck_assert_mem_eq(y[0]->data, y[0]->data + 8000, 8000 * sizeof(real));      /* the same sample twice */
    for (int i = 0; i < 6; i++)
        ag_tape_free(t[i]);
}
END_TEST

/* 20 rows of 3 runs of 256 columns: any two runs agree in about half of their places (deviation 8). */
START_TEST(rows_and_columns_of_a_sample_draw_apart)
{
    enum { RUN = 256, RUNS = 20 * 3 };
    tape *t = training(3, 1, 0, NULL);
    const real *y = ag_dropout(t, ones(t, DIMS(1, 20, 3 * RUN)), (ag_drop){ 0.5, 2 })->data;
    for (long i = 0; i < RUNS; i++)
        for (long j = 0; j < i; j++) {
            long alike = 0;
            for (long c = 0; c < RUN; c++)
                alike += y[i*RUN + c] == y[j*RUN + c];
            ck_assert_msg(labs(alike - RUN / 2) < 48, "runs %ld and %ld agree in %ld places", i, j, alike);
        }
    ag_tape_free(t);
}
END_TEST

/* Trimmed rows and columns, and another place in the batch: an element is dropped or not all the same. */
START_TEST(dropout_depends_on_no_length_and_no_neighbour)
{
    static const int all[] = { 11, 12, 13 }, one[] = { 13 };
    tape *t = training(3, 1, 0, all), *u = training(3, 1, 0, one);
    const tensor *y = ag_dropout(t, ones(t, DIMS(3, 30, 700)), (ag_drop){ 0.3, 2 });
    const tensor *z = ag_dropout(u, ones(u, DIMS(1, 11, 270)), (ag_drop){ 0.3, 2 });
    for (long r = 0; r < 11; r++)
        ck_assert_mem_eq(z->data + r*270, y->data + (60 + r)*700, 270 * sizeof(real));
    ag_tape_free(t);
    ag_tape_free(u);
}
END_TEST

Suite *suite_dropout(void)
{
    Suite *s = suite_create("dropout");
    TCase *c = tcase_create("dropout");
    tcase_add_loop_test(c, dropout_keeps_its_share_and_scales_what_it_keeps, 0, 4);
    tcase_add_test(c, dropout_is_nothing_outside_training_or_at_p_0);
    tcase_add_test(c, seed_step_pass_site_and_sample_each_draw_anew);
    tcase_add_test(c, rows_and_columns_of_a_sample_draw_apart);
    tcase_add_test(c, dropout_depends_on_no_length_and_no_neighbour);
    suite_add_tcase(s, c);
    return s;
}
