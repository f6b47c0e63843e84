/* few_rows.c - y (M,N) = x (M,K) W' + beta y for M = 1 .. 16, W (N,K) of any type: what decoding a token
 * is made of. Each weight is read once, so the time is that of reading memory; a general matrix product
 * would first pack W, which costs more than the product. Threads take bands of FEW_BAND rows of W; the
 * vector kernels are few_rows.h's, the best that the CPU has, else the plain loops below. Scales of int8
 * (one a row) are applied to whole sums. */
#include "autograd/internal.h"
#include <string.h>

/* ---- plain --------------------------------------------------------------------------------------------- */
/* The columns from k of rows row .. row + n - 1, in double or float, in the order of columns. */
static void plain(const few *f, long row, long n, long k, real *sum)
{
    enum { PIECE = 256 };
    real w[PIECE];
    for (; k < f->K; k += PIECE) {
        long m_columns = f->K - k < PIECE ? f->K - k : PIECE;
        for (long r = 0; r < n; r++) {
            frozen_widen(f->type, (const char *)f->w + (row + r) * f->stride, k, m_columns, w);
            if (f->rounded)
                frozen_round(m_columns, w, w);
            for (long m = 0; m < f->M; m++) {
                const real *x = f->given + m * f->ld_given + k;
                real s = 0;
                #pragma omp simd reduction(+:s)
                for (long i = 0; i < m_columns; i++)
                    s += w[i] * x[i];
                sum[m * FEW_BAND + r] += s;
            }
        }
    }
}

/* ---- with vectors -------------------------------------------------------------------------------------- */
#if REAL == 32 && defined __x86_64__
const few_path *few_best(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &few_avx512;
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                && __builtin_cpu_supports("f16c");
    return avx2 ? &few_avx2 : NULL;
}
#else
const few_path *few_best(void) { return NULL; }
#endif

/* Of each `step` columns the even ones, then the odd ones; what is left behind the last whole step stays. */
static void split_pairs(long M, long K, long step, const real *x, long ldx, real *to)
{
    for (long m = 0; m < M; m++) {
        long k = 0;
        for (; k + step <= K; k += step)
            for (long i = 0; i < step; i++)
                to[m*K + k + i / 2 + i % 2 * (step / 2)] = x[m*ldx + k + i];
        memcpy(to + m*K + k, x + m*ldx + k, (size_t)(K - k) * sizeof *to);
    }
}

static few_kind kind_of(ag_dtype type, bool rounded)
{
    static const few_kind exact[] = { FEW_F32, FEW_F16, FEW_BF16, FEW_INT8 };
    static const few_kind brain[] = { FEW_F32_ROUNDED, FEW_F16_ROUNDED, FEW_BF16, FEW_INT8 };
    return (rounded ? brain : exact)[type];
}

static void some_rows(const few *f, const few_path *path, long row, const float *scale, real beta, real *y,
                      long ldy)
{
    real sum[FEW_MOST * FEW_BAND] = { 0 };
    long n = f->N - row < FEW_BAND ? f->N - row : FEW_BAND, done = 0;
    if (path) {
        path->band(f, row, n, (float *)(void *)sum);       /* there are paths where real is float alone */
        done = f->K / path->step * path->step;
    }
    plain(f, row, n, done, sum);
    for (long m = 0; m < f->M; m++)
        for (long r = 0; r < n; r++) {
            real *to = y + m*ldy + row + r, s = sum[m * FEW_BAND + r] * (scale ? (real)scale[row + r] : 1);
            *to = beta == 0 ? s : beta * *to + s;
        }
}

void few_rows_by(const few_path *path, const ag_frozen *w, bool rounded, long M, const real *x, long ldx,
                 real *scratch, real beta, real *y, long ldy)
{
    few f = { .type = w->type, .kind = kind_of(w->type, rounded), .rounded = rounded && w->type != AG_INT8,
              .M = M,
              .N = w->N, .K = w->K, .stride = w->K * frozen_width(w->type), .w = w->data, .given = x,
              .ld_given = ldx, .x = (const float *)(const void *)x, .ldx = ldx };
    if (path && w->type == AG_BF16) {
        split_pairs(M, w->K, path->step, x, ldx, scratch);
        f.x = (const float *)(const void *)scratch;
        f.ldx = w->K;
    }
    #pragma omp parallel for schedule(dynamic, 2) if (w->N * w->K > AG_PARALLEL_MIN)
    for (long row = 0; row < w->N; row += FEW_BAND)
        some_rows(&f, path, row, w->scale, beta, y, ldy);
}
