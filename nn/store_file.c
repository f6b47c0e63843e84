/* store_file.c - a store's parameters to and from an HDF5 file, by name (nn.h). */
#include "nn/nn.h"
#include <stdio.h>
#include <string.h>

void nn_dataset(const char *name, char to[NN_NAME])
{
    snprintf(to, NN_NAME, "%s", name);
    for (char *p = to; *p; p++)
        if (*p == '.')
            *p = '/';
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
        } else
            h5_write(f, name, H5_REALS, p->value->ndim, p->value->dim, p->value->data);
    }
}

/* ---- loading ------------------------------------------------------------------------------------------------------ */
static const char *shape_text(int ndim, const long *dim, char to[128])
{
    int used = snprintf(to, 128, "[");
    for (int i = 0; i < ndim && used < 100; i++)
        used += snprintf(to + used, 128 - (size_t)used, i ? ",%ld" : "%ld", dim[i]);
    snprintf(to + used, 128 - (size_t)used, "]");
    return to;
}

static bool same_shape(const tensor *x, const h5_shape *s)
{
    bool same = x->ndim == s->ndim;
    for (int i = 0; same && i < x->ndim; i++)
        same = x->dim[i] == s->dim[i];
    return same;
}

static bool load_fitted(h5 *f, const char *name, const h5_shape *shape, tensor *x, nn_fit fit, void *ctx, error *e)
{
    real *data = fit && shape->type == H5_REALS ? mem_new((size_t)shape->size * sizeof *data) : NULL;
    bool ok = data && h5_read(f, name, H5_REALS, shape->ndim, shape->dim, data, e) && fit(ctx, x, shape, data);
    mem_free(data);
    return ok;
}

/* One parameter; false and one more line in `list` if it cannot be had. */
static bool load_one(h5 *f, const nn_entry *p, nn_fit fit, void *ctx, error *list)
{
    tensor *x = p->value;
    char name[NN_NAME], want[128], have[128];
    error e;
    h5_shape shape;
    nn_dataset(x->name, name);
    if (h5_has(f, name) != H5_DATASET)
        return error_line(list, "%s: missing; expected %s", name, shape_text(x->ndim, x->dim, want));
    if (!h5_find(f, name, &shape, &e))
        return error_line(list, "%s", e.text);
    if (!same_shape(x, &shape)) {
        if (load_fitted(f, name, &shape, x, fit, ctx, &e))
            return true;
        return error_line(list, "%s: shape: expected %s, found %s", name, shape_text(x->ndim, x->dim, want),
                          shape_text(shape.ndim, shape.dim, have));
    }
    return h5_read(f, name, H5_REALS, x->ndim, x->dim, x->data, &e) || error_line(list, "%s", e.text);
}

/* Datasets under the prefix that no parameter has the name of. */
static void unexpected(const nn_store *s, h5 *f, const char *prefix, const char *const *others, error *list)
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
        for (char *p = name; *p; p++)
            if (*p == '/')
                *p = '.';
        bool known = !nn_has_prefix(name, prefix) || nn_find(s, name);
        for (int k = 0; others && others[k]; k++)
            known |= nn_has_prefix(name, others[k]);
        if (!known)
            error_line(list, "%s: unexpected; the model has no such parameter", QUOTE(names[i]));
    }
    h5_list_free(names, count);
}

bool nn_load(nn_store *s, h5 *f, const char *prefix, const char *const *others, nn_fit fit, void *ctx, error *e)
{
    long met = 0;
    e->lines = 0;
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        if (p->alias_of || !nn_has_prefix(p->name, prefix))
            continue;
        met++;
        load_one(f, p, fit, ctx, e);
    }
    unexpected(s, f, prefix, others, e);
    if (!e->lines && !met)
        return error_set(e, "%s: the model has no parameters under \"%s\"", QUOTE(h5_path(f)), QUOTE(prefix));
    if (e->lines)
        return error_head(e, ERROR_RUN, "%s: %d of the model's parameters cannot be taken from it", QUOTE(h5_path(f)), e->lines);
    return true;
}

/* ---- AdamW's moments ------------------------------------------------------------------------------------------------ */
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
