/* h5_driver.c - HDF5's way to our files: a virtual file driver, the library's lock and messages.
 *
 * Why not the library's own driver: (1) it reports a full disk in the middle of H5Fclose, which leaves the
 * file half closed and crashes at exit. Ours takes every write and remembers the failure (file.c); HDF5
 * closes in peace and the temporary file is thrown away. (2) When reading, what is asked for beyond HDF5's
 * part of the file is refused. (3) It offers no metadata accumulator, in which damaged files crashed the
 * library. (4) Metadata whose digest was checked are those that are parsed: they stay in memory, so that
 * nothing changes them in between, and no read of them fails: a list of links that breaks off crashed the
 * library (H5G__dense_iterate of 1.10.8 frees what it never set). */
#include "base/internal.h"
#include <pthread.h>
#include <errno.h>
#include <string.h>
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

typedef struct driver {
    H5FD_t base;                       /* HDF5's fields come first */
    h5_io *io;
    haddr_t eoa, eof;
} driver;

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t max)
{
    (void)name, (void)flags, (void)max;
    h5_io *const *io = H5Pget_driver_info(access);
    driver *d = io ? mem_new(sizeof *d) : NULL;
    if (!d)
        return NULL;
    d->io = *io;
    d->eof = d->io->out ? 0 : d->io->end;
    return &d->base;
}

static herr_t driver_close(H5FD_t *file)
{
    mem_free(file);
    return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = H5FD_FEAT_AGGREGATE_METADATA;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const driver *)file)->eoa;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t eoa)
{
    (void)type;
    ((driver *)file)->eoa = eoa;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const driver *)file)->eof;
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size, void *to)
{
    (void)type, (void)transfer;
    driver *d = (driver *)file;
    bool inside = at <= d->eof && size <= d->eof - at;
    if (!d->io->out) {
        uint64_t n;
        const void *kept = inside && d->io->seal ? h5_seal_kept(d->io->seal, at, &n) : NULL;
        if (kept) {                    /* HDF5 reads ahead of itself, into data that it does not look at */
            memcpy(to, kept, n < size ? n : size);
            if (n < size)
                memset((char *)to + n, 0, size - n);
            return 0;
        }
        bool ok = inside && file_read_at(d->io->fd, (long)at, to, (long)size);
        if (!ok)
            d->io->trouble = errno ? errno : EIO;
        return ok ? 0 : -1;
    }
    memset(to, 0, size);               /* a file being written is zero where nothing was written yet */
    if (at < d->eof)
        file_read_back(d->io->out, (long)at, to, (long)(inside ? size : d->eof - at));
    return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size,
                           const void *from)
{
    (void)type, (void)transfer;
    driver *d = (driver *)file;
    if (!d->io->out)
        return -1;
    file_write_at(d->io->out, (long)at, from, (long)size);
    d->eof = at + size > d->eof ? at + size : d->eof;
    return 0;
}

static herr_t driver_truncate(H5FD_t *file, hid_t transfer, hbool_t closing)
{
    (void)transfer, (void)closing;
    driver *d = (driver *)file;
    if (d->io->out) {
        file_cut(d->io->out, (long)d->eoa);
        d->io->end = d->eof = d->eoa;
    }
    return 0;
}

static const H5FD_class_t driver_class = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION, .value = 512,
#endif
    .name = "blip2", .maxaddr = INT64_MAX, .fc_degree = H5F_CLOSE_STRONG, .fapl_size = sizeof(h5_io *),
    .open = driver_open, .close = driver_close, .query = driver_query,
    .get_eoa = driver_get_eoa, .set_eoa = driver_set_eoa, .get_eof = driver_get_eof,
    .read = driver_read, .write = driver_write, .truncate = driver_truncate, .fl_map = H5FD_FLMAP_DICHOTOMY,
};

hid_t h5_access(h5_io *io)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    io->driver = H5FDregister(&driver_class);
    if (access < 0 || io->driver < 0 || H5Pset_driver(access, io->driver, &io) < 0) {
        H5Pclose(access);
        access = -1;
    }
    return access;
}

void h5_access_end(h5_io *io)
{
    if (io->driver > 0)
        H5FDunregister(io->driver);
    io->driver = 0;
}

/* HDF5 file format 3.0, II.A: the signature, the version, and where each version keeps its end of file. */
bool h5_superblock_end(int fd, long bytes, uint64_t *end)
{
    unsigned char b[64] = { 0 };
    errno = 0;
    if (bytes < (long)sizeof b || !file_read_at(fd, 0, b, sizeof b) || memcmp(b, "\x89HDF\r\n\x1a\n", 8))
        return false;
    int version = b[8], widths = version < 2 ? 13 : 9;
    int base = version == 0 ? 24 : version == 1 ? 28 : 12, at = base + 16;
    if (version > 3 || b[widths] != 8 || b[widths + 1] != 8)
        return false;
    uint64_t start = 0;
    *end = 0;
    for (int i = 7; i >= 0; i--) {
        start = start << 8 | b[base + i];
        *end = *end << 8 | b[at + i];
    }
    return start == 0;
}

/* ---- the library's lock and messages ------------------------------------------------------------------- */
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static struct { H5E_auto2_t print; void *data; } host;     /* the host program's printer of messages */

void h5_lock(void)
{
    pthread_mutex_lock(&one);
    H5dont_atexit();
    H5PLset_loading_state(0);
    H5Eget_auto2(H5E_DEFAULT, &host.print, &host.data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void h5_unlock(void)
{
    H5Eset_auto2(H5E_DEFAULT, host.print, host.data);
    pthread_mutex_unlock(&one);
}

static herr_t first_message(unsigned n, const H5E_error2_t *message, void *to)
{
    if (n == 0 && message->desc)
        strncat(to, message->desc, 199);
    return 0;
}

bool h5_failed(error *e, const char *path, const char *name, const char *what)
{
    char said[200] = "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_message, said);
    H5Eclear2(H5E_DEFAULT);
    return error_set(e, "%s: %s%s%s%s%s", QUOTE(path), *name ? QUOTE(name) : "", *name ? ": " : "", what,
                     *said ? "; HDF5: " : "", QUOTE(said));
}
