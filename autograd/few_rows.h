/* few_rows.h - y (M,n) = x (M,K) W' for up to 16 rows of x, by vectors. It is the text of one function for
 * whichever instruction set the including file has described: TARGET, LANES, MOST (rows of x at a time),
 * vec and the v_ functions, rows_at_once. The weights stream from memory once, several rows of W side by
 * side, in pieces of PIECE columns, so that what is read of x stays in the nearest cache. A number of y is
 * the sum over pieces of the sum over lanes of sums over a lane's columns: the same for any M, and for
 * however many rows of W stand side by side. */
#include "autograd/internal.h"
#include <immintrin.h>

enum { STEP = 2 * LANES, PIECE = 1024 };

/* One vector of a row of W, in float: half 0 or 1 of the STEP columns from k. Of bfloat16 half 0 holds the
 * even columns and half 1 the odd ones, which a shift and a mask give; x is put in the same order
 * beforehand. */
TARGET static inline __attribute__((always_inline)) vec weights_at(few_kind kind, const char *row, long k,
                                                                   int half)
{
    switch (kind) {
    case FEW_F16: return v_from_halves((const uint16_t *)row + k + half * LANES);
    case FEW_F16_ROUNDED: return v_brain(v_from_halves((const uint16_t *)row + k + half * LANES));
    case FEW_BF16: return half ? v_odd((const uint16_t *)row + k) : v_even((const uint16_t *)row + k);
    case FEW_INT8: return v_from_bytes((const int8_t *)row + k + half * LANES);
    case FEW_F32_ROUNDED: return v_brain(v_load((const float *)row + k + half * LANES));
    default: return v_load((const float *)row + k + half * LANES);
    }
}

/* sum[m * FEW_BAND + r] += what columns from .. to (whole STEPs) give, m < M, r < R. */
TARGET static inline __attribute__((always_inline)) void piece(few_kind kind, int M, int R, const char *w,
                                                               long stride,
                                                               const float *x, long ldx, long from, long to,
                                                               float *sum)
{
    vec acc[MOST * 8];
    #pragma GCC unroll 64
    for (int i = 0; i < M * R; i++)
        acc[i] = v_zero();
    for (long k = from; k < to; k += STEP) {
        #pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            vec b[8];
            #pragma GCC unroll 8
            for (int r = 0; r < R; r++)
                b[r] = weights_at(kind, w + r * stride, k, half);
            #pragma GCC unroll 8
            for (int m = 0; m < M; m++) {
                vec a = v_load(x + m * ldx + k + half * LANES);
                #pragma GCC unroll 8
                for (int r = 0; r < R; r++)
                    acc[m * R + r] = v_fma(a, b[r], acc[m * R + r]);
            }
        }
    }
    #pragma GCC unroll 8
    for (int m = 0; m < M; m++)
        #pragma GCC unroll 8
        for (int r = 0; r < R; r++)
            sum[m * FEW_BAND + r] += v_sum(acc[m * R + r]);
}

/* The instances: how many rows of W stand side by side for M rows of x, and alone, for what is left of a
 * band. */
typedef void (*piece_of)(const char *w, long stride, const float *x, long ldx, long from, long to,
                         float *sum);
#define INSTANCE(kind, M, R)                                                                              \
    TARGET static void kind##_##M##_##R(const char *w, long stride, const float *x, long ldx, long from,  \
                                        long to, float *sum)                                              \
    {                                                                                                     \
        piece(kind, M, R, w, stride, x, ldx, from, to, sum);                                              \
    }
#define ALL_SIZES(kind) SIZES(INSTANCE, kind)
ALL_SIZES(FEW_F32) ALL_SIZES(FEW_F32_ROUNDED) ALL_SIZES(FEW_F16) ALL_SIZES(FEW_F16_ROUNDED)
ALL_SIZES(FEW_BF16) ALL_SIZES(FEW_INT8)
#define NAME(kind, M, R) kind##_##M##_##R,
#define ROW(kind) [kind] = { SIZES(NAME, kind) },
static const piece_of pieces[FEW_KINDS][2 * MOST] = {
    ROW(FEW_F32) ROW(FEW_F32_ROUNDED) ROW(FEW_F16) ROW(FEW_F16_ROUNDED) ROW(FEW_BF16) ROW(FEW_INT8)
};

/* Rows of x in groups as equal as possible; for each, rows of W by rows_at_once and then one by one. */
static void columns(const few *f, long row, long n, long from, long to, float *sum)
{
    long groups = (f->M + MOST - 1) / MOST;
    for (long g = 0; g < groups; g++) {
        long m = g * f->M / groups, M = (g + 1) * f->M / groups - m, R = rows_at_once[M - 1], step;
        for (long r = 0; r < n; r += step) {
            bool whole = r + R <= n;
            step = whole ? R : 1;
            pieces[f->kind][2 * (M - 1) + !whole]((const char *)f->w + (row + r) * f->stride, f->stride,
                                                  f->x + m * f->ldx, f->ldx, from, to,
                                                  sum + m * FEW_BAND + r);
        }
    }
}

static void band(const few *f, long row, long n, float *sum)
{
    long whole = f->K / STEP * STEP;
    for (long k = 0; k < whole; k += PIECE)
        columns(f, row, n, k, k + PIECE < whole ? k + PIECE : whole, sum);
}
