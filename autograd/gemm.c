/* gemm.c - the one door to matrix products, C (M,N) = alpha op(A) op(B) + beta C, row-major.
 *
 * Behind it stands OpenBLAS, called for one tile of C at a time by one thread. The tiles depend on M, N, K
 * alone and K is never cut, so every element of C has one owner and the same bits for any number of threads;
 * OpenBLAS's own threading does not promise that (7 of 8 shapes differ between 1 and 2 threads).
 *
 * A few rows times a transposed matrix, what decoding does, are few_rows.c's where the CPU has vectors for
 * it: OpenBLAS packs the matrix at each call, which costs more than such a product. */
#include "autograd/internal.h"
#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#if REAL == 32
#define GEMM cblas_sgemm
#define GEMV cblas_sgemv
#else
#define GEMM cblas_dgemm
#define GEMV cblas_dgemv
#endif

enum { FEW_WORTH = 1 << 14,            /* numbers of B from which few_rows.c pays */
       BLAS_ROW = 2304 * 4 };          /* from which OpenBLAS takes threads for one row (interface/gemv.c) */

typedef struct product {
    bool ta, tb;
    long M, N, K, lda, ldb, ldc;
    double alpha, beta;
    const real *A, *B;
    real *C;
} product;

void ag_gemm_one(bool ta, bool tb, long M, long N, long K, double alpha, const real *A, long lda,
                 const real *B, long ldb, double beta, real *C, long ldc)
{
    if (M <= 0 || N <= 0)
        return;
    if (K <= 0) {  /* an empty sum; BLAS would want sane strides all the same */
        for (long i = 0; i < M; i++)
            for (long j = 0; j < N; j++)
                C[i*ldc + j] = beta == 0 ? 0 : (real)beta * C[i*ldc + j];
        return;
    }
    GEMM(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)M, (int)N,
         (int)K, (real)alpha, A, (int)lda, B, (int)ldb, (real)beta, C, (int)ldc);
}

/* Edge of a tile along an axis of n: n in equal parts of about `aim`, a multiple of 16. */
static long edge(long n, long aim)
{
    long parts = (n + aim / 2) / aim, e = parts > 1 ? (n + parts - 1) / parts : n;
    return (e + 15) / 16 * 16;
}

static void tile(const product *p, long tm, long tn, long i)
{
    long across = (p->N + tn - 1) / tn, m = i / across * tm, n = i % across * tn;
    long M = p->M - m < tm ? p->M - m : tm, N = p->N - n < tn ? p->N - n : tn;
    const real *A = p->A + (p->ta ? m : m * p->lda), *B = p->B + (p->tb ? n * p->ldb : n);
    real *C = p->C + m * p->ldc + n;
    if (M == 1 && p->K > 0 && !p->ta) /* one row: packing B would cost more than the product */
        GEMV(CblasRowMajor, p->tb ? CblasNoTrans : CblasTrans, (int)(p->tb ? N : p->K),
             (int)(p->tb ? p->K : N), (real)p->alpha, B, (int)p->ldb, A, 1, (real)p->beta, C, 1);
    else
        ag_gemm_one(p->ta, p->tb, M, N, p->K, p->alpha, A, p->lda, B, p->ldb, p->beta, C, p->ldc);
}

void ag_gemm(bool ta, bool tb, long M, long N, long K, double alpha, const real *A, long lda,
             const real *B, long ldb, double beta, real *C, long ldc)
{
    if (M <= 0 || N <= 0 || ag_spent(2.0 * (double)M * (double)N * (double)K))
        return;
    if (!ta && tb && M <= FEW_MOST && alpha == 1 && ldb == K && N * K >= FEW_WORTH && few_best()) {
        const ag_frozen w = { AG_REAL, N, K, B, NULL };
        few_rows_by(few_best(), &w, false, M, A, lda, NULL, (real)beta, C, ldc);
        return;
    }
    const product p = { ta, tb, M, N, K, lda, ldb, ldc, alpha, beta, A, B, C };
    double work = 2.0 * (double)M * (double)N * (double)K;
    long tm = edge(M, 256), tn = edge(N, 384), tiles;
    for (;;) {  /* small products: at least 8 tiles of at least 2 MFLOP */
        tiles = ((M + tm - 1) / tm) * ((N + tn - 1) / tn);
        if (tiles >= 8 || work / (double)tiles < 4e6 || (tm <= 64 && tn <= 64))
            break;
        long *longer = tm >= tn ? &tm : &tn;
        *longer = (*longer / 2 + 15) / 16 * 16;
    }
    bool row = M == 1 && !ta && N * K >= BLAS_ROW;
    if ((work < 4e5 && !row) || omp_in_parallel()) {       /* OpenBLAS itself stays on one thread in both */
        for (long i = 0; i < tiles; i++)
            tile(&p, tm, tn, i);
        return;
    }
    #pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < tiles; i++)
        tile(&p, tm, tn, i);
}

void ag_threads(int n)
{
    omp_set_num_threads(n > 0 ? n : omp_get_num_procs());
}

int ag_threads_now(void)
{
    return omp_get_max_threads();
}

const char *ag_blas(void)
{
    static _Thread_local char text[160];
    const char *config = openblas_get_config(), *core = openblas_get_corename();
    int version = (int)strcspn(config + 9, " ");
    bool openmp = openblas_get_parallel() == 2;
    bool narrow = __builtin_cpu_supports("avx512f") && (!strcmp(core, "Haswell") || !strcmp(core, "Zen"));
    snprintf(text, sizeof text, "OpenBLAS %.*s %s%s%s", version, config + 9, core, openmp ? " (openmp)" :
             " (not the openmp flavour: install libopenblas-openmp-dev)",
             narrow ? ", its AVX2 kernels on a CPU with AVX-512" : "");
    return text;
}
