/* golden.c - one case: what is in its file, how it is compared, and its line in the report (golden.h).
 *
 * Bounds. Double: 1e-9 of the dataset's largest value; 5e-7 where the reference itself rounded to float (score_*,
 * sequences_scores*), so that a change by 1e-6 is seen there too. Float: min(2e-4, max(10 f32_rel, 5e-6)) of the
 * largest value, f32_rel being what the same reference loses in float. Where the largest value is below 1e-12
 * (gradients that are zero by symmetry): 1e-12 absolutely, in float 10 times what the reference leaves there.    */
#include "tests/golden/golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 2000 };
struct golden {
    const char *path, *group;
    h5 *file;
    json_t *config;
    char **outputs;                    /* datasets that must be compared */
    bool *seen;
    long count, values;
    double worst, tolerance;           /* of the comparison that came nearest to its bound, or passed it furthest */
    int failures;
    char failed[SHOWN][400];
    bool skipped;
    char reason[200];
};

const char *golden_file(const golden *g)
{
    return g->path;
}

const char *golden_group(const golden *g)
{
    return g->group;
}

json_t *golden_config(const golden *g)
{
    return g->config;
}

/* ---- outcomes ------------------------------------------------------------------------------------------------------- */
void golden_fail(golden *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (g->failures < SHOWN)
        vsnprintf(g->failed[g->failures], sizeof *g->failed, format, args);
    g->failures++;
    va_end(args);
}

void golden_skip(golden *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(g->reason, sizeof g->reason, format, args);
    va_end(args);
    g->skipped = true;
    ag_fail("golden", "skipped");      /* back to golden_run */
}

void golden_result(golden *g, const char *name, long values, double off, double tolerance)
{
    g->values += values;
    if (!(off * g->tolerance <= g->worst * tolerance) || !g->tolerance) {
        g->worst = off;
        g->tolerance = tolerance;
    }
    if (!(off <= tolerance))
        golden_fail(g, "%s: differs by %.1e, tolerance %.1e", name, off, tolerance);
}

/* ---- what the file holds --------------------------------------------------------------------------------------------- */
static const json_t *config_value(const golden *g, const char *key)
{
    const json_t *v = g->config;
    while (v && *key) {
        char part[64];
        size_t n = strcspn(key, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, key);
        v = json_object_get(v, part);
        key += n + (key[n] == '.');
    }
    return v;
}

long golden_int(const golden *g, const char *key, long otherwise)
{
    const json_t *v = config_value(g, key);
    return json_is_boolean(v) ? json_is_true(v) : json_is_integer(v) ? (long)json_integer_value(v) : otherwise;
}

double golden_real(const golden *g, const char *key, double otherwise)
{
    const json_t *v = config_value(g, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

const char *golden_text(const golden *g, const char *key, const char *otherwise)
{
    const json_t *v = config_value(g, key);
    return json_is_string(v) ? json_string_value(v) : otherwise;
}

bool golden_has(const golden *g, const char *name)
{
    h5_kind kind = g->file ? h5_has(g->file, name) : H5_NOTHING;
    return kind == H5_DATASET || kind == H5_GROUP;
}

/* The shape of a dataset; leaves the handler if it is not there. */
static h5_shape shape_of(golden *g, const char *name)
{
    error e;
    h5_shape s;
    if (!g->file)
        ag_fail("golden", "%s: the case has no HDF5 file", name);
    if (!h5_find(g->file, name, &s, &e))
        ag_fail("golden", "%s", e.text);
    return s;
}

static void read_all(golden *g, const char *name, h5_type as, const h5_shape *s, void *to)
{
    error e;
    if (!h5_read(g->file, name, as, s->ndim, s->dim, to, &e))
        ag_fail("golden", "%s", e.text);
}

int golden_dims(golden *g, const char *name, long dim[8])
{
    h5_shape s = shape_of(g, name);
    memcpy(dim, s.dim, sizeof s.dim);
    return s.ndim;
}

real *golden_reals(golden *g, tape *t, const char *name, long *n)
{
    h5_shape s = shape_of(g, name);
    real *x = ag_alloc_real(t, s.size);
    read_all(g, name, H5_REALS, &s, x);
    *n = s.size;
    return x;
}

int *golden_ints(golden *g, tape *t, const char *name, long *n)
{
    h5_shape s = shape_of(g, name);
    int *x = ag_alloc(t, s.size * (long)sizeof *x);
    read_all(g, name, H5_INTS, &s, x);
    *n = s.size;
    return x;
}

tensor *golden_tensor(golden *g, tape *t, const char *name)
{
    long n, dim[8];
    int ndim = golden_dims(g, name, dim);
    return ag_copy_in(t, ndim, dim, golden_reals(g, t, name, &n));
}

tensor *golden_leaf(golden *g, tape *t, const char *name)
{
    long n, dim[8];
    int ndim = golden_dims(g, name, dim);
    return ag_leaf(t, ndim, dim, golden_reals(g, t, name, &n));
}

/* The dataset of a parameter: base/prefix+name with its dots as slashes. */
static const char *dataset(char to[600], const char *base, const char *prefix, const char *name)
{
    int n = snprintf(to, 600, "%s/", base);
    snprintf(to + n, (size_t)(600 - n), "%s%s", prefix, name);
    for (char *p = to + n; *p; p++)
        *p = *p == '.' ? '/' : *p;
    return to;
}

void golden_load(golden *g, nn_store *s, const char *prefix)
{
    char name[600];
    error e;
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        if (!p->alias_of && !h5_read(g->file, dataset(name, "weights", prefix, p->name), H5_REALS, p->value->ndim,
                                     p->value->dim, p->value->data, &e))
            ag_fail("golden", "%s", e.text);
    }
}

/* ---- comparing ---------------------------------------------------------------------------------------------------------- */
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
        snprintf(g->failed[before] + used, sizeof *g->failed - used, " of the largest value %.6g; at %ld: ours %.9g, theirs %.9g",
                 largest, at, (double)ours[at], (double)theirs[at]);
    }
}

void golden_compare_reals(golden *g, const char *name, const real *ours, long n)
{
    h5_shape s = shape_of(g, name);
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
                memcpy(y + ((b * heads + h) * T + i) * d, x + ((b * T + i) * heads + h) * d, (size_t)d * sizeof *x);
    golden_compare_reals(g, name, y, ours->size);
    mem_free(x);
}

void golden_compare_ints(golden *g, const char *name, const int *ours, long n)
{
    h5_shape s = shape_of(g, name);
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
        golden_fail(g, "%s: %ld of %ld integers differ; at %ld: ours %d, theirs %d", name, different, n, at, ours[at], theirs[at]);
    mem_free(theirs);
}

/* ---- parameters and their gradients --------------------------------------------------------------------------------------- */
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
static bool under_another_name(golden *g, const char *base, const nn_store *s, const char *prefix, const nn_entry *p)
{
    char name[600];
    for (long i = 0; i < s->count; i++)
        if (s->entries[i].alias_of && s->entries[i].value == p->value
            && golden_has(g, dataset(name, base, prefix, s->entries[i].name)))
            return true;
    return false;
}

void golden_compare_grads(golden *g, const char *base, nn_store *s, const char *prefix, bool selected)
{
    char name[600];
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        const tensor *x = p->value;
        if (golden_has(g, dataset(name, base, prefix, p->name))) {
            real *zero = has_gradient(x) ? NULL : mem_new((size_t)x->size * sizeof *zero);
            golden_compare_reals(g, name, zero ? zero : x->grad, x->size);
            mem_free(zero);
        } else if (!selected && !p->alias_of && has_gradient(x) && !under_another_name(g, base, s, prefix, p)) {
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
        if (!golden_has(g, dataset(name, base, prefix, p->name)))
            continue;
        if (n >= 9 && !strcmp(p->name + n - 9, ".key.bias"))
            golden_seen(g, name);             /* moved by the optimiser along rounding noise alone */
        else
            golden_compare(g, name, p->value);
    }
}

/* ---- running a case ----------------------------------------------------------------------------------------------------------- */
#define GOLDEN_ROW(kind) { #kind, golden_##kind },
static const struct { const char *name; golden_handler handler; } kinds[] = { GOLDEN_KINDS(GOLDEN_ROW) };

golden_handler golden_handler_of(const char *path, error *e)
{
    golden_handler handler = NULL;
    e->text[0] = 0;
    h5 *f = h5_open(path, e);
    char *kind = f ? h5_text(f, "", "kind", e) : NULL;
    for (size_t i = 0; kind && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kind, kinds[i].name))
            handler = kinds[i].handler;
    mem_free(kind);
    h5_close(f);
    return handler;
}

static bool load(golden *g, const char *outputs, error *e)
{
    if (!(g->file = h5_open(g->path, e)))
        return false;
    char *config = h5_text(g->file, "", "config", e);
    g->config = config ? json_loads(config, 0, NULL) : NULL;
    mem_free(config);
    if (!(g->outputs = h5_list(g->file, outputs, &g->count, e)))
        return false;
    if (!g->count)
        return error_set(e, "%s: nothing stands under %s", QUOTE(g->path), outputs);
    g->seen = mem_new((size_t)g->count);
    return g->seen || error_set(e, "memory is out");
}

typedef struct call { golden *g; tape *t; golden_handler handler; } call;

static void run_handler(void *context)
{
    const call *c = context;
    c->handler(c->g, c->t);
}

static void run(golden *g, golden_handler handler)
{
    error e;
    tape *t = ag_tape_new();
    bool whole = t && ag_try(t, run_handler, &(call){ g, t, handler }, &e);
    if (!t)
        golden_fail(g, "memory is out");
    else if (!whole && !g->skipped)
        golden_fail(g, "%s", e.text);
    ag_tape_free(t);
    for (long i = 0; i < g->count && whole; i++)
        if (!g->seen[i])
            golden_fail(g, "%s: was not compared", g->outputs[i]);
}

static void report(const golden *g, const char *shown, long counts[3])
{
    printf("%-48s %9ld  %8.1e  %8.1e  ", shown, g->values, g->worst, g->tolerance);
    if (g->failures)
        printf("FAIL\n");
    else
        printf(g->skipped ? "SKIP %s\n" : "ok\n", g->reason);
    for (int i = 0; i < g->failures && i < SHOWN; i++)
        printf("    %s\n", g->failed[i]);
    if (g->failures > SHOWN)
        printf("    and %d more\n", g->failures - SHOWN);
    counts[g->failures ? 1 : g->skipped ? 2 : 0]++;
}

void golden_run(const char *shown, const char *path, const char *group, const char *outputs, golden_handler handler,
                long counts[3])
{
    golden *g = mem_new(sizeof *g);
    error e;
    if (!g)
        return;
    *g = (golden){ .path = path, .group = group, .skipped = !handler, .reason = "not built in this version" };
    if (handler && outputs && !load(g, outputs, &e))
        golden_fail(g, "%s", e.text);
    else if (handler)
        run(g, handler);
    report(g, shown, counts);
    h5_list_free(g->outputs, g->count);
    mem_free(g->seen);
    json_decref(g->config);
    h5_close(g->file);
    mem_free(g);
}
