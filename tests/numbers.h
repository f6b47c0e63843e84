/* numbers.h - what suites that compare tensors share: inputs by key, a cotangent, closeness. */
#ifndef TESTS_NUMBERS_H
#define TESTS_NUMBERS_H
#include "tests/tests.h"
#include <math.h>
#include <string.h>

static const double close = REAL == 64 ? 1e-12 : 3e-6;     /* of the largest value */

/* normal(0,1), the same for the same key; wants its gradient. */
static inline tensor *numbers(tape *t, uint64_t key, int ndim, const long *dim)
{
    tensor *x = ag_new(t, ndim, dim);
    for (long i = 0; i < x->size; i++)
        x->data[i] = (real)ag_normal(key, (uint64_t)i);
    return ag_leaf(t, ndim, dim, x->data);
}

/* Differs from element to element. */
static inline const real *cotangent(tape *t, const tensor *y)
{
    real *g = ag_alloc_real(t, y->size);
    for (long i = 0; i < y->size; i++)
        g[i] = (real)(0.5 + ag_uniform(77, (uint64_t)i));
    return g;
}

static inline void backward(tape *t, tensor *y)
{
    const real *g = cotangent(t, y);
    ag_backward_from(t, 1, &y, &g);
}

static inline void assert_close(long n, const real *found, const real *expected, const char *what)
{
    double largest = 0;
    for (long i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)expected[i]));
    for (long i = 0; i < n; i++)
        ck_assert_msg(fabs((double)found[i] - (double)expected[i]) <= close * largest,
                      "%s, element %ld: expected %.17g, found %.17g", what, i, (double)expected[i],
                      (double)found[i]);
}

/* A call that must fail, and a part of what it says. */
typedef struct wrong_call { void (*call)(void *); const char *text; } wrong_call;

static inline void assert_fails(tape *t, const wrong_call *w)
{
    error e = { 0 };
    ck_assert(!ag_try(t, w->call, NULL, &e));
    ck_assert_msg(strstr(e.text, w->text) != NULL, "expected \"%s\", found \"%s\"", w->text, e.text);
}

static inline void add_tests(TCase *c, int n, const TTest *const *tests)
{
    for (int i = 0; i < n; i++)
        tcase_add_test(c, tests[i]);
}
#endif
