/* patch_embed.c - a picture's patches as rows of a matrix product (Dosovitskiy et al. 2021, eq. 1; a
 * convolution whose stride is its kernel). pictures (B,C,S,S) with (S/p)^2 patches each, in row-major order,
 * become P (N,K), K = C p p, each row in the order of W (D,C,p,p);   y = P W' + b, (B,(S/p)^2,D).
 *   dP = dy W, put back where the pixels came from (every pixel is in one patch),
 *   dW = dy' P,   db = sum dy.      P is made again in backward instead of kept: it is only a copy.     */
#include "autograd/internal.h"
#include <string.h>

struct sizes { long B, C, S, p, G, N, K, D; };             /* G = S/p patches a side, N = B G G in all */

static struct sizes sizes_of(const tensor *pictures, const tensor *weight)
{
    const long *d = pictures->dim, *w = weight->dim;
    long G = d[2] / w[2];
    return (struct sizes){ d[0], d[1], d[2], w[2], G, d[0] * G * G, w[1] * w[2] * w[2], w[0] };
}

/* u counts the rows of patches of all pictures; a line of p pixels is one copy. */
static void patches_cpu(long B, long C, long S, long p, const real *pictures, real *rows)
{
    long G = S / p, K = C * p * p;
    #pragma omp parallel for if (B * C * S * S > AG_PARALLEL_MIN)
    for (long u = 0; u < B * G; u++)
        for (long c = 0; c < C; c++)
            for (long i = 0; i < p; i++) {
                const real *line = pictures + ((u / G * C + c) * S + u % G * p + i) * S;
                for (long j = 0; j < G; j++)
                    memcpy(rows + (u*G + j)*K + (c*p + i)*p, line + j*p, (size_t)p * sizeof *line);
            }
}

static void patches_back_cpu(long B, long C, long S, long p, const real *rows, real *pictures)
{
    long G = S / p, K = C * p * p;
    #pragma omp parallel for if (B * C * S * S > AG_PARALLEL_MIN)
    for (long u = 0; u < B * G; u++)
        for (long c = 0; c < C; c++)
            for (long i = 0; i < p; i++) {
                real *line = pictures + ((u / G * C + c) * S + u % G * p + i) * S;
                for (long j = 0; j < G; j++)
                    for (long k = 0; k < p; k++)
                        line[j*p + k] += rows[(u*G + j)*K + (c*p + i)*p + k];
            }
}

static void backward(const ag_node *n)
{
    tape *t = n->tape;
    tensor *pictures = n->in[0], *weight = n->in[1], *bias = n->in[2];
    struct sizes s = sizes_of(pictures, weight);
    const real *dy = n->out->grad;
    real beta, *dpictures = ag_grad(pictures), *dw = ag_grad_beta(weight, &beta), *db = ag_grad(bias);
    ag_mark mark = ag_here(t);
    real *rows = ag_alloc_real(t, s.N * s.K);              /* (N,K) */
    if (dw) {
        AG_CALL(t, patches)(s.B, s.C, s.S, s.p, pictures->data, rows);
        ag_gemm(true, false, s.D, s.K, s.N, 1, dy, s.D, rows, s.K, beta, dw, s.K);
    }
    if (db)
        AG_CALL(t, sum_axis)(1, s.N, s.D, 1, dy, 1, db);
    if (dpictures) {
        ag_weight_back(t, s.N, dy, weight, 0, rows);
        AG_CALL(t, patches_back)(s.B, s.C, s.S, s.p, rows, dpictures);
    }
    ag_rewind(t, mark);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { long B, C, G, patch, D; bool bias; } cases[] = {
        { 2, 3, 2, 2, 5, true },  { 2, 3, 2, 2, 5, false }, { 1, 1, 1, 1, 1, true },
        { 1, 3, 3, 1, 4, true },  { 3, 1, 1, 4, 2, false }, { 1, 2, 4, 3, 7, true },
        { 2, 4, 1, 5, 1, true },  { 1, 3, 2, 4, 6, false }, { 4, 3, 3, 2, 3, true },
        { 3, 3, 6, 8, 20, true }, { 2, 3, 16, 4, 30, false },
        { 0, 3, 2, 2, 4, true },  { 2, 2, 3, 2, 3, true },
        { 2, 3, 2, 2, 5, true },  { 1, 3, 5, 3, 7, false }, { 2, 3, 3, 2, 9, true }, /* W in low precision */
    };
    long S = cases[variant].G * cases[variant].patch, patch = cases[variant].patch, C = cases[variant].C;
    tensor *pictures = ag_input(p, "pictures", DIMS(cases[variant].B, C, S, S));
    ag_dtype low = (ag_dtype)(AG_F16 + variant - 13);
    tensor *weight = variant < 13 ? ag_input(p, "weight", DIMS(cases[variant].D, C, patch, patch))
                                  : ag_pick_frozen(p, low, DIMS(cases[variant].D, C, patch, patch));
    tensor *bias = cases[variant].bias ? ag_input(p, "bias", DIMS(cases[variant].D)) : NULL;
    return ag_patch_embed(ag_probe_tape(p), pictures, weight, bias, patch);
}

const ag_op ag_op_patch_embed = { "patch_embed", backward, example, .variants = 16 };

static bool fits(const tensor *pictures, const tensor *weight, const tensor *bias, long patch)
{
    const long *d = pictures->dim, *w = weight->dim;
    return pictures->ndim == 4 && weight->ndim == 4 && patch > 0 && w[2] == patch && w[3] == patch
        && d[1] == w[1] && d[2] == d[3] && d[2] % patch == 0 && (!bias || bias->size == w[0]);
}

tensor *ag_patch_embed(tape *t, tensor *pictures, tensor *weight, tensor *bias, long patch)
{
    AG_NO_FROZEN("patch_embed", pictures, bias);
    if (!fits(pictures, weight, bias, patch))
        ag_fail("patch_embed", "pictures (B,C,S,S), S a multiple of %ld, weight (D,C,%ld,%ld) and bias (D); "
                "got %s, %s and %s", patch, patch, patch, SHAPE(pictures), SHAPE(weight), SHAPE(bias));
    struct sizes s = sizes_of(pictures, weight);
    tensor *in[] = { pictures, weight, bias }, *y = ag_new(t, DIMS(s.B, s.G * s.G, s.D));
    ag_mark mark = ag_here(t);
    real *rows = ag_alloc_real(t, s.N * s.K);              /* (N,K) */
    AG_CALL(t, patches)(s.B, s.C, s.S, s.p, pictures->data, rows);
    if (bias)
        AG_CALL(t, copy_runs)(s.N, s.D, bias->data, 0, 0, y->data, s.D);
    ag_weight_product(t, ag_wants(t, 3, in), s.N, rows, weight, bias ? 1 : 0, y->data);
    ag_rewind(t, mark);
    return ag_record(t, &ag_op_patch_embed, y, NULL, 3, in);
}
