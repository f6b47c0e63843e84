/* linear_cross_entropy.c - cross_entropy.c of the logits z = x W' + b, a chunk of rows at a time: x (R,D),
 * leading axes folded into R;  W (V,D), b (V) or none. With 30,523 classes all logits are the largest tensor
 * of a training step; here one chunk of at most 8 million is in memory, however many rows there are.
 *   dx = dz W,   dW = dz' x,   db = sum_R dz.
 * Backward computes the logits of a chunk again, turns them into dz in place, and uses them up. The last
 * chunk's logits stay from forward on, so that a loss which fits into one chunk is not computed twice. (To
 * make dx and dW in forward, before dloss is known, would save the other chunks' product too, but needs a
 * second W and serves the mean alone.) Rows that are ignored or weigh 0 are left out of all products.   */
#include "autograd/internal.h"
#include <string.h>

enum { CHUNK_LOGITS = 1 << 23 };

struct saved {
    ag_ce_rows rows;                   /* of the n rows that count */
    const int *row;                    /* (n) which rows of x they are */
    bool per_row;
    long chunk, ready;                 /* rows at a time; the first row whose logits are in z, -1: none */
    real *x, *z;                       /* (chunk,D), (chunk,V) */
};

static ag_ce_rows rows_from(const ag_ce_rows *all, long first, long count)
{
    return (ag_ce_rows){ .R = count, .V = all->V, .ids = all->ids + first, .smoothing = all->smoothing,
                         .share = all->share + first, .lse = all->lse + first };
}

/* Packs `count` rows from `first` into s->x and puts their logits into s->z. */
static void logits(tape *t, struct saved *s, tensor *x, tensor *weight, tensor *bias, long first, long count)
{
    long V = weight->dim[0], D = weight->dim[1];
    tensor *in[] = { x, weight, bias };
    AG_CALL(t, gather_rows)(count, D, x->data, s->row + first, s->x);
    if (bias)
        AG_CALL(t, copy_runs)(count, V, bias->data, 0, 0, s->z, V);
    ag_weight_product(t, ag_wants(t, 3, in), count, s->x, weight, bias ? 1 : 0, s->z);
    s->ready = first;
}

/* dx[row[r]] += d[r]: every row is named once. */
static void unpack_cpu(long n, long D, const real *d, const int *row, real *dx)
{
    #pragma omp parallel for if (n * D > AG_PARALLEL_MIN)
    for (long r = 0; r < n; r++)
        for (long c = 0; c < D; c++)
            dx[row[r]*D + c] += d[r*D + c];
}

static void backward(const ag_node *n)
{
    tape *t = n->tape;
    tensor *x = n->in[0], *weight = n->in[1], *bias = n->in[2];
    struct saved *s = n->saved;
    long R = s->rows.R, V = weight->dim[0], D = weight->dim[1], chunks = (R + s->chunk - 1) / s->chunk;
    real beta = 1, *dx = ag_grad(x), *db = ag_grad(bias);
    real *dw = R ? ag_grad_beta(weight, &beta) : ag_grad(weight);       /* no rows: nothing overwrites it */
    ag_mark mark = ag_here(t);
    double *g = ag_alloc(t, R * (long)sizeof *g);
    for (long r = 0; r < R; r++)
        g[r] = s->rows.share[r] * n->out->grad[s->per_row ? s->row[r] : 0];
    for (long c = chunks - 1; c >= 0; c--) {               /* from the chunk that is ready */
        long first = c * s->chunk, count = R - first < s->chunk ? R - first : s->chunk;
        ag_ce_rows rows = rows_from(&s->rows, first, count);
        if (s->ready != first)
            logits(t, s, x, weight, bias, first, count);
        s->ready = -1;
        AG_CALL(t, ce_backward)(&rows, s->z, g + first, 0, s->z);
        if (dw)
            ag_gemm(true, false, V, D, count, 1, s->z, V, s->x, D, beta, dw, D);
        beta = 1;
        if (db)
            AG_CALL(t, sum_axis)(1, count, V, 1, s->z, 1, db);
        if (dx) {
            ag_weight_back(t, count, s->z, weight, 0, s->x);
            AG_CALL(t, unpack)(count, D, s->x, s->row + first, dx);
        }
    }
    ag_rewind(t, mark);
}

static tensor *example(ag_probe *p, int variant)
{
    enum { BIAS = 1, IGNORE = 2, WEIGHT = 4, PER_ROW = 8 };
    static const struct { long R, D, V, chunk; double smoothing; int with; } cases[] = {
        { 3, 4, 5, 0, 0, BIAS },                      { 4, 3, 7, 1, 0.1, BIAS },
        { 6, 5, 4, 2, 0.1, IGNORE },                  { 6, 2, 4, 4, 0, BIAS | IGNORE | WEIGHT | PER_ROW },
        { 5, 1, 3, 3, 0, WEIGHT },                    { 1, 3, 2, 0, 0.3, BIAS | PER_ROW },
        { 7, 4, 6, 7, 1, BIAS | IGNORE },             { 8, 3, 5, 3, 0.1, IGNORE | WEIGHT | PER_ROW },
        { 5, 6, 2, 2, 0, BIAS | PER_ROW },            { 3, 2, 9, 100, 0.2, WEIGHT },
        { 50, 40, 900, 20, 0.1, BIAS | IGNORE },      { 150, 70, 130, 0, 0, BIAS | IGNORE | WEIGHT },
        { 0, 3, 4, 0, 0, BIAS | PER_ROW },            { 9, 3, 4, 2, 0.3, BIAS | IGNORE | WEIGHT },
        { 4, 3, 7, 1, 0.1, BIAS },                    { 6, 4, 9, 0, 0, IGNORE }, /* W in low precision */
        { 30, 9, 40, 20, 0.1, IGNORE | PER_ROW },
    };
    int with = cases[variant].with;
    long R = cases[variant].R, D = cases[variant].D, V = cases[variant].V;
    tensor *x = variant % 2 ? ag_input(p, "x", DIMS(R, D)) : ag_input(p, "x", DIMS(1, R, D));
    ag_dtype low = (ag_dtype)(AG_F16 + variant - 14);
    tensor *weight = variant < 14 ? ag_input(p, "weight", DIMS(V, D)) : ag_pick_frozen(p, low, DIMS(V, D));
    tensor *bias = with & BIAS ? ag_input(p, "bias", DIMS(V)) : NULL;
    int *ids = ag_alloc(ag_probe_tape(p), R * (long)sizeof *ids);
    real *weights = ag_alloc_real(ag_probe_tape(p), R);
    for (long r = 0; r < R; r++) {
        ids[r] = with & IGNORE && r % 3 == 1 ? -100 : (int)ag_pick(p, V);
        weights[r] = (real)(1 + ag_pick(p, 9)) / 4;
    }
    ag_ce o = { .ids = ids, .ignore = -100, .smoothing = cases[variant].smoothing,
                .weight = with & WEIGHT ? weights : NULL, .per_row = with & PER_ROW,
                .chunk = cases[variant].chunk };
    return ag_linear_cross_entropy(ag_probe_tape(p), x, weight, bias, &o);
}

const ag_op ag_op_linear_cross_entropy = { "linear_cross_entropy", backward, example, .variants = 17 };

/* The rows that count, packed: their places in x, ids and shares. */
static struct saved *pack(tape *t, const ag_ce *o, long R, long V, long D)
{
    const double *share = ag_ce_shares(t, R, o);
    struct saved *s = ag_alloc(t, sizeof *s);
    int *row = ag_alloc(t, R * (long)sizeof *row), *ids = ag_alloc(t, R * (long)sizeof *ids);
    double *packed = ag_alloc(t, R * (long)sizeof *packed), *lse = ag_alloc(t, R * (long)sizeof *lse);
    long n = 0;
    for (long r = 0; r < R; r++)
        if (share[r] != 0) {
            row[n] = (int)r;
            ids[n] = o->ids[r];
            packed[n++] = share[r];
        }
    long most = o->chunk ? o->chunk : CHUNK_LOGITS / V > 16 ? CHUNK_LOGITS / V : 16;
    long chunks = n ? (n + most - 1) / most : 1, chunk = n ? (n + chunks - 1) / chunks : 1;
    ag_ce_rows rows = { .R = n, .V = V, .ids = ids, .smoothing = o->smoothing, .share = packed, .lse = lse };
    *s = (struct saved){ .rows = rows, .row = row, .per_row = o->per_row, .chunk = chunk, .ready = -1,
                         .x = ag_alloc_real(t, chunk * D), .z = ag_alloc_real(t, chunk * V) };
    return s;
}

tensor *ag_linear_cross_entropy(tape *t, tensor *x, tensor *weight, tensor *bias, const ag_ce *options)
{
    AG_NO_FROZEN("linear_cross_entropy", x, bias);
    if (x->ndim < 1 || weight->ndim != 2 || weight->size == 0 || ag_columns(x) != weight->dim[1]
        || (bias && (bias->ndim != 1 || bias->size != weight->dim[0])))
        ag_fail("linear_cross_entropy", "x %s needs a weight (V,%ld) and a bias (V), got %s and %s",
                SHAPE(x), ag_columns(x), SHAPE(weight), SHAPE(bias));
    if (options->soft || options->chunk < 0)
        ag_fail("linear_cross_entropy", "ids alone and a chunk from 0 up; got %s and %ld",
                options->soft ? "soft targets" : "ids", options->chunk);
    long R = ag_rows(x), V = weight->dim[0], D = weight->dim[1];
    ag_ce_check("linear_cross_entropy", x, R, V, options);
    tensor *in[] = { x, weight, bias }, *y = options->per_row ? ag_new(t, DIMS(R)) : ag_new(t, 0, NULL);
    ag_mark mark = ag_here(t);
    double *loss = ag_alloc(t, R * (long)sizeof *loss), sum = 0;
    struct saved *s = pack(t, options, R, V, D);
    for (long first = 0; first < s->rows.R; first += s->chunk) {
        long left = s->rows.R - first, count = left < s->chunk ? left : s->chunk;
        ag_ce_rows rows = rows_from(&s->rows, first, count);
        logits(t, s, x, weight, bias, first, count);
        AG_CALL(t, ce_forward)(&rows, s->z, loss + first);
    }
    memset(y->data, 0, (size_t)y->size * sizeof *y->data);
    for (long r = 0; r < s->rows.R; r++) {
        sum += loss[r];
        if (options->per_row)
            y->data[s->row[r]] = (real)loss[r];
    }
    if (!options->per_row)
        y->data[0] = (real)sum;
    if (!ag_wants(t, 3, in))
        ag_rewind(t, mark);
    return ag_record(t, &ag_op_linear_cross_entropy, y, s, 3, in);
}
