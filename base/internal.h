/* internal.h - what files of this folder share: values of configurations; HDF5's driver, seal and lock. */
#ifndef BASE_INTERNAL_H
#define BASE_INTERNAL_H
#include "base/base.h"
#include <hdf5.h>
#include <sys/types.h>

/* Calls of the system, as POSIX has them; those that cannot be short are taken up again when interrupted
 * (system.c). */
ssize_t sys_read(int fd, void *to, size_t bytes, off_t offset);
ssize_t sys_write(int fd, const void *from, size_t bytes, off_t offset);
int sys_open(const char *path, int flags);
int sys_resize(int fd, off_t bytes);
int sys_sync(int fd);
int sys_rename(const char *from, const char *to);
int sys_folder(const char *path);                  /* mkdir */

/* Puts one scalar where it belongs; false: `why` says what was expected (config_value.c). */
bool config_take(const config_key *k, void *target, const char *text, bool quoted, char *why, size_t size);
const char *config_choice(const config_key *k, const void *value, int *length);    /* its word */

/* Of names with dots (config_keys.c). config_find makes room for a section that the file names itself;
 * *target NULL: the key is known, but its section is one too many. */
const config_key *config_find(const config_table *tables, int count, const char *path, void **target);
/* named: sections that the file names itself count too */
bool config_is_section(const config_table *tables, int count, const char *path, bool named);
/* The known key or section of the same depth that a mistyped one is most like, in `to`; NULL: none. */
const char *config_suggest(const config_table *tables, int count, const char *path, char to[CONFIG_NAME]);
/* All keys that can be set, in the order of the tables, sections of the file's own names in the order that
 * they were met. false: a visit said so, and the rest was left out. */
typedef bool config_visit(void *context, const config_key *k, const char *name, void *value);
bool config_each(const config_table *tables, int count, config_visit *visit, void *context);

/* Where our file driver reads and writes (h5_driver.c). */
typedef struct h5_io {
    int fd;                            /* reading */
    file_out *out;                     /* writing; NULL when reading */
    uint64_t end;  /* reading: bytes of HDF5's part; writing: set when HDF5 closes the file */
    hid_t driver;                      /* 0: none is registered */
    int trouble;                       /* reading: errno of the last read that failed; 0: none did */
    const struct h5_seal *seal;        /* reading: what is in memory already; NULL: nothing */
} h5_io;
hid_t h5_access(h5_io *io);            /* a file access list with our driver; -1 on failure */
/* After H5Fclose, and not before: HDF5 1.10 gives up its hold on the driver and then calls its close. */
void h5_access_end(h5_io *io);
bool h5_superblock_end(int fd, long bytes, uint64_t *end);  /* the end it states; else errno */

/* The seal behind HDF5's end of file (h5_seal.c). */
typedef struct h5_span { uint64_t offset, bytes, digest; } h5_span;
typedef struct h5_seal {
    uint64_t end;
    h5_span *spans;
    long count, room;
    unsigned char *kept;               /* reading: the metadata, one gap between spans after the other */
    uint64_t *data_before;             /* (count + 1) bytes of all spans in front of gap i */
} h5_seal;
bool h5_seal_check(h5_seal *s, int fd, const char *path, long bytes, bool *sealed, error *e);
const h5_span *h5_seal_find(const h5_seal *s, uint64_t offset, uint64_t bytes);
bool h5_seal_add(h5_seal *s, h5_span span);
/* The metadata from `at` on as they were when their digest was checked, *bytes of them up to a dataset;
 * NULL: data stand there, or nothing is kept. */
const void *h5_seal_kept(const h5_seal *s, uint64_t at, uint64_t *bytes);
void h5_seal_free(h5_seal *s);
bool h5_seal_write(h5_seal *s, file_out *out);     /* false: memory is out */

/* Of an open file (h5.c), under the lock. */
hid_t h5_handle(const h5 *f);
int h5_descriptor(const h5 *f);
bool h5_covers(const h5 *f, uint64_t at, uint64_t bytes);  /* in the file, and known to the seal as data */
hid_t h5_float16(bool brain);                      /* H5Tclose it: IEEE binary16, or bfloat16 */
h5_kind h5_look(h5 *f, const char *name);          /* H5_NOTHING unless every part is there by a hard link */

hid_t h5_stored_type(int as);          /* of an h5_stored (h5_write.c); to be closed */
/* One thread at a time is in the library, which prints nothing and loads no plug-ins. */
void h5_lock(void);
void h5_unlock(void);
/* "PATH: NAME: what; HDF5: its innermost message", false. */
bool h5_failed(error *e, const char *path, const char *name, const char *what);
#endif
