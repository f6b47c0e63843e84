/* softmax.c - y = exp(x - m) / sum exp(x - m),  m = max x,  over the last axis.
 * x, y (R,C), leading axes folded into R.   dx = y * (dy - sum_C y * dy).                                  */
#include "autograd/internal.h"
#include <float.h>

/* Finite, so that a row of -inf becomes zeros, not NaN. */
static const real lowest = REAL == 32 ? (real)-FLT_MAX : (real)-DBL_MAX;

real ag_row_max(long C, const real *x)
{
    enum { LANES = 16 };
    real lane[LANES], m = lowest;
    for (int k = 0; k < LANES; k++)
        lane[k] = lowest;
    long c = 0;
    for (; c + LANES <= C; c += LANES) {
        #pragma omp simd
        for (int k = 0; k < LANES; k++)
            lane[k] = x[c + k] > lane[k] ? x[c + k] : lane[k];
    }
    for (int width = LANES / 2; width; width /= 2)
        for (int k = 0; k < width; k++)
            lane[k] = lane[k + width] > lane[k] ? lane[k + width] : lane[k];
    m = lane[0];
    for (; c < C; c++)
        m = x[c] > m ? x[c] : m;
    return m;
}

void ag_softmax_row(long C, const real *x, real *y)
{
    real m = ag_row_max(C, x);
    double sum = 0;
    AG_SIMD
    for (long c = 0; c < C; c++)
        y[c] = ag_exp1(x[c] - m);
    #pragma omp simd reduction(+:sum)
    for (long c = 0; c < C; c++)
        sum += y[c];
    real share = sum == 0 ? 0 : (real)(1 / sum);
    #pragma omp simd
    for (long c = 0; c < C; c++)
        y[c] *= share;
}

void ag_softmax_back_row(long C, const real *y, const real *dy, real into, real *dx)
{
    double dot = 0;
    #pragma omp simd reduction(+:dot)
    for (long c = 0; c < C; c++)
        dot += y[c] * dy[c];
    real mean = (real)dot;
    if (into == 0) {
        #pragma omp simd
        for (long c = 0; c < C; c++)
            dx[c] = y[c] * (dy[c] - mean);
    } else {
        #pragma omp simd
        for (long c = 0; c < C; c++)
            dx[c] += y[c] * (dy[c] - mean);
    }
}

static void softmax_cpu(long R, long C, const real *x, real *y)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++)
        ag_softmax_row(C, x + r*C, y + r*C);
}

static void softmax_back_cpu(long R, long C, const real *y, const real *dy, real into, real *dx)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++)
        ag_softmax_back_row(C, y + r*C, dy + r*C, into, dx + r*C);
}

static void backward(const ag_node *n)
{
    tensor *x = n->in[0];
    real into, *dx = ag_grad_beta(x, &into);
    AG_CALL(n->tape, softmax_back)(ag_rows(x), ag_columns(x), n->out->data, n->out->grad, into, dx);
}

static tensor *example(ag_probe *p, int variant)
{
    static const long sizes[][2] = { { 3, 5 }, { 1, 2 }, { 1, 17 }, { 7, 3 }, { 5, 64 }, { 70, 300 },
                                    { 0, 5 } };
    const long *d = sizes[variant % 7];                    /* R, C */
    tensor *x = variant < 7 ? ag_input(p, "x", DIMS(d[0], d[1])) : ag_input(p, "x", DIMS(2, d[0], d[1]));
    return ag_softmax(ag_probe_tape(p), x);
}

const ag_op ag_op_softmax = { "softmax", backward, example, .variants = 14 };

tensor *ag_softmax(tape *t, tensor *x)
{
    AG_NO_FROZEN("softmax", x);
    if (x->ndim < 1)
        ag_fail("softmax", "x has no last axis: shape %s", SHAPE(x));
    tensor *y = ag_new_like(t, x);
    AG_CALL(t, softmax)(ag_rows(x), ag_columns(x), x->data, y->data);
    return AG_RECORD(t, &ag_op_softmax, y, NULL, x);
}
