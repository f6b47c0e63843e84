/* h5_rows.c - the rows of a large array, filled and read one by one (rows.h). The digest of a row is XXH3-64
 * of its bytes, with its number as the seed, so that a row in another's place is damage as well; 0 stands for
 * a row that is not there yet. The row is written before its digest: whoever is killed between the two leaves
 * a row that is not there.                                                                                 */
#define XXH_STATIC_LINKING_ONLY
#include "base/internal.h"
#include "base/rows.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

const int h5_stored_bytes[H5_STORED] = { 2, 2, 4, 1, 8 };
enum { WORD = 8, NAME_SIZE = 256 };

struct h5_rows {
    h5 *file;                          /* for its metadata, which never change; and to read */
    int fd;                            /* to fill; -1 */
    long n, bytes, place, digests;
    uint64_t *digest;                  /* (n) */
    char name[NAME_SIZE];
};

/* ---- their numbers ------------------------------------------------------------------------------------- */
long narrow_reals(h5_stored as, long n, const real *from, void *to)
{
    const uint16_t infinite = as == H5_F16 ? 0x7c00 : 0x7f80, *half = to;
    float *single = to;
    long lost = 0;
    if (as != H5_F32)
        (as == H5_F16 ? half_round : brain_round)(n, from, to);
    for (long i = 0; i < n; i++) {
        if (as == H5_F32)
            single[i] = (float)from[i];
        bool large = as == H5_F32 ? isinf(single[i]) : (half[i] & 0x7fff) == infinite;
        lost += large && isfinite(from[i]);
    }
    return lost;
}

void widen_reals(h5_stored as, long n, const void *from, real *to)
{
    const float *single = from;
    if (as != H5_F32)
        (as == H5_F16 ? half_widen : brain_widen)(n, from, to);
    for (long i = 0; as == H5_F32 && i < n; i++)
        to[i] = single[i];
}

/* ---- arrays that are read in pieces -------------------------------------------------------------------- */
/* Of a dataset that h5_expect has looked at: where it begins, if it is of this type and plainly stored. */
static haddr_t place_locked(h5 *f, const char *name, h5_stored as)
{
    hid_t id = H5Dopen2(h5_handle(f), name, H5P_DEFAULT), type = H5Dget_type(id);
    hid_t wanted = h5_stored_type(as), created = H5Dget_create_plist(id);
    bool plain = H5Tequal(type, wanted) > 0 && H5Pget_layout(created) == H5D_CONTIGUOUS;
    haddr_t at = plain ? H5Dget_offset(id) : HADDR_UNDEF;
    uint64_t bytes = H5Dget_storage_size(id);
    if (at != HADDR_UNDEF && !h5_covers(f, at, bytes))
        at = HADDR_UNDEF;
    H5Pclose(created);
    H5Tclose(wanted);
    H5Tclose(type);
    H5Dclose(id);
    return at;
}

long h5_place(h5 *f, const char *name, h5_stored as, int ndim, const long *dim, error *e)
{
    static const char *const names[H5_STORED] = { "f16", "bf16", "f32", "uint8", "int64" };
    h5_type type = as == H5_U8 ? H5_BYTES : as == H5_I64 ? H5_LONGS : H5_REALS;
    if (!h5_expect(f, name, type, ndim, dim, e))
        return -1;
    h5_lock();
    haddr_t at = place_locked(f, name, as);
    h5_unlock();
    if (at != HADDR_UNDEF)
        return (long)at;
    error_set(e, "%s: %s: expected %s numbers behind each other, known to the seal; found another form",
              QUOTE(h5_path(f)), QUOTE(name), names[as]);
    return -1;
}

bool h5_get(const h5 *f, long place, void *to, long n, error *e)
{
    errno = 0;
    return file_read_at(h5_descriptor(f), place, to, n)
           || error_set(e, "%s: cannot be read; %s", QUOTE(h5_path(f)),
                        errno ? strerror(errno) : "truncated");
}

/* ---- rows ---------------------------------------------------------------------------------------------- */
static uint64_t digest_of(const void *bytes, long n, long row)
{
    uint64_t x = XXH3_64bits_withSeed(bytes, (size_t)n, (uint64_t)row);
    return x ? x : 1;
}

static void digest_name(char to[NAME_SIZE], const char *name)
{
    snprintf(to, NAME_SIZE, "%s.digest", name);
}

bool h5_rows_reserve(h5_out *f, const char *name, h5_stored as, int ndim, const long *dim)
{
    char digests[NAME_SIZE];
    digest_name(digests, name);
    uint64_t none[512] = { 0 };
    long at = h5_reserve(f, digests, H5_I64, 1, dim);
    for (long i = 0; at >= 0 && i < dim[0]; i += 512)
        h5_put(f, at + i * WORD, none, (dim[0] - i < 512 ? dim[0] - i : 512) * WORD);
    return at >= 0 && h5_reserve(f, name, as, ndim, dim) >= 0;
}

static bool open_rows(h5_rows *r, const char *path, const char *name, h5_stored as, int ndim, const long *dim,
                      bool fill, error *e)
{
    char digests[NAME_SIZE];
    snprintf(r->name, sizeof r->name, "%s", name);
    digest_name(digests, name);
    r->n = dim[0];
    r->bytes = h5_stored_bytes[as];
    for (int i = 1; i < ndim; i++)
        r->bytes *= dim[i];
    if (!(r->file = h5_open(path, e)))
        return false;
    if (!h5_sealed(r->file))
        return error_set(e, "%s: damaged or truncated: no seal stands behind the data", QUOTE(path));
    if ((r->place = h5_place(r->file, name, as, ndim, dim, e)) < 0
        || (r->digests = h5_place(r->file, digests, H5_I64, 1, dim, e)) < 0)
        return false;
    if (!(r->digest = mem_new((size_t)r->n * WORD)))
        return error_set(e, "%s: memory is out for the digests of %ld rows", QUOTE(path), r->n);
    if (!h5_get(r->file, r->digests, r->digest, r->n * WORD, e))
        return false;
    for (long i = 0; i < r->n; i++)
        r->digest[i] = le64toh(r->digest[i]);
    return !fill || (r->fd = sys_open(path, O_RDWR)) >= 0
           || error_set(e, "%s: cannot be written; %s", QUOTE(path), strerror(errno));
}

h5_rows *h5_rows_open(const char *path, const char *name, h5_stored as, int ndim, const long *dim, bool fill,
                      error *e)
{
    h5_rows *r = mem_new(sizeof *r);
    if (!r) {
        error_set(e, "%s: memory is out", QUOTE(path));
        return NULL;
    }
    r->fd = -1;
    if (open_rows(r, path, name, as, ndim, dim, fill, e))
        return r;
    h5_rows_close(r);
    return NULL;
}

void h5_rows_close(h5_rows *r)
{
    if (!r)
        return;
    h5_close(r->file);
    if (r->fd >= 0)
        close(r->fd);
    mem_free(r->digest);
    mem_free(r);
}

long h5_rows_bytes(const h5_rows *r) { return r->bytes; }

bool h5_rows_has(const h5_rows *r, long row) { return r->digest[row] != 0; }

static bool write_at(const h5_rows *r, long offset, const void *from, long bytes, error *e)
{
    for (const char *p = from; bytes > 0;) {
        ssize_t n = sys_write(r->fd, p, (size_t)bytes, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(e, "%s: %s: cannot be written; %s", QUOTE(h5_path(r->file)), QUOTE(r->name),
                             n ? strerror(errno) : "the disk takes no more");
        p += n;
        offset += n;
        bytes -= n;
    }
    return true;
}

bool h5_rows_put(h5_rows *r, long row, const void *bytes, error *e)
{
    uint64_t digest = digest_of(bytes, r->bytes, row), word = htole64(digest);
    if (!write_at(r, r->place + row * r->bytes, bytes, r->bytes, e)
        || !write_at(r, r->digests + row * WORD, &word, WORD, e))
        return false;
    r->digest[row] = digest;
    return true;
}

bool h5_rows_get(const h5_rows *r, long row, void *to, error *e)
{
    if (row < 0 || row >= r->n || !r->digest[row])
        return error_set(e, "%s: %s: row %ld is not there", QUOTE(h5_path(r->file)), QUOTE(r->name), row);
    if (!h5_get(r->file, r->place + row * r->bytes, to, r->bytes, e))
        return false;
    return digest_of(to, r->bytes, row) == r->digest[row]
           || error_set(e, "%s: %s: damaged: the digest of row %ld differs", QUOTE(h5_path(r->file)),
                        QUOTE(r->name), row);
}

bool h5_rows_sync(h5_rows *r, error *e)
{
    return r->fd < 0 || !sys_sync(r->fd)
           || error_set(e, "%s: cannot be written; %s", QUOTE(h5_path(r->file)), strerror(errno));
}
