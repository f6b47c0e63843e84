/* low.c - frozen matrices that stay in 16 or 8 bits, in memory as in the file (nn.h).
 *
 * f16 and bf16 are datasets of 16-bit floats. int8 is a dataset of bytes NAME and one of floats
 * NAME.scale, one a row: W[n][k] = scale[n] NAME[n][k]. They are read straight into place and their
 * digests checked on the way. */
#include "nn/internal.h"
#include <stdio.h>
#include <string.h>

static const char suffix[] = ".scale";

static ag_dtype type_of(h5_type stored)
{
    return stored == H5_HALVES ? AG_F16 : stored == H5_BRAINS ? AG_BF16 : stored == H5_INT8S ? AG_INT8
                                                                                             : AG_REAL;
}

static h5_type stored_as(ag_dtype type)
{
    return type == AG_F16 ? H5_HALVES : type == AG_BF16 ? H5_BRAINS : H5_INT8S;
}

static long columns(const tensor *x) { return x->size / x->dim[0]; }

static void scale_name(const char *name, char to[NN_NAME + 8])
{
    snprintf(to, NN_NAME + 8, "%s%s", name, suffix);
}

/* ---- which are kept ------------------------------------------------------------------------------------ */
tensor *nn_matrix(nn_scope s, const char *name, nn_init init, int ndim, const long *dim)
{
    tensor *x = nn_parameter(s, name, init, ndim, dim);
    if (!s.store->out_of_memory)
        s.store->entries[s.store->count - 1].matrix = true;
    return x;
}

long nn_keep(nn_store *s, h5 *f, const char *prefix)
{
    char name[NN_NAME];
    h5_shape shape;
    error none;
    long kept = 0;
    if (s->built)
        ag_fail("nn_keep", "\"%s\" comes after nn_build", prefix);
    for (long i = 0; i < s->count; i++) {
        nn_entry *p = &s->entries[i];
        if (!p->matrix || !p->frozen || !nn_has_prefix(p->name, prefix))
            continue;
        nn_dataset(p->name, name);
        if (h5_has(f, name) == H5_DATASET && h5_find(f, name, &shape, &none)) {
            p->kept = type_of(shape.stored);
            kept += p->kept != AG_REAL;
        }
    }
    return kept;
}

long nn_keep_as(nn_store *s, const char *prefix, ag_dtype type)
{
    long kept = 0;
    for (long i = 0; i < s->count; i++)
        if (s->entries[i].matrix && s->entries[i].frozen && nn_has_prefix(s->entries[i].name, prefix)) {
            s->entries[i].kept = type;
            kept++;
        }
    return kept;
}

/* ---- where they lie ------------------------------------------------------------------------------------ */
long low_bytes(const nn_entry *p)
{
    const tensor *x = p->value;
    return p->kept == AG_REAL || p->alias_of ? 0
        : (ag_frozen_bytes(p->kept, x->dim[0], columns(x)) + 63) / 64 * 64;
}

void low_place(nn_store *s, nn_entry *p, char *at)
{
    tensor *x = p->value;
    ag_frozen *w = ag_alloc(s->names, sizeof *w);
    long N = x->dim[0], K = columns(x);
    char *scale = at + ag_frozen_bytes(p->kept, N, K) - N * (long)sizeof(float);
    *w = (ag_frozen){ p->kept, N, K, at, p->kept == AG_INT8 ? (float *)(void *)scale : NULL };
    x->data = NULL;
    x->frozen = w;
}

/* ---- from a file --------------------------------------------------------------------------------------- */
bool low_expect(const nn_entry *p, h5 *f, const char *name, error *e)
{
    const tensor *x = p->value;
    char scale[NN_NAME + 8];
    h5_shape shape;
    error none;
    bool bytes = p->matrix && h5_find(f, name, &shape, &none) && shape.stored == H5_INT8S;
    h5_type as = p->kept != AG_REAL ? stored_as(p->kept) : bytes ? H5_INT8S : H5_REALS;
    scale_name(name, scale);
    return h5_expect(f, name, as, x->ndim, x->dim, e)
        && (as != H5_INT8S || h5_expect(f, scale, H5_REALS, 1, x->dim, e));
}

bool low_is_scale(const nn_store *s, h5 *f, const char *name)
{
    char of[NN_NAME];
    size_t n = strlen(name), m = strlen(suffix);
    h5_shape shape;
    error none;
    if (n <= m || n >= NN_NAME || strcmp(name + n - m, suffix))
        return false;
    snprintf(of, sizeof of, "%.*s", (int)(n - m), name);
    bool bytes = h5_find(f, of, &shape, &none) && shape.stored == H5_INT8S;
    for (char *c = of; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return bytes && nn_find(s, of);
}

static bool read_scales(h5 *f, const char *name, long N, float *to, error *e)
{
    char full[NN_NAME + 8];
    real *x = mem_new((size_t)N * sizeof *x);
    scale_name(name, full);
    bool ok = x ? h5_read(f, full, H5_REALS, 1, &N, x, e)
                : error_set(e, "%s: %s: memory is out", QUOTE(h5_path(f)), QUOTE(full));
    for (long n = 0; ok && n < N; n++)
        to[n] = (float)x[n];
    mem_free(x);
    return ok;
}

bool nn_read_reals(h5 *f, const char *name, int ndim, const long *dim, real *to, error *e)
{
    h5_shape shape;
    if (!h5_find(f, name, &shape, e))
        return false;
    if (shape.stored != H5_INT8S || ndim < 1)
        return h5_read(f, name, H5_REALS, ndim, dim, to, e);
    long N = dim[0], K = shape.size / (N ? N : 1);
    int8_t *q = mem_new((size_t)(shape.size + 1));
    float *scale = mem_new((size_t)(N + 1) * sizeof *scale);
    bool ok = q && scale ? h5_read(f, name, H5_INT8S, ndim, dim, q, e) && read_scales(f, name, N, scale, e)
                         : error_set(e, "%s: %s: memory is out", QUOTE(h5_path(f)), QUOTE(name));
    const ag_frozen w = { AG_INT8, N, K, q, scale };
    for (long n = 0; ok && n < N; n++)
        ag_frozen_read(&w, n, 0, K, to + n * K);
    mem_free(q);
    mem_free(scale);
    return ok;
}

bool low_read(const nn_entry *p, h5 *f, const char *name, error *e)
{
    const tensor *x = p->value;
    if (p->kept == AG_REAL)
        return nn_read_reals(f, name, x->ndim, x->dim, x->data, e);
    char *to = (char *)x->frozen->data;                    /* the store's own memory */
    return h5_read(f, name, stored_as(p->kept), x->ndim, x->dim, to, e)
        && (p->kept != AG_INT8 || read_scales(f, name, x->dim[0], (float *)x->frozen->scale, e));
}

/* ---- to a file ----------------------------------------------------------------------------------------- */
void nn_write_low(h5_out *f, const char *name, ag_dtype type, int ndim, const long *dim, const void *data,
                  const float *scale)
{
    char full[NN_NAME + 8];
    h5_write(f, name, stored_as(type), ndim, dim, data);
    if (type != AG_INT8)
        return;
    real *x = mem_new((size_t)dim[0] * sizeof *x);         /* NULL: h5_write says so */
    for (long n = 0; x && n < dim[0]; n++)
        x[n] = (real)scale[n];
    scale_name(name, full);
    h5_write(f, full, H5_REALS, 1, dim, x);
    mem_free(x);
}

void low_save(const nn_entry *p, h5_out *f, const char *name)
{
    const tensor *x = p->value;
    nn_write_low(f, name, p->kept, x->ndim, x->dim, x->frozen->data, x->frozen->scale);
}
