/* weights.c - opening a file of weights by what it begins with, finding tensors, reading them widened. */
#include "convert/internal.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 16 };
static const struct { const char *name; long bytes;
} types[W_TYPES] = { [W_F64] = { "float64", 8 },   [W_F32] = { "float32", 4 }, [W_F16] = { "float16", 2 },
                     [W_BF16] = { "bfloat16", 2 }, [W_I64] = { "int64", 8 },   [W_I32] = { "int32", 4 },
                     [W_I16] = { "int16", 2 },     [W_I8] = { "int8", 1 },     [W_U8] = { "uint8", 1 },
                     [W_BOOL] = { "bool", 1 } };

const char *weights_type_name(weights_type t) { return types[t].name; }
long weights_type_bytes(weights_type t) { return types[t].bytes; }

/* ---- what is in it --------------------------------------------------------------------------------- */
int weights_add_file(weights *w, const char *path, error *e)
{
    if (w->file_count == WEIGHTS_FILES) {
        error_set(e, "%s: more than %d files of weights", QUOTE(path), WEIGHTS_FILES);
        return -1;
    }
    weights_file f = { .path = mem_text("%s", path) };
    if (!f.path || !(w->files || (w->files = mem_new(WEIGHTS_FILES * sizeof *w->files)))) {
        mem_free(f.path);
        error_set(e, "%s: out of memory", QUOTE(path));
        return -1;
    }
    if ((f.fd = file_open(path, &f.bytes, e)) < 0) {
        mem_free(f.path);
        return -1;
    }
    w->files[w->file_count] = f;
    return w->file_count++;
}

bool weights_size(int ndim, const long *dim, long width, long *size)
{
    long bytes;
    *size = 1;
    for (int i = 0; i < ndim; i++)
        if (dim[i] < 0 || __builtin_mul_overflow(*size, dim[i], size))
            return false;
    return !__builtin_mul_overflow(*size, width, &bytes) && bytes < 1L << 62;
}

bool weights_add(weights *w, const char *name, weights_type type, int ndim, const long *dim,
                 const long *stride, int file, long offset, error *e)
{
    if (w->count == w->room) {
        long room = w->room ? 2 * w->room : 256;
        weights_entry *more = mem_grow(w->entries, (size_t)w->room * sizeof *more,
                                       (size_t)room * sizeof *more);
        if (!more)
            return error_set(e, "%s: out of memory for %ld tensors", QUOTE(w->files[file].path), room);
        w->entries = more;
        w->room = room;
    }
    weights_entry x = {
        .name = mem_text("%s", name), .type = type, .ndim = ndim, .file = file, .offset = offset
    };
    if (!x.name)
        return error_set(e, "%s: out of memory", QUOTE(w->files[file].path));
    weights_size(ndim, dim, types[type].bytes, &x.size);
    long step = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        x.dim[i] = dim[i];
        x.stride[i] = stride ? stride[i] : step;
        step *= dim[i];
    }
    w->entries[w->count++] = x;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const weights_entry *)a)->name, ((const weights_entry *)b)->name);
}

/* In order of name, which must not occur twice. */
static bool sort_entries(weights *w, error *e)
{
    if (w->count)
        qsort(w->entries, (size_t)w->count, sizeof *w->entries, by_name);
    for (long i = 1; i < w->count; i++)
        if (!by_name(&w->entries[i - 1], &w->entries[i]))
            return error_set(e, "%s: %s: stands there twice", QUOTE(w->files[w->entries[i].file].path),
                             QUOTE(w->entries[i].name));
    return true;
}

/* ---- opening --------------------------------------------------------------------------------------- */
static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s), m = strlen(with);
    return n >= m && !strcmp(s + n - m, with);
}

bool weights_read_file(weights *w, int file, error *e)
{
    static const unsigned char legacy[] = { 0x80, 2,    0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                            0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };
    unsigned char head[16] = { 0 };
    const weights_file *f = &w->files[file];
    long n = f->bytes < 16 ? f->bytes : 16;
    if (!file_read_at(f->fd, 0, head, n))
        return error_set(e, "%s: cannot be read; %s", QUOTE(f->path),
                         errno ? strerror(errno) : "it became shorter");
    if (n >= 4 && !memcmp(head, "PK\3\4", 4))
        return torch_read(w, file, e);
    if (n >= (long)sizeof legacy && !memcmp(head, legacy, sizeof legacy))
        return error_set(
            e,
            "%s: written by torch before 1.6, or with _use_new_zipfile_serialization=False; expected a "
            "zip archive: load and save it once with a newer torch",
            QUOTE(f->path));
    if (n >= 9 && head[8] == '{')
        return safetensors_read(w, file, e);
    return error_set(e, "%s: neither safetensors nor a torch zip archive", QUOTE(f->path));
}

weights *weights_open(const char *path, error *e)
{
    weights *w = mem_new(sizeof *w);
    if (!w) {
        error_set(e, "%s: out of memory", QUOTE(path));
        return NULL;
    }
    bool ok;
    if (ends(path, ".index.json"))
        ok = safetensors_read_index(w, path, e);
    else {
        int file = weights_add_file(w, path, e);
        ok = file >= 0 && weights_read_file(w, file, e);
    }
    if (ok && sort_entries(w, e))
        return w;
    weights_close(w);
    return NULL;
}

void weights_close(weights *w)
{
    if (!w)
        return;
    for (int i = 0; i < w->file_count; i++) {
        close(w->files[i].fd);
        mem_free(w->files[i].path);
    }
    for (long i = 0; i < w->count; i++)
        mem_free(w->entries[i].name);
    mem_free(w->config);
    mem_free(w->files);
    mem_free(w->entries);
    mem_free(w);
}

const char *weights_path(const weights *w) { return w->files[0].path; }
long weights_count(const weights *w) { return w->count; }
const weights_entry *weights_at(const weights *w, long i) { return &w->entries[i]; }

const weights_entry *weights_find(const weights *w, const char *name)
{
    weights_entry key = { .name = (char *)name };
    return w->count ? bsearch(&key, w->entries, (size_t)w->count, sizeof *w->entries, by_name) : NULL;
}

/* ---- reading --------------------------------------------------------------------------------------- */
static bool contiguous(const weights_entry *x)
{
    long step = 1;
    for (int i = x->ndim - 1; i >= 0; i--) {
        if (x->dim[i] != 1 && x->stride[i] != step)
            return false;
        step *= x->dim[i];
    }
    return true;
}

/* The elements from the first to the last that a view touches. */
static long span(const weights_entry *x)
{
    long last = 0;
    for (int i = 0; i < x->ndim; i++)
        last += (x->dim[i] - 1) * x->stride[i];
    return x->size ? last + 1 : 0;
}

static bool read_bytes(const weights *w, const weights_entry *x, long from, void *to, long bytes, error *e)
{
    const weights_file *f = &w->files[x->file];
    return file_read_at(f->fd, x->offset + from, to, bytes)
        || error_set(e, "%s: %s: cannot be read; %s", QUOTE(f->path), QUOTE(x->name),
                     errno ? strerror(errno) : "the file became shorter");
}

bool weights_read_raw(const weights *w, const weights_entry *x, void *to, error *e)
{
    long width = types[x->type].bytes, at[WEIGHTS_DIMS] = { 0 }, from = 0;
    if (contiguous(x))
        return read_bytes(w, x, 0, to, x->size * width, e);
    char *all = mem_new((size_t)(span(x) * width));
    bool ok = all ? read_bytes(w, x, 0, all, span(x) * width, e)
                  : error_set(e, "%s: out of memory for %ld bytes", QUOTE(x->name), span(x) * width);
    for (long i = 0; ok && i < x->size; i++) {
        memcpy((char *)to + i * width, all + from * width, (size_t)width);
        for (int d = x->ndim - 1; d >= 0; d--) {           /* the next index, like a counter of many digits */
            from += x->stride[d];
            if (++at[d] < x->dim[d])
                break;
            from -= at[d] * x->stride[d];
            at[d] = 0;
        }
    }
    mem_free(all);
    return ok;
}

static double real_at(weights_type type, const char *p)
{
    double d;
    float f;
    uint16_t h;
    real wide;
    if (type == W_F64)
        return memcpy(&d, p, 8), d;
    if (type == W_F32)
        return memcpy(&f, p, 4), f;
    memcpy(&h, p, 2);
    (type == W_F16 ? half_widen : brain_widen)(1, &h, &wide);
    return (double)wide;
}

static int64_t whole_at(weights_type type, const char *p)
{
    int64_t l;
    int32_t i;
    int16_t s;
    switch (type) {
    case W_I64: return memcpy(&l, p, 8), l;
    case W_I32: return memcpy(&i, p, 4), i;
    case W_I16: return memcpy(&s, p, 2), s;
    case W_I8: return (signed char)*p;
    default: return (unsigned char)*p;
    }
}

/* Where a reading puts element i: exactly one is set. */
typedef struct target { real *reals; double *doubles; int64_t *longs; } target;

static void widen(weights_type type, long n, const char *raw, target to, long at)
{
    long width = types[type].bytes;
    bool plain = to.reals && (type == W_F16 || type == W_BF16 || (type == W_F32 && sizeof(real) == 4));
    if (plain && type == W_F32)
        memcpy(to.reals + at, raw, (size_t)n * sizeof(real));
    else if (plain)
        (type == W_F16 ? half_widen : brain_widen)(n, (const uint16_t *)(const void *)raw, to.reals + at);
    for (long i = 0; !plain && i < n; i++)
        if (to.longs)
            to.longs[at + i] = whole_at(type, raw + i * width);
        else if (to.doubles)
            to.doubles[at + i] = real_at(type, raw + i * width);
        else
            to.reals[at + i] = (real)real_at(type, raw + i * width);
}

/* A view whose elements do not lie behind each other: all at once. */
static bool read_view(const weights *w, const weights_entry *x, target to, error *e)
{
    long bytes = x->size * types[x->type].bytes;
    char *raw = mem_new((size_t)bytes + 1);
    bool ok = raw ? weights_read_raw(w, x, raw, e)
                  : error_set(e, "%s: out of memory for %ld bytes", QUOTE(x->name), bytes);
    if (ok)
        widen(x->type, x->size, raw, to, 0);
    mem_free(raw);
    return ok;
}

/* In blocks, so that a tensor is in memory once. */
static bool read_as(const weights *w, const weights_entry *x, target to, error *e)
{
    _Alignas(8) char block[BLOCK];
    long width = types[x->type].bytes, most = BLOCK / width;
    bool whole = x->type >= W_I64, ok = true;
    if (whole != (to.longs != NULL))
        return error_set(e, "%s: %s: expected %s, found %s", QUOTE(w->files[x->file].path), QUOTE(x->name),
                         to.longs ? "whole numbers" : "real numbers", types[x->type].name);
    if (!contiguous(x))
        return read_view(w, x, to, e);
    for (long i = 0; ok && i < x->size; i += most) {
        long n = x->size - i < most ? x->size - i : most;
        ok = read_bytes(w, x, i * width, block, n * width, e);
        if (ok)
            widen(x->type, n, block, to, i);
    }
    return ok;
}

bool weights_read_reals(const weights *w, const weights_entry *x, real *to, error *e)
{
    return read_as(w, x, (target){ .reals = to }, e);
}

bool weights_read_doubles(const weights *w, const weights_entry *x, double *to, error *e)
{
    return read_as(w, x, (target){ .doubles = to }, e);
}

bool weights_read_longs(const weights *w, const weights_entry *x, int64_t *to, error *e)
{
    return read_as(w, x, (target){ .longs = to }, e);
}

/* ---- comparing -------------------------------------------------------------------------------------- */
/* Half of the last place of a number 1, by which rounding may have moved it. */
static double last_place(weights_type t)
{
    return t == W_BF16 ? 0x1p-8 : t == W_F16 ? 0x1p-11 : t == W_F32 ? 0x1p-24 : 0;
}

/* To the bit; of two precisions to the coarser one, as LAVIS keeps language models in half of what their
 * folders have. */
static bool same_numbers(long n, const double *p, weights_type a, const double *q, weights_type b)
{
    double share = fmax(last_place(a), last_place(b));
    double least = a == W_F16 || b == W_F16 ? 0x1p-25 : 0x1p-134;
    if (a == b)
        return !memcmp(p, q, (size_t)n * sizeof *p);
    for (long i = 0; i < n; i++)
        if (p[i] != q[i] && !(fabs(p[i] - q[i]) <= share * fmin(fabs(p[i]), fabs(q[i])) + least))
            return false;
    return true;
}

/* A few rows at a time: among them are tables of tokens, the largest tensors that there are. */
bool weights_compare(const weights *v, const weights_entry *a, const weights *w, const weights_entry *b,
                     bool *same, error *e)
{
    weights_entry x = *a, y = *b;
    long rows = x.ndim ? x.dim[0] : 1, width = rows ? x.size / rows : 1, step = 1 + BLOCK / (width + 1), n;
    *same = x.ndim == y.ndim && !memcmp(x.dim, y.dim, (size_t)x.ndim * sizeof *x.dim);
    if (!*same)
        return true;
    double *p = mem_new((size_t)(step * width) * sizeof *p), *q = mem_new((size_t)(step * width) * sizeof *q);
    bool ok = (p && q) || error_set(e, "%s: out of memory", QUOTE(v->files[a->file].path));
    for (long row = 0; ok && *same && row < rows; row += n) {
        n = rows - row < step ? rows - row : step;
        x.dim[0] = y.dim[0] = n;
        x.size = y.size = n * width;
        ok = weights_read_doubles(v, &x, p, e) && weights_read_doubles(w, &y, q, e);
        *same = ok && same_numbers(n * width, p, x.type, q, y.type);
        x.offset += n * x.stride[0] * weights_type_bytes(x.type);
        y.offset += n * y.stride[0] * weights_type_bytes(y.type);
    }
    mem_free(p);
    mem_free(q);
    return ok;
}
