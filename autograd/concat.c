/* concat.c - y = x_1 | x_2 | ... | x_n along one axis.
 * With the axes before and behind it folded, x_i is (O,c_i,I) and y (O,C,I), C = sum c_i: for each o the
 * c_i I elements of x_i are one run of y.   dx_i = the same runs of dy.                                 */
#include "autograd/internal.h"
#include <string.h>

struct saved { int axis; };

void copy_runs_cpu(long R, long run, const real *from, long from_step, real beta, real *to, long to_step)
{
    enum { BLOCK = 8192 };
    long blocks = (run + BLOCK - 1) / BLOCK;
    #pragma omp parallel for if (R * run > AG_PARALLEL_MIN)
    for (long i = 0; i < R * blocks; i++) {
        long r = i / blocks, first = i % blocks * BLOCK, n = run - first < BLOCK ? run - first : BLOCK;
        const real *x = from + r*from_step + first;
        real *y = to + r*to_step + first;
        if (beta == 0)
            memcpy(y, x, (size_t)n * sizeof *y);
        else
            for (long c = 0; c < n; c++)
                y[c] += x[c];
    }
}

static void backward(const ag_node *n)
{
    const struct saved *s = n->saved;
    ag_folded y = ag_fold(n->out, s->axis);
    long first = 0;
    for (int i = 0; i < n->nin; i++) {
        long run = n->in[i]->dim[s->axis] * y.I;
        real beta, *dx = ag_grad_beta(n->in[i], &beta);
        if (dx)
            AG_CALL(n->tape, copy_runs)(y.O, run, n->out->grad + first, y.n * y.I, beta, dx, run);
        first += run;
    }
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { int axis, ndim; long dim[4]; int parts; long length[3]; } cases[] = {
        { 0, 1, { 0 }, 2, { 3, 4 } },             { 0, 1, { 0 }, 1, { 1 } },
        { 0, 2, { 0, 5 }, 2, { 2, 1 } },          { 1, 2, { 3, 0 }, 2, { 4, 2 } },
        { 1, 3, { 2, 0, 5 }, 3, { 3, 1, 2 } },    { 2, 3, { 4, 2, 0 }, 2, { 1, 6 } },
        { 1, 3, { 1, 0, 1 }, 3, { 1, 1, 1 } },    { 1, 3, { 2, 0, 3 }, 1, { 4 } },
        { 2, 4, { 2, 3, 0, 2 }, 2, { 2, 3 } },    { 3, 4, { 1, 2, 2, 0 }, 3, { 2, 2, 2 } },
        { 1, 3, { 3, 0, 70 }, 2, { 90, 37 } },    { 0, 2, { 0, 90 }, 3, { 60, 5, 130 } },
        { 1, 2, { 3, 0 }, 3, { 2, 0, 1 } },       { 0, 2, { 0, 0 }, 2, { 2, 3 } },
        { 1, 2, { 3, 0 }, 3, { 2, 2, 2 } },                            /* the last: twice the same */
    };
    tensor *parts[3];
    for (int i = 0; i < cases[variant].parts; i++) {
        long dim[AG_MAX_DIM];
        memcpy(dim, cases[variant].dim, sizeof dim);
        dim[cases[variant].axis] = cases[variant].length[i];           /* in place of the 0 */
        bool again = variant == 14 && i == 2;
        const char *name = (const char *[]){ "x1", "x2", "x3" }[i];
        parts[i] = again ? parts[0] : ag_input(p, name, cases[variant].ndim, dim);
    }
    return ag_concat(ag_probe_tape(p), cases[variant].parts, parts, cases[variant].axis);
}

const ag_op ag_op_concat = { "concat", backward, example, .variants = 15 };

static bool fits(const tensor *x, const tensor *first, int axis)
{
    bool same = x->ndim == first->ndim;
    for (int i = 0; same && i < x->ndim; i++)
        same = i == axis || x->dim[i] == first->dim[i];
    return same;
}

tensor *ag_concat(tape *t, int n, tensor *const *parts, int axis)
{
    if (n < 1 || axis < 0 || axis >= parts[0]->ndim)
        ag_fail("concat", "at least one part with an axis %d, got %d of shape %s",
                axis, n, SHAPE(n < 1 ? NULL : parts[0]));
    ag_no_frozen("concat", n, parts);
    long dim[AG_MAX_DIM];
    memcpy(dim, parts[0]->dim, sizeof dim);
    for (int i = 1; i < n; i++) {
        if (!fits(parts[i], parts[0], axis))
            ag_fail("concat", "part %d %s differs from part 0 %s in another axis than %d",
                    i, SHAPE(parts[i]), SHAPE(parts[0]), axis);
        dim[axis] += parts[i]->dim[axis];
    }
    tensor *y = ag_new(t, parts[0]->ndim, dim);
    ag_folded f = ag_fold(y, axis);
    struct saved *s = ag_alloc(t, sizeof *s);
    s->axis = axis;
    long first = 0;
    for (int i = 0; i < n; i++) {
        long run = parts[i]->dim[axis] * f.I;
        AG_CALL(t, copy_runs)(f.O, run, parts[i]->data, run, 0, y->data + first, f.n * f.I);
        first += run;
    }
    return ag_record(t, &ag_op_concat, y, s, n, parts);
}
