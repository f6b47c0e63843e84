/* relative_bias.c - y[h,i,j] = table[buckets[i,j], h]: what attention adds to the score of query i and key j
 * in head h when only their distance counts, not where they stand. Shaw et al. 2018; Raffel et al. 2020,
 * section 2.1, with one number a head for each bucket of distances.
 *
 * table (V,H), buckets (Tq,Tk), y (H,Tq,Tk).   dtable[v,h] = the sum of dy[h,i,j] over buckets[i,j] = v. */
#include "autograd/internal.h"

struct saved { const int *buckets; };

/* area = Tq Tk. A thread owns whole heads. */
static void relative_bias_cpu(long H, long area, const real *table, const int *buckets, real *y)
{
    #pragma omp parallel for if (H * area > AG_PARALLEL_MIN)
    for (long h = 0; h < H; h++)
        for (long i = 0; i < area; i++)
            y[h*area + i] = table[buckets[i]*H + h];
}

/* sums (H,V) is scratch. */
static void relative_bias_back_cpu(long V, long H, long area, const int *buckets, const real *dy,
                                   double *sums, real *dtable)
{
    #pragma omp parallel for if (H * area > AG_PARALLEL_MIN)
    for (long h = 0; h < H; h++) {
        double *sum = sums + h*V;
        for (long v = 0; v < V; v++)
            sum[v] = 0;
        for (long i = 0; i < area; i++)
            sum[buckets[i]] += dy[h*area + i];
        for (long v = 0; v < V; v++)
            dtable[v*H + h] += (real)sum[v];
    }
}

static void backward(const ag_node *n)
{
    tensor *table = n->in[0];
    const struct saved *s = n->saved;
    long V = table->dim[0], H = table->dim[1], area = H ? n->out->size / H : 0;
    real *dtable = ag_grad(table);
    ag_mark mark = ag_here(n->tape);
    double *sums = ag_alloc(n->tape, H * V * (long)sizeof *sums);
    AG_CALL(n->tape, relative_bias_back)(V, H, area, s->buckets, n->out->grad, sums, dtable);
    ag_rewind(n->tape, mark);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { long V, H, Tq, Tk; } cases[] = {
        { 6, 3, 4, 5 }, { 1, 1, 1, 1 }, { 8, 2, 1, 9 }, { 4, 1, 3, 3 }, { 32, 12, 40, 50 },
        { 2, 5, 6, 1 }, { 3, 2, 2, 7 }, { 40, 3, 2, 4 }, { 5, 4, 7, 3 }, { 9, 7, 60, 70 } };
    long V = cases[variant].V, Tq = cases[variant].Tq, Tk = cases[variant].Tk;
    tensor *table = ag_input(p, "table", DIMS(V, cases[variant].H));
    return ag_relative_bias(ag_probe_tape(p), table, ag_pick_ids(p, Tq * Tk, V), Tq, Tk);
}

const ag_op ag_op_relative_bias = { "relative_bias", backward, example, .variants = 10 };

tensor *ag_relative_bias(tape *t, tensor *table, const int *buckets, long Tq, long Tk)
{
    AG_NO_FROZEN("relative_bias", table);
    if (table->ndim != 2 || Tq < 1 || Tk < 1)
        ag_fail("relative_bias", "a table (buckets,heads) for %ld queries and %ld keys, got %s", Tq, Tk,
                SHAPE(table));
    ag_check_rows("relative_bias", table, buckets, Tq * Tk);
    long H = table->dim[1];
    tensor *y = ag_new(t, DIMS(H, Tq, Tk));
    struct saved *s = ag_alloc(t, sizeof *s);
    s->buckets = ag_ids(t, buckets, Tq * Tk);
    AG_CALL(t, relative_bias)(H, Tq * Tk, table->data, s->buckets, y->data);
    return AG_RECORD(t, &ag_op_relative_bias, y, s, table);
}
