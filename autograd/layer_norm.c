/* layer_norm.c - y = gamma * h + beta,  h = (x - mean) * rstd  over the last axis.
 * Ba, Kiros & Hinton 2016, eqs. 3-4.  x, y (R,C), leading axes folded into R;  gamma, beta (C).
 * With dh = gamma * dy and <.> the mean over C:   dx = rstd * (dh - <dh> - h * <dh * h>),
 * dgamma = sum_R dy * h,   dbeta = sum_R dy. */
#include "autograd/internal.h"
#include <math.h>

struct saved { real *mean, *rstd; };                       /* (R), (R); they live on the tape */

static void layer_norm_cpu(long R, long C, const real *x, const real *gamma, const real *beta,
                           double eps, real *y, real *mean, real *rstd)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++) {
        const real *xr = x + r*C;
        double m = 0, v = 0;                               /* wide sums cost nothing here */
        #pragma omp simd reduction(+:m)
        for (long c = 0; c < C; c++)
            m += xr[c];
        m /= (double)C;
        #pragma omp simd reduction(+:v)
        for (long c = 0; c < C; c++)
            v += (xr[c] - m) * (xr[c] - m);
        real mu = mean[r] = (real)m, s = rstd[r] = (real)(1 / sqrt(v / (double)C + eps));
        for (long c = 0; c < C; c++)
            y[r*C + c] = gamma[c] * (xr[c] - mu) * s + beta[c];
    }
}

/* dx: a thread owns whole rows. */
static void layer_norm_dx_cpu(long R, long C, const real *x, const real *gamma, const real *mean,
                              const real *rstd, const real *dy, real into, real *dx)
{
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++) {
        const real *xr = x + r*C, *g = dy + r*C, mu = mean[r], s = rstd[r];
        real *d = dx + r*C;
        double a = 0, b = 0;                               /* <dh>, <dh * h> */
        #pragma omp simd reduction(+:a, b)
        for (long c = 0; c < C; c++) {
            real dh = gamma[c] * g[c];
            a += dh;
            b += dh * ((xr[c] - mu) * s);
        }
        real ma = (real)(a / (double)C), mb = (real)(b / (double)C);
        if (into == 0)
            for (long c = 0; c < C; c++)
                d[c] = s * (gamma[c] * g[c] - ma - (xr[c] - mu) * s * mb);
        else
            for (long c = 0; c < C; c++)
                d[c] += s * (gamma[c] * g[c] - ma - (xr[c] - mu) * s * mb);
    }
}

/* dgamma, dbeta: a thread owns a block of columns and walks all rows, in order. */
static void layer_norm_dparam_cpu(long R, long C, const real *x, const real *mean, const real *rstd,
                                  const real *dy, real *dgamma, real *dbeta) /* NULL: not wanted */
{
    enum { BLOCK = 64 };
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long first = 0; first < C; first += BLOCK) {
        long n = C - first < BLOCK ? C - first : BLOCK;
        double sg[BLOCK] = { 0 }, sb[BLOCK] = { 0 };
        for (long r = 0; r < R; r++) {
            const real *xr = x + r*C + first, *g = dy + r*C + first, mu = mean[r], s = rstd[r];
            for (long c = 0; c < n; c++) {
                sg[c] += g[c] * ((xr[c] - mu) * s);
                sb[c] += g[c];
            }
        }
        for (long c = 0; dgamma && c < n; c++)
            dgamma[first + c] += (real)sg[c];
        for (long c = 0; dbeta && c < n; c++)
            dbeta[first + c] += (real)sb[c];
    }
}

static void backward(const ag_node *n)
{
    tensor *x = n->in[0], *gamma = n->in[1], *beta = n->in[2];
    const struct saved *s = n->saved;
    const real *dy = n->out->grad;
    long C = gamma->size, R = ag_rows(x);
    real into, *dx = ag_grad_beta(x, &into), *dgamma = ag_grad(gamma), *dbeta = ag_grad(beta);
    if (dx)
        AG_CALL(n->tape, layer_norm_dx)(R, C, x->data, gamma->data, s->mean, s->rstd, dy, into, dx);
    if (dgamma || dbeta)
        AG_CALL(n->tape, layer_norm_dparam)(R, C, x->data, s->mean, s->rstd, dy, dgamma, dbeta);
}

static tensor *example(ag_probe *p, int variant)
{
    long C = (long[]){ 5, 3, 7, 200, 64 }[variant % 5];
    long R = variant == 9 ? 300 : variant == 10 ? 0 : 1 + variant;
    tensor *x = variant % 2 ? ag_input(p, "x", DIMS(R, C)) : ag_input(p, "x", DIMS(2, R, C));
    tensor *gamma = ag_input(p, "gamma", DIMS(C));
    tensor *beta = ag_input(p, "beta", DIMS(C));
    return ag_layer_norm(ag_probe_tape(p), x, gamma, beta, variant % 3 && C > 3 ? 1e-5 : 1e-2);
}

const ag_op ag_op_layer_norm = { "layer_norm", backward, example, .variants = 15 };

tensor *ag_layer_norm(tape *t, tensor *x, tensor *gamma, tensor *beta, double eps)
{
    AG_NO_FROZEN("layer_norm", x, gamma, beta);
    long C = ag_columns(x), R = ag_rows(x);
    if (x->ndim < 1 || gamma->size != C || beta->size != C)
        ag_fail("layer_norm", "x %s needs gamma and beta (%ld), got %s and %s",
                SHAPE(x), C, SHAPE(gamma), SHAPE(beta));
    tensor *y = ag_new_like(t, x);
    struct saved *s = ag_alloc(t, sizeof *s);
    *s = (struct saved){ ag_alloc_real(t, R), ag_alloc_real(t, R) };
    AG_CALL(t, layer_norm)(R, C, x->data, gamma->data, beta->data, eps, y->data, s->mean, s->rstd);
    return AG_RECORD(t, &ag_op_layer_norm, y, s, x, gamma, beta);
}
