/* test_gemm.c - the one door to matrix products: right at every shape and flag, same bits for any thread
 * count. */
#include "tests/tests.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static real *numbers(long n, uint64_t key)
{
    real *x = mem_new((size_t)n * sizeof *x);
    for (long i = 0; i < n; i++)
        x[i] = (real)ag_normal(key, (uint64_t)i);
    return x;
}

static void compare(long M, long N, long K, bool ta, bool tb, double beta)
{
    real *A = numbers(M * K, 1), *B = numbers(K * N, 2), *C = numbers(M * N, 3), *D = numbers(M * N, 3);
    ag_gemm(ta, tb, M, N, K, 0.5, A, ta ? M : K, B, tb ? K : N, beta, C, N);
    double bound = (REAL == 64 ? 1e-13 : 2e-5) * sqrt((double)K + 1);
    for (long i = 0; i < M; i++)
        for (long j = 0; j < N; j++) {
            double sum = 0;
            for (long k = 0; k < K; k++)
                sum += (double)(ta ? A[k*M + i] : A[i*K + k]) * (double)(tb ? B[j*K + k] : B[k*N + j]);
            double right = 0.5 * sum + (beta == 0 ? 0 : beta * (double)D[i*N + j]);
            ck_assert_double_eq_tol((double)C[i*N + j], right, bound);
        }
    mem_free(A), mem_free(B), mem_free(C), mem_free(D);
}

START_TEST(products_are_right_at_every_shape_and_flag)
{
    static const long sizes[][3] = { { 1, 1, 1 }, { 1, 70, 33 }, { 33, 1, 70 }, { 5, 7, 0 }, { 17, 300, 40 },
                                     { 300, 17, 40 }, { 130, 140, 150 }, { 520, 800, 20 } };
    for (int flags = 0; flags < 4; flags++)
        for (int beta = 0; beta < 2; beta++)
            compare(sizes[_i][0], sizes[_i][1], sizes[_i][2], flags & 1, flags & 2, beta);
}
END_TEST

START_TEST(any_number_of_threads_gives_the_same_bits)
{
    /* the last ones are small, but for one row large enough for OpenBLAS's own threads */
    static const long sizes[][3] = { { 512, 768, 96 }, { 64, 64, 2000 }, { 1, 3000, 300 }, { 257, 513, 129 },
                                     { 1, 150, 90 }, { 1, 90, 150 }, { 1, 768, 256 }, { 1, 256, 768 } };
    long M = sizes[_i][0], N = sizes[_i][1], K = sizes[_i][2];
    real *A = numbers(M * K, 1), *B = numbers(K * N, 2), *C = numbers(M * N, 3), *D = numbers(M * N, 4);
    for (int tb = 0; tb < 2; tb++)
        for (int k = 0; k < 4; k++) {
            ag_threads((int[]){ 1, 3, 4, 8 }[k]);
            ag_gemm(false, tb, M, N, K, 1, A, K, B, tb ? K : N, 0, k ? D : C, N);
            if (k)
                ck_assert_mem_eq(C, D, (size_t)(M * N) * sizeof *C);
        }
    mem_free(A), mem_free(B), mem_free(C), mem_free(D);
}
END_TEST

/* Each product of a batch alone is larger or smaller than what OpenBLAS takes threads for. */
START_TEST(batches_have_the_same_bits_for_any_number_of_threads)
{
    static const long sizes[][4] = { { 2, 80, 70, 80 }, { 3, 20, 30, 40 }, { 2, 64, 100, 70 } };
    const long *z = sizes[_i], B = z[0], M = z[1], K = z[2], N = z[3];
    real *A = numbers(B * M * K, 1), *X = numbers(B * K * N, 2), *kept = numbers(B * M * N, 3);
    tape *t = ag_tape_new();
    for (int k = 0; k < 4; k++) {
        ag_threads((int[]){ 1, 2, 3, 8 }[k]);
        tensor *a = ag_copy_in(t, DIMS(B, M, K), A), *x = ag_copy_in(t, DIMS(B, K, N), X);
        tensor *y = ag_matmul(t, a, x, false, false);
        if (k)
            ck_assert_mem_eq(kept, y->data, (size_t)y->size * sizeof *kept);
        memcpy(kept, y->data, (size_t)y->size * sizeof *kept);
        ag_reset(t);
    }
    ag_tape_free(t);
    mem_free(A), mem_free(X), mem_free(kept);
}
END_TEST

START_TEST(what_beta_0_overwrites_may_be_anything)
{
    real A[1] = { 2 }, B[1] = { 3 }, C[1] = { NAN };
    ag_gemm(false, false, 1, 1, 1, 1, A, 1, B, 1, 0, C, 1);
    ck_assert(C[0] == 6);
    C[0] = NAN;
    ag_gemm(false, false, 1, 1, 0, 1, A, 1, B, 1, 0, C, 1);
    ck_assert(C[0] == 0);
}
END_TEST

START_TEST(blas_is_the_openmp_flavour)
{
    ck_assert_ptr_nonnull(strstr(ag_blas(), "(openmp)"));
}
END_TEST

Suite *suite_gemm(void)
{
    Suite *s = suite_create("gemm");
    TCase *c = tcase_create("gemm");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_loop_test(c, products_are_right_at_every_shape_and_flag, 0, 8);
    tcase_add_loop_test(c, any_number_of_threads_gives_the_same_bits, 0, 8);
    tcase_add_loop_test(c, batches_have_the_same_bits_for_any_number_of_threads, 0, 3);
    tcase_add_test(c, what_beta_0_overwrites_may_be_anything);
    tcase_add_test(c, blas_is_the_openmp_flavour);
    suite_add_tcase(s, c);
    return s;
}
