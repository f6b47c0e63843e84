/* max.c - y = max_k x[k] along one axis.   x (O,n,I), y (O,I), the axes before and behind it folded.
 * The gradient goes to the first k that holds the maximum, as in PyTorch: dx[o,first,i] = dy[o,i].
 * A NaN counts as the largest number, so that it is not lost.                                           */
#include "autograd/internal.h"
#include <math.h>

struct saved { ag_folded shape; int *first; };             /* first (O,I): where the maximum stands */

static void max_axis_cpu(long O, long n, long I, const real *x, real *y, int *first)
{
    #pragma omp parallel for if (O * n * I > AG_PARALLEL_MIN)
    for (long u = 0; u < O * I; u++) {
        const real *column = x + u / I * n * I + u % I;
        long best = 0;
        for (long k = 1; k < n; k++)
            if (column[k*I] > column[best*I] || (isnan(column[k*I]) && !isnan(column[best*I])))
                best = k;
        y[u] = column[best*I];
        first[u] = (int)best;
    }
}

static void max_axis_back_cpu(long O, long n, long I, const real *dy, const int *first, real *dx)
{
    #pragma omp parallel for if (O * I > AG_PARALLEL_MIN)
    for (long u = 0; u < O * I; u++)
        dx[u / I * n * I + first[u] * I + u % I] += dy[u];
}

static void backward(const ag_node *n)
{
    const struct saved *s = n->saved;
    real *dx = ag_grad(n->in[0]);
    AG_CALL(n->tape, max_axis_back)(s->shape.O, s->shape.n, s->shape.I, n->out->grad, s->first, dx);
}

/* Many numbers that stay apart along their axis: little noise on steps of 1 in an order of their own. */
static tensor *steps_apart(ag_probe *p, long O, long n, long I)
{
    tape *t = ag_probe_tape(p);
    tensor *x = ag_input(p, "x", DIMS(O, n, I));
    tensor *little = ag_scale(t, x, 0.05);
    tensor *steps = ag_new(t, DIMS(O, n, I));
    for (long i = 0; i < steps->size; i++)
        steps->data[i] = (real)((i / I % n * 7 + i / (n * I) + i % I) % n);
    return ag_add(t, little, steps);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { int ndim; long dim[4]; int axis; } cases[] = {
        { 1, { 7 }, 0 },          { 2, { 3, 4 }, 0 },       { 2, { 3, 4 }, 1 },         { 3, { 2, 3, 4 }, 1 },
        { 3, { 2, 3, 4 }, 2 },    { 4, { 2, 3, 1, 4 }, 1 }, { 1, { 1 }, 0 },            { 3, { 2, 1, 5 }, 1 },
        { 2, { 1, 6 }, 1 },       { 4, { 2, 2, 2, 3 }, 3 }, { 2, { 0, 3 }, 1 },
        { 3, { 3, 5, 2 }, 1 },
    };
    static const long large[][3] = { { 30, 20, 40 }, { 3, 9000, 1 } };
    int i = variant - AG_COUNT(cases);
    tensor *x = i < 0 ? ag_input_apart(p, "x", cases[variant].ndim, cases[variant].dim, 0.1)
                      : steps_apart(p, large[i][0], large[i][1], large[i][2]);
    return ag_max_axis(ag_probe_tape(p), x, i < 0 ? cases[variant].axis : 1);
}

const ag_op ag_op_max_axis = { "max_axis", backward, example, .variants = 14 };

tensor *ag_max_axis(tape *t, tensor *x, int axis)
{
    AG_NO_FROZEN("max_axis", x);
    if (axis < 0 || axis >= x->ndim || x->dim[axis] == 0)
        ag_fail("max_axis", "x %s has no elements along axis %d", SHAPE(x), axis);
    tensor *y = ag_new_without(t, x, axis);
    struct saved *s = ag_alloc(t, sizeof *s);
    *s = (struct saved){ ag_fold(x, axis), ag_alloc(t, y->size * (long)sizeof *s->first) };
    AG_CALL(t, max_axis)(s->shape.O, s->shape.n, s->shape.I, x->data, y->data, s->first);
    return AG_RECORD(t, &ag_op_max_axis, y, s, x);
}
