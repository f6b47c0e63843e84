/* rms_norm.c - y = gamma * h,  h = x * r,  r = 1 / sqrt(<x^2> + eps),  <.> the mean over the last axis.
 * Zhang & Sennrich 2019, eq. 4; as T5 has it, with nothing subtracted and nothing added.
 * x, y (R,C), leading axes folded into R;  gamma (C).   With dh = gamma * dy:
 *     dx = r * (dh - h * <dh * h>),   dgamma = sum_R dy * h. */
#include "autograd/internal.h"

struct saved { real *r; };                                 /* (R) */

static void rms_norm_cpu(long R, long C, const real *x, const real *gamma, double eps, real *y, real *rms)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long i = 0; i < R; i++) {
        const real *xi = x + i*C;
        double square = 0;                                 /* in float too: a sum of squares loses digits */
        #pragma omp simd reduction(+:square)
        for (long c = 0; c < C; c++)
            square += (double)xi[c] * (double)xi[c];
        real r = rms[i] = (real)(1 / sqrt(square / (double)C + eps));
        for (long c = 0; c < C; c++)
            y[i*C + c] = gamma[c] * (xi[c] * r);
    }
}

/* dx: a thread owns whole rows. */
static void rms_norm_dx_cpu(long R, long C, const real *x, const real *gamma, const real *rms, const real *dy,
                            real into, real *dx)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long i = 0; i < R; i++) {
        const real *xi = x + i*C, *g = dy + i*C, r = rms[i];
        double sum = 0;
        #pragma omp simd reduction(+:sum)
        for (long c = 0; c < C; c++)
            sum += (double)(gamma[c] * g[c]) * (double)(xi[c] * r);
        real mean = (real)(sum / (double)C);               /* <dh * h> */
        for (long c = 0; c < C; c++) {
            real d = r * (gamma[c] * g[c] - xi[c] * r * mean);
            dx[i*C + c] = into == 0 ? d : dx[i*C + c] + d;
        }
    }
}

/* dgamma: a thread owns a block of columns and walks all rows, in order. */
static void rms_norm_dgamma_cpu(long R, long C, const real *x, const real *rms, const real *dy, real *dgamma)
{
    enum { BLOCK = 64 };
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long first = 0; first < C; first += BLOCK) {
        long n = C - first < BLOCK ? C - first : BLOCK;
        double sum[BLOCK] = { 0 };
        for (long i = 0; i < R; i++)
            for (long c = 0; c < n; c++)
                sum[c] += (double)dy[i*C + first + c] * (double)(x[i*C + first + c] * rms[i]);
        for (long c = 0; c < n; c++)
            dgamma[first + c] += (real)sum[c];
    }
}

static void backward(const ag_node *n)
{
    tensor *x = n->in[0], *gamma = n->in[1];
    const struct saved *s = n->saved;
    const real *dy = n->out->grad;
    long C = gamma->size, R = ag_rows(x);
    real into, *dx = ag_grad_beta(x, &into), *dgamma = ag_grad(gamma);
    if (dx)
        AG_CALL(n->tape, rms_norm_dx)(R, C, x->data, gamma->data, s->r, dy, into, dx);
    if (dgamma)
        AG_CALL(n->tape, rms_norm_dgamma)(R, C, x->data, s->r, dy, dgamma);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { long R, C; double eps; } cases[] = {
        { 4, 5, 1e-6 }, { 1, 3, 0.5 }, { 3, 1, 0.7 }, { 6, 130, 1e-6 }, { 300, 64, 1e-2 },
        { 0, 4, 1e-6 }, { 2, 65, 1e-12 } };
    long R = cases[variant % 7].R, C = cases[variant % 7].C;
    tensor *x = variant < 7 ? ag_input(p, "x", DIMS(R, C)) : ag_input(p, "x", DIMS(2, R, C));
    tensor *gamma = ag_input(p, "gamma", DIMS(C));
    return ag_rms_norm(ag_probe_tape(p), x, gamma, cases[variant % 7].eps);
}

const ag_op ag_op_rms_norm = { "rms_norm", backward, example, .variants = 14 };

tensor *ag_rms_norm(tape *t, tensor *x, tensor *gamma, double eps)
{
    AG_NO_FROZEN("rms_norm", x, gamma);
    long C = ag_columns(x), R = ag_rows(x);
    if (x->ndim < 1 || gamma->size != C)
        ag_fail("rms_norm", "x %s needs gamma (%ld), got %s", SHAPE(x), C, SHAPE(gamma));
    tensor *y = ag_new_like(t, x);
    struct saved *s = ag_alloc(t, sizeof *s);
    s->r = ag_alloc_real(t, R);
    AG_CALL(t, rms_norm)(R, C, x->data, gamma->data, eps, y->data, s->r);
    return AG_RECORD(t, &ag_op_rms_norm, y, s, x, gamma);
}
