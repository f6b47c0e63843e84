/* l2_normalize.c - y = x / max(|x|, eps) over the last axis.   x, y (R,C), leading axes folded into R.
 * With r = |x|:   dx = (dy - y <y, dy>) / r where r > eps,   dx = dy / eps elsewhere.                   */
#include "autograd/internal.h"
#include <math.h>

struct saved { double *norm, eps; };                       /* norm (R): |x| */

static void l2_normalize_cpu(long R, long C, const real *x, double eps, real *y, double *norm)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++) {
        const real *xr = x + r*C;
        double sum = 0;
        #pragma omp simd reduction(+:sum)
        for (long c = 0; c < C; c++)
            sum += (double)xr[c] * xr[c];
        norm[r] = sqrt(sum);
        double inverse = 1 / (norm[r] < eps ? eps : norm[r]);      /* NaN stays */
        for (long c = 0; c < C; c++)
            y[r*C + c] = (real)(xr[c] * inverse);
    }
}

static void l2_normalize_back_cpu(long R, long C, const real *y, const double *norm, double eps,
                                  const real *dy, real beta, real *dx)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++) {
        const real *yr = y + r*C, *g = dy + r*C;
        double along = 0, inverse = 1 / (norm[r] < eps ? eps : norm[r]);
        #pragma omp simd reduction(+:along)
        for (long c = 0; c < C; c++)
            along += (double)yr[c] * g[c];
        if (!(norm[r] > eps))
            along = 0;
        for (long c = 0; c < C; c++) {
            real d = (real)((g[c] - yr[c] * along) * inverse);
            dx[r*C + c] = beta == 0 ? d : dx[r*C + c] + d;
        }
    }
}

static void backward(const ag_node *n)
{
    const struct saved *s = n->saved;
    const tensor *y = n->out;
    long C = ag_columns(y), R = ag_rows(y);
    real beta, *dx = ag_grad_beta(n->in[0], &beta);
    AG_CALL(n->tape, l2_normalize_back)(R, C, y->data, s->norm, s->eps, y->grad, beta, dx);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { int ndim; long dim[4]; double eps; } cases[] = {       /* with 1000 all are short */
        { 2, { 3, 4 }, 1e-12 },       { 2, { 1, 2 }, 1e-12 },     { 1, { 5 }, 1e-12 },
        { 1, { 1 }, 1000 },           { 2, { 3, 4 }, 1000 },      { 3, { 2, 3, 7 }, 1000 },
        { 3, { 2, 3, 4 }, 1e-12 },    { 4, { 2, 1, 3, 2 }, 0.1 }, { 2, { 5, 90 }, 0 },
        { 2, { 90, 256 }, 1e-12 },    { 2, { 2, 9000 }, 1e-12 },  { 2, { 300, 64 }, 1000 },
        { 2, { 0, 4 }, 1e-12 },
    };
    bool narrow = cases[variant].dim[cases[variant].ndim - 1] < 5;         /* few numbers may all be near 0 */
    tensor *x = (narrow ? ag_input_positive : ag_input)(p, "x", cases[variant].ndim, cases[variant].dim);
    return ag_l2_normalize(ag_probe_tape(p), x, cases[variant].eps);
}

const ag_op ag_op_l2_normalize = { "l2_normalize", backward, example, .variants = 13 };

tensor *ag_l2_normalize(tape *t, tensor *x, double eps)
{
    AG_NO_FROZEN("l2_normalize", x);
    if (x->ndim < 1 || eps < 0)
        ag_fail("l2_normalize", "x needs a last axis and eps is not negative, got %s and %g", SHAPE(x), eps);
    tensor *y = ag_new_like(t, x);
    struct saved *s = ag_alloc(t, sizeof *s);
    *s = (struct saved){ ag_alloc(t, ag_rows(x) * (long)sizeof *s->norm), eps };
    AG_CALL(t, l2_normalize)(ag_rows(x), ag_columns(x), x->data, eps, y->data, s->norm);
    return AG_RECORD(t, &ag_op_l2_normalize, y, s, x);
}
