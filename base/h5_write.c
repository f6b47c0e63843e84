/* h5_write.c - writing named arrays (base.h): HDF5 lays the file out, the data are written and digested here.
 *
 * Equal content gives equal files: no times, no addresses that depend on anything but the order of the calls.
 * A dataset's space is allocated when it is made and never filled by HDF5, so its place is known and a model
 * larger than memory can be written tensor by tensor. */
#define XXH_STATIC_LINKING_ONLY
#include "base/internal.h"
#include "base/rows.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

struct h5_out {
    h5_io io;
    file_out *file;
    hid_t h, untimed;                  /* untimed: creation properties of groups */
    h5_seal seal;
    bool failed;
    error why;
    char *path;
};
enum { NAME_LIMIT = 1024, BLOCK = 1 << 14 };

static bool fail(h5_out *f, const char *name, const char *what)
{
    if (!f->failed)
        h5_failed(&f->why, f->path, name, what);
    f->failed = true;
    return false;
}

static bool good(const h5_out *f)
{
    return !f->failed && file_good(f->file);
}

/* ---- opening ------------------------------------------------------------------------------------------- */
static bool open_output(h5_out *f, const char *path, error *e)
{
    if (!(f->path = mem_text("%s", path)))
        return error_set(e, "%s: memory is out", QUOTE(path));
    if (!(f->file = file_create(path, e)))
        return false;
    f->io = (h5_io){ .fd = -1, .out = f->file };
    f->untimed = H5Pcreate(H5P_GROUP_CREATE);
    hid_t access = h5_access(&f->io), created = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_obj_track_times(f->untimed, false);
    H5Pset_obj_track_times(created, false);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V110);
    f->h = H5Fcreate(path, H5F_ACC_TRUNC, created, access);
    H5Pclose(access);
    H5Pclose(created);
    return f->h >= 0 || h5_failed(e, path, "", "HDF5 cannot begin the file");
}

static void release(h5_out *f)
{
    if (f->h >= 0)
        H5Fclose(f->h);
    h5_access_end(&f->io);
    H5Pclose(f->untimed);
    if (f->file)
        file_abandon(f->file);
    h5_seal_free(&f->seal);
    mem_free(f->path);
    mem_free(f);
}

/* What stands there already is replaced if it is a file of this kind, or empty: never a picture or a
 * checkpoint that was to be read. */
static bool may_replace(const char *path, error *e)
{
    static const char signature[8] = "\x89HDF\r\n\x1a\n";
    char head[8];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, head, sizeof head) : 0;
    if (fd >= 0)
        close(fd);
    return n <= 0 || (n == sizeof head && !memcmp(head, signature, sizeof head))
           || error_set(e, "%s: is there already and no HDF5 file; it is not replaced", QUOTE(path));
}

h5_out *h5_create(const char *path, error *e)
{
    if (!may_replace(path, e))
        return NULL;
    h5_out *f = mem_new(sizeof *f);
    if (!f) {
        error_set(e, "%s: memory is out", QUOTE(path));
        return NULL;
    }
    f->h = f->untimed = -1;
    h5_lock();
    if (!open_output(f, path, e)) {
        release(f);
        f = NULL;
    }
    h5_unlock();
    return f;
}

/* ---- datasets ------------------------------------------------------------------------------------------ */
/* Makes the groups that name stands in. */
static bool make_groups(h5_out *f, const char *name)
{
    char part[NAME_LIMIT + 1];
    if (strlen(name) > NAME_LIMIT)
        return fail(f, name, "the name is too long");
    for (const char *slash = name; (slash = strchr(slash, '/')); slash++) {
        size_t n = (size_t)(slash - name);
        memcpy(part, name, n);
        part[n] = 0;
        if (H5Lexists(f->h, part, H5P_DEFAULT) > 0)
            continue;
        hid_t group = H5Gcreate2(f->h, part, H5P_DEFAULT, f->untimed, H5P_DEFAULT);
        if (group < 0)
            return fail(f, part, "the group cannot be made");
        H5Gclose(group);
    }
    return true;
}

/* A contiguous dataset whose space is allocated and never filled; its place, HADDR_UNDEF: failed. */
static haddr_t make_dataset(h5_out *f, const char *name, hid_t type, int ndim, const long *dim)
{
    hsize_t extent[H5_DIMS];
    for (int i = 0; i < ndim; i++)
        extent[i] = (hsize_t)dim[i];
    hid_t space = ndim ? H5Screate_simple(ndim, extent, NULL) : H5Screate(H5S_SCALAR);
    hid_t created = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(created, false);
    H5Pset_layout(created, H5D_CONTIGUOUS);
    H5Pset_alloc_time(created, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(created, H5D_FILL_TIME_NEVER);
    hid_t id = H5Dcreate2(f->h, name, type, space, H5P_DEFAULT, created, H5P_DEFAULT);
    haddr_t at = id < 0 ? HADDR_UNDEF : H5Dget_offset(id);
    H5Dclose(id);
    H5Pclose(created);
    H5Sclose(space);
    return at;
}

static bool fits_float(const void *data, long n)
{
    const real *x = data;
    bool fits = true;
    for (long i = 0; i < n && fits; i++) {
        real y = (real)(float)x[i];
        fits = !memcmp(&y, &x[i], sizeof y);
    }
    return fits;
}

/* Writes n elements of `width` bytes at a place, reals as floats if they are to be narrowed; their digest. */
static uint64_t put(h5_out *f, haddr_t at, long n, const void *data, long width, bool narrow)
{
    XXH3_state_t digest;
    XXH3_64bits_reset(&digest);
    float block[BLOCK];
    for (long i = 0; i < n && good(f); i += BLOCK) {
        long m = n - i < BLOCK ? n - i : BLOCK;
        const void *from = (const char *)data + i * width;
        if (narrow) {
            for (long k = 0; k < m; k++)
                block[k] = (float)((const real *)data)[i + k];
            from = block;
        }
        XXH3_64bits_update(&digest, from, (size_t)(m * width));
        file_write_at(f->file, (long)at + i * width, from, m * width);
    }
    return XXH3_64bits_digest(&digest);
}

static void write_locked(h5_out *f, const char *name, h5_type type, int ndim, const long *dim,
                         const void *data)
{
    long n = 1;
    for (int i = 0; i < ndim; i++)
        n *= dim[i];
    bool narrow = type == H5_REALS && sizeof(real) > sizeof(float) && fits_float(data, n);
    bool single = narrow || sizeof(real) == sizeof(float);
    bool small = type == H5_HALVES || type == H5_BRAINS;
    hid_t stored = type == H5_INTS ? H5T_STD_I32LE : type == H5_LONGS ? H5T_STD_I64LE
        : type == H5_BYTES ? H5T_STD_U8LE : type == H5_INT8S ? H5T_STD_I8LE
        : small ? h5_float16(type == H5_BRAINS) : single ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
    if (!make_groups(f, name))
        return;
    haddr_t at = make_dataset(f, name, stored, ndim, dim);
    long width = (long)H5Tget_size(stored);
    if (small)
        H5Tclose(stored);
    if (n && at == HADDR_UNDEF) {
        fail(f, name, "the dataset cannot be made");
        return;
    }
    uint64_t digest = put(f, at, n, data, width, narrow);
    if (n && !h5_seal_add(&f->seal, (h5_span){ at, (uint64_t)(n * width), digest }))
        fail(f, name, "memory is out");
}

void h5_write(h5_out *f, const char *name, h5_type type, int ndim, const long *dim, const void *data)
{
    bool empty = false;
    for (int i = 0; i < ndim; i++)
        empty |= dim[i] == 0;
    h5_lock();
    if (good(f) && !data && !empty)
        fail(f, name, "memory is out");
    else if (good(f))
        write_locked(f, name, type, ndim, dim, data);
    h5_unlock();
}

/* A float of 16 bits: `exponent` of them for the exponent. */
static hid_t short_float(int exponent)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, (size_t)(15 - exponent), (size_t)exponent, 0, (size_t)(15 - exponent));
    H5Tset_precision(type, 16);
    H5Tset_ebias(type, (1u << (exponent - 1)) - 1);
    H5Tset_size(type, 2);
    return type;
}

hid_t h5_stored_type(int as)
{
    return as == H5_F16 ? short_float(5) : as == H5_BF16 ? short_float(8)
         : H5Tcopy(as == H5_F32 ? H5T_IEEE_F32LE : as == H5_U8 ? H5T_STD_U8LE : H5T_STD_I64LE);
}

static long reserve_locked(h5_out *f, const char *name, h5_stored as, int ndim, const long *dim)
{
    long bytes = h5_stored_bytes[as];
    for (int i = 0; i < ndim; i++)
        if (__builtin_mul_overflow(bytes, dim[i], &bytes))
            return fail(f, name, "the dataset is too large"), -1;
    if (!make_groups(f, name))
        return -1;
    hid_t type = h5_stored_type(as);
    haddr_t at = make_dataset(f, name, type, ndim, dim);
    H5Tclose(type);
    if (at == HADDR_UNDEF)
        return fail(f, name, "the dataset cannot be made"), -1;
    if (!h5_seal_add(&f->seal, (h5_span){ at, (uint64_t)bytes, 0 }))
        return fail(f, name, "memory is out"), -1;
    return (long)at;
}

long h5_reserve(h5_out *f, const char *name, h5_stored as, int ndim, const long *dim)
{
    h5_lock();
    long at = good(f) ? reserve_locked(f, name, as, ndim, dim) : -1;
    h5_unlock();
    return at;
}

void h5_put(h5_out *f, long place, const void *bytes, long n)
{
    h5_lock();
    if (good(f))
        file_write_at(f->file, place, bytes, n);
    h5_unlock();
}

void h5_link(h5_out *f, const char *name, const char *of)
{
    h5_lock();
    if (good(f) && make_groups(f, name) && H5Lcreate_hard(f->h, of, f->h, name, H5P_DEFAULT, H5P_DEFAULT) < 0)
        fail(f, name, "the second name cannot be made");
    h5_unlock();
}

/* ---- attributes of the root ---------------------------------------------------------------------------- */
static void write_attribute(h5_out *f, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = H5Acreate2(f->h, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (a < 0 || H5Awrite(a, type, value) < 0)
        fail(f, name, "the attribute cannot be written");
    H5Aclose(a);
    H5Sclose(space);
}

void h5_write_text(h5_out *f, const char *attribute, const char *text)
{
    h5_lock();
    if (good(f)) {
        hid_t type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, H5T_VARIABLE);           /* h5py gives such an attribute as a str */
        H5Tset_cset(type, H5T_CSET_UTF8);
        write_attribute(f, attribute, type, &text);
        H5Tclose(type);
    }
    h5_unlock();
}

void h5_write_number(h5_out *f, const char *attribute, long value)
{
    h5_lock();
    if (good(f))
        write_attribute(f, attribute, H5T_NATIVE_LONG, &value);
    h5_unlock();
}

/* ---- closing ------------------------------------------------------------------------------------------- */
bool h5_finish(h5_out *f, error *e)
{
    h5_lock();
    if (H5Fclose(f->h) < 0)
        fail(f, "", "HDF5 cannot close the file");
    f->h = -1;
    f->seal.end = f->io.end;
    if (good(f) && !h5_seal_write(&f->seal, f->file))
        fail(f, "", "memory is out");
    bool ok = false;
    if (f->failed && file_good(f->file)) {
        file_abandon(f->file);
        *e = f->why;
    } else {
        ok = file_finish(f->file, e);
    }
    f->file = NULL;
    release(f);
    h5_unlock();
    return ok;
}

void h5_abandon(h5_out *f)
{
    if (!f)
        return;
    h5_lock();
    release(f);
    h5_unlock();
}
