/* compare.c - our numbers beside the reference's (golden.h).
 *
 * Bounds. Double: 1e-9 of the dataset's largest value; 5e-7 where the reference itself rounded to float
 * (score_*, sequences_scores*), so that a change by 1e-6 is seen there too. Float: min(2e-4, max(10 f32_rel,
 * 5e-6)) of the largest value, f32_rel being what the same reference loses in float. Where the largest value
 * is below 1e-12 (gradients that are zero by symmetry): 1e-12 absolutely, in float 10 times what the
 * reference leaves there. */
#include "tests/golden/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *golden_dataset(char to[600], const char *base, const char *prefix, const char *name)
{
    int n = snprintf(to, 600, "%s/", base);
    snprintf(to + n, (size_t)(600 - n), "%s%s", prefix, name);
    for (char *p = to + n; *p; p++)
        *p = *p == '.' ? '/' : *p;
    return to;
}

void golden_seen(golden *g, const char *name)
{
    for (long i = 0; i < g->count; i++)
        if (!strcmp(g->outputs[i], name))
            g->seen[i] = true;
}

static bool attribute(golden *g, const char *name, const char *key, double *value)
{
    error e;
    return h5_number(g->file, name, key, value, &e);
}

/* The bound for a dataset, relative to *scale: its largest value, or 1. */
static double bound(golden *g, const char *name, double largest, double *scale)
{
    const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
    double lost;
    *scale = largest < 1e-12 ? 1 : largest;
    if (sizeof(real) == 8 && largest >= 1e-12)
        return !strncmp(last, "score_", 6) || !strncmp(last, "sequences_scores", 16) ? 5e-7 : 1e-9;
    if (largest >= 1e-12)
        return attribute(g, name, "f32_rel", &lost) ? fmin(2e-4, fmax(10 * lost, 5e-6)) : 2e-4;
    if (sizeof(real) == 4 && attribute(g, name, "f32_max_abs", &lost))
        return fmax(10 * lost, 1e-12);
    return 1e-12;
}

static void compare(golden *g, const char *name, const real *ours, const real *theirs, long n)
{
    double largest = 0, worst = 0, scale;
    long at = 0;
    for (long i = 0; i < n; i++) {
        double d = fabs((double)ours[i] - (double)theirs[i]);
        if (!(d <= worst)) {           /* NaN too; and stays */
            worst = d;
            at = i;
        }
        largest = fmax(largest, fabs((double)theirs[i]));
        if (isnan(worst))
            break;
    }
    double tolerance = bound(g, name, largest, &scale);
    int before = g->failures;
    golden_result(g, name, n, worst / scale, tolerance);
    if (g->failures > before && before < SHOWN) {
        size_t used = strlen(g->failed[before]);
        snprintf(g->failed[before] + used, sizeof *g->failed - used,
                 " of the largest value %.6g; at %ld: ours %.9g, theirs %.9g",
                 largest, at, (double)ours[at], (double)theirs[at]);
    }
}

void golden_compare_reals(golden *g, const char *name, const real *ours, long n)
{
    h5_shape s = golden_shape(g, name);
    golden_seen(g, name);
    if (s.size != n) {
        golden_fail(g, "%s: expected %ld values, ours are %ld", name, s.size, n);
        return;
    }
    real *theirs = mem_new((size_t)n * sizeof *theirs);
    if (!theirs)
        ag_fail("golden", "%s: memory is out", name);
    error e;
    if (h5_read(g->file, name, H5_REALS, s.ndim, s.dim, theirs, &e))
        compare(g, name, ours, theirs, n);
    else
        golden_fail(g, "%s", e.text);
    mem_free(theirs);
}

void golden_compare(golden *g, const char *name, const tensor *ours)
{
    real *copy = mem_new((size_t)ours->size * sizeof *copy);
    if (!copy)
        ag_fail("golden", "%s: memory is out", name);
    ag_read(ours, copy);
    golden_compare_reals(g, name, copy, ours->size);
    mem_free(copy);
}

void golden_compare_heads(golden *g, const char *name, const tensor *ours, long heads)
{
    long B = ours->dim[0], T = ours->dim[1], d = ours->dim[2] / heads;
    real *x = mem_new(2 * (size_t)ours->size * sizeof *x), *y = x + ours->size;
    if (!x)
        ag_fail("golden", "%s: memory is out", name);
    ag_read(ours, x);
    for (long b = 0; b < B; b++)
        for (long h = 0; h < heads; h++)
            for (long i = 0; i < T; i++)
                memcpy(y + ((b * heads + h) * T + i) * d, x + ((b * T + i) * heads + h) * d,
                       (size_t)d * sizeof *x);
    golden_compare_reals(g, name, y, ours->size);
    mem_free(x);
}

void golden_compare_ints(golden *g, const char *name, const int *ours, long n)
{
    h5_shape s = golden_shape(g, name);
    golden_seen(g, name);
    int *theirs = s.size == n ? mem_new((size_t)n * sizeof *theirs) : NULL;
    error e;
    if (!theirs) {
        golden_fail(g, "%s: expected %ld integers, ours are %ld", name, s.size, n);
        return;
    }
    long different = 0, at = 0;
    if (!h5_read(g->file, name, H5_INTS, s.ndim, s.dim, theirs, &e))
        golden_fail(g, "%s", e.text);
    for (long i = n - 1; i >= 0; i--)
        if (ours[i] != theirs[i]) {
            different++;
            at = i;
        }
    g->values += n;
    if (different)
        golden_fail(g, "%s: %ld of %ld integers differ; at %ld: ours %d, theirs %d", name, different, n, at,
                    ours[at], theirs[at]);
    mem_free(theirs);
}

static bool is_seen(const golden *g, const char *name)
{
    for (long i = 0; i < g->count; i++)
        if (!strcmp(g->outputs[i], name))
            return g->seen[i];
    return false;
}

void golden_take(void *context, const char *name, h5_type type, int ndim, const long *dim, const void *data)
{
    golden *g = context;
    if (strncmp(name, "out/", 4) || !strncmp(name, "out/grads/", 10) || !golden_has(g, name)
        || is_seen(g, name))
        return;
    h5_shape s = golden_shape(g, name);
    long n = 1;
    bool same = s.ndim == ndim;
    for (int i = 0; i < ndim; i++) {
        same = same && s.dim[i] == dim[i];
        n *= dim[i];
    }
    if (!same)
        golden_fail(g, "%s: ours is of another shape", name);
    if (type == H5_INTS)
        golden_compare_ints(g, name, data, n);
    else
        golden_compare_reals(g, name, data, n);
}

/* ---- parameters and their gradients -------------------------------------------------------------------- */
static bool has_gradient(const tensor *x)
{
    if (!x->needs_grad || !x->grad || x->grad_fresh)
        return false;
    for (long i = 0; i < x->size; i++)
        if (x->grad[i] != 0)
            return true;
    return false;
}

/* Is there a dataset for this parameter under one of its other names? */
static bool under_another_name(golden *g, const char *base, const nn_store *s, const char *prefix,
                               const nn_entry *p)
{
    char name[600];
    for (long i = 0; i < s->count; i++)
        if (s->entries[i].alias_of && s->entries[i].value == p->value
            && golden_has(g, golden_dataset(name, base, prefix, s->entries[i].name)))
            return true;
    return false;
}

void golden_compare_grads(golden *g, const char *base, nn_store *s, const char *prefix, bool selected)
{
    char name[600];
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        const tensor *x = p->value;
        if (golden_has(g, golden_dataset(name, base, prefix, p->name))) {
            real *zero = has_gradient(x) ? NULL : mem_new((size_t)x->size * sizeof *zero);
            golden_compare_reals(g, name, zero ? zero : x->grad, x->size);
            mem_free(zero);
        } else if (!selected && !p->alias_of && has_gradient(x)
                   && !under_another_name(g, base, s, prefix, p)) {
            golden_fail(g, "%s: has a gradient here and none in the reference", name);
        }
    }
}

void golden_compare_params(golden *g, const char *base, nn_store *s, const char *prefix)
{
    char name[600];
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        size_t n = strlen(p->name);
        if (!golden_has(g, golden_dataset(name, base, prefix, p->name)))
            continue;
        if (n >= 9 && !strcmp(p->name + n - 9, ".key.bias"))
            golden_seen(g, name);             /* moved by the optimiser along rounding noise alone */
        else
            golden_compare(g, name, p->value);
    }
}
