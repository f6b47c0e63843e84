/* all_gather.c - y = the x of all ranks, in order of ranks: x (B,...) -> y (W B,...) for W ranks.
 *
 * Each rank has a loss of its own that may look at all of y; what is minimised is their sum. So with dy_q the
 * gradient that rank q has of its y, rank r gets   dx_r = sum_q dy_q[r B .. r B + B - 1]   (lavis,
 * GatherLayer). Every rank takes part in that sum, also one whose loss did not look.                       */
#include "autograd/internal.h"
#include <string.h>

struct saved { const ag_ranks *ranks; };

static _Noreturn void ended(const ag_ranks *r)
{
    ag_fail("all_gather", "rank %d of %d: another rank has ended", r->rank, r->world);
}

static void backward(const ag_node *n)
{
    tape *t = n->tape;
    const ag_ranks *r = ((const struct saved *)n->saved)->ranks;
    tensor *x = n->in[0];
    const real *dy = ag_grad(n->out);
    ag_mark mark = ag_here(t);
    real *sum = ag_alloc_real(t, x->size);
    if (!ag_spent(0) && !r->reduce_scatter(r, dy, x->size, sum))
        ended(r);
    real beta, *dx = ag_grad_beta(x, &beta);
    AG_CALL(t, copy_runs)(1, x->size, sum, x->size, beta, dx, x->size);
    ag_rewind(t, mark);
}

/* ---- the example: the other ranks hold numbers of their own and make nothing of x ---------------------- */
static bool quiet_gather(const ag_ranks *r, const void *own, long bytes, void *all)
{
    real *to = all;
    for (long i = 0; i < bytes / (long)sizeof *to * r->world; i++)
        to[i] = (real)ag_normal(5, (uint64_t)i);
    memcpy((char *)all + r->rank * bytes, own, (size_t)bytes);
    return true;
}

static bool quiet_scatter(const ag_ranks *r, const real *all, long n, real *own)
{
    memcpy(own, all + r->rank * n, (size_t)n * sizeof *own);
    return true;
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { int rank, world, ndim; long dim[4]; bool unused; } cases[] = {
        { 0, 2, 1, { 3 }, 0 },       { 1, 2, 2, { 2, 5 }, 0 },     { 2, 3, 3, { 2, 1, 4 }, 0 },
        { 1, 4, 4, { 1, 2, 3, 2 }, 0 }, { 0, 1, 2, { 3, 4 }, 0 },  { 3, 4, 1, { 1 }, 0 },
        { 0, 3, 2, { 130, 70 }, 0 }, { 1, 2, 2, { 1, 9000 }, 0 },  { 4, 5, 2, { 1, 1 }, 0 },
        { 1, 3, 2, { 4, 3 }, 1 },    { 6, 8, 3, { 2, 3, 2 }, 0 },
    };
    tape *t = ag_probe_tape(p);
    ag_ranks *r = ag_alloc(t, sizeof *r);
    *r = (ag_ranks){ .rank = cases[variant].rank, .world = cases[variant].world,
                     .all_gather = quiet_gather, .reduce_scatter = quiet_scatter };
    tensor *x = ag_input(p, "x", cases[variant].ndim, cases[variant].dim);
    tensor *y = ag_all_gather(t, r, x);
    return cases[variant].unused ? ag_scale(t, x, 2) : ag_mul(t, y, y);
}

const ag_op ag_op_all_gather = { "all_gather", backward, example, .variants = 11, .collective = true };

tensor *ag_all_gather(tape *t, const ag_ranks *ranks, tensor *x)
{
    AG_NO_FROZEN("all_gather", x);
    long dim[AG_MAX_DIM];
    if (!ranks || ranks->world == 1)
        return x;
    if (x->ndim < 1)
        ag_fail("all_gather", "rows (B,...) of %d ranks, got %s", ranks->world, SHAPE(x));
    memcpy(dim, x->dim, sizeof dim);
    dim[0] *= ranks->world;
    tensor *y = ag_new(t, x->ndim, dim);
    struct saved *s = ag_alloc(t, sizeof *s);
    s->ranks = ranks;
    if (!ag_spent(0) && !ranks->all_gather(ranks, x->data, x->size * (long)sizeof(real), y->data))
        ended(ranks);
    return AG_RECORD(t, &ag_op_all_gather, y, s, x);
}
