/* log_softmax.c - y = x - m - log sum exp(x - m),  m = max x,  over the last axis.
 * x, y (R,C), leading axes folded into R.   dx = dy - exp(y) sum_C dy.                                     */
#include "autograd/internal.h"

static void log_softmax_cpu(long R, long C, const real *x, real *y)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++) {
        const real *xr = x + r*C;
        real *yr = y + r*C, m = ag_row_max(C, xr);
        double sum = 0;
        AG_SIMD
        for (long c = 0; c < C; c++)
            yr[c] = ag_exp1(xr[c] - m);
        #pragma omp simd reduction(+:sum)
        for (long c = 0; c < C; c++)
            sum += yr[c];
        real rest = (real)log(sum);
        #pragma omp simd
        for (long c = 0; c < C; c++)
            yr[c] = xr[c] - m - rest;
    }
}

static void log_softmax_back_cpu(long R, long C, const real *y, const real *dy, real into, real *dx)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++) {
        const real *yr = y + r*C, *g = dy + r*C;
        real *d = dx + r*C;
        double wide = 0;
        #pragma omp simd reduction(+:wide)
        for (long c = 0; c < C; c++)
            wide += g[c];
        real sum = (real)wide;
        if (into == 0) {
            AG_SIMD
            for (long c = 0; c < C; c++)
                d[c] = g[c] - ag_exp1(yr[c]) * sum;
        } else {
            AG_SIMD
            for (long c = 0; c < C; c++)
                d[c] += g[c] - ag_exp1(yr[c]) * sum;
        }
    }
}

static void backward(const ag_node *n)
{
    tensor *x = n->in[0];
    real into, *dx = ag_grad_beta(x, &into);
    AG_CALL(n->tape, log_softmax_back)(ag_rows(x), ag_columns(x), n->out->data, n->out->grad, into, dx);
}

static tensor *example(ag_probe *p, int variant)
{
    static const long sizes[][2] = { { 3, 5 }, { 1, 2 }, { 1, 17 }, { 7, 3 }, { 5, 64 }, { 70, 300 },
                                    { 0, 5 } };
    const long *d = sizes[variant % 7];                    /* R, C */
    tensor *x = variant < 7 ? ag_input(p, "x", DIMS(d[0], d[1])) : ag_input(p, "x", DIMS(2, d[0], d[1]));
    return ag_log_softmax(ag_probe_tape(p), x);
}

const ag_op ag_op_log_softmax = { "log_softmax", backward, example, .variants = 14 };

tensor *ag_log_softmax(tape *t, tensor *x)
{
    AG_NO_FROZEN("log_softmax", x);
    if (x->ndim < 1)
        ag_fail("log_softmax", "x has no last axis: shape %s", SHAPE(x));
    tensor *y = ag_new_like(t, x);
    AG_CALL(t, log_softmax)(ag_rows(x), ag_columns(x), x->data, y->data);
    return AG_RECORD(t, &ag_op_log_softmax, y, NULL, x);
}
