/* elementwise.c - y = a + b, a - b, a * b, a / b with NumPy's broadcasting, and y = f x.
 * Shapes are aligned at the last axis; an axis of 1 (or none) is stretched: read with a step of 0.
 *   add: da = dy, db = dy      sub: da = dy, db = -dy      mul: da = dy b, db = dy a
 *   div: da = dy / b, db = -(dy y) / b                     scale: dx = f dy
 * each summed over the axes along which its operand was stretched.                                      */
#include "autograd/internal.h"
#include <string.h>

enum { BLOCK = 1024 };

typedef enum { ADD, SUB, MUL, DIV } kind;

/* The axes of y, the last one first, those that a and b both walk through without a break made one; steps
 * in elements. Equal shapes become one axis; a matrix and a last-axis vector two.                       */
typedef struct walk { long n[AG_MAX_DIM], a[AG_MAX_DIM], b[AG_MAX_DIM]; } walk;

struct saved { kind kind; };
struct saved_scale { double factor; };

/* Axis i of x counted from the last. */
static long axis_of(const tensor *x, int i) { return i < x->ndim ? x->dim[x->ndim - 1 - i] : 1; }

static walk walk_of(const tensor *y, const tensor *a, const tensor *b)
{
    walk w = { .n = { 1, 1, 1, 1 } };
    long size_a = 1, size_b = 1;
    int last = -1;
    for (int i = 0; i < y->ndim; i++) {
        long n = axis_of(y, i);
        long step_a = axis_of(a, i) == 1 ? 0 : size_a, step_b = axis_of(b, i) == 1 ? 0 : size_b;
        size_a *= axis_of(a, i);
        size_b *= axis_of(b, i);
        if (n == 1)
            continue;
        if (last >= 0 && step_a == w.a[last] * w.n[last] && step_b == w.b[last] * w.n[last]) {
            w.n[last] *= n;
            continue;
        }
        last++;
        w.n[last] = n;
        w.a[last] = step_a;
        w.b[last] = step_b;
    }
    return w;
}

/* Where row r of the walk (its axes behind the first) begins. */
static long offset(const long *n, const long *step, long r)
{
    long at = 0;
    for (int i = 1; i < AG_MAX_DIM; i++) {
        at += r % n[i] * step[i];
        r /= n[i];
    }
    return at;
}

static void combine(kind k, long n, const real *a, const real *b, real *y)
{
    switch (k) {
    case ADD:
        for (long i = 0; i < n; i++)
            y[i] = a[i] + b[i];
        break;
    case SUB:
        for (long i = 0; i < n; i++)
            y[i] = a[i] - b[i];
        break;
    case MUL:
        for (long i = 0; i < n; i++)
            y[i] = a[i] * b[i];
        break;
    case DIV:
        for (long i = 0; i < n; i++)
            y[i] = a[i] / b[i];
        break;
    }
}

/* n elements of x from `at`, or x[at] n times, for which `fill` has room. */
static const real *stretched(long n, const real *x, long at, long step, real *fill)
{
    if (step)
        return x + at;
    for (long i = 0; i < n; i++)
        fill[i] = x[at];
    return fill;
}

/* y = beta y + factor (a k b) */
static void binary_cpu(kind k, const walk *w, const real *a, const real *b, real factor, real beta, real *y)
{
    long n = w->n[0], rows = w->n[1] * w->n[2] * w->n[3], blocks = (n + BLOCK - 1) / BLOCK;
    #pragma omp parallel for if (rows * n > AG_PARALLEL_MIN)
    for (long u = 0; u < rows * blocks; u++) {
        long r = u / blocks, first = u % blocks * BLOCK, count = n - first < BLOCK ? n - first : BLOCK;
        long at_a = offset(w->n, w->a, r) + first * w->a[0], at_b = offset(w->n, w->b, r) + first * w->b[0];
        real fill_a[BLOCK], fill_b[BLOCK], made[BLOCK], *to = y + r*n + first;
        bool direct = beta == 0 && factor == 1;
        const real *from_a = stretched(count, a, at_a, w->a[0], fill_a);
        const real *from_b = stretched(count, b, at_b, w->b[0], fill_b);
        combine(k, count, from_a, from_b, direct ? to : made);
        for (long i = 0; !direct && i < count; i++)
            to[i] = beta == 0 ? factor * made[i] : to[i] + factor * made[i];
    }
}

/* y = beta y + factor x */
static void scale_cpu(long n, const real *x, real factor, real beta, real *y)
{
    #pragma omp parallel for simd if (parallel: n > AG_PARALLEL_MIN)
    for (long i = 0; i < n; i++)
        y[i] = beta == 0 ? factor * x[i] : y[i] + factor * x[i];
}

/* dx = beta dx + factor * g summed over the axes along which x was stretched to y's shape, which g has. Such
 * axes that are neighbours are summed at once; only x (1,n,1) and the like take two rounds.             */
static void add_summed(tape *t, const tensor *y, const tensor *x, const real *g, double factor, real beta,
                       real *dx)
{
    long before = y->size, behind = 1, left = y->size;
    for (int i = 0; i < y->ndim;) {
        long n = 1, kept = 1;
        for (; i < y->ndim && axis_of(x, i) == axis_of(y, i); i++)
            kept *= axis_of(y, i);
        for (; i < y->ndim && axis_of(x, i) == 1; i++)
            n *= axis_of(y, i);
        behind *= kept;
        before /= kept * n;
        left /= n;
        bool done = left == x->size;
        real *to = done ? dx : ag_alloc_real(t, left);
        AG_CALL(t, sum_axis)(before, n, behind, done ? factor : 1, g, done ? beta : 0, to);
        if (done)
            return;
        g = to;
    }
}

/* The gradient of operand `side`. */
static void backward_side(const ag_node *n, int side)
{
    kind k = ((const struct saved *)n->saved)->kind;
    tape *t = n->tape;
    tensor *x = n->in[side], *y = n->out;
    const tensor *other = n->in[k == MUL ? !side : 1];     /* what dy is multiplied with or divided by */
    real sign = side == 1 && (k == SUB || k == DIV) ? -1 : 1;
    real beta, *dx = y->size ? ag_grad_beta(x, &beta) : ag_grad(x);
    if (!dx || !y->size)
        return;
    ag_mark mark = ag_here(t);
    const real *g = y->grad;
    bool sum = x->size != y->size;
    if (k == DIV && side == 1) {
        real *dy_y = ag_alloc_real(t, y->size);
        walk both = walk_of(y, y, y);
        AG_CALL(t, binary)(MUL, &both, g, y->data, 1, 0, dy_y);
        g = dy_y;
    }
    if (k == MUL || k == DIV) {
        real *product = sum ? ag_alloc_real(t, y->size) : dx;
        walk w = walk_of(y, y, other);
        AG_CALL(t, binary)(k, &w, g, other->data, sum ? 1 : sign, sum ? 0 : beta, product);
        g = product;
    } else if (!sum) {
        AG_CALL(t, scale)(x->size, g, sign, beta, dx);
    }
    if (sum)
        add_summed(t, y, x, g, sign, beta, dx);
    ag_rewind(t, mark);
}

static void backward(const ag_node *n)
{
    backward_side(n, 0);
    backward_side(n, 1);
}

static void backward_scale(const ag_node *n)
{
    const struct saved_scale *s = n->saved;
    real beta, *dx = ag_grad_beta(n->in[0], &beta);
    AG_CALL(n->tape, scale)(n->out->size, n->out->grad, (real)s->factor, beta, dx);
}

static const struct { int na, nb; long a[4], b[4]; } cases[] = {
    { 3, 3, { 2, 3, 4 }, { 2, 3, 4 } },       { 2, 1, { 5, 7 }, { 7 } },
    { 1, 2, { 7 }, { 5, 7 } },                { 2, 0, { 3, 4 }, { 0 } },
    { 0, 1, { 0 }, { 6 } },                   { 2, 2, { 1, 1 }, { 1, 1 } },
    { 4, 4, { 2, 3, 1, 5 }, { 2, 1, 4, 5 } }, { 4, 3, { 2, 3, 4, 5 }, { 3, 1, 5 } },
    { 2, 2, { 4, 1 }, { 1, 6 } },             { 3, 3, { 1, 3, 1 }, { 2, 3, 4 } },
    { 3, 2, { 2, 3, 4 }, { 1, 4 } },          { 4, 4, { 2, 1, 3, 1 }, { 1, 5, 1, 4 } },
    { 3, 1, { 40, 30, 20 }, { 20 } },         { 2, 2, { 200, 100 }, { 200, 1 } },
    { 1, 1, { 1 }, { 20000 } },               { 2, 2, { 150, 130 }, { 150, 130 } },
    { 3, 3, { 6, 1, 70 }, { 1, 50, 70 } },    { 2, 1, { 0, 7 }, { 7 } },
    { 2, 2, { 3, 0 }, { 3, 1 } },
};

static tensor *build(ag_probe *p, int variant, tensor *(*op)(tape *, tensor *, tensor *))
{
    if (variant == AG_COUNT(cases)) {                      /* one tensor twice */
        tensor *x = ag_input(p, "x", DIMS(3, 4));
        return op(ag_probe_tape(p), x, x);
    }
    tensor *a = ag_input(p, "a", cases[variant].na, cases[variant].a);
    tensor *b = op == ag_div ? ag_input_positive(p, "b", cases[variant].nb, cases[variant].b)
                             : ag_input(p, "b", cases[variant].nb, cases[variant].b);
    return op(ag_probe_tape(p), a, b);
}

static tensor *example_add(ag_probe *p, int variant) { return build(p, variant, ag_add); }
static tensor *example_sub(ag_probe *p, int variant) { return build(p, variant, ag_sub); }
static tensor *example_mul(ag_probe *p, int variant) { return build(p, variant, ag_mul); }
static tensor *example_div(ag_probe *p, int variant) { return build(p, variant, ag_div); }

static tensor *example_scale(ag_probe *p, int variant)
{
    tensor *x = ag_input(p, "x", cases[variant].na, cases[variant].a);
    return ag_scale(ag_probe_tape(p), x, (double[]){ 0.3, -2, 1 }[variant % 3]);
}

const ag_op ag_op_add = { "add", backward, example_add, .variants = AG_COUNT(cases) + 1 };
const ag_op ag_op_sub = { "sub", backward, example_sub, .variants = AG_COUNT(cases) };
const ag_op ag_op_mul = { "mul", backward, example_mul, .variants = AG_COUNT(cases) + 1 };
const ag_op ag_op_div = { "div", backward, example_div, .variants = AG_COUNT(cases) };
const ag_op ag_op_scale = { "scale", backward_scale, example_scale, .variants = AG_COUNT(cases) };

static tensor *binary(tape *t, const ag_op *op, kind k, tensor *a, tensor *b)
{
    AG_NO_FROZEN(op->name, a, b);
    long dim[AG_MAX_DIM];
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int i = 0; i < ndim; i++) {
        long na = axis_of(a, i), nb = axis_of(b, i);
        if (na != nb && na != 1 && nb != 1)
            ag_fail(op->name, "%s and %s do not broadcast: %ld against %ld", SHAPE(a), SHAPE(b), na, nb);
        dim[ndim - 1 - i] = na == 1 ? nb : na;
    }
    tensor *y = ag_new(t, ndim, dim);
    struct saved *s = ag_alloc(t, sizeof *s);
    s->kind = k;
    walk w = walk_of(y, a, b);
    AG_CALL(t, binary)(k, &w, a->data, b->data, 1, 0, y->data);
    return AG_RECORD(t, op, y, s, a, b);
}

tensor *ag_add(tape *t, tensor *a, tensor *b) { return binary(t, &ag_op_add, ADD, a, b); }
tensor *ag_sub(tape *t, tensor *a, tensor *b) { return binary(t, &ag_op_sub, SUB, a, b); }
tensor *ag_mul(tape *t, tensor *a, tensor *b) { return binary(t, &ag_op_mul, MUL, a, b); }
tensor *ag_div(tape *t, tensor *a, tensor *b) { return binary(t, &ag_op_div, DIV, a, b); }

tensor *ag_scale(tape *t, tensor *x, double factor)
{
    AG_NO_FROZEN("scale", x);
    tensor *y = ag_new_like(t, x);
    struct saved_scale *s = ag_alloc(t, sizeof *s);
    s->factor = factor;
    AG_CALL(t, scale)(x->size, x->data, (real)factor, 0, y->data);
    return AG_RECORD(t, &ag_op_scale, y, s, x);
}
