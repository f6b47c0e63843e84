/* activation.c - y = act(x), element by element.
 *
 *   GELU        y = x Phi(x),  Phi(x) = (1 + erf(x / sqrt 2)) / 2        Hendrycks & Gimpel 2016, section 2
 *               y' = Phi(x) + x phi(x),  phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
 *   GELU tanh   y = x (1 + u) / 2,  u = tanh(k (x + c x^3)),  k = sqrt(2 / pi),  c = 0.044715       the same
 *               y' = (1 + u) / 2 + x (1 - u^2) k (1 + 3 c x^2) / 2
 *   QuickGELU   y = x s,  s = 1 / (1 + exp(-1.702 x)),   y' = s + 1.702 x s (1 - s)         the same; CLIP
 *   ReLU        y = max(x, 0),   y' = 1 where x > 0, else 0                 */
#include "autograd/internal.h"

static const real half = (real)0.5, root_half = (real)M_SQRT1_2, quick = (real)1.702, tanh_c = (real)0.044715;
static const real tanh_k = (real)(M_2_SQRTPI * M_SQRT1_2), phi_0 = (real)(0.5 * M_2_SQRTPI * M_SQRT1_2);

/* ---- n elements on one thread; linear.c calls these too ------------------------------------------------ */
static void gelu(long n, const real *x, real *y)
{
    AG_SIMD
    for (long i = 0; i < n; i++)
        y[i] = half * x[i] * (1 + ag_erf1(x[i] * root_half));
}

static void gelu_back(long n, const real *x, const real *dy, real *dx)
{
    AG_SIMD
    for (long i = 0; i < n; i++) {
        real cdf = half * (1 + ag_erf1(x[i] * root_half)), density = phi_0 * ag_exp1(-half * x[i] * x[i]);
        dx[i] = dy[i] * (cdf + x[i] * density);
    }
}

static void gelu_tanh(long n, const real *x, real *y)
{
    AG_SIMD
    for (long i = 0; i < n; i++)
        y[i] = half * x[i] * (1 + ag_tanh1(tanh_k * x[i] * (1 + tanh_c * x[i] * x[i])));
}

static void gelu_tanh_back(long n, const real *x, const real *dy, real *dx)
{
    AG_SIMD
    for (long i = 0; i < n; i++) {
        real square = x[i] * x[i], u = ag_tanh1(tanh_k * x[i] * (1 + tanh_c * square));
        dx[i] = dy[i] * half * (1 + u + x[i] * (1 - u * u) * tanh_k * (1 + 3 * tanh_c * square));
    }
}

static void quick_gelu(long n, const real *x, real *y)
{
    AG_SIMD
    for (long i = 0; i < n; i++)
        y[i] = x[i] / (1 + ag_exp1(-quick * x[i]));
}

static void quick_gelu_back(long n, const real *x, const real *dy, real *dx)
{
    AG_SIMD
    for (long i = 0; i < n; i++) {
        real s = 1 / (1 + ag_exp1(-quick * x[i]));
        dx[i] = dy[i] * s * (1 + quick * x[i] * (1 - s));
    }
}

static void relu(long n, const real *x, real *y)
{
    #pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] = x[i] <= 0 ? 0 : x[i];                       /* NaN stays NaN */
}

static void relu_back(long n, const real *x, const real *dy, real *dx)
{
    #pragma omp simd
    for (long i = 0; i < n; i++)
        dx[i] = x[i] <= 0 ? 0 : dy[i];
}

static void same(long n, const real *x, real *y)
{
    #pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] = x[i];
}

static void same_back(long n, const real *x, const real *dy, real *dx)
{
    (void)x;
    same(n, dy, dx);
}

static const struct {
    void (*forward)(long n, const real *x, real *y);
    void (*back)(long n, const real *x, const real *dy, real *dx);
} kernels[] = {
    [AG_NONE] = { same, same_back }, [AG_GELU] = { gelu, gelu_back },
    [AG_GELU_TANH] = { gelu_tanh, gelu_tanh_back }, [AG_QUICK_GELU] = { quick_gelu, quick_gelu_back },
    [AG_RELU] = { relu, relu_back },
};

void ag_act_forward(ag_act act, long n, const real *x, real *y)
{
    kernels[act].forward(n, x, y);
}

void ag_act_backward(ag_act act, long n, const real *x, const real *dy, real *dx)
{
    kernels[act].back(n, x, dy, dx);
}

/* ---- the operation: a thread owns whole blocks --------------------------------------------------------- */
enum { BLOCK = 1024 };

static void activation_cpu(long n, ag_act act, const real *x, real *y)
{
    #pragma omp parallel for if (n > AG_PARALLEL_MIN)
    for (long i = 0; i < n; i += BLOCK)
        ag_act_forward(act, n - i < BLOCK ? n - i : BLOCK, x + i, y + i);
}

static void activation_back_cpu(long n, ag_act act, const real *x, const real *dy, real into, real *dx)
{
    #pragma omp parallel for if (n > AG_PARALLEL_MIN)
    for (long i = 0; i < n; i += BLOCK) {
        long count = n - i < BLOCK ? n - i : BLOCK;
        real here[BLOCK];
        ag_act_backward(act, count, x + i, dy + i, into == 0 ? dx + i : here);
        for (long k = 0; into != 0 && k < count; k++)
            dx[i + k] += here[k];
    }
}

static void backward(const ag_node *n)
{
    tensor *x = n->in[0];
    const ag_act *act = n->saved;
    real into, *dx = ag_grad_beta(x, &into);
    AG_CALL(n->tape, activation_back)(x->size, *act, x->data, n->out->grad, into, dx);
}

static tensor *example(ag_probe *p, int variant)
{
    static const ag_act acts[] = { AG_GELU, AG_GELU_TANH, AG_QUICK_GELU, AG_RELU };
    static const long sizes[][2] = { { 3, 4 }, { 1, 1 }, { 40, 2 }, { 25, 800 }, { 0, 3 } };
    ag_act act = acts[variant % 4];
    const long *d = sizes[variant / 4];
    tensor *x = act != AG_RELU ? ag_input(p, "x", DIMS(d[0], d[1])) :      /* ReLU's kink: few */
                variant / 4 == 3 ? ag_input_apart(p, "x", DIMS(2, 5, 7), 0.3) :
                ag_input_apart(p, "x", DIMS(d[0], d[1]), 0.1);
    return ag_activation(ag_probe_tape(p), x, act);
}

const ag_op ag_op_activation = { "activation", backward, example, .variants = 20 };

tensor *ag_activation(tape *t, tensor *x, ag_act act)
{
    AG_NO_FROZEN("activation", x);
    if ((unsigned)act >= sizeof kernels / sizeof *kernels)
        ag_fail("activation", "no activation has number %d", (int)act);
    if (act == AG_NONE)
        return x;
    tensor *y = ag_new_like(t, x);
    ag_act *saved = ag_alloc(t, sizeof *saved);
    *saved = act;
    AG_CALL(t, activation)(x->size, act, x->data, y->data);
    return AG_RECORD(t, &ag_op_activation, y, saved, x);
}
