/* h5.c - reading named arrays out of HDF5 files whose content is not trusted (base.h).
 *
 * Nothing is read before it is known to be what is asked for: exact names, hard links, plain storage, few
 * filters, the expected shape, sizes by checked arithmetic and within the file. The data of contiguous
 * datasets, which is what h5_create writes, does not pass through HDF5: it is read here and compared with its
 * digest. */
#define XXH_STATIC_LINKING_ONLY
#include "base/internal.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

struct h5 {
    h5_io io;
    hid_t file;
    h5_seal seal;
    bool sealed;
    char *path;
};
enum { NAME_LIMIT = 1024, BLOCK = 1 << 14, PIECE = 1 << 18, DEFLATE_RATIO = 1032 };

/* ---- opening ------------------------------------------------------------------------------------------- */
static bool open_checked(h5 *f, const char *path, error *e)
{
    long bytes;
    if (!(f->path = mem_text("%s", path)))
        return error_set(e, "%s: memory is out", QUOTE(path));
    if ((f->io.fd = file_open(path, &bytes, e)) < 0)
        return false;
    if (!h5_seal_check(&f->seal, f->io.fd, path, bytes, &f->sealed, e))
        return false;
    f->io.end = f->seal.end;
    f->io.seal = &f->seal;
    hid_t access = h5_access(&f->io);
    if (access < 0)
        return h5_failed(e, path, "", "HDF5 takes no file driver");
    f->file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (f->file < 0 && f->io.trouble)
        return error_set(e, "%s: cannot be read; %s", QUOTE(path), strerror(f->io.trouble));
    return f->file >= 0 || h5_failed(e, path, "", "damaged, or not an HDF5 file");
}

static void release(h5 *f)
{
    if (f->file >= 0)
        H5Fclose(f->file);
    h5_access_end(&f->io);
    if (f->io.fd >= 0)
        close(f->io.fd);
    h5_seal_free(&f->seal);
    mem_free(f->path);
    mem_free(f);
}

h5 *h5_open(const char *path, error *e)
{
    h5 *f = mem_new(sizeof *f);
    if (!f) {
        error_set(e, "%s: memory is out", QUOTE(path));
        return NULL;
    }
    f->io.fd = -1;
    f->file = -1;
    h5_lock();
    if (!open_checked(f, path, e)) {
        release(f);
        f = NULL;
    }
    h5_unlock();
    return f;
}

void h5_close(h5 *f)
{
    if (!f)
        return;
    h5_lock();
    release(f);
    h5_unlock();
}

bool h5_sealed(const h5 *f)
{
    return f->sealed;
}

const char *h5_path(const h5 *f)
{
    return f->path;
}

hid_t h5_handle(const h5 *f)
{
    return f->file;
}

int h5_descriptor(const h5 *f)
{
    return f->io.fd;
}

bool h5_covers(const h5 *f, uint64_t at, uint64_t bytes)
{
    return at <= f->io.end && bytes <= f->io.end - at && (!f->sealed || h5_seal_find(&f->seal, at, bytes));
}

/* ---- names --------------------------------------------------------------------------------------------- */
h5_kind h5_look(h5 *f, const char *name)
{
    char part[NAME_LIMIT + 1];
    size_t n = strlen(name);
    if (n == 0)
        return H5_GROUP;
    if (n > NAME_LIMIT || name[0] == '/' || name[n-1] == '/')
        return H5_NOTHING;
    for (size_t i = 1, from = 0; i <= n; i++) {
        if (i < n && name[i] != '/')
            continue;
        memcpy(part, name, i);
        part[i] = 0;
        H5L_info_t info;
        if (i == from || !strcmp(part + from, ".") || H5Lget_info(f->file, part, &info, H5P_DEFAULT) < 0)
            return H5_NOTHING;
        if (info.type != H5L_TYPE_HARD)
            return H5_OTHER;
        from = i + 1;
    }
    hid_t object = H5Oopen(f->file, name, H5P_DEFAULT);
    H5I_type_t type = H5Iget_type(object);
    H5Oclose(object);
    return type == H5I_GROUP ? H5_GROUP : type == H5I_DATASET ? H5_DATASET : H5_OTHER;
}

h5_kind h5_has(h5 *f, const char *name)
{
    h5_lock();
    h5_kind kind = h5_look(f, name);
    h5_unlock();
    return kind;
}

bool h5_readable(h5 *f, error *e)
{
    return !f->io.trouble || error_set(e, "%s: cannot be read; %s", QUOTE(f->path), strerror(f->io.trouble));
}

/* ---- what a dataset is --------------------------------------------------------------------------------- */
typedef struct array {                 /* an open dataset that passed every check */
    hid_t id, type;
    h5_shape shape;
    uint64_t bytes;                    /* of its elements, as they are in the file's type */
    bool contiguous;
} array;

static bool wrong(h5 *f, const char *name, error *e, const char *what)
{
    return error_set(e, "%s: %s: %s", QUOTE(f->path), QUOTE(name), what);
}

/* A float narrowed: bfloat16 keeps its 8 bits of exponent, binary16 has 5. */
hid_t h5_float16(bool brain)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    size_t fraction = brain ? 7 : 10;
    H5Tset_fields(type, 15, fraction, 15 - fraction, 0, fraction);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, brain ? 127 : 15);
    return type;
}

static h5_type stored_float(hid_t type)
{
    for (int brain = 0; brain < 2; brain++) {
        hid_t ours = h5_float16(brain);
        bool same = H5Tequal(type, ours) > 0;
        H5Tclose(ours);
        if (same)
            return brain ? H5_BRAINS : H5_HALVES;
    }
    return H5_REALS;
}

static bool check_type(h5 *f, const char *name, array *a, error *e)
{
    a->type = H5Dget_type(a->id);
    H5T_class_t class = H5Tget_class(a->type);
    size_t width = H5Tget_size(a->type);
    a->shape.width = (int)width;
    if (class == H5T_FLOAT && (width == 2 || width == 4 || width == 8)) {
        a->shape.type = H5_REALS;
        a->shape.stored = width == 2 ? stored_float(a->type) : H5_REALS;
        return true;
    }
    bool plain = class == H5T_INTEGER && (width == 1 || width == 2 || width == 4 || width == 8);
    bool positive = H5Tget_sign(a->type) == H5T_SGN_NONE;
    if (!plain || (positive && width == 8))
        return wrong(f, name, e, "type; expected float, int or uint8, found another");
    bool wide = width == 8 || (positive && width == 4);
    a->shape.type = wide ? H5_LONGS : positive && width == 1 ? H5_BYTES : H5_INTS;
    a->shape.stored = width == 1 && !positive ? H5_INT8S : a->shape.type;
    return true;
}

static bool check_space(h5 *f, const char *name, array *a, error *e)
{
    hid_t space = H5Dget_space(a->id);
    H5S_class_t class = H5Sget_simple_extent_type(space);
    int ndim = H5Sget_simple_extent_ndims(space);
    hsize_t dim[H5S_MAX_RANK];
    bool ok = (class == H5S_SCALAR || class == H5S_SIMPLE) && ndim >= 0 && ndim <= H5_DIMS
        && H5Sget_simple_extent_dims(space, dim, NULL) == ndim;
    H5Sclose(space);
    if (!ok)
        return wrong(f, name, e, "shape; expected at most 8 axes of numbers, found none or more");
    a->shape.ndim = ndim;
    a->shape.size = 1;
    for (int i = 0; i < ndim; i++) {
        if (dim[i] > LONG_MAX || __builtin_mul_overflow(a->shape.size, (long)dim[i], &a->shape.size))
            return wrong(f, name, e, "shape; too large to be true");
        a->shape.dim[i] = (long)dim[i];
    }
    if (__builtin_mul_overflow((uint64_t)a->shape.size, (uint64_t)a->shape.width, &a->bytes)
        || a->bytes > LONG_MAX / 8)
        return wrong(f, name, e, "shape; too large to be true");
    return true;
}

/* Filters are deflate, shuffle, fletcher32; *deflated says whether the data may be smaller in the file. */
static bool check_filters(hid_t created, bool *deflated)
{
    int n = H5Pget_nfilters(created);
    for (int i = 0; i < n; i++) {
        unsigned flags;
        size_t values = 0;
        H5Z_filter_t filter = H5Pget_filter2(created, (unsigned)i, &flags, &values, NULL, 0, NULL, NULL);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
            return false;
        *deflated |= filter == H5Z_FILTER_DEFLATE;
    }
    return n >= 0;
}

static bool check_storage(h5 *f, const char *name, array *a, error *e)
{
    hid_t created = H5Dget_create_plist(a->id);
    bool deflated = false, filters = check_filters(created, &deflated);
    bool outside = H5Pget_external_count(created) != 0;
    H5D_layout_t layout = H5Pget_layout(created);
    H5Pclose(created);
    if (outside || (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED))
        return wrong(f, name, e, "storage; neither contiguous nor chunked, or in another file");
    if (!filters)
        return wrong(f, name, e, "storage; a filter that is not deflate, shuffle or fletcher32");
    a->contiguous = layout == H5D_CONTIGUOUS;
    uint64_t stored = H5Dget_storage_size(a->id);
    uint64_t most = deflated && stored < UINT64_MAX / DEFLATE_RATIO ? stored * DEFLATE_RATIO : stored;
    if (stored > f->io.end || a->bytes > most || (a->contiguous && stored != a->bytes))
        return error_set(e, "%s: %s: storage; expected %llu bytes, found %llu", QUOTE(f->path), QUOTE(name),
                         (unsigned long long)a->bytes, (unsigned long long)stored);
    return true;
}

static void array_close(array *a)
{
    H5Tclose(a->type);
    H5Dclose(a->id);
}

static bool array_open(h5 *f, const char *name, array *a, error *e)
{
    *a = (array){ .id = -1, .type = -1 };
    h5_kind kind = h5_look(f, name);
    if (kind != H5_DATASET) {
        const char *found = kind == H5_GROUP ? "expected a dataset, found a group"
            : "expected a dataset, found a link or another object";
        return wrong(f, name, e, kind == H5_NOTHING ? "missing" : found);
    }
    a->id = H5Dopen2(f->file, name, H5P_DEFAULT);
    if (a->id < 0)
        return h5_failed(e, f->path, name, "cannot be opened");
    if (check_type(f, name, a, e) && check_space(f, name, a, e) && check_storage(f, name, a, e))
        return true;
    array_close(a);
    return false;
}

bool h5_find(h5 *f, const char *name, h5_shape *shape, error *e)
{
    h5_lock();
    array a;
    bool ok = array_open(f, name, &a, e);
    if (ok) {
        *shape = a.shape;
        array_close(&a);
    }
    h5_unlock();
    return ok;
}

/* ---- reading ------------------------------------------------------------------------------------------- */
/* Does the file hold what is asked for, byte for byte? */
static bool as_it_stands(const array *a, h5_type as)
{
    bool floats = as == H5_REALS && a->shape.type == H5_REALS && a->shape.width == (int)sizeof(real);
    hid_t ours = sizeof(real) == 4 ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
    return as == H5_HALVES || as == H5_BRAINS || as == H5_INT8S || (floats && H5Tequal(a->type, ours) > 0);
}

static hid_t memory_type(h5_type as)
{
    return as == H5_REALS ? (sizeof(real) == 4 ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE)
        : as == H5_BYTES ? H5T_NATIVE_UINT8 : as == H5_INT8S ? H5T_NATIVE_INT8 : H5T_NATIVE_INT64;
}

/* Narrows n elements of memory_type(as) to what the caller asked for: only int64 to int changes anything. */
static bool put(h5_type as, long n, const void *from, void *to)
{
    if (as != H5_INTS) {
        memcpy(to, from, (size_t)n * (as == H5_REALS ? sizeof(real) : as == H5_LONGS ? 8 : 1));
        return true;
    }
    const int64_t *x = from;
    int *y = to;
    for (long i = 0; i < n; i++) {
        if (x[i] < INT_MIN || x[i] > INT_MAX)
            return false;
        y[i] = (int)x[i];
    }
    return true;
}

static size_t memory_width(h5_type as)
{
    return as == H5_REALS ? sizeof(real) : as == H5_INTS ? sizeof(int) : as == H5_LONGS ? 8 : 1;
}

static bool unreadable(h5 *f, const char *name, error *e)
{
    return error_set(e, "%s: %s: cannot be read; %s", QUOTE(f->path), QUOTE(name), strerror(errno));
}

/* Straight into place, by pieces that a cache holds while they are digested. */
static bool read_straight(h5 *f, const char *name, uint64_t at, uint64_t bytes, XXH3_state_t *digest,
                          void *to, error *e)
{
    for (uint64_t done = 0; done < bytes; done += PIECE) {
        long n = bytes - done < PIECE ? (long)(bytes - done) : PIECE;
        if (!file_read_at(f->io.fd, (long)(at + done), (char *)to + done, n))
            return unreadable(f, name, e);
        XXH3_64bits_update(digest, (char *)to + done, (size_t)n);
    }
    return true;
}

/* n elements of the file's type in block, which has room for 8 bytes each, into what is wanted. */
static bool convert(h5 *f, const char *name, const array *a, h5_type as, long n, char *block, void *to,
                    error *e)
{
    if (as == H5_REALS && a->shape.stored == H5_HALVES)
        half_widen(n, (const uint16_t *)(const void *)block, to);
    else if (as == H5_REALS && a->shape.stored == H5_BRAINS)
        brain_widen(n, (const uint16_t *)(const void *)block, to);
    else if (H5Tconvert(a->type, memory_type(as), (size_t)n, block, NULL, H5P_DEFAULT) < 0)
        return h5_failed(e, f->path, name, "cannot be converted");
    else if (!put(as, n, block, to))
        return wrong(f, name, e, "holds numbers that are no int");
    return true;
}

/* Contiguous data: read here, digested as it stands in the file, then converted block by block. */
static bool read_contiguous(h5 *f, const char *name, const array *a, h5_type as, void *to, error *e)
{
    uint64_t at = H5Dget_offset(a->id), bytes = a->bytes;
    if (at == HADDR_UNDEF || at > f->io.end || bytes > f->io.end - at)
        return wrong(f, name, e, "damaged: its data lie outside the file");
    const h5_span *span = f->sealed ? h5_seal_find(&f->seal, at, bytes) : NULL;
    if (f->sealed && !span)
        return wrong(f, name, e, "damaged: no digest covers it");
    XXH3_state_t digest;
    XXH3_64bits_reset(&digest);
    char block[BLOCK * 8] __attribute__((aligned(64)));
    bool straight = as_it_stands(a, as);
    if (straight && !read_straight(f, name, at, bytes, &digest, to, e))
        return false;
    for (long i = 0; !straight && i < a->shape.size; i += BLOCK) {
        long n = a->shape.size - i < BLOCK ? a->shape.size - i : BLOCK, width = a->shape.width;
        if (!file_read_at(f->io.fd, (long)at + i * width, block, n * width))
            return unreadable(f, name, e);
        XXH3_64bits_update(&digest, block, (size_t)(n * width));
        if (!convert(f, name, a, as, n, block, (char *)to + (size_t)i * memory_width(as), e))
            return false;
    }
    if (span && XXH3_64bits_digest(&digest) != span->digest)
        return wrong(f, name, e, "damaged: its digest differs");
    return true;
}

/* Chunked data go through HDF5; no file of ours has them. */
static bool read_chunked(h5 *f, const char *name, const array *a, h5_type as, void *to, error *e)
{
    if (f->sealed)
        return wrong(f, name, e, "damaged: no digest covers it");
    void *all = as == H5_INTS ? mem_new((size_t)a->shape.size * 8) : to;
    if (!all)
        return wrong(f, name, e, "memory is out");
    bool small = as == H5_HALVES || as == H5_BRAINS;       /* their type is the file's own */
    bool ok = H5Dread(a->id, small ? a->type : memory_type(as), H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0;
    if (!ok)
        h5_failed(e, f->path, name, "cannot be read");
    else if (as == H5_INTS && !put(as, a->shape.size, all, to))
        ok = wrong(f, name, e, "holds numbers that are no int");
    if (all != to)
        mem_free(all);
    return ok;
}

static const char *shape_text(int ndim, const long *dim, char to[200])
{
    int n = 0;
    for (int i = 0; i < ndim; i++)
        n += snprintf(to + n, (size_t)(200 - n), "%s%ld", i ? "," : "", dim[i]);
    to[n] = 0;
    return to;
}

static bool same_shape(h5 *f, const char *name, const h5_shape *found, int ndim, const long *dim, error *e)
{
    bool same = found->ndim == ndim;
    for (int i = 0; same && i < ndim; i++)
        same = found->dim[i] == dim[i];
    char a[200], b[200];
    return same || error_set(e, "%s: %s: shape; expected [%s], found [%s]", QUOTE(f->path), QUOTE(name),
                             shape_text(ndim, dim, a), shape_text(found->ndim, found->dim, b));
}

static bool same_type(h5 *f, const char *name, const h5_shape *shape, h5_type as, error *e)
{
    static const char *const names[] = { "float", "int", "int", "uint8", "float16", "bfloat16", "int8" };
    h5_type found = as > H5_BYTES ? shape->stored : shape->type;
    bool ints = found != H5_REALS && (as == H5_INTS || as == H5_LONGS);
    return found == as || ints
        || error_set(e, "%s: %s: type; expected %s, found %s", QUOTE(f->path), QUOTE(name), names[as],
                     names[found]);
}

/* Reads into `to`, or only looks whether it could where that is NULL. */
static bool read_or_look(h5 *f, const char *name, h5_type as, int ndim, const long *dim, void *to, error *e)
{
    h5_lock();
    array a;
    bool ok = array_open(f, name, &a, e);
    if (ok) {
        ok = same_type(f, name, &a.shape, as, e) && same_shape(f, name, &a.shape, ndim, dim, e)
            && (!to || !a.bytes || (a.contiguous ? read_contiguous : read_chunked)(f, name, &a, as, to, e));
        array_close(&a);
    }
    h5_unlock();
    return ok;
}

bool h5_expect(h5 *f, const char *name, h5_type as, int ndim, const long *dim, error *e)
{
    return read_or_look(f, name, as, ndim, dim, NULL, e);
}

bool h5_read(h5 *f, const char *name, h5_type as, int ndim, const long *dim, void *to, error *e)
{
    return read_or_look(f, name, as, ndim, dim, to, e);
}

bool h5_same(h5 *f, const char *name, const char *other)
{
    haddr_t at[2] = { HADDR_UNDEF, HADDR_UNDEF };
    h5_lock();
    for (int i = 0; i < 2; i++) {
        array a;
        error e;
        if (array_open(f, i ? other : name, &a, &e)) {
            at[i] = a.contiguous ? H5Dget_offset(a.id) : HADDR_UNDEF;
            array_close(&a);
        }
    }
    h5_unlock();
    return at[0] != HADDR_UNDEF && at[0] == at[1];
}
