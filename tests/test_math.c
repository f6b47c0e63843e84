/* test_math.c - exp, erf and tanh over arrays against the C library, the activations against their formulas,
 * and the random numbers against their authors' known answers. */
#include "tests/tests.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RUN = 4096 };
typedef struct function {
    void (*over)(long n, const real *x, real *y);
    double (*exact)(double);
    float (*single)(float);
} function;
static const function functions[] = {
    { ag_vexp, exp, expf }, { ag_verf, erf, erff }, { ag_vtanh, tanh, tanhf },
};

#if REAL == 32
static int64_t place(float x)                              /* neighbours differ by 1, -0 and +0 are one */
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? INT32_MIN - (int64_t)bits : bits;
}

/* Every 61st of all floats: each exponent and both signs, denormals, infinities and NaN among them. */
START_TEST(within_two_places_of_the_library_everywhere)
{
    const function *f = &functions[_i];
    float x[RUN], y[RUN], where = 0;
    int64_t worst = 0;
    for (uint64_t first = 0; first < 1ull << 32; first += 61ull * RUN) {
        for (uint64_t i = 0; i < RUN; i++) {
            uint32_t bits = (uint32_t)(first + 61 * i);
            memcpy(&x[i], &bits, sizeof bits);
        }
        f->over(RUN, x, y);
        for (long i = 0; i < RUN; i++) {
            float right = f->single(x[i]);
            bool alike = isnan(right) ? isnan(y[i]) : !isnan(y[i]) && !signbit(right) == !signbit(y[i]);
            int64_t off = !alike ? INT32_MAX : isnan(right) ? 0 : llabs(place(y[i]) - place(right));
            if (off > worst) {
                worst = off;
                where = x[i];
            }
        }
    }
    ck_assert_msg(worst <= 2, "at %a: %a, off by %lld", where, f->single(where), (long long)worst);
}
END_TEST
#else
START_TEST(in_double_it_is_the_library)
{
    const function *f = &functions[_i];
    double x[RUN], y[RUN];
    for (long i = 0; i < RUN; i++)
        x[i] = 8 * ag_normal(1, (uint64_t)i);
    f->over(RUN, x, y);
    for (long i = 0; i < RUN; i++)
        ck_assert_mem_eq(&y[i], &(double){ f->exact(x[i]) }, sizeof y[i]);
}
END_TEST
#endif

/* One by one, in place, and at an odd start: the same bits as in one go. */
START_TEST(the_place_in_an_array_changes_nothing)
{
    const function *f = &functions[_i];
    real x[67], y[67], one[1];
    for (long i = 0; i < 67; i++)
        x[i] = (real)(2 * ag_normal(3, (uint64_t)i));
    f->over(67, x, y);
    for (long i = 0; i < 67; i++) {
        f->over(1, x + i, one);
        ck_assert_mem_eq(one, y + i, sizeof *one);
    }
    f->over(66, x + 1, x + 1);
    ck_assert_mem_eq(x + 1, y + 1, 66 * sizeof *x);
}
END_TEST

/* ---- activations --------------------------------------------------------------------------------------- */
static double gelu(double x) { return x * 0.5 * erfc(-x / sqrt(2)); }
static double gelu_tanh(double x) { return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * pow(x, 3)))); }
static double quick_gelu(double x) { return x / (1 + exp(-1.702 * x)); }
static double relu(double x) { return fmax(x, 0); }

START_TEST(activations_are_their_formulas)
{
    static double (*const formula[])(double) = { gelu, gelu_tanh, quick_gelu, relu };
    static const ag_act acts[] = { AG_GELU, AG_GELU_TANH, AG_QUICK_GELU, AG_RELU };
    tape *t = ag_tape_new();
    tensor *x = ag_new(t, DIMS(3, 667));
    for (long i = 0; i < x->size; i++)
        x->data[i] = (real)((double)(i - 1000) / 100);     /* -10 .. 10, 0 among them */
    tensor *y = ag_activation(t, x, acts[_i]);
    for (long i = 0; i < x->size; i++) {
        double at = (double)x->data[i], bound = (REAL == 64 ? 4e-16 : 2.5e-7) * fmax(fabs(at), 1e-3);
        ck_assert_double_eq_tol((double)y->data[i], formula[_i](at), bound);
    }
    ck_assert_ptr_eq(ag_activation(t, x, AG_NONE), x);
    ag_tape_free(t);
}
END_TEST

START_TEST(activations_pass_a_nan_on)
{
    tape *t = ag_tape_new();
    tensor *x = ag_new(t, DIMS(40));
    for (int act = AG_GELU; act <= AG_RELU; act++)
        for (long i = 0; i < 40; i++) {
            memset(x->data, 0, 40 * sizeof(real));
            x->data[i] = NAN;
            const tensor *y = ag_activation(t, x, (ag_act)act);
            for (long j = 0; j < 40; j++)
                ck_assert_int_eq(isnan(y->data[j]) != 0, i == j);
        }
    ag_tape_free(t);
}
END_TEST

/* ---- random numbers ------------------------------------------------------------------------------------ */
/* Random123's file kat_vectors, philox 4x32, 10 rounds. */
START_TEST(philox_gives_its_authors_known_answers)
{
    static const struct { uint64_t key; uint32_t counter[4], answer[4]; } known[] = {
        { 0, { 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { UINT64_MAX, { UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { 0x299f31d0a4093822, { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    uint32_t out[4];
    ag_philox(known[_i].key, known[_i].counter, out);
    ck_assert_mem_eq(out, known[_i].answer, sizeof out);
}
END_TEST

START_TEST(uniform_numbers_fill_the_unit_interval_evenly)
{
    enum { BINS = 64, N = 64 * 4000 };
    long bins[BINS] = { 0 }, outside = 0;
    double chi = 0;
    for (uint64_t i = 0; i < N; i++) {
        double u = ag_uniform(5, i);
        outside += !(u >= 0 && u < 1);
        bins[(int)(u * BINS)]++;
    }
    for (int b = 0; b < BINS; b++)
        chi += pow((double)bins[b] - N / BINS, 2) / (N / BINS);
    ck_assert_int_eq(outside, 0);
    ck_assert_msg(chi > 30 && chi < 110, "chi square %g", chi);     /* 63 expected, 4 deviations of 11 */
}
END_TEST

START_TEST(normal_numbers_have_the_moments_of_a_normal)
{
    enum { N = 200000 };
    double moment[5] = { 0 }, neighbours = 0, before = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = ag_normal(6, i);
        for (int k = 1; k < 5; k++)
            moment[k] += pow(x, k) / N;
        neighbours += x * before / N;
        before = x;
    }
    ck_assert_double_eq_tol(moment[1], 0, 0.01);           /* four deviations each */
    ck_assert_double_eq_tol(moment[2], 1, 0.013);
    ck_assert_double_eq_tol(moment[3], 0, 0.035);
    ck_assert_double_eq_tol(moment[4], 3, 0.09);
    ck_assert_double_eq_tol(neighbours, 0, 0.01);
}
END_TEST

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

START_TEST(keys_of_two_numbers_do_not_meet)
{
    enum { SIDE = 200 };
    static uint64_t keys[SIDE * SIDE];
    for (uint64_t a = 0; a < SIDE; a++)
        for (uint64_t b = 0; b < SIDE; b++)
            keys[a * SIDE + b] = ag_mix(a, b);
    qsort(keys, SIDE * SIDE, sizeof *keys, by_value);
    long met = 0;
    for (long i = 1; i < SIDE * SIDE; i++)
        met += keys[i] == keys[i - 1];
    ck_assert_int_eq(met, 0);
}
END_TEST

Suite *suite_math(void)
{
    Suite *s = suite_create("math");
    TCase *c = tcase_create("math");
    tcase_set_timeout(c, TEST_SECONDS);
#if REAL == 32
    tcase_add_loop_test(c, within_two_places_of_the_library_everywhere, 0, 3);
#else
    tcase_add_loop_test(c, in_double_it_is_the_library, 0, 3);
#endif
    tcase_add_loop_test(c, the_place_in_an_array_changes_nothing, 0, 3);
    tcase_add_loop_test(c, activations_are_their_formulas, 0, 4);
    tcase_add_test(c, activations_pass_a_nan_on);
    tcase_add_loop_test(c, philox_gives_its_authors_known_answers, 0, 3);
    tcase_add_test(c, uniform_numbers_fill_the_unit_interval_evenly);
    tcase_add_test(c, normal_numbers_have_the_moments_of_a_normal);
    tcase_add_test(c, keys_of_two_numbers_do_not_meet);
    suite_add_tcase(s, c);
    return s;
}
