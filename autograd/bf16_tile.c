/* bf16_tile.c - y = x W' + beta y with factors in bfloat16 and sums in float, for many rows of x, by
 * vdpbf16ps: in each of 16 lanes the sum of two products is added, so a vector holds 32 columns of a row.
 * x is rounded once, or is the sum of two (x rounded, and what that left out rounded): 16 of its 24 bits.
 * Both x (R,K) and W (N,K) are contiguous along K, which is the order that the instruction wants: a tile
 * of 4 rows of x and 6 of W is 24 registers of sums, 10 loads serve 24 instructions, and nothing needs to
 * be packed. A thread owns whole rows of W; K is cut at fixed places. Without the instruction the plain
 * tile does the same sums in another order. */
#include "autograd/internal.h"
#include <math.h>
#include <string.h>

enum { ROWS = 48, PIECE = 4096 }; /* rows of W that a thread takes; columns at a time, a multiple of 32 */

static float wide(uint16_t b)
{
    uint32_t bits = (uint32_t)b << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void bf16_tile_plain(long M, long n, long K, const uint16_t *x, const uint16_t *w, float *sum)
{
    for (long m = 0; m < M; m++)
        for (long r = 0; r < n; r++) {
            float s = 0;
            #pragma omp simd reduction(+:s)
            for (long k = 0; k < K; k++)
                s += wide(x[m*K + k]) * wide(w[r*K + k]);
            sum[m*n + r] += s;
        }
}

#if REAL == 32 && defined __x86_64__
#include <immintrin.h>
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

bool bf16_tile_here(void)
{
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw");
}

TARGET static inline __attribute__((always_inline)) __m512bh pairs(const uint16_t *p, __mmask32 which)
{
    return (__m512bh)_mm512_maskz_loadu_epi16(which, p);
}

/* sum[m*n + r] += columns 0 .. count of rows m < M, r < R; K: from row to row of x and w. */
TARGET static inline __attribute__((always_inline)) void tile(int M, int R, long count, long K,
                                                              const uint16_t *x,
                                                              const uint16_t *w, float *sum, long n)
{
    __m512 acc[4 * 6];
    #pragma GCC unroll 24
    for (int i = 0; i < M * R; i++)
        acc[i] = _mm512_setzero_ps();
    for (long k = 0; k < count; k += 32) {
        __mmask32 which = count - k < 32 ? (1u << (count - k)) - 1 : 0xffffffff;
        __m512bh b[6];
        #pragma GCC unroll 6
        for (int r = 0; r < R; r++)
            b[r] = pairs(w + r*K + k, which);
        #pragma GCC unroll 4
        for (int m = 0; m < M; m++) {
            __m512bh a = pairs(x + m*K + k, which);
            #pragma GCC unroll 6
            for (int r = 0; r < R; r++)
                acc[m*R + r] = _mm512_dpbf16_ps(acc[m*R + r], a, b[r]);
        }
    }
    #pragma GCC unroll 4
    for (int m = 0; m < M; m++)
        #pragma GCC unroll 6
        for (int r = 0; r < R; r++)
            sum[m*n + r] += _mm512_reduce_add_ps(acc[m*R + r]);
}

TARGET static void tile_4_6(long c, long K, const uint16_t *x, const uint16_t *w, float *sum, long n)
{
    tile(4, 6, c, K, x, w, sum, n);
}

TARGET static void tile_1_6(long c, long K, const uint16_t *x, const uint16_t *w, float *sum, long n)
{
    tile(1, 6, c, K, x, w, sum, n);
}

TARGET static void tile_4_1(long c, long K, const uint16_t *x, const uint16_t *w, float *sum, long n)
{
    tile(4, 1, c, K, x, w, sum, n);
}

TARGET static void tile_1_1(long c, long K, const uint16_t *x, const uint16_t *w, float *sum, long n)
{
    tile(1, 1, c, K, x, w, sum, n);
}

void bf16_tile_avx512(long M, long n, long K, const uint16_t *x, const uint16_t *w, float *sum)
{
    for (long k = 0; k < K; k += PIECE) {
        long c = K - k < PIECE ? K - k : PIECE, across, down;
        for (long r = 0; r < n; r += across) {             /* 6 rows of W stay in the nearest cache */
            across = n - r >= 6 ? 6 : 1;
            for (long m = 0; m < M; m += down) {
                down = M - m >= 4 ? 4 : 1;
                (across == 6 ? down == 4 ? tile_4_6 : tile_1_6 : down == 4 ? tile_4_1 : tile_1_1)(
                    c, K, x + m*K + k, w + r*K + k, sum + m*n + r, n);
            }
        }
    }
}
#else
bool bf16_tile_here(void) { return false; }
#endif

/* x in bfloat16 (terms,R,K); for each thread sums (R,ROWS), and its rows of W (ROWS,K) where they are kept
 * otherwise */
static long sums_bytes(long R) { return (R * ROWS * (long)sizeof(float) + 63) / 64 * 64; }
static long rows_bytes(const ag_frozen *w) { return (ROWS * w->K * 2 + 63) / 64 * 64; }
static long x_bytes(const ag_frozen *w, int terms, long R) { return (terms * R * w->K * 2 + 63) / 64 * 64; }

long bf16_scratch(const ag_frozen *w, int terms, long R)
{
    return x_bytes(w, terms, R) + ag_threads_now() * (sums_bytes(R) + rows_bytes(w));
}

/* n rows of W in bfloat16, without scale: as they are, or rounded into `to`. */
static const uint16_t *rows_in(const ag_frozen *w, long row, long n, uint16_t *to)
{
    enum { PART = 256 };
    real part[PART];
    if (w->type == AG_BF16)
        return (const uint16_t *)w->data + row * w->K;
    for (long r = 0; r < n; r++)
        for (long k = 0; k < w->K; k += PART) {
            long c = w->K - k < PART ? w->K - k : PART;
            frozen_widen(w->type, (const char *)w->data + (row + r) * w->K * frozen_width(w->type), k, c,
                         part);
            brain_round(c, part, to + r * w->K + k);
        }
    return to;
}

/* What rounding to `near` left out, rounded; nothing of what is not finite. */
static void rest_of(long n, const real *x, const uint16_t *near, uint16_t *rest)
{
    enum { PART = 256 };
    real part[PART];
    for (long i = 0; i < n; i += PART) {
        long m = n - i < PART ? n - i : PART;
        brain_widen(m, near + i, part);
        for (long k = 0; k < m; k++)
            part[k] = isfinite((double)part[k]) ? x[i + k] - part[k] : 0;
        brain_round(m, part, rest + i);
    }
}

void bf16_product_by(bf16_tile tile_of, const ag_frozen *w, int terms, long R, const real *x, void *scratch,
                     real beta, real *y)
{
    uint16_t *near = scratch;                              /* (terms,R,K) */
    char *own = (char *)scratch + x_bytes(w, terms, R);
    brain_round(R * w->K, x, near);
    if (terms == 2)
        rest_of(R * w->K, x, near, near + R * w->K);
    #pragma omp parallel for schedule(dynamic)
    for (long row = 0; row < w->N; row += ROWS) {
        long n = w->N - row < ROWS ? w->N - row : ROWS;
        float *sum = (float *)(void *)(own + ag_thread() * (sums_bytes(R) + rows_bytes(w)));
        const uint16_t *rows = rows_in(w, row, n, (uint16_t *)(void *)((char *)sum + sums_bytes(R)));
        memset(sum, 0, (size_t)(R * n) * sizeof *sum);
        for (long term = terms - 1; term >= 0; term--)     /* the small ones first */
            tile_of(R, n, w->K, near + term * R * w->K, rows, sum);
        for (long m = 0; m < R; m++)
            for (long r = 0; r < n; r++) {
                real *to = y + m * w->N + row + r,
                     s = (real)sum[m*n + r] * (w->scale ? (real)w->scale[row + r] : 1);
                *to = beta == 0 ? s : beta * *to + s;
            }
    }
}

void bf16_product_cpu(const ag_frozen *w, int terms, long R, const real *x, void *scratch, real beta,
                      real *y)
{
#if REAL == 32 && defined __x86_64__
    bf16_product_by(bf16_tile_here() ? bf16_tile_avx512 : bf16_tile_plain, w, terms, R, x, scratch, beta, y);
#else
    bf16_product_by(bf16_tile_plain, w, terms, R, x, scratch, beta, y);
#endif
}
