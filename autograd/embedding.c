/* embedding.c - y[i] = table[ids[i]]: table (V,D), ids of any shape, y that shape and (D) behind it.
 * dtable[v] = the sum of dy[i] over all i with ids[i] = v, by the kernels of gather.c. The table
 * may be kept in low precision (frozen.c) and has no gradient then. */
#include "autograd/internal.h"
#include <string.h>

struct saved { const int *ids; };

static void backward(const ag_node *n)
{
    tensor *table = n->in[0];
    const struct saved *s = n->saved;
    long V = table->dim[0], D = table->dim[1], count = ag_rows(n->out);
    real *dtable = ag_grad(table);
    ag_mark mark = ag_here(n->tape);
    ag_groups groups = ag_group_rows(n->tape, s->ids, count, V);
    AG_CALL(n->tape, scatter_rows)(&groups, D, n->out->grad, dtable);
    ag_rewind(n->tape, mark);
}

enum { ORDINARY = 14, LOW = 9 };

/* A table in low precision has no gradient: y goes into a product, and what it takes part in is checked. */
static tensor *low_example(ag_probe *p, int variant)
{
    static const long sizes[][3] = { { 7, 3, 4 }, { 300, 70, 9 }, { 5, 1100, 2 } };        /* V, D, T */
    long V = sizes[variant / 3][0], D = sizes[variant / 3][1], T = sizes[variant / 3][2];
    tape *t = ag_probe_tape(p);
    tensor *x = ag_input(p, "x", DIMS(2, T, D));
    tensor *table = ag_pick_frozen(p, (ag_dtype)(AG_F16 + variant % 3), DIMS(V, D));
    tensor *rows = ag_embedding(t, table, ag_pick_ids(p, 2 * T, V), DIMS(2, T));
    return ag_mul(t, rows, x);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { long V, D; int ndim; long dim[3]; } cases[] = {
        { 7, 3, 1, { 4 } },       { 3, 4, 1, { 8 } },       { 5, 2, 2, { 3, 2 } },    { 6, 1, 2, { 2, 5 } },
        { 1, 3, 1, { 2 } },       { 1, 1, 1, { 1 } },       { 4, 3, 3, { 2, 1, 3 } }, { 300, 2, 2, { 2, 3 } },
        { 66000, 1, 1, { 30 } },  { 900, 70, 2, { 5, 60 } }, { 4, 300, 2, { 8, 20 } }, { 5, 4, 0, { 0 } },
        { 4, 3, 1, { 0 } },       { 4, 3, 2, { 2, 0 } },
    };
    if (variant >= ORDINARY)
        return low_example(p, variant - ORDINARY);
    tensor *table = ag_input(p, "table", DIMS(cases[variant].V, cases[variant].D));
    long n = 1;
    for (int i = 0; i < cases[variant].ndim; i++)
        n *= cases[variant].dim[i];
    const int *ids = ag_pick_ids(p, n, cases[variant].V);
    return ag_embedding(ag_probe_tape(p), table, ids, cases[variant].ndim, cases[variant].dim);
}

const ag_op ag_op_embedding = { "embedding", backward, example, .variants = ORDINARY + LOW };

tensor *ag_embedding(tape *t, tensor *table, const int *ids, int ndim, const long *dim)
{
    if (table->ndim != 2 || ndim < 0 || ndim >= AG_MAX_DIM)
        ag_fail("embedding", "a table (V,D) and ids of 0 to %d axes, got %s and %d axes",
                AG_MAX_DIM - 1, SHAPE(table), ndim);
    long y_dim[AG_MAX_DIM], n = 1, D = table->dim[1];
    for (int i = 0; i < ndim; i++)
        n *= y_dim[i] = dim[i];
    y_dim[ndim] = D;
    ag_check_rows("embedding", table, ids, n);
    tensor *y = ag_new(t, ndim + 1, y_dim);
    struct saved *s = ag_alloc(t, sizeof *s);
    s->ids = ag_ids(t, ids, n);
    ag_weight_rows(t, n, table, ids, y->data);
    return AG_RECORD(t, &ag_op_embedding, y, s, table);
}
