/* cache.c - keys and values of what has been said so far, kept between the steps of a generation.          */
#include "autograd/internal.h"
#include <string.h>

ag_cache ag_cache_new(tape *t, long rows, long capacity, long width)
{
    long n;
    if (rows < 1 || capacity < 1 || width < 1 || __builtin_mul_overflow(rows, capacity, &n)
        || __builtin_mul_overflow(n, width, &n))
        ag_fail("cache", "there can be no cache (%ld,%ld,%ld)", rows, capacity, width);
    real *k = ag_alloc_real(t, n), *v = ag_alloc_real(t, n);
    return (ag_cache){ .k = k, .v = v, .rows = rows, .capacity = capacity, .width = width };
}

/* Row r becomes what row source[r] was: of x (rows, stride) the n numbers from `at` on. A row may be
 * overwritten before it is read, so all that move are put aside first.                                     */
static void pick_rows_cpu(long rows, const int *source, long stride, long at, long n, real *x, real *aside)
{
    for (long r = 0; r < rows; r++)
        if (source[r] != r)
            memcpy(aside + r * n, x + source[r] * stride + at, (size_t)n * sizeof *x);
    for (long r = 0; r < rows; r++)
        if (source[r] != r)
            memcpy(x + r * stride + at, aside + r * n, (size_t)n * sizeof *x);
}

void ag_cache_pick(tape *t, ag_cache *c, long rows, const int *source, long from)
{
    for (long r = 0; r < rows; r++)
        if (source[r] < 0 || source[r] >= c->rows)
            ag_fail("cache", "row %ld is to become row %d of %ld", r, source[r], c->rows);
    if (from < 0 || from > c->length)
        ag_fail("cache", "positions from %ld on, %ld are filled", from, c->length);
    ag_mark here = ag_here(t);
    long n = (c->length - from) * c->width, stride = c->capacity * c->width;
    real *aside = ag_alloc_real(t, rows * n);
    AG_CALL(t, pick_rows)(rows, source, stride, from * c->width, n, c->k, aside);
    AG_CALL(t, pick_rows)(rows, source, stride, from * c->width, n, c->v, aside);
    c->rows = rows;
    ag_rewind(t, here);
}
