/* repeat.c - y[i] = x[0] for i < n: x (1,...) becomes (n,...).   dx = sum_i dy[i]. */
#include "autograd/internal.h"
#include <string.h>

static void backward(const ag_node *n)
{
    tensor *x = n->in[0];
    real beta, *dx = ag_grad_beta(x, &beta);
    if (dx)
        AG_CALL(n->tape, sum_axis)(1, n->out->dim[0], x->size, 1, n->out->grad, beta, dx);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { int ndim; long dim[4], n; } cases[] = {
        { 1, { 1 }, 4 },          { 2, { 1, 5 }, 3 },       { 3, { 1, 3, 4 }, 2 },
        { 4, { 1, 2, 3, 4 }, 5 }, { 2, { 1, 1 }, 1 },       { 3, { 1, 7, 1 }, 1 },
        { 2, { 1, 1 }, 9 },       { 2, { 1, 1100 }, 40 },   { 3, { 1, 170, 120 }, 3 },
        { 2, { 1, 2 }, 9000 },    { 2, { 1, 515 }, 33 },
        { 2, { 1, 3 }, 0 },       { 2, { 1, 0 }, 2 },       { 1, { 1 }, 7 },
    };
    tensor *x = ag_input(p, "x", cases[variant].ndim, cases[variant].dim);
    return ag_repeat(ag_probe_tape(p), x, cases[variant].n);
}

const ag_op ag_op_repeat = { "repeat", backward, example, .variants = 14 };

tensor *ag_repeat(tape *t, tensor *x, long n)
{
    AG_NO_FROZEN("repeat", x);
    if (x->ndim < 1 || x->dim[0] != 1 || n < 0)
        ag_fail("repeat", "(1,...) can be repeated, got %s and n %ld", SHAPE(x), n);
    long dim[AG_MAX_DIM];
    memcpy(dim, x->dim, sizeof dim);
    dim[0] = n;
    tensor *y = ag_new(t, x->ndim, dim);
    AG_CALL(t, copy_runs)(n, x->size, x->data, 0, 0, y->data, x->size);
    return AG_RECORD(t, &ag_op_repeat, y, NULL, x);
}
