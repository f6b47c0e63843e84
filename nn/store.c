/* store.c - parameters by name (nn.h).
 *
 * Registration collects names, shapes and how each parameter starts; nn_build then lays them out. Random
 * starts are drawn by counter from a key made of the store's seed and the parameter's name, so a parameter
 * starts with the same values whatever else the model holds, in whatever order it was registered and on
 * however many threads.                                                                                    */
#include "nn/internal.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST (LONG_MAX / 64)                               /* numbers of one kind: bytes stay countable */

/* ---- names --------------------------------------------------------------------------------------------- */

static uint64_t hash_text(uint64_t h, const char *s, size_t n)         /* FNV-1a, 64 bits */
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h;
}

/* The key of a name as it reads without the first occurrence of `without`. */
static uint64_t name_key(uint64_t seed, const char *name, const char *without)
{
    const char *hole = without ? strstr(name, without) : NULL;
    size_t head = hole ? (size_t)(hole - name) : strlen(name);
    uint64_t h = hash_text(0xcbf29ce484222325u, name, head);
    if (hole)
        h = hash_text(h, hole + strlen(without), strlen(hole + strlen(without)));
    return ag_mix(seed, h);
}

static const char *full_name(nn_scope s, const char *name)
{
    size_t n = strlen(s.prefix) + strlen(name) + 2;
    char *full = ag_alloc(s.store->names, (long)n);
    snprintf(full, n, "%s%s%s", s.prefix, *s.prefix && *name ? "." : "", name);
    return full;
}

nn_scope nn_root(nn_store *s)
{
    return (nn_scope){ .store = s };
}

nn_scope nn_sub(nn_scope s, const char *format, ...)
{
    size_t used = strlen(s.prefix), room = sizeof s.prefix;
    if (used && used + 1 < room)
        s.prefix[used++] = '.';
    va_list args;
    va_start(args, format);
    int n = vsnprintf(s.prefix + used, room - used, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room - used)
        ag_fail("nn_sub", "the name %s... is longer than %zu", s.prefix, room - 1);
    return s;
}

/* Does `prefix` stand for whole parts of `name`? "layer.1" is a prefix of "layer.1.weight", not of
 * "layer.10.weight"; "*" stands for any one part, "layer.*.bias" for "layer.1.bias".                       */
bool nn_has_prefix(const char *name, const char *prefix)
{
    const char *p = prefix, *n = name;
    for (;;) {
        bool any = *p == '*' && (p == prefix || p[-1] == '.') && (!p[1] || p[1] == '.');
        if (!*p || !*n || (any ? *n == '.' : *p != *n))
            break;
        n += any ? strcspn(n, ".") : 1;
        p++;
    }
    return !*p && (p == prefix || p[-1] == '.' || !*n || *n == '.');
}

/* ---- registration -------------------------------------------------------------------------------------- */

nn_store *nn_store_new(uint64_t seed)
{
    nn_store *s = mem_new(sizeof *s);
    if (!s)
        return NULL;
    s->seed = seed;
    s->names = ag_tape_new();
    if (!s->names) {
        mem_free(s);
        return NULL;
    }
    return s;
}

void nn_store_free(nn_store *s)
{
    if (!s)
        return;
    if (s->measures) {
        mem_unreserve(s->values, (size_t)s->window);
        s->values = NULL;
    }
    real *arrays[] = { s->values, s->grads, s->m, s->v, s->frozen_values };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mem_free(arrays[i]);
    for (int i = 0; i < s->source_count; i++)
        mem_free(s->sources[i]);
    mem_free(s->low);
    mem_free(s->entries);
    ag_tape_free(s->names);
    mem_free(s);
}

static nn_entry *find(const nn_store *s, const char *name)
{
    for (long i = 0; i < s->count; i++)
        if (!strcmp(s->entries[i].name, name))
            return &s->entries[i];
    return NULL;
}

static void append(nn_store *s, nn_entry entry)
{
    if (s->built)
        ag_fail("nn_parameter", "%s comes after nn_build", entry.name);
    if (find(s, entry.name))
        ag_fail("nn_parameter", "%s is registered twice", entry.name);
    if (s->count == s->room) {
        long room = s->room ? 2 * s->room : 256;
        nn_entry *grown = mem_grow(s->entries, (size_t)s->room * sizeof *grown, (size_t)room * sizeof *grown);
        if (!grown) {
            s->out_of_memory = true;                       /* nn_build says so */
            return;
        }
        s->entries = grown;
        s->room = room;
    }
    s->entries[s->count++] = entry;
}

tensor *nn_parameter(nn_scope s, const char *name, nn_init init, int ndim, const long *dim)
{
    tensor *x = ag_alloc(s.store->names, sizeof *x);
    *x = (tensor){ .ndim = ndim, .size = 1, .keep_grad = true, .name = full_name(s, name) };
    if (ndim > AG_MAX_DIM)
        ag_fail("nn_parameter", "%s has %d axes, at most %d are possible", x->name, ndim, AG_MAX_DIM);
    for (int i = 0; i < ndim; i++) {
        x->dim[i] = dim[i];
        if (dim[i] < 1 || __builtin_mul_overflow(x->size, dim[i], &x->size) || x->size > MOST)
            ag_fail("nn_parameter", "%s has an impossible axis %d of %ld", x->name, i, dim[i]);
    }
    append(s.store, (nn_entry){ .name = x->name, .value = x, .init = init, .rate = 1,
                                .key = name_key(s.store->seed, x->name, s.without) });
    return x;
}

void nn_alias(nn_scope s, const char *name, tensor *of)
{
    append(s.store, (nn_entry){ .name = full_name(s, name), .value = of, .alias_of = of->name });
}

long nn_freeze(nn_store *s, const char *prefix)
{
    if (s->built)
        ag_fail("nn_freeze", "\"%s\" comes after nn_build", prefix);
    long met = 0;
    for (long i = 0; i < s->count; i++)
        if (!s->entries[i].alias_of && nn_has_prefix(s->entries[i].name, prefix)) {
            s->entries[i].frozen = true;
            met++;
        }
    return met;
}

tensor *nn_find(const nn_store *s, const char *name)
{
    const nn_entry *e = find(s, name);
    return e ? e->value : NULL;
}

/* ---- layout and start ---------------------------------------------------------------------------------- */

static real start_value(const nn_entry *e, long i)
{
    double a = e->init.a, x;
    switch (e->init.kind) {
    case NN_CONSTANT: return (real)a;
    case NN_NORMAL: return (real)(a * ag_normal(e->key, (uint64_t)i));
    case NN_UNIFORM: return (real)(a * (2 * ag_uniform(e->key, (uint64_t)i) - 1));
    case NN_TRUNCATED:
        x = a * ag_normal(e->key, (uint64_t)i);
        for (uint64_t again = 1; fabs(x) > 2; again++)     /* drawn anew from another stream */
            x = a * ag_normal(ag_mix(e->key, again), (uint64_t)i);
        return (real)x;
    case NN_GIVEN: return e->init.given[i];
    }
    return 0;
}

static void fill(const nn_entry *e)
{
    real *x = e->value->data;
    long n = e->value->size;
    #pragma omp parallel for num_threads(ag_threads_now()) if (n > 4096)
    for (long i = 0; i < n; i++)
        x[i] = start_value(e, i);
}

/* Of matrices in low precision: their bytes in place of those that s->frozen counts them with. */
static double low_all(const nn_store *s)
{
    double sum = 0;
    for (long i = 0; i < s->count; i++)
        if (s->entries[i].kept != AG_REAL && !s->entries[i].alias_of)
            sum += (double)low_bytes(&s->entries[i])
                - (s->laid_out ? (double)s->entries[i].value->size * sizeof(real) : 0);
    return sum;
}

double nn_bytes(const nn_store *s, bool training)
{
    return ((training ? 4.0 : 1.0) * (double)s->trainable + (double)s->frozen) * (double)sizeof(real)
        + low_all(s);
}

/* Addresses for the largest parameter, in the place of all of them. */
static bool reserve(nn_store *s)
{
    for (long i = 0; i < s->count; i++) {
        long bytes = s->entries[i].value->size * (long)sizeof(real);
        s->window = bytes > s->window ? bytes : s->window;
    }
    return !s->window || (s->values = mem_reserve((size_t)s->window));
}

/* The same start, rounded a row at a time. */
static bool fill_low(const nn_entry *p, error *e)
{
    const ag_frozen *w = p->value->frozen;
    long bytes = w->K * (w->type == AG_INT8 ? 1 : 2);
    real *row = mem_new((size_t)w->K * sizeof *row);
    if (!row)
        return error_set(e, "parameters: %s: memory is out", p->name);
    for (long n = 0; n < w->N; n++) {
        for (long k = 0; k < w->K; k++)
            row[k] = start_value(p, n * w->K + k);
        ag_quantize(w->type, 1, w->K, row, (char *)w->data + n * bytes,
                    w->scale ? (float *)w->scale + n : NULL);
    }
    mem_free(row);
    return true;
}

static bool allocate(nn_store *s, bool training, long low)
{
    if (s->measures)
        return reserve(s);
    size_t trained = (size_t)s->trainable * sizeof(real), frozen = (size_t)s->frozen * sizeof(real);
    s->values = mem_new(trained);
    s->frozen_values = mem_new(frozen);
    s->low = low ? mem_new((size_t)low) : NULL;
    if (training) {
        s->grads = mem_new(trained);
        s->m = mem_new(trained);
        s->v = mem_new(trained);
    }
    return s->values && s->frozen_values && (!low || s->low) && (!training || (s->grads && s->m && s->v));
}

/* s->frozen counts ordinary ones alone until all is laid out; low: bytes of those in low precision,
 * numbers of them. */
static bool count_all(nn_store *s, long *low, long *numbers, error *e)
{
    s->trainable = s->frozen = *low = *numbers = 0;
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        long *sum = p->kept != AG_REAL ? numbers : p->frozen ? &s->frozen : &s->trainable;
        if (!p->alias_of && (*sum += p->value->size) > MOST)
            return error_set(e, "parameters: %s: more numbers than can be counted; expected at most %ld",
                             p->name, MOST);
        *low += low_bytes(p);
    }
    return true;
}

bool nn_build(nn_store *s, bool training, error *e)
{
    long low, numbers;
    if (!count_all(s, &low, &numbers, e))
        return false;
    bool ok = !s->out_of_memory && allocate(s, training, low);
    s->frozen += numbers;
    s->laid_out = true;
    if (!ok)
        return error_set(e, "parameters: memory is out; expected %ld MiB for %ld trained and %ld frozen "
                         "numbers", (long)(nn_bytes(s, training) / (1 << 20)) + 1, s->trainable, s->frozen);
    long trained = 0, frozen = 0;
    char *at_low = s->measures ? (char *)s->values : s->low;
    for (long i = 0; i < s->count; i++) {
        nn_entry *p = &s->entries[i];
        if (p->alias_of)
            continue;
        if (p->kept != AG_REAL) {
            low_place(s, p, at_low);
            at_low += s->measures ? 0 : low_bytes(p);
            if (!s->blank && !s->measures && !fill_low(p, e))
                return false;
            continue;
        }
        tensor *x = p->value;
        if (s->measures) {
            x->data = s->values;
            x->needs_grad = x->grad_fresh = training && !p->frozen;
            x->grad = x->needs_grad ? s->values : NULL;
            continue;
        }
        long *at = p->frozen ? &frozen : &trained;
        x->data = (p->frozen ? s->frozen_values : s->values) + *at;
        if (training && !p->frozen) {
            x->grad = s->grads + *at;
            x->needs_grad = x->grad_fresh = true;
            p->m = s->m + *at;
            p->v = s->v + *at;
        }
        *at += x->size;
        if (!s->blank)
            fill(p);
    }
    return s->built = true;
}

/* Without memory for the path it stays NULL: from some file is all that is known. Past the last place,
 * too. */
int nn_source(nn_store *s, const char *path)
{
    for (int i = 0; i < s->source_count; i++)
        if (s->sources[i] && !strcmp(s->sources[i], path))
            return i + 1;
    if (s->source_count == NN_SOURCES) {
        mem_free(s->sources[NN_SOURCES - 1]);
        s->sources[NN_SOURCES - 1] = NULL;
        return NN_SOURCES;
    }
    s->sources[s->source_count++] = mem_text("%s", path);
    return s->source_count;
}

/* ---- gradients ----------------------------------------------------------------------------------------- */

void nn_zero_grad(nn_store *s)
{
    for (long i = 0; i < s->count; i++)
        s->entries[i].value->grad_fresh = s->entries[i].value->needs_grad;
}

void nn_finish_grad(nn_store *s)
{
    for (long i = 0; i < s->count; i++) {
        tensor *x = s->entries[i].value;
        if (x->needs_grad && x->grad_fresh) {
            if (!s->measures)
                memset(x->grad, 0, (size_t)x->size * sizeof(real));
            x->grad_fresh = false;
        }
    }
}
