/* reduce.c - sum and mean: y = f * sum_k x[k], f = 1 or 1 / n, over all elements or over one axis.
 * With the axes before and behind it folded, x is (O,n,I) and y (O,I); all elements are (1,n,1).
 * dx[o,k,i] = f * dy[o,i].                                                                              */
#include "autograd/internal.h"

enum { WIDE = 1024, PARTS = 16 };                          /* columns in one go; blocks of a long sum */

struct saved { ag_folded shape; double factor; };

/* total[c] = sum_k x[k*step + c]. Four rows at a time: a total is read and written once for four. */
static void add_up(long n, long step, long width, const real *x, double *total)
{
    if (step == 1) {
        double sum = 0;
        #pragma omp simd reduction(+:sum)
        for (long k = 0; k < n; k++)
            sum += x[k];
        total[0] = sum;
        return;
    }
    for (long c = 0; c < width; c++)
        total[c] = 0;
    long k = 0;
    for (; k + 4 <= n; k += 4) {
        const real *p = x + k*step, *q = p + step, *r = q + step, *s = r + step;
        for (long c = 0; c < width; c++)
            total[c] += ((double)p[c] + q[c]) + ((double)r[c] + s[c]);
    }
    for (; k < n; k++)
        for (long c = 0; c < width; c++)
            total[c] += x[k*step + c];
}

/* The same in PARTS blocks, by several threads. */
static void add_up_split(long n, long step, long width, const real *x, double *total)
{
    double part[PARTS][WIDE];
    long each = (n + PARTS - 1) / PARTS;
    #pragma omp parallel for
    for (int b = 0; b < PARTS; b++) {
        long first = b * each < n ? b * each : n, count = n - first < each ? n - first : each;
        add_up(count, step, width, x + first*step, part[b]);
    }
    for (long c = 0; c < width; c++) {
        total[c] = 0;
        for (int b = 0; b < PARTS; b++)
            total[c] += part[b][c];
    }
}

/* Some columns of one y[o]: those that begin at `first`. */
static void put_sums(long width, double factor, const double *total, real beta, real *y)
{
    for (long c = 0; c < width; c++) {
        real sum = (real)(factor * total[c]);
        y[c] = beta == 0 ? sum : y[c] + sum;
    }
}

/* A thread owns some columns of some y[o]; where these are few, it owns one block of their sums. The two
 * loops are apart because a region inside a region that is not parallel would make new threads each time. */
void sum_axis_cpu(long O, long n, long I, double factor, const real *x, real beta, real *y)
{
    long across = (I + WIDE - 1) / WIDE, units = O * across;
    bool large = O * n * I > AG_PARALLEL_MIN, split = large && units < PARTS;
    double total[WIDE];
    for (long u = 0; split && u < units; u++) {
        long o = u / across, first = u % across * WIDE, width = I - first < WIDE ? I - first : WIDE;
        add_up_split(n, I, width, x + o*n*I + first, total);
        put_sums(width, factor, total, beta, y + o*I + first);
    }
    if (split)
        return;
    #pragma omp parallel for if (large) private(total)
    for (long u = 0; u < units; u++) {
        long o = u / across, first = u % across * WIDE, width = I - first < WIDE ? I - first : WIDE;
        add_up(n, I, width, x + o*n*I + first, total);
        put_sums(width, factor, total, beta, y + o*I + first);
    }
}

/* x (O,n,I) = beta x + factor * y (O,I), the same for every k. */
static void spread_axis_cpu(long O, long n, long I, double factor, const real *y, real beta, real *x)
{
    enum { BLOCK = 4096 };
    long length = n * I, blocks = (length + BLOCK - 1) / BLOCK;
    #pragma omp parallel for if (O * length > AG_PARALLEL_MIN)
    for (long u = 0; u < O * blocks; u++) {
        long o = u / blocks, first = u % blocks * BLOCK, end = first + BLOCK;
        long last = end < length ? end : length;
        real *to = x + o*length;
        for (long k = first; k < last;) {
            const real *from = y + o*I + (I == 1 ? 0 : k % I);
            long run = I == 1 || last - k < I - k % I ? last - k : I - k % I;
            for (long c = 0; c < run; c++) {
                real v = (real)factor * from[I == 1 ? 0 : c];
                to[k + c] = beta == 0 ? v : to[k + c] + v;
            }
            k += run;
        }
    }
}

static void backward(const ag_node *n)
{
    const struct saved *s = n->saved;
    real beta, *dx = ag_grad_beta(n->in[0], &beta);
    AG_CALL(n->tape, spread_axis)(s->shape.O, s->shape.n, s->shape.I, s->factor, n->out->grad, beta, dx);
}

tensor *ag_new_without(tape *t, const tensor *x, int axis)
{
    long dim[AG_MAX_DIM] = { 0 };
    int ndim = 0;
    for (int i = 0; i < x->ndim; i++)
        if (i != axis)
            dim[ndim++] = x->dim[i];
    return ag_new(t, ndim, dim);
}

static tensor *reduce(tape *t, const ag_op *op, tensor *x, tensor *y, ag_folded shape, double factor)
{
    AG_NO_FROZEN(op->name, x);
    struct saved *s = ag_alloc(t, sizeof *s);
    *s = (struct saved){ shape, factor };
    AG_CALL(t, sum_axis)(shape.O, shape.n, shape.I, factor, x->data, 0, y->data);
    return AG_RECORD(t, op, y, s, x);
}

static const struct { int ndim; long dim[4]; int axis; } cases[] = {      /* axis is for mean_axis alone */
    { 1, { 7 }, 0 },          { 2, { 3, 4 }, 0 },       { 2, { 3, 4 }, 1 },         { 3, { 2, 3, 4 }, 1 },
    { 4, { 2, 3, 1, 4 }, 3 }, { 1, { 1 }, 0 },          { 3, { 2, 1, 5 }, 1 },      { 2, { 40, 700 }, 0 },
    { 2, { 300, 90 }, 1 },    { 2, { 3, 9000 }, 1 },    { 3, { 30, 40, 20 }, 1 },   { 1, { 20000 }, 0 },
    { 2, { 2, 1 }, 1 },       { 3, { 3, 2, 2 }, 2 },    { 2, { 0, 3 }, 1 },         /* no mean of nothing */
};

static tensor *example_sum(ag_probe *p, int variant)
{
    return ag_sum(ag_probe_tape(p), ag_input(p, "x", cases[variant].ndim, cases[variant].dim));
}

static tensor *example_mean(ag_probe *p, int variant)
{
    return ag_mean(ag_probe_tape(p), ag_input(p, "x", cases[variant].ndim, cases[variant].dim));
}

static tensor *example_mean_axis(ag_probe *p, int variant)
{
    tensor *x = ag_input(p, "x", cases[variant].ndim, cases[variant].dim);
    return ag_mean_axis(ag_probe_tape(p), x, cases[variant].axis);
}

const ag_op ag_op_sum = { "sum", backward, example_sum, .variants = AG_COUNT(cases) };
const ag_op ag_op_mean = { "mean", backward, example_mean, .variants = AG_COUNT(cases) - 1 };
const ag_op ag_op_mean_axis = { "mean_axis", backward, example_mean_axis, .variants = AG_COUNT(cases) };

tensor *ag_sum(tape *t, tensor *x)
{
    tensor *y = ag_new(t, 0, NULL);
    return reduce(t, &ag_op_sum, x, y, (ag_folded){ 1, x->size, 1 }, 1);
}

tensor *ag_mean(tape *t, tensor *x)
{
    if (x->size == 0)
        ag_fail("mean", "x %s has no elements", SHAPE(x));
    tensor *y = ag_new(t, 0, NULL);
    return reduce(t, &ag_op_mean, x, y, (ag_folded){ 1, x->size, 1 }, 1 / (double)x->size);
}

tensor *ag_mean_axis(tape *t, tensor *x, int axis)
{
    if (axis < 0 || axis >= x->ndim || x->dim[axis] == 0)
        ag_fail("mean_axis", "x %s has no elements along axis %d", SHAPE(x), axis);
    tensor *y = ag_new_without(t, x, axis);
    return reduce(t, &ag_op_mean_axis, x, y, ag_fold(x, axis), 1 / (double)x->dim[axis]);
}
