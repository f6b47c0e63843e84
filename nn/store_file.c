/* store_file.c - a store's parameters and AdamW's moments to and from an HDF5 file, by name (nn.h).
 *
 * Loading looks at everything before it reads anything, so that all that is missing, misshapen or unknown is
 * said in one go. A tied parameter is one dataset with two names; where a file has two datasets, they must
 * hold the same. */
#include "nn/internal.h"
#include <stdio.h>
#include <string.h>

static void exchange(char *s, char from, char to)
{
    for (; *s; s++)
        *s = *s == from ? to : *s;
}

void nn_dataset(const char *name, char to[NN_NAME])
{
    snprintf(to, NN_NAME, "%s", name);
    exchange(to, '.', '/');
}

void nn_save(const nn_store *s, h5_out *f, const char *leave_out)
{
    char name[NN_NAME], of[NN_NAME];
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        if (leave_out && nn_has_prefix(p->name, leave_out))
            continue;
        nn_dataset(p->name, name);
        if (p->alias_of) {
            nn_dataset(p->alias_of, of);
            h5_link(f, name, of);
        } else if (p->kept != AG_REAL)
            low_save(p, f, name);
        else
            h5_write(f, name, H5_REALS, p->value->ndim, p->value->dim, p->value->data);
    }
}

/* ---- looking ------------------------------------------------------------------------------------------- */
/* Datasets that no parameter has the name of, and that do not stand under one of `others`. */
static void find_unknown(const nn_store *s, h5 *f, const char *const *others, error *list)
{
    long count;
    error e;
    char **names = h5_list(f, "", &count, &e);
    if (!names) {
        error_line(list, "%s", e.text);
        return;
    }
    for (long i = 0; i < count; i++) {
        char name[NN_NAME];
        snprintf(name, sizeof name, "%s", names[i]);
        exchange(name, '/', '.');
        bool known = (nn_find(s, name) && !strchr(names[i], '.')) || low_is_scale(s, f, names[i]);
        for (int k = 0; others && others[k]; k++)
            known |= nn_has_prefix(name, others[k]);
        if (!known)
            error_line(list, "%s: %s: unexpected; the model has no such parameter", QUOTE(h5_path(f)),
                       QUOTE(names[i]));
    }
    h5_list_free(names, count);
}

/* Is it there in another shape that `fit` takes? */
static bool may_fit(h5 *f, const char *name, nn_fit fit, void *ctx, tensor *x, h5_shape *shape)
{
    error e;
    return fit && h5_find(f, name, shape, &e) && shape->type == H5_REALS && fit(ctx, x, shape, NULL);
}

static bool look(const nn_store *s, h5 *f, const char *prefix, const char *const *others, nn_fit fit,
                 void *ctx, error *e)
{
    char name[NN_NAME];
    error one;
    h5_shape shape;
    long met = 0;
    e->lines = 0;
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        if (p->alias_of || !nn_has_prefix(p->name, prefix))
            continue;
        met++;
        nn_dataset(p->name, name);
        tensor *x = p->value;
        if (!low_expect(p, f, name, &one) && !may_fit(f, name, fit, ctx, x, &shape))
            error_line(e, "%s", one.text);
    }
    if (!met)
        error_line(e, "%s: the model has no parameters under \"%s\"", QUOTE(h5_path(f)), QUOTE(prefix));
    if (!*prefix)
        find_unknown(s, f, others, e);
    return error_close(e, ERROR_RUN, "%s: does not fit the model: %d parameters missing, unexpected or of "
                       "another shape", QUOTE(h5_path(f)), e->lines);
}

bool nn_match(const nn_store *s, h5 *f, const char *prefix, const char *const *others, error *e)
{
    return look(s, f, prefix, others, NULL, NULL, e);
}

/* ---- reading ------------------------------------------------------------------------------------------- */
static bool out_of_memory(h5 *f, const char *name, error *e)
{
    return error_set(e, "%s: %s: memory is out", QUOTE(h5_path(f)), QUOTE(name));
}

static bool read_one(h5 *f, const nn_entry *p, nn_fit fit, void *ctx, error *e)
{
    tensor *x = p->value;
    char name[NN_NAME];
    h5_shape shape;
    nn_dataset(p->name, name);
    if (low_read(p, f, name, e))
        return true;
    if (p->kept != AG_REAL || !may_fit(f, name, fit, ctx, x, &shape))
        return false;
    real *data = mem_new((size_t)shape.size * sizeof *data);
    if (!data)
        return out_of_memory(f, name, e);
    error inner;
    bool read = h5_read(f, name, H5_REALS, shape.ndim, shape.dim, data, &inner);
    bool ok = read && fit(ctx, x, &shape, data);
    mem_free(data);
    if (!read)
        *e = inner;
    return ok;
}

/* A second name that the file keeps as a dataset of its own must hold the same numbers. */
static bool same_numbers(h5 *f, const nn_entry *p, error *e)
{
    char name[NN_NAME], of[NN_NAME];
    const tensor *x = p->value;
    nn_dataset(p->name, name);
    nn_dataset(p->alias_of, of);
    if (h5_has(f, name) == H5_NOTHING || h5_same(f, name, of))
        return true;
    long n = x->size;
    real *other = mem_new((size_t)n * sizeof *other),
         *ours = x->frozen ? mem_new((size_t)n * sizeof *ours) : x->data;
    if (!other || !ours) {
        mem_free(other);
        if (x->frozen)
            mem_free(ours);
        return out_of_memory(f, name, e);
    }
    bool ok = nn_read_reals(f, name, x->ndim, x->dim, other, e);
    if (x->frozen)
        ag_read(x, ours);
    if (ok && memcmp(other, ours, (size_t)n * sizeof *other))
        ok = error_set(e, "%s: %s: is tied to %s; expected the same numbers, found others",
                       QUOTE(h5_path(f)), QUOTE(name), QUOTE(of));
    mem_free(other);
    if (x->frozen)
        mem_free(ours);
    return ok;
}

static long bytes_of(const nn_entry *p)
{
    return p->alias_of ? 0 : p->kept != AG_REAL ? low_bytes(p) : p->value->size * (long)sizeof(real);
}

bool nn_load(nn_store *s, h5 *f, const char *prefix, const char *const *others, nn_fit fit, void *ctx,
             error *e)
{
    if (!look(s, f, prefix, others, fit, ctx, e))
        return false;
    int source = nn_source(s, h5_path(f));
    long done = 0, all = 0;
    for (long i = 0; i < s->count; i++)
        all += nn_has_prefix(s->entries[i].name, prefix) ? bytes_of(&s->entries[i]) : 0;
    for (long i = 0; i < s->count; i++) {
        nn_entry *p = &s->entries[i];
        if (!nn_has_prefix(p->name, prefix))
            continue;
        if (!(p->alias_of ? same_numbers(f, p, e) : read_one(f, p, fit, ctx, e)))
            return false;
        p->source = source;
        if (s->watch.progress)
            s->watch.progress(s->watch.context, done += bytes_of(p), all);
    }
    return true;
}

bool nn_load_common(nn_store *s, h5 *f, nn_fit fit, void *ctx, error *e)
{
    char name[NN_NAME];
    error one;
    long met = 0;
    int source = nn_source(s, h5_path(f));
    e->lines = 0;
    for (long i = 0; i < s->count; i++) {
        nn_entry *p = &s->entries[i];
        nn_dataset(p->name, name);
        if (p->alias_of || h5_has(f, name) != H5_DATASET)
            continue;
        met++;
        p->source = source;
        if (!read_one(f, p, fit, ctx, &one))
            error_line(e, "%s", one.text);
    }
    if (!met)
        return error_set(e, "%s: holds no parameter of this model", QUOTE(h5_path(f)));
    return error_close(e, ERROR_RUN, "%s: %d parameters cannot be taken from it", QUOTE(h5_path(f)),
                       e->lines);
}

/* ---- AdamW's moments ----------------------------------------------------------------------------------- */
static bool moments(const nn_store *s, h5_out *to, h5 *from, error *e)
{
    char name[NN_NAME], full[NN_NAME + 16];
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        if (p->frozen || p->alias_of || !p->m)
            continue;
        nn_dataset(p->name, name);
        for (int k = 0; k < 2; k++) {
            real *x = k ? p->v : p->m;
            snprintf(full, sizeof full, "optimizer/%s/%s", k ? "v" : "m", name);
            if (to)
                h5_write(to, full, H5_REALS, p->value->ndim, p->value->dim, x);
            else if (!h5_read(from, full, H5_REALS, p->value->ndim, p->value->dim, x, e))
                return false;
        }
    }
    return true;
}

bool nn_save_moments(const nn_store *s, h5_out *f) { return moments(s, f, NULL, NULL); }
bool nn_load_moments(nn_store *s, h5 *f, error *e) { return moments(s, NULL, f, e); }
