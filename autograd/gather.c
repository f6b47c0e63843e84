/* gather.c - y[i] = x[rows[i]]: whole rows of x (R,...), the axes behind the first folded into C.
 * dx[r] = the sum of dy[i] over all i with rows[i] = r. Backward first sorts the places by the row that
 * they name; then a row's block of columns has one owner, who adds its readers in order and in double.
 * Rows that nobody named are not visited: a few ids out of a large table cost what the ids cost.        */
#include "autograd/internal.h"
#include <string.h>

struct saved { const int *rows; };

/* A stable radix sort of the places 0..n-1 by row, a byte at a time. */
static long *places_by_row(tape *t, const int *rows, long n, long R)
{
    long *order = ag_alloc(t, n * (long)sizeof *order), *other = ag_alloc(t, n * (long)sizeof *other);
    for (long i = 0; i < n; i++)
        order[i] = i;
    for (int shift = 0; shift < 31 && (R - 1) >> shift; shift += 8) {
        long first[257] = { 0 };
        for (long i = 0; i < n; i++)
            first[(rows[i] >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++)
            first[b + 1] += first[b];
        for (long i = 0; i < n; i++)
            other[first[rows[order[i]] >> shift & 255]++] = order[i];
        long *swap = order;
        order = other;
        other = swap;
    }
    return order;
}

ag_groups ag_group_rows(tape *t, const int *rows, long n, long R)
{
    long *place = places_by_row(t, rows, n, R), count = 0;
    long *start = ag_alloc(t, (n + 1) * (long)sizeof *start);
    int *row = ag_alloc(t, n * (long)sizeof *row);
    for (long i = 0; i < n; i++)
        if (i == 0 || rows[place[i]] != row[count - 1]) {
            start[count] = i;
            row[count++] = rows[place[i]];
        }
    start[count] = n;
    return (ag_groups){ count, row, start, place };
}

void ag_check_rows(const char *op, const tensor *x, const int *rows, long n)
{
    for (long i = 0; i < n; i++)
        if (rows[i] < 0 || rows[i] >= x->dim[0])
            ag_fail(op, "row %d at place %ld is outside %s", rows[i], i, SHAPE(x));
}

void gather_rows_cpu(long n, long C, const real *x, const int *rows, real *y)
{
    #pragma omp parallel for if (n * C > AG_PARALLEL_MIN)
    for (long i = 0; i < n; i++)
        memcpy(y + i*C, x + rows[i]*C, (size_t)C * sizeof *y);
}

void scatter_rows_cpu(const ag_groups *groups, long C, const real *dy, real *dx)
{
    enum { BLOCK = 256 };
    const long *start = groups->start, *place = groups->place, blocks = (C + BLOCK - 1) / BLOCK;
    #pragma omp parallel for schedule(dynamic, 4) if (start[groups->count] * C > AG_PARALLEL_MIN)
    for (long i = 0; i < groups->count * blocks; i++) {
        long g = i / blocks, first = i % blocks * BLOCK, n = C - first < BLOCK ? C - first : BLOCK;
        double sum[BLOCK] = { 0 };
        for (long k = start[g]; k < start[g + 1]; k++)
            for (long c = 0; c < n; c++)
                sum[c] += dy[place[k]*C + first + c];
        for (long c = 0; c < n; c++)
            dx[groups->row[g]*C + first + c] += (real)sum[c];
    }
}

static void backward(const ag_node *n)
{
    tensor *x = n->in[0];
    const struct saved *s = n->saved;
    real *dx = ag_grad(x);
    ag_mark mark = ag_here(n->tape);
    ag_groups groups = ag_group_rows(n->tape, s->rows, n->out->dim[0], x->dim[0]);
    AG_CALL(n->tape, scatter_rows)(&groups, ag_fold(x, 0).I, n->out->grad, dx);
    ag_rewind(n->tape, mark);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { int ndim; long dim[4], n; } cases[] = {
        { 2, { 5, 3 }, 4 },       { 2, { 2, 3 }, 9 },       { 1, { 6 }, 4 },          { 3, { 4, 2, 3 }, 5 },
        { 4, { 3, 2, 1, 4 }, 2 }, { 2, { 1, 1 }, 1 },       { 2, { 1, 5 }, 3 },       { 2, { 300, 2 }, 6 },
        { 2, { 70000, 1 }, 40 },  { 2, { 40, 600 }, 90 },   { 3, { 9, 30, 80 }, 12 }, { 2, { 500, 7 }, 3000 },
        { 2, { 5, 3 }, 0 },       { 2, { 4, 0 }, 3 },
    };
    tensor *x = ag_input(p, "x", cases[variant].ndim, cases[variant].dim);
    const int *rows = ag_pick_ids(p, cases[variant].n, cases[variant].dim[0]);
    return ag_gather(ag_probe_tape(p), x, rows, cases[variant].n);
}

const ag_op ag_op_gather = { "gather", backward, example, .variants = 14 };

tensor *ag_gather(tape *t, tensor *x, const int *rows, long n)
{
    AG_NO_FROZEN("gather", x);
    if (x->ndim < 1 || n < 0)
        ag_fail("gather", "%ld rows of a tensor with rows, got %s", n, SHAPE(x));
    ag_check_rows("gather", x, rows, n);
    long dim[AG_MAX_DIM];
    memcpy(dim, x->dim, sizeof dim);
    dim[0] = n;
    tensor *y = ag_new(t, x->ndim, dim);
    struct saved *s = ag_alloc(t, sizeof *s);
    s->rows = ag_ids(t, rows, n);
    AG_CALL(t, gather_rows)(n, ag_fold(x, 0).I, x->data, rows, y->data);
    return AG_RECORD(t, &ag_op_gather, y, s, x);
}
