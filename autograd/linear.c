/* linear.c - y = act(x W' + b).   x (R,K), leading axes folded into R;  W (N,K), b (N) or none, y (R,N).
 * With z = x W' + b and dz = dy * act'(z):   dx = dz W,   dW = dz' x,   db = sum_R dz.
 * W may be kept in low precision (frozen.c). */
#include "autograd/internal.h"

struct saved { ag_act act; real *z; };                     /* z (R,N), NULL without an activation */

/* z += b, then y = act(z); z is y where there is no activation. A thread owns whole rows. */
static void bias_act_cpu(long R, long N, const real *bias, ag_act act, real *z, real *y)
{
    #pragma omp parallel for if (R * N > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++) {
        real *zr = z + r*N;
        if (bias)
            for (long j = 0; j < N; j++)
                zr[j] += bias[j];
        if (act != AG_NONE)
            ag_act_forward(act, N, zr, y + r*N);
    }
}

static void act_back_cpu(long R, long N, ag_act act, const real *z, const real *dy, real *dz)
{
    #pragma omp parallel for if (R * N > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++)
        ag_act_backward(act, N, z + r*N, dy + r*N, dz + r*N);
}

static void backward(const ag_node *n)
{
    tensor *x = n->in[0], *weight = n->in[1], *bias = n->in[2];
    const struct saved *s = n->saved;
    long N = weight->dim[0], K = weight->dim[1], R = ag_rows(n->out);
    ag_mark mark = ag_here(n->tape);
    const real *dz = n->out->grad;
    real beta;
    if (s->act != AG_NONE) {
        real *scratch = ag_alloc_real(n->tape, R * N);
        AG_CALL(n->tape, act_back)(R, N, s->act, s->z, dz, scratch);
        dz = scratch;
    }
    real *dx = ag_grad_beta(x, &beta);
    if (dx)
        ag_weight_back(n->tape, R, dz, weight, beta, dx);
    real *dw = ag_grad_beta(weight, &beta);
    if (dw)
        ag_gemm(true, false, N, K, R, 1, dz, N, x->data, K, beta, dw, K);
    real *db = ag_grad_beta(bias, &beta);
    if (db)
        AG_CALL(n->tape, sum_axis)(1, R, N, 1, dz, beta, db);
    ag_rewind(n->tape, mark);
}

static tensor *example(ag_probe *p, int variant)
{
    static const ag_act acts[] = { AG_NONE, AG_GELU, AG_GELU_TANH, AG_QUICK_GELU };
    /* R, K, N */
    static const long sizes[][3] = { { 3, 4, 5 }, { 1, 1, 1 }, { 2, 7, 1 }, { 1, 6, 3 }, { 130, 90, 70 },
                                    { 0, 4, 5 }, { 3, 0, 2 } };
    /* W in low precision: 28 .. */
    static const long low[][3] = { { 3, 4, 5 }, { 17, 300, 40 }, { 40, 1100, 300 } };
    const bool frozen = variant >= 28;
    const long *d = frozen ? low[(variant - 28) / 3] : sizes[variant % 7];
    tape *t = ag_probe_tape(p);
    bool with_bias = variant % 2 == 0;
    tensor *x = variant % 3 ? ag_input(p, "x", DIMS(d[0], d[1])) : ag_input(p, "x", DIMS(2, d[0], d[1]));
    tensor *weight = frozen ? ag_pick_frozen(p, (ag_dtype)(AG_F16 + (variant - 28) % 3), DIMS(d[2], d[1]))
                            : ag_input(p, "weight", DIMS(d[2], d[1]));
    tensor *bias = with_bias ? ag_input(p, "bias", DIMS(d[2])) : NULL;
    return ag_linear(t, x, weight, bias, acts[variant % 4]);
}

const ag_op ag_op_linear = { "linear", backward, example, .variants = 37 };

tensor *ag_linear(tape *t, tensor *x, tensor *weight, tensor *bias, ag_act act)
{
    AG_NO_FROZEN("linear", x, bias);
    if (x->ndim < 1 || weight->ndim != 2 || ag_columns(x) != weight->dim[1]
        || (bias && bias->size != weight->dim[0]))
        ag_fail("linear", "x %s needs a weight (N,%ld) and a bias (N), got %s and %s",
                SHAPE(x), ag_columns(x), SHAPE(weight), SHAPE(bias));
    long N = weight->dim[0], dim[AG_MAX_DIM];
    for (int i = 0; i < x->ndim; i++)
        dim[i] = x->dim[i];
    dim[x->ndim - 1] = N;
    tensor *in[] = { x, weight, bias };
    tensor *y = ag_new(t, x->ndim, dim);
    long R = ag_rows(y);
    bool kept = ag_wants(t, 3, in) && act != AG_NONE;
    struct saved *s = ag_alloc(t, sizeof *s);
    *s = (struct saved){ act, kept ? ag_alloc_real(t, R * N) : NULL };
    real *z = kept ? s->z : y->data;
    ag_weight_product(t, ag_wants(t, 3, in), R, x->data, weight, 0, z);
    if (bias || act != AG_NONE)
        AG_CALL(t, bias_act)(R, N, bias ? bias->data : NULL, act, z, y->data);
    return ag_record(t, &ag_op_linear, y, s, 3, in);
}
