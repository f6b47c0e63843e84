/* torch.c - torch.save's zip archive: STEM/data.pkl says what there is, STEM/data/KEY holds the numbers of a
 * storage. Tensors are views of storages: offset, size and strides in elements, checked against the bytes
 * that are really there. The state dict is the root, or what it has under "model" (LAVIS) or "state_dict".
 * torch/serialization.py and torch/_utils.py (PyTorch 2). */
#include "convert/internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PICKLE_LIMIT = 64 << 20, STEM = 512 };
static const long MOST_EXPANDED = 1L << 34;        /* bytes of a view that repeats its storage (stride 0) */

typedef struct archive {
    weights *w;
    int file;
    const char *path;
    zip z;
    pickle p;
    char stem[STEM];
    error *e;
} archive;

/* STEM of the one entry STEM/data.pkl */
static const zip_entry *find_pickle(archive *a)
{
    static const char tail[] = "data.pkl";
    for (long i = 0; i < a->z.count; i++) {
        const char *name = a->z.entries[i].name, *slash = strrchr(name, '/');
        size_t n = slash ? (size_t)(slash - name + 1) : 0;
        if (!strcmp(name + n, tail) && n < STEM) {
            memcpy(a->stem, name, n);
            a->stem[n] = 0;
            return &a->z.entries[i];
        }
    }
    error_set(a->e, "%s: no data.pkl in it; expected a torch checkpoint", QUOTE(a->path));
    return NULL;
}

static char *load(archive *a, const zip_entry *x, long limit)
{
    char *text = x->bytes <= limit ? mem_new((size_t)x->bytes + 1) : NULL;
    if (x->bytes > limit)
        error_set(a->e, "%s: %s: %ld bytes; expected at most %ld", QUOTE(a->path), QUOTE(x->name), x->bytes,
                  limit);
    else if (!text)
        error_set(a->e, "%s: %s: out of memory", QUOTE(a->path), QUOTE(x->name));
    else if (!file_read_at(a->w->files[a->file].fd, x->offset, text, x->bytes)) {
        error_set(a->e, "%s: cannot be read; %s", QUOTE(a->path),
                  errno ? strerror(errno) : "it became shorter");
        mem_free(text);
        text = NULL;
    }
    return text;
}

static bool little_endian(archive *a)
{
    char name[STEM + 16];
    int n = snprintf(name, sizeof name, "%sbyteorder", a->stem);
    const zip_entry *x = zip_find(&a->z, name, (size_t)n);
    char *text = x ? load(a, x, 64) : NULL;
    bool ok = !x
              || (text
                  && (!strncmp(text, "little", 6)
                      || error_set(a->e, "%s: byteorder: expected little, found %s", QUOTE(a->path),
                                   QUOTE(text))));
    mem_free(text);
    return ok;
}

/* ---- one tensor ------------------------------------------------------------------------------------ */
/* A tuple of whole numbers; how many, -1: it is none. */
static int numbers(const archive *a, const pickle_value *v, long to[WEIGHTS_DIMS])
{
    if (v->kind != P_TUPLE || v->count > WEIGHTS_DIMS)
        return -1;
    for (long i = 0; i < v->count; i++) {
        const pickle_value *x = pickle_item(&a->p, v, i);
        if (x->kind != P_INT || x->number < 0)
            return -1;
        to[i] = (long)x->number;
    }
    return (int)v->count;
}

/* Elements from the storage's first to the view's last; false: beyond all numbers. */
static bool reach(int ndim, const long *dim, const long *stride, long offset, long size, long *elements)
{
    long last = offset;
    for (int i = 0; i < ndim && size; i++) {
        long step;
        if (__builtin_mul_overflow(dim[i] - 1, stride[i], &step) || __builtin_add_overflow(last, step, &last))
            return false;
    }
    *elements = size ? last + 1 : last;
    return last < INT64_MAX;
}

/* Can it be a name? What is too long, or has a zero byte, would be cut to another one. */
static bool plain(const pickle_value *text)
{
    return text->size < STEM && !memchr(text->text, 0, (size_t)text->size);
}

static const zip_entry *storage_of(const archive *a, const pickle_value *storage)
{
    const pickle_value *key = pickle_item(&a->p, storage, 2);
    char name[2 * STEM + 8];
    if (!plain(key))
        return NULL;
    int n = snprintf(name, sizeof name, "%sdata/%.*s", a->stem, (int)key->size, key->text);
    return zip_find(&a->z, name, (size_t)n);
}

static bool add_tensor(archive *a, const char *name, const pickle_value *t)
{
    const pickle_value *storage = pickle_item(&a->p, t, 0), *at = pickle_item(&a->p, t, 1);
    long dim[WEIGHTS_DIMS], stride[WEIGHTS_DIMS], size, end, bytes, most;
    int ndim = numbers(a, pickle_item(&a->p, t, 2), dim);
    const char *file = QUOTE(a->path), *quoted = QUOTE(name);
    if (storage->kind != P_STORAGE || at->kind != P_INT || at->number < 0)
        return error_set(a->e, "%s: %s: no storage, or an offset that is no number from 0 up", file, quoted);
    if (ndim < 0 || numbers(a, pickle_item(&a->p, t, 3), stride) != ndim)
        return error_set(a->e, "%s: %s: size and stride: expected as many whole numbers each, at most %d",
                         file, quoted, WEIGHTS_DIMS);
    weights_type type = (weights_type)pickle_item(&a->p, storage, 1)->number;
    long width = weights_type_bytes(type), elements = (long)pickle_item(&a->p, storage, 4)->number;
    const zip_entry *x = storage_of(a, storage);
    if (!x)
        return error_set(a->e, "%s: %s: its storage is not in the archive", file, quoted);
    if (elements < 0 || __builtin_mul_overflow(elements, width, &bytes) || bytes > x->bytes)
        return error_set(a->e,
                         "%s: %s: its storage is said to have %ld elements, the archive has %ld bytes of it",
                         file, quoted, elements, x->bytes);
    if (!weights_size(ndim, dim, width, &size) || !reach(ndim, dim, stride, (long)at->number, size, &end)
        || end > elements)
        return error_set(a->e, "%s: %s: reaches beyond the %ld elements of its storage", file, quoted,
                         elements);
    most = bytes > MOST_EXPANDED ? bytes : MOST_EXPANDED;
    if (size * width > most)
        return error_set(a->e, "%s: %s: %ld elements out of a storage of %ld; expected at most %ld bytes",
                         file, quoted, size, elements, most);
    return weights_add(a->w, name, type, ndim, dim, stride, a->file, x->offset + (long)at->number * width,
                       a->e);
}

/* ---- all of them ----------------------------------------------------------------------------------- */
static const pickle_value *state_dict(const archive *a)
{
    static const char *const inside[] = { "model", "state_dict" };
    const pickle_value *root = pickle_at(&a->p, a->p.root);
    for (int i = 0; i < 2; i++) {
        const pickle_value *v = pickle_get(&a->p, root, inside[i]);
        if (v && v->kind == P_DICT)
            return v;
    }
    return root;
}

/* What is no tensor (an epoch, a version) is passed over. */
static bool add_all(archive *a)
{
    const pickle_value *d = state_dict(a);
    for (long i = 0; d->kind == P_DICT && i + 1 < d->count; i += 2) {
        const pickle_value *key = pickle_item(&a->p, d, i), *v = pickle_item(&a->p, d, i + 1);
        if (key->kind != P_TEXT || v->kind != P_TENSOR)
            continue;
        if (!plain(key))
            return error_set(a->e, "%s: the name of a tensor: expected less than %d bytes and no zero byte "
                                   "among them, found %ld bytes",
                             QUOTE(a->path), STEM, key->size);
        char *name = mem_text("%.*s", (int)key->size, key->text);
        bool ok = name ? add_tensor(a, name, v) : error_set(a->e, "%s: out of memory", QUOTE(a->path));
        mem_free(name);
        if (!ok)
            return false;
    }
    return a->w->count > 0 || error_set(a->e, "%s: no tensors in it", QUOTE(a->path));
}

bool torch_read(weights *w, int file, error *e)
{
    const weights_file *f = &w->files[file];
    archive a = { .w = w, .file = file, .path = f->path, .e = e };
    if (!zip_read(&a.z, f->fd, f->bytes, f->path, e))
        return false;
    const zip_entry *x = find_pickle(&a);
    char *text = x && little_endian(&a) ? load(&a, x, PICKLE_LIMIT) : NULL;
    bool ok = text && pickle_read(&a.p, text, x->bytes, f->path, e) && add_all(&a);
    pickle_free(&a.p);
    zip_free(&a.z);
    mem_free(text);
    return ok;
}
