/* test_low.c - frozen matrices in 16 and 8 bits: numbers, products by every set of instructions that the
 * CPU has. Whole models: test_low_models.c. Gradients through them stand with operations and modules. */
#include "autograd/internal.h"
#include "tests/tests.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static tape *t;

static void setup(void) { t = ag_tape_new(); }
static void teardown(void) { ag_tape_free(t); }

static real *numbers(long n, uint64_t key)
{
    real *x = ag_alloc_real(t, n);
    for (long i = 0; i < n; i++)
        x[i] = (real)(float)ag_normal(key, (uint64_t)i);
    return x;
}

/* ---- 16 bits ------------------------------------------------------------------------------------------- */
START_TEST(every_number_of_16_bits_survives_widening)
{
    for (int brain = 0; brain < 2; brain++)
        for (uint32_t u = 0; u < 65536; u++) {
            uint16_t from = (uint16_t)u, back;
            real wide;
            (brain ? brain_widen : half_widen)(1, &from, &wide);
            (brain ? brain_round : half_round)(1, &wide, &back);
            bool nan = brain ? (u & 0x7fff) > 0x7f80 : (u & 0x7fff) > 0x7c00;
            ck_assert(isnan(wide) == nan && (nan || back == from));
        }
    uint16_t one = 0x3c01, tiny = 0x0001;
    real x;
    half_widen(1, &one, &x);
    ck_assert(x == (real)(1 + 1.0 / 1024));
    half_widen(1, &tiny, &x);
    ck_assert(x == (real)0x1p-24);
}
END_TEST

/* Between two neighbours the nearer, in the middle the even one. */
START_TEST(rounding_is_to_the_nearest_and_to_even)
{
    for (int brain = 0; brain < 2; brain++)
        for (uint32_t u = 0; u < (brain ? 0x7f7fu : 0x7bffu); u += 7) {
            uint16_t pair[2] = { (uint16_t)u, (uint16_t)(u + 1) }, near;
            real wide[2], middle, below, above;
            (brain ? brain_widen : half_widen)(2, pair, wide);
            middle = wide[0] + (wide[1] - wide[0]) / 2;
            below = (real)nextafterf((float)middle, (float)wide[0]);
            above = (real)nextafterf((float)middle, (float)wide[1]);
            (brain ? brain_round : half_round)(1, &middle, &near);
            ck_assert_int_eq(near, u & 1 ? u + 1 : u);
            (brain ? brain_round : half_round)(1, &below, &near);
            ck_assert_int_eq(near, u);
            (brain ? brain_round : half_round)(1, &above, &near);
            ck_assert_int_eq(near, u + 1);
        }
    real large = 65520, infinite = INFINITY;
    uint16_t to;
    half_round(1, &large, &to);
    ck_assert_int_eq(to, 0x7c00);
    half_round(1, &infinite, &to);
    ck_assert_int_eq(to, 0x7c00);
}
END_TEST

START_TEST(int8_is_off_by_half_a_step_at_most)
{
    enum { N = 5, K = 300 };
    real *x = numbers(N * K, 4), row[K];
    int8_t q[N * K];
    float scale[N];
    memset(x + 2*K, 0, K * sizeof *x);                     /* a row of zeros */
    ck_assert_int_eq(ag_quantize(AG_INT8, N, K, x, q, scale), -1);
    ck_assert(scale[2] == 0);
    for (long n = 0; n < N; n++) {
        ag_frozen_read(&(ag_frozen){ AG_INT8, N, K, q, scale }, n, 0, K, row);
        for (long k = 0; k < K; k++)
            ck_assert(fabs((double)(row[k] - x[n*K + k])) <= 0.501 * (double)scale[n]);
    }
    memset(x + 2*K, 0, K * sizeof *x);
    x[2*K] = (real)1e-38;                                  /* next to nothing: no scale has an inverse */
    ck_assert_int_eq(ag_quantize(AG_INT8, N, K, x, q, scale), -1);
    for (long k = 1; k < K; k++)
        ck_assert(q[2*K + k] == 0 && fabs((double)q[2*K] * (double)scale[2]) < 1.1e-38);
    x[K + 7] = (real)NAN;
    ck_assert_int_eq(ag_quantize(AG_INT8, N, K, x, q, scale), K + 7);
    x[K + 7] = 70000;
    uint16_t halves[N * K];
    ck_assert_int_eq(ag_quantize(AG_F16, N, K, x, halves, NULL), K + 7);
    ck_assert_int_eq(ag_quantize(AG_BF16, N, K, x, halves, NULL), -1);
}
END_TEST

/* ---- products ------------------------------------------------------------------------------------------ */
static const ag_dtype types[] = { AG_REAL, AG_F16, AG_BF16, AG_INT8 };
enum { TYPES = 4 };

/* An ordinary tensor or a low one, of the same numbers as far as the type can hold them. */
static tensor *weight(ag_dtype type, long N, long K, uint64_t key)
{
    const real *x = numbers(N * K, key);
    return type == AG_REAL ? ag_copy_in(t, DIMS(N, K), x) : ag_frozen_new(t, type, DIMS(N, K), x);
}

static ag_frozen matrix(const tensor *w)
{
    return w->frozen ? *w->frozen : (ag_frozen){ AG_REAL, w->dim[0], w->dim[1], w->data, NULL };
}

/* y (R,N) in double, of factors rounded to bfloat16 or not. */
static void by_hand(const tensor *w, bool rounded, long R, const real *x, double beta, const real *old,
                    double *y)
{
    long N = w->dim[0], K = w->dim[1];
    real *wide = ag_alloc_real(t, N * K), *near = ag_alloc_real(t, R * K);
    memcpy(near, x, (size_t)(R * K) * sizeof *x);
    ag_read(w, wide);
    if (rounded)
        frozen_round(R * K, x, near);
    if (rounded && (!w->frozen || w->frozen->type == AG_F16))
        frozen_round(N * K, wide, wide);
    for (long r = 0; r < R; r++)
        for (long n = 0; n < N; n++) {
            double sum = 0;
            for (long k = 0; k < K; k++)
                sum += (double)near[r*K + k] * (double)wide[n*K + k];
            y[r*N + n] = sum + (beta == 0 ? 0 : beta * (double)old[r*N + n]);
        }
}

static void near(long n, long K, const real *y, const double *right, const char *what)
{
    double bound = (REAL == 64 ? 1e-13 : 1e-5) * sqrt((double)K + 1);      /* without -O3 one by one */
    for (long i = 0; i < n; i++)
        ck_assert_msg(fabs((double)y[i] - right[i]) <= bound, "%s: %g instead of %g at %ld", what,
                      (double)y[i], right[i], i);
}

static int paths_here(const few_path *to[3])
{
    int n = 0;
    to[n++] = NULL;
#if REAL == 32 && defined __x86_64__
    if (few_best())
        to[n++] = &few_avx2;
    if (few_best() == &few_avx512)
        to[n++] = &few_avx512;
#endif
    return n;
}

START_TEST(few_rows_are_right_by_every_set_of_instructions)
{
    static const long sizes[][2] = { { 1, 1 }, { 33, 31 }, { 70, 64 }, { 37, 2100 } };         /* N, K */
    const few_path *paths[3];
    int count = paths_here(paths);
    long N = sizes[_i][0], K = sizes[_i][1];
    for (int p = 0; p < count; p++)
        for (int type = 0; type < TYPES; type++)
            for (long M = 1; M <= FEW_MOST; M++) {
                ag_mark mark = ag_here(t);
                tensor *w = weight(types[type], N, K, 5);
                real *x = numbers(M * K, 6), *y = numbers(M * N, 7), *old = numbers(M * N, 7);
                double *right = ag_alloc(t, M * N * (long)sizeof *right), beta = M % 2;
                ag_frozen m = matrix(w);
                bool rounded = M % 3 == 0;
                if (rounded)
                    frozen_round(M * K, x, x);
                by_hand(w, rounded, M, x, beta, old, right);
                few_rows_by(paths[p], &m, rounded, M, x, K, ag_alloc_real(t, M * K), (real)beta, y, N);
                near(M * N, K, y, right, paths[p] ? paths[p]->name : "plain");
                ag_rewind(t, mark);
            }
}
END_TEST

START_TEST(a_row_is_the_same_however_many_are_computed_with_it)
{
    enum { N = 50, K = 1500 };
    const few_path *paths[3];
    int count = paths_here(paths);
    for (int p = 0; p < count; p++)
        for (int type = 0; type < TYPES; type++) {
            ag_frozen w = matrix(weight(types[type], N, K, 5));
            real *x = numbers(FEW_MOST * K, 6), all[FEW_MOST * N], one[N];
            real *scratch = ag_alloc_real(t, FEW_MOST * K);
            for (long M = 1; M <= FEW_MOST; M++) {
                few_rows_by(paths[p], &w, false, M, x, K, scratch, 0, all, N);
                for (long m = 0; m < M; m++) {
                    few_rows_by(paths[p], &w, false, 1, x + m*K, K, scratch, 0, one, N);
                    ck_assert_mem_eq(one, all + m*N, sizeof one);
                }
            }
        }
}
END_TEST

/* x as bfloat16 and the bfloat16 of what that leaves out: their sum is a float. */
static void two_terms(long n, real *x)
{
    real *first = ag_alloc_real(t, n), *rest = ag_alloc_real(t, n);
    frozen_round(n, x, first);
    for (long i = 0; i < n; i++)
        rest[i] = x[i] - first[i];
    frozen_round(n, rest, rest);
    for (long i = 0; i < n; i++)
        x[i] = first[i] + rest[i];
}

START_TEST(a_sum_of_two_bfloat16_is_a_number_to_16_bits)
{
    enum { R = 19, N = 37, K = 70 };
    static const ag_dtype kept[] = { AG_BF16, AG_INT8 };
    for (int k = 0; k < 2; k++) {
        tensor *w = weight(kept[k], N, K, 5);
        const ag_frozen m = matrix(w);
        real *x = numbers(R * K, 6), y[R * N], pairs[R * N];
        double right[R * N];
        x[3] = INFINITY;
        bf16_product_by(bf16_tile_plain, &m, 2, R, x, ag_alloc(t, bf16_scratch(&m, 2, R)), 0, y);
        ck_assert(!isfinite((double)y[0]) && isfinite((double)y[N]));      /* and no worse */
        x[3] = 1;
        by_hand(w, false, R, x, 0, NULL, right);
        bf16_product_by(bf16_tile_plain, &m, 2, R, x, ag_alloc(t, bf16_scratch(&m, 2, R)), 0, y);
        for (long i = 0; i < R * N; i++)
            ck_assert_msg(fabs((double)y[i] - right[i]) < 3e-5 * sqrt(K), "%g, %g", (double)y[i], right[i]);
        ag_compute(t, AG_PAIRS);
        ag_weight_product(t, false, R, x, w, 0, pairs);
        ag_compute(t, AG_EXACT);
        for (long i = 0; i < R * N; i++)
            ck_assert_msg(fabs((double)pairs[i] - right[i]) < 3e-5 * sqrt(K), "%g", (double)pairs[i]);
        two_terms(R * K, x);
        by_hand(w, false, R, x, 0, NULL, right);
        if (REAL == 32)
            near(R * N, K, y, right, "two terms");
    }
}
END_TEST

START_TEST(products_give_their_scratch_back)
{
    enum { R = 20, N = 70, K = 50 };
    real *x = numbers(R * K, 6), *dy = numbers(R * N, 8);
    real *y = ag_alloc_real(t, R * N), *dx = ag_alloc_real(t, R * K);
    for (ag_precision how = AG_EXACT; how <= AG_ONCE; how++)
        for (int type = 0; type < TYPES; type++) {
            tensor *w = weight(types[type], N, K, 5);
            ag_compute(t, how);
            ag_mark before = ag_here(t);
            ag_weight_product(t, false, R, x, w, 0, y);
            ag_weight_back(t, R, dy, w, 0, dx);
            ag_mark after = ag_here(t);
            ck_assert(!memcmp(&before, &after, sizeof before));
        }
    ag_compute(t, AG_EXACT);
}
END_TEST

static const struct { long R, N, K; } products[] = { { 1, 130, 70 }, { 16, 40, 300 }, { 17, 200, 33 },
                                                     { 70, 500, 1300 } };

static void product(const tensor *w, bool rounded, long R, const real *x, real beta, real *y)
{
    ag_compute(t, rounded ? AG_ONCE : AG_EXACT);
    ag_weight_product(t, false, R, x, w, beta, y);
    ag_compute(t, AG_EXACT);
}

START_TEST(products_are_those_of_the_widened_matrix)
{
    long R = products[_i].R, N = products[_i].N, K = products[_i].K;
    for (int type = 0; type < TYPES; type++)
        for (int beta = 0; beta < 2; beta++)
            for (int rounded = 0; rounded < 2; rounded++) {
                ag_mark mark = ag_here(t);
                tensor *w = weight(types[type], N, K, 5);
                real *x = numbers(R * K, 6), *y = numbers(R * N, 7), *old = numbers(R * N, 7);
                double *right = ag_alloc(t, R * N * (long)sizeof *right);
                by_hand(w, rounded, R, x, beta, old, right);
                product(w, rounded, R, x, (real)beta, y);
                near(R * N, K, y, right, ag_dtype_name(types[type]));
                if (rounded) {                             /* the tile of pairs, in plain C */
                    const ag_frozen m = matrix(w);
                    memcpy(y, old, (size_t)(R * N) * sizeof *y);
                    bf16_product_by(bf16_tile_plain, &m, 1, R, x, ag_alloc(t, bf16_scratch(&m, 1, R)),
                                    (real)beta, y);
                    if (REAL == 32)
                        near(R * N, K, y, right, "tile");
                }
                ag_rewind(t, mark);
            }
}
END_TEST

START_TEST(products_have_the_same_bits_for_any_number_of_threads)
{
    long R = products[_i].R, N = products[_i].N, K = products[_i].K;
    real *x = numbers(R * K, 6), *dy = numbers(R * N, 8), *first = ag_alloc_real(t, R * N),
         *y = ag_alloc_real(t, R * N);
    real *first_dx = ag_alloc_real(t, R * K), *dx = ag_alloc_real(t, R * K);
    for (int type = 0; type < TYPES; type++)
        for (int rounded = 0; rounded < 2; rounded++)
            for (int k = 0; k < 4; k++) {
                tensor *w = weight(types[type], N, K, 5);
                ag_threads((int[]){ 1, 3, 4, 8 }[k]);
                product(w, rounded, R, x, 0, k ? y : first);
                ag_weight_back(t, R, dy, w, 0, k ? dx : first_dx);
                if (k)
                    ck_assert(!memcmp(first, y, (size_t)(R * N) * sizeof *y)
                              && !memcmp(first_dx, dx, (size_t)(R * K) * sizeof *dx));
            }
}
END_TEST

#if REAL == 32 && defined __x86_64__
START_TEST(pairs_in_one_instruction_are_right)
{
    enum { R = 23, N = 60, K = 4500 };
    if (!bf16_tile_here()) {
        fprintf(stderr, "low: this CPU has no vdpbf16ps: its tile is not tested\n");
        return;
    }
    for (int type = 0; type < TYPES; type++)
        for (int terms = 1; terms <= 2; terms++) {
            tensor *w = weight(types[type], N, K, 5);
            const ag_frozen m = matrix(w);
            real *x = numbers(R * K, 6), *y = numbers(R * N, 7);
            double *right = ag_alloc(t, R * N * (long)sizeof *right);
            void *scratch = ag_alloc(t, bf16_scratch(&m, terms, R));
            bf16_product_by(bf16_tile_avx512, &m, terms, R, x, scratch, 0, y);
            if (terms == 2)
                two_terms(R * K, x);
            by_hand(w, terms == 1, R, x, 0, NULL, right);
            if (terms == 1 || types[type] == AG_BF16 || types[type] == AG_INT8)
                near(R * N, K, y, right, "vdpbf16ps");
        }
}
END_TEST
#endif

START_TEST(what_is_learned_is_never_rounded)
{
    const real values[] = { 1.001, 2.003, 3.007, 4.001 };
    tensor *w = ag_leaf(t, DIMS(1, 4), values), *x = ag_copy_in(t, DIMS(1, 4), values);
    real exact = ag_value(ag_linear(t, x, w, NULL, AG_NONE));
    ag_compute(t, AG_ONCE);
    ck_assert(ag_value(ag_linear(t, x, w, NULL, AG_NONE)) == exact);
    ag_record_on(t, false);
    real near = ag_value(ag_linear(t, x, w, NULL, AG_NONE));
    ck_assert(near != exact && fabs((double)(near - exact)) < 0.02 * (double)exact);
    ck_assert_int_eq(ag_compute(t, AG_EXACT), AG_ONCE);
}
END_TEST

/* Sums over nothing, both ways, for few rows and for many. */
START_TEST(products_without_an_inner_size_are_zero)
{
    for (int type = 1; type < TYPES; type++)
        for (long R = 3; R <= 17; R += 14) {
            const tensor *w = weight(types[type], 5, 0, 1), *v = weight(types[type], 0, 5, 1);
            real y[17 * 5];
            for (int i = 0; i < 17 * 5; i++)
                y[i] = 7;
            ag_weight_product(t, true, R, numbers(1, 2), w, 0, y);
            for (long i = 0; i < R * 5; i++)
                ck_assert(y[i] == 0);
            for (int i = 0; i < 17 * 5; i++)
                y[i] = 7;
            ag_weight_back(t, R, numbers(1, 2), v, 0, y);
            for (long i = 0; i < R * 5; i++)
                ck_assert(y[i] == 0);
        }
}
END_TEST

/* NaN of every kind is one after rounding, by every set of instructions. */
START_TEST(what_is_not_a_number_stays_so)
{
    static const uint32_t bits[] = { 0x7fffffff, 0xffffffff, 0x7f800001, 0x7fc00000, 0xff80ffff };
    enum { K = 64 };
    ag_record_on(t, false);
    for (int i = 0; i < 5 && REAL == 32; i++)
        for (long R = 1; R <= 20; R += 19) {
            real *numbers_of_w = numbers(3 * K, 1);
            memcpy((char *)numbers_of_w + 5 * sizeof(real), &bits[i], sizeof bits[i]);
            tensor *x = ag_copy_in(t, DIMS(R, K), numbers(R * K, 2));
            tensor *w = ag_copy_in(t, DIMS(3, K), numbers_of_w);
            ag_compute(t, AG_ONCE);
            const tensor *y = ag_linear(t, x, w, NULL, AG_NONE);
            ag_compute(t, AG_EXACT);
            for (long r = 0; r < R; r++)
                ck_assert_msg(isnan((double)y->data[3*r]) && !isnan((double)y->data[3*r + 1]), "%08x",
                              bits[i]);
        }
}
END_TEST

Suite *suite_low(void)
{
    Suite *s = suite_create("low");
    TCase *c = tcase_create("low");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, every_number_of_16_bits_survives_widening);
    tcase_add_test(c, rounding_is_to_the_nearest_and_to_even);
    tcase_add_test(c, int8_is_off_by_half_a_step_at_most);
    tcase_add_loop_test(c, few_rows_are_right_by_every_set_of_instructions, 0, 4);
    tcase_add_test(c, a_row_is_the_same_however_many_are_computed_with_it);
    tcase_add_loop_test(c, products_are_those_of_the_widened_matrix, 0, 4);
    tcase_add_loop_test(c, products_have_the_same_bits_for_any_number_of_threads, 0, 4);
#if REAL == 32 && defined __x86_64__
    tcase_add_test(c, pairs_in_one_instruction_are_right);
#endif
    tcase_add_test(c, a_sum_of_two_bfloat16_is_a_number_to_16_bits);
    tcase_add_test(c, products_give_their_scratch_back);
    tcase_add_test(c, what_is_learned_is_never_rounded);
    tcase_add_test(c, products_without_an_inner_size_are_zero);
    tcase_add_test(c, what_is_not_a_number_stays_so);
    suite_add_tcase(s, c);
    return s;
}
