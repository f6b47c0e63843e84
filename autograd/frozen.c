/* frozen.c - products with a matrix that learns nothing and may be kept in 16 or 8 bits: y = x W' + beta y
 * and, so that gradients pass through, dx = dy W + beta dx.   x (R,K), W (N,K), y (R,N).
 *
 *   AG_F16, AG_BF16   W[n][k] as it stands
 *   AG_INT8           W[n][k] = scale[n] q[n][k], scale = max |W[n]| / 127
 * Weights are widened to `real` in blocks that a cache holds, and what follows is the ordinary product: the
 * same as of the widened matrix, up to the order of sums. Up to 16 rows go through few_rows.c. A thread owns
 * whole columns of y (rows of W), or whole columns of dx (columns of W), and blocks depend on the sizes
 * alone: the same bits for any number of threads.
 *
 * AG_ONCE (ag_compute): x and W (of int8 q, whose scales come last) are first rounded to bfloat16, whose
 * products are exact in float; sums are float. Where the CPU has AVX512_BF16, bf16_tile.c multiplies two
 * pairs in one instruction. AG_PAIRS has x as the sum of two bfloat16 there, and W's numbers as they are. */
#include "autograd/internal.h"
#include <string.h>

enum { ROWS = 192, COLUMNS = 1024, BACK_ROWS = 256, BACK_COLUMNS = 256 };

static const struct { const char *name; int width; } types[] = {
    [AG_REAL] = { REAL == 64 ? "f64" : "f32", sizeof(real) }, [AG_F16] = { "f16", 2 },
    [AG_BF16] = { "bf16", 2 },
    [AG_INT8] = { "int8", 1 },
};

const char *ag_dtype_name(ag_dtype type) { return types[type].name; }
long frozen_width(ag_dtype type) { return types[type].width; }

long ag_frozen_bytes(ag_dtype type, long N, long K)
{
    return (N * K * types[type].width + 63) / 64 * 64 + (type == AG_INT8 ? N * (long)sizeof(float) : 0);
}

/* ---- widening and narrowing ---------------------------------------------------------------------------- */
void frozen_widen(ag_dtype type, const void *row, long from, long n, real *to)
{
    const int8_t *bytes = (const int8_t *)row + from;
    switch (type) {
    case AG_F16: half_widen(n, (const uint16_t *)row + from, to); break;
    case AG_BF16: brain_widen(n, (const uint16_t *)row + from, to); break;
    case AG_INT8:
        for (long i = 0; i < n; i++)
            to[i] = bytes[i];
        break;
    default: memcpy(to, (const real *)row + from, (size_t)n * sizeof *to);
    }
}

void frozen_round(long n, const real *x, real *y)
{
    enum { PIECE = 256 };
    uint16_t brains[PIECE];
    for (long i = 0; i < n; i += PIECE) {
        long m = n - i < PIECE ? n - i : PIECE;
        brain_round(m, x + i, brains);
        brain_widen(m, brains, y + i);
    }
}

void ag_frozen_read(const ag_frozen *w, long row, long from, long n, real *to)
{
    frozen_widen(w->type, (const char *)w->data + row * w->K * types[w->type].width, from, n, to);
    for (long i = 0; w->scale && i < n; i++)
        to[i] *= (real)w->scale[row];
}

/* One row of int8: the largest becomes 127. A row of zeros has the scale 0. */
static void quantize_row(long K, const real *x, int8_t *q, float *scale)
{
    double most = 0;
    for (long k = 0; k < K; k++)
        most = fmax(most, fabs((double)x[k]));
    *scale = (float)(most / 127);
    real inverse = *scale > 0 ? 1 / (real)*scale : 0;
    if (!isfinite(inverse))                                /* numbers that are next to nothing */
        *scale = 0, inverse = 0;
    for (long k = 0; k < K; k++) {
        real r = x[k] * inverse;
        long whole = (long)(r < 0 ? r - (real)0.5 : r + (real)0.5);
        q[k] = (int8_t)(whole > 127 ? 127 : whole < -127 ? -127 : whole);
    }
}

long ag_quantize(ag_dtype type, long N, long K, const real *x, void *data, float *scale)
{
    const double most = type == AG_F16 ? 65504 : 3.38e38;
    for (long i = 0; i < N * K; i++)
        if (!(fabs((double)x[i]) <= most))
            return i;
    for (long n = 0; n < N; n++)
        if (type == AG_F16)
            half_round(K, x + n*K, (uint16_t *)data + n*K);
        else if (type == AG_BF16)
            brain_round(K, x + n*K, (uint16_t *)data + n*K);
        else if (type == AG_INT8)
            quantize_row(K, x + n*K, (int8_t *)data + n*K, &scale[n]);
        else
            memcpy((real *)data + n*K, x + n*K, (size_t)K * sizeof *x);
    return -1;
}

tensor *ag_frozen_new(tape *t, ag_dtype type, int ndim, const long *dim, const real *values)
{
    tensor *x = ag_alloc(t, sizeof *x);
    ag_frozen *w = ag_alloc(t, sizeof *w);
    *x = (tensor){ .ndim = ndim, .size = 1, .tape = t, .frozen = w };
    if (ndim < 1 || ndim > AG_MAX_DIM || type == AG_REAL)
        ag_fail("frozen", "a matrix in low precision has 1 to %d axes, got %d in %s", AG_MAX_DIM, ndim,
                types[type].name);
    long N = dim[0], K = 1;
    for (int i = 0; i < ndim; i++) {
        x->size *= x->dim[i] = dim[i];
        K *= i ? dim[i] : 1;
    }
    char *data = ag_alloc(t, ag_frozen_bytes(type, N, K));
    float *scale = type == AG_INT8 ? (float *)(void *)(data + ag_frozen_bytes(AG_INT8, N, K) - N * 4) : NULL;
    *w = (ag_frozen){ type, N, K, data, scale };
    long bad = ag_quantize(type, N, K, values, data, scale);
    if (bad >= 0)
        ag_fail("frozen", "element %ld is %g, which %s cannot hold", bad, (double)values[bad],
                types[type].name);
    return x;
}

/* ---- products ------------------------------------------------------------------------------------------ */
/* Rows of W that a thread takes at a time: equal parts of about ROWS, whole 16s. */
static long rows_of(long N)
{
    long parts = (N + ROWS / 2) / ROWS;
    return parts > 1 ? (((N + parts - 1) / parts) + 15) / 16 * 16 : (N + 15) / 16 * 16;
}

/* y[:, row ..] of n rows of W by way of a widened block (n,COLUMNS). */
static void block(const ag_frozen *w, bool rounded, long row, long n, long R, const real *x, real beta,
                  real *y, real *wide)
{
    for (long k = 0; k < w->K; k += COLUMNS) {
        long c = w->K - k < COLUMNS ? w->K - k : COLUMNS;
        for (long r = 0; r < n; r++)
            ag_frozen_read(w, row + r, k, c, wide + r*c);
        if (rounded && w->type != AG_BF16 && w->type != AG_INT8)
            frozen_round(n * c, wide, wide);
        ag_gemm_one(false, true, R, n, c, 1, x + k, w->K, wide, c, k ? 1 : beta, y + row, w->N);
    }
}

void frozen_product_cpu(const ag_frozen *w, bool rounded, long R, const real *x, real *scratch, real beta,
                        real *y)
{
    long rows = rows_of(w->N), blocks = rows ? (w->N + rows - 1) / rows : 0;
    if (!w->K)                                             /* an empty sum */
        ag_gemm_one(false, true, R, w->N, 0, 1, x, 0, NULL, 0, beta, y, w->N);
    #pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < blocks; i++) {
        long row = i * rows, n = w->N - row < rows ? w->N - row : rows;
        block(w, rounded, row, n, R, x, beta, y, scratch + ag_thread() * rows * COLUMNS);
    }
}

/* dx (R,K): a thread takes columns of dx and goes down W. */
void frozen_back_cpu(const ag_frozen *w, long R, const real *dy, real *scratch, real beta, real *dx)
{
    long blocks = (w->K + BACK_COLUMNS - 1) / BACK_COLUMNS;
    if (!w->N)
        ag_gemm_one(false, false, R, w->K, 0, 1, dy, 0, NULL, 0, beta, dx, w->K);
    #pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < blocks; i++) {
        long k = i * BACK_COLUMNS, c = w->K - k < BACK_COLUMNS ? w->K - k : BACK_COLUMNS;
        real *wide = scratch + ag_thread() * BACK_ROWS * BACK_COLUMNS;
        for (long row = 0; row < w->N; row += BACK_ROWS) {
            long n = w->N - row < BACK_ROWS ? w->N - row : BACK_ROWS;
            for (long r = 0; r < n; r++)
                ag_frozen_read(w, row + r, k, c, wide + r*c);
            ag_gemm_one(false, false, R, c, n, 1, dy + row, w->N, wide, c, row ? 1 : beta, dx + k, w->K);
        }
    }
}

/* ---- what operations call ------------------------------------------------------------------------------ */
/* A weight as such a matrix, whether it is kept low or not. */
static ag_frozen matrix_of(const tensor *w)
{
    long N = w->dim[0];
    return w->frozen ? *w->frozen : (ag_frozen){ AG_REAL, N, N ? w->size / N : 0, w->data, NULL };
}

static long blocks_scratch(const ag_frozen *m) { return ag_threads_now() * rows_of(m->N) * COLUMNS; }

/* A tape that only measures counts scratch and operations here, as ag_gemm counts its own. */
static void rounded_product(tape *t, const ag_frozen *m, long R, const real *x, real beta, real *y)
{
    bool small = R <= FEW_MOST, tile = !small && bf16_tile_here();
    real *near = ag_alloc_real(t, R * m->K);               /* (R,K) */
    void *scratch = tile ? ag_alloc(t, bf16_scratch(m, 1, R))
                         : ag_alloc_real(t, small ? R * m->K : blocks_scratch(m));
    if (ag_spent(2.0 * (double)R * (double)m->N * (double)m->K))
        return;
    frozen_round(R * m->K, x, near);
    if (small)
        few_rows_by(few_best(), m, true, R, near, m->K, scratch, beta, y, m->N);
    else if (tile)
        bf16_product_cpu(m, 1, R, near, scratch, beta, y);
    else
        frozen_product_cpu(m, true, R, near, scratch, beta, y);
}

static void low_product(tape *t, const ag_frozen *m, long R, const real *x, real beta, real *y)
{
    bool small = R <= FEW_MOST;
    real *scratch = ag_alloc_real(t, small ? R * m->K : blocks_scratch(m));
    if (ag_spent(2.0 * (double)R * (double)m->N * (double)m->K))
        return;
    if (small)
        few_rows_by(few_best(), m, false, R, x, m->K, scratch, beta, y, m->N);
    else
        frozen_product_cpu(m, false, R, x, scratch, beta, y);
}

static void pairs_product(tape *t, const ag_frozen *m, long R, const real *x, real beta, real *y)
{
    void *scratch = ag_alloc(t, bf16_scratch(m, 2, R));
    if (!ag_spent(2.0 * (double)R * (double)m->N * (double)m->K))
        bf16_product_cpu(m, 2, R, x, scratch, beta, y);
}

/* A few rows wait for memory, not for products: AG_PAIRS leaves them as they are. */
void ag_weight_product(tape *t, bool recorded, long R, const real *x, const tensor *w, real beta, real *y)
{
    ag_frozen m = matrix_of(w);
    ag_precision how = recorded ? AG_EXACT : ag_computes(t);
    ag_mark mark = ag_here(t);
    if (how == AG_PAIRS && (R <= FEW_MOST || (m.type != AG_BF16 && m.type != AG_INT8) || !bf16_tile_here()))
        how = AG_EXACT;
    if (m.type == AG_REAL && how == AG_EXACT)
        ag_gemm(false, true, R, m.N, m.K, 1, x, m.K, w->data, m.K, beta, y, m.N);
    else if (R && m.N)
        (how == AG_ONCE ? rounded_product : how == AG_PAIRS ? pairs_product : low_product)(t, &m, R, x, beta,
                                                                                           y);
    ag_rewind(t, mark);
}

void ag_weight_back(tape *t, long R, const real *dy, const tensor *w, real beta, real *dx)
{
    ag_frozen m = matrix_of(w);
    if (m.type == AG_REAL) {
        ag_gemm(false, false, R, m.K, m.N, 1, dy, m.N, w->data, m.K, beta, dx, m.K);
        return;
    }
    ag_mark mark = ag_here(t);
    if (R && m.K) {
        real *scratch = ag_alloc_real(t, ag_threads_now() * BACK_ROWS * BACK_COLUMNS);
        if (!ag_spent(2.0 * (double)R * (double)m.N * (double)m.K))
            frozen_back_cpu(&m, R, dy, scratch, beta, dx);
    }
    ag_rewind(t, mark);
}

/* y[i] = W[rows[i]] */
void ag_weight_rows(tape *t, long n, const tensor *w, const int *rows, real *y)
{
    if (!w->frozen) {
        AG_CALL(t, gather_rows)(n, w->dim[0] ? w->size / w->dim[0] : 0, w->data, rows, y);
        return;
    }
    for (long i = 0; i < n && !ag_spent(0); i++)
        ag_frozen_read(w->frozen, rows[i], 0, w->frozen->K, y + i * w->frozen->K);
}
