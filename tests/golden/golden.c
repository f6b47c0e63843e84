/* golden.c - one case: what is in its file, how it ends, and its line in the report (golden.h). */
#include "tests/golden/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- outcomes ------------------------------------------------------------------------------------------ */
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

/* ---- what the file holds ------------------------------------------------------------------------------- */
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
    if (json_is_boolean(v))
        return json_is_true(v);
    return json_is_integer(v) ? (long)json_integer_value(v) : otherwise;
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

h5_shape golden_shape(golden *g, const char *name)
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
    h5_shape s = golden_shape(g, name);
    memcpy(dim, s.dim, sizeof s.dim);
    return s.ndim;
}

real *golden_reals(golden *g, tape *t, const char *name, long *n)
{
    h5_shape s = golden_shape(g, name);
    real *x = ag_alloc_real(t, s.size);
    read_all(g, name, H5_REALS, &s, x);
    *n = s.size;
    return x;
}

int *golden_ints(golden *g, tape *t, const char *name, long *n)
{
    h5_shape s = golden_shape(g, name);
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

void golden_load(golden *g, nn_store *s, const char *prefix)
{
    char name[600];
    error e;
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        const tensor *x = p->value;
        golden_dataset(name, "weights", prefix, p->name);
        if (!p->alias_of && !h5_read(g->file, name, H5_REALS, x->ndim, x->dim, x->data, &e))
            ag_fail("golden", "%s", e.text);
    }
}

/* ---- running a case ------------------------------------------------------------------------------------ */
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

void golden_run(const char *shown, const char *path, const char *group, const char *outputs,
                golden_handler handler, long counts[3])
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
