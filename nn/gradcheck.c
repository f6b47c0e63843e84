/* gradcheck.c - gradients of anything built on a store, against differences (nn.h).
 *
 * With f the inner product of the result and a fixed random cotangent, x a parameter tensor and u a random
 * direction with elements in [-1,1], <df/dx, u> is compared with the four-point slope
 *     ( 8 (f(x+hu) - f(x-hu)) - (f(x+2hu) - f(x-2hu)) ) / 12h,     h = 1e-3 RMS(x), or 1e-3 where x is zero,
 * whose error in double is about 1e-11 of the gradient. The difference is measured in units of
 * |df/dx| / sqrt 3 (2-norm), the size that <df/dx, u> has on average.
 *
 * A shift of all keys of a row moves all its scores alike, which softmax does not see: the biases of key
 * projections have no slope (but for a prefix with keys of its own). They are the only parameters whose
 * gradient may be rounding noise, and it must stay below 1e-12 of the model's largest. Where the gradient is
 * exactly zero, or was never contributed to, f must not change by a bit; such parameters are counted as
 * idle, so that one that was forgotten shows.                                                              */
#include "nn/nn.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct checker {
    nn_store *store;
    tape *t;
    tensor *(*build)(tape *t, void *ctx);
    void *ctx;
    real *cotangent, *values;          /* of the result; room for it */
    long size;
    double largest;                    /* of all gradients */
    ag_listener tell;
    void *telling;
} checker;

static bool symmetric(const char *name)
{
    static const char *const endings[] = { "key.bias", "k_proj.bias" };
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t m = strlen(endings[i]);
        if (n >= m && !strcmp(name + n - m, endings[i]))
            return true;
    }
    return false;
}

static double value_now(const checker *c)
{
    ag_mark here = ag_here(c->t);
    bool recording = ag_record_on(c->t, false);
    tensor *y = c->build(c->t, c->ctx);
    ag_read(y, c->values);
    ag_record_on(c->t, recording);
    ag_rewind(c->t, here);
    double f = 0;
    for (long i = 0; i < c->size; i++)
        f += (double)c->values[i] * (double)c->cotangent[i];
    return f;
}

/* All gradients, by one backward pass. */
static void analytic(checker *c, uint64_t seed)
{
    ag_mark here = ag_here(c->t);
    c->size = c->build(c->t, c->ctx)->size;
    ag_rewind(c->t, here);
    c->cotangent = ag_alloc_real(c->t, c->size);
    c->values = ag_alloc_real(c->t, c->size);
    for (long i = 0; i < c->size; i++)
        c->cotangent[i] = (real)ag_normal(seed, (uint64_t)i);

    here = ag_here(c->t);
    nn_zero_grad(c->store);
    tensor *y = c->build(c->t, c->ctx);
    ag_backward_from(c->t, 1, &y, (const real *[]){ c->cotangent });
    ag_rewind(c->t, here);
}

/* 2-norm */
static double norm(const tensor *x, const real *of)
{
    double sum = 0;
    for (long i = 0; i < x->size; i++)
        sum += (double)of[i] * (double)of[i];
    return sqrt(sum);
}

/* Element i of the direction. */
static double along(uint64_t key, long i)
{
    return 2 * ag_uniform(key, (uint64_t)i) - 1;
}

/* Slope along a random direction, and what the gradient says; *moved: did f change at all? */
static ag_compared compare(checker *c, tensor *x, uint64_t key, bool *moved)
{
    ag_mark here = ag_here(c->t);
    real *saved = ag_alloc_real(c->t, x->size);
    memcpy(saved, x->data, (size_t)x->size * sizeof(real));
    double rms = norm(x, x->data) / sqrt((double)x->size), h = 1e-3 * (rms > 0 ? rms : 1), f[4], expected = 0;
    static const int step[4] = { 1, -1, 2, -2 };
    for (int p = 0; p < 4; p++) {
        for (long i = 0; i < x->size; i++)
            x->data[i] = saved[i] + (real)(step[p] * h * along(key, i));
        f[p] = value_now(c);
    }
    memcpy(x->data, saved, (size_t)x->size * sizeof(real));
    ag_rewind(c->t, here);
    if (!x->grad_fresh)
        for (long i = 0; i < x->size; i++)
            expected += (double)x->grad[i] * along(key, i);
    *moved = f[0] != f[1] || f[2] != f[3];
    return (ag_compared){ .tensor = x->name, .index = -1, .analytic = expected,
                          .numeric = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * h) };
}

/* The error of one parameter in units of its gradient; NAN if it has a slope but no gradient. */
static double error_of(checker *c, tensor *x, uint64_t key, bool *idle)
{
    bool moved;
    ag_compared row = compare(c, x, key, &moved);
    double length = x->grad_fresh ? 0 : norm(x, x->grad);
    bool noise = symmetric(x->name) && length <= 1e-12 * c->largest;
    row.share = length == 0 ? moved ? NAN : 0
                            : fabs(row.numeric - row.analytic) * sqrt(3) / (noise ? c->largest : length);
    *idle = length == 0 && !moved;
    if (c->tell)
        c->tell(c->telling, &row);
    return row.share;
}

nn_check nn_gradcheck(nn_store *s, tape *t, tensor *(*build)(tape *t, void *ctx), void *ctx, double tolerance,
                      uint64_t seed)
{
    return nn_gradcheck_told(s, t, build, ctx, tolerance, seed, NULL, NULL);
}

nn_check nn_gradcheck_told(nn_store *s, tape *t, tensor *(*build)(tape *t, void *ctx), void *ctx,
                           double tolerance, uint64_t seed, ag_listener tell, void *telling)
{
    checker c = { .store = s, .t = t, .build = build, .ctx = ctx, .tell = tell, .telling = telling };
    nn_check result = { .tolerance = tolerance, .ok = true };
    ag_mark here = ag_here(t);
    analytic(&c, ag_mix(seed, 0));
    for (long i = 0; i < s->count; i++) {
        const tensor *x = s->entries[i].value;
        if (x->needs_grad && !x->grad_fresh)
            c.largest = fmax(c.largest, norm(x, x->grad));
    }
    for (long i = 0; i < s->count; i++) {
        tensor *x = s->entries[i].value;
        if (!x->needs_grad || s->entries[i].alias_of)
            continue;
        bool idle;
        double off = error_of(&c, x, ag_mix(seed, s->entries[i].key), &idle);
        result.idle += idle;
        if (!(off <= result.worst) && !isnan(result.worst)) {
            result.worst = off;
            snprintf(result.where, sizeof result.where, "%s", x->name);
        }
        result.ok = result.ok && off <= tolerance;
    }
    ag_rewind(t, here);
    return result;
}
