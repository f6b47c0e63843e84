/* tensor.c - making tensors, looking at them, and reshape, which shares data and gradient (autograd.h). */
#include "autograd/internal.h"
#include <stdio.h>
#include <string.h>

void ag_no_frozen(const char *op, int nin, tensor *const *in)
{
    for (int i = 0; i < nin; i++)
        if (in[i] && in[i]->frozen)
            ag_fail(op, "%s %s is kept in %s; only the weight of linear, embedding, patch_embed and "
                    "linear_cross_entropy may be", in[i]->name ? in[i]->name : "a matrix", SHAPE(in[i]),
                    ag_dtype_name(in[i]->frozen->type));
}

static long product(int ndim, const long *dim)
{
    long n = 1;
    for (int i = 0; i < ndim; i++)
        if (dim[i] < 0 || __builtin_mul_overflow(n, dim[i], &n))
            ag_fail("tensor", "axis %d of %d cannot be %ld", i, ndim, dim[i]);
    return n;
}

static tensor *header(tape *t, int ndim, const long *dim)
{
    if (ndim < 0 || ndim > AG_MAX_DIM)
        ag_fail("tensor", "0 to %d axes, got %d", AG_MAX_DIM, ndim);
    long size = product(ndim, dim);
    tensor *x = ag_alloc(t, sizeof *x);
    *x = (tensor){ .size = size, .ndim = ndim, .tape = t };
    for (int i = 0; i < ndim; i++)
        x->dim[i] = dim[i];
    return x;
}

tensor *ag_new(tape *t, int ndim, const long *dim)
{
    tensor *x = header(t, ndim, dim);
    x->data = ag_alloc_real(t, x->size);
    return x;
}

tensor *ag_new_like(tape *t, const tensor *x)
{
    return ag_new(t, x->ndim, x->dim);
}

tensor *ag_copy_in(tape *t, int ndim, const long *dim, const real *data)
{
    tensor *x = ag_new(t, ndim, dim);
    if (x->size && !ag_spent(0))                   /* of nothing data may be NULL */
        memcpy(x->data, data, (size_t)x->size * sizeof(real));
    return x;
}

tensor *ag_leaf(tape *t, int ndim, const long *dim, const real *data)
{
    tensor *x = ag_copy_in(t, ndim, dim, data);
    x->needs_grad = x->keep_grad = true;
    return x;
}

tensor *ag_scalar(tape *t, double value)
{
    real v = (real)value;
    return ag_copy_in(t, 0, NULL, &v);
}

const int *ag_ids(tape *t, const int *ids, long n)
{
    int *copy = ag_alloc(t, n * (long)sizeof *copy);
    if (n)
        memcpy(copy, ids, (size_t)n * sizeof *copy);
    return copy;
}

void ag_read(const tensor *x, real *to)
{
    const ag_frozen *w = x->frozen;
    bool none = ag_spent(0);
    if (none)
        memset(to, 0, (size_t)x->size * sizeof(real));
    for (long n = 0; w && !none && n < w->N; n++)
        ag_frozen_read(w, n, 0, w->K, to + n * w->K);
    if (!w && !none)
        memcpy(to, x->data, (size_t)x->size * sizeof(real));
}

real ag_value(const tensor *x)
{
    AG_NO_FROZEN("value", (tensor *)x);
    if (x->size != 1)
        ag_fail("value", "one element expected, got shape %s", SHAPE(x));
    return ag_spent(0) ? 0 : x->data[0];
}

tensor *ag_reshape(tape *t, tensor *x, int ndim, const long *dim)
{
    AG_NO_FROZEN("reshape", x);
    tensor *y = header(t, ndim, dim);
    if (y->size != x->size)
        ag_fail("reshape", "%s has %ld elements, %s has %ld", SHAPE(x), x->size, SHAPE(y), y->size);
    y->data = x->data;
    y->needs_grad = x->needs_grad;
    y->whole = x->whole ? x->whole : x;
    return y;
}

tensor *ag_detach(tape *t, tensor *x)
{
    AG_NO_FROZEN("detach", x);
    tensor *y = header(t, x->ndim, x->dim);
    y->data = x->data;
    return y;
}

ag_mask *ag_mask_new(tape *t, long B, long Tq, long Tk)
{
    ag_mask *m = ag_alloc(t, sizeof *m);
    *m = (ag_mask){ B, Tq, Tk, ag_alloc(t, B * Tq * Tk) };
    memset(m->may, 1, (size_t)(B * Tq * Tk));
    return m;
}

const char *ag_shape(const tensor *x, char *to)
{
    if (!x)
        return "none";
    char *p = to + sprintf(to, "(");
    for (int i = 0; i < x->ndim; i++)
        p += sprintf(p, i ? ",%ld" : "%ld", x->dim[i]);
    sprintf(p, ")");
    return to;
}
