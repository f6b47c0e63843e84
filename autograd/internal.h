/* internal.h - what the operations of this folder share and nobody else needs. */
#ifndef AUTOGRAD_INTERNAL_H
#define AUTOGRAD_INTERNAL_H
#include "autograd/autograd.h"

/* Elements below which a loop is not worth waking threads for (a region costs about as much as 10,000 additions). */
enum { AG_PARALLEL_MIN = 16384 };

/* Leading axes folded: a tensor of shape (...,C) as (R,C). */
static inline long ag_columns(const tensor *x) { return x->ndim ? x->dim[x->ndim - 1] : 1; }
static inline long ag_rows(const tensor *x) { long c = ag_columns(x); return c ? x->size / c : 0; }

void ag_sum_rows(long R, long C, const real *x, real *y);      /* y (C) += sum over rows of x (R,C); parallel */
#endif
