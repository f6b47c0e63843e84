/* slice.c - y = x[from .. from+count-1] along one axis, copied.
 * With the axes before and behind it folded, x is (O,n,I) and y (O,count,I).
 * dx = dy in those places, 0 elsewhere.                                                                 */
#include "autograd/internal.h"
#include <string.h>

struct saved { int axis; long from; };

static void backward(const ag_node *n)
{
    const struct saved *s = n->saved;
    ag_folded x = ag_fold(n->in[0], s->axis);
    long run = n->out->dim[s->axis] * x.I;
    real *dx = ag_grad(n->in[0]);
    if (dx)
        AG_CALL(n->tape, copy_runs)(x.O, run, n->out->grad, run, 1, dx + s->from * x.I, x.n * x.I);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { int axis, ndim; long dim[4], from, count; } cases[] = {
        { 0, 1, { 7 }, 2, 3 },          { 0, 1, { 1 }, 0, 1 },          { 0, 2, { 5, 3 }, 4, 1 },
        { 1, 2, { 5, 3 }, 0, 2 },       { 1, 3, { 2, 6, 4 }, 1, 3 },    { 2, 3, { 2, 3, 5 }, 3, 2 },
        { 1, 3, { 2, 4, 3 }, 0, 4 },    { 2, 4, { 2, 3, 4, 2 }, 2, 1 }, { 3, 4, { 1, 2, 3, 4 }, 1, 2 },
        { 0, 3, { 3, 1, 2 }, 1, 2 },    { 1, 3, { 3, 110, 80 }, 5, 90 }, { 0, 2, { 400, 60 }, 30, 350 },
        { 1, 2, { 3, 4 }, 2, 0 },       { 0, 2, { 3, 0 }, 1, 2 },
    };
    tensor *x = ag_input(p, "x", cases[variant].ndim, cases[variant].dim);
    return ag_slice(ag_probe_tape(p), x, cases[variant].axis, cases[variant].from, cases[variant].count);
}

const ag_op ag_op_slice = { "slice", backward, example, .variants = 14 };

tensor *ag_slice(tape *t, tensor *x, int axis, long from, long count)
{
    AG_NO_FROZEN("slice", x);
    if (axis < 0 || axis >= x->ndim || from < 0 || count < 0 || from > x->dim[axis] - count)
        ag_fail("slice", "%ld from place %ld of axis %d is not inside x %s", count, from, axis, SHAPE(x));
    long dim[AG_MAX_DIM];
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] = count;
    tensor *y = ag_new(t, x->ndim, dim);
    struct saved *s = ag_alloc(t, sizeof *s);
    *s = (struct saved){ axis, from };
    ag_folded f = ag_fold(x, axis);
    AG_CALL(t, copy_runs)(f.O, count * f.I, x->data + from * f.I, f.n * f.I, 0, y->data, count * f.I);
    return AG_RECORD(t, &ag_op_slice, y, s, x);
}
