/* rows.h - large arrays of a sealed HDF5 file that are read in pieces, by any number of threads, and that may
 * be filled piece by piece after the file was finished. HDF5 only makes room for them: their bytes lie behind
 * each other at a place that is known, are not covered by the seal, and have digests of their own beside
 * them. Any reader of HDF5 sees an ordinary dataset.                                                       */
#ifndef BASE_ROWS_H
#define BASE_ROWS_H
#include "base/base.h"
#pragma GCC visibility push(default)

typedef enum { H5_F16, H5_BF16, H5_F32, H5_U8, H5_I64 } h5_stored;         /* as it is in the file */
enum { H5_STORED = 5 };
extern const int h5_stored_bytes[H5_STORED];
/* Makes a dataset whose bytes the seal leaves out; its place in the file, -1: failed, h5_finish says why. */
long h5_reserve(h5_out *f, const char *name, h5_stored as, int ndim, const long *dim);
void h5_put(h5_out *f, long place, const void *bytes, long n);     /* into it, before h5_finish */
/* Where the bytes of exactly such a dataset begin; -1: there is none, or it is not of this form. */
long h5_place(h5 *f, const char *name, h5_stored as, int ndim, const long *dim, error *e);
bool h5_get(const h5 *f, long place, void *to, long n, error *e);  /* any thread */

/* ---- rows: dataset NAME (n, ...) with NAME.digest (n) -------------------------------------------------
 * A row is there once its digest is. Processes may fill different rows at the same time; one that is killed
 * leaves rows that are whole or not there. */
typedef struct h5_rows h5_rows;
bool h5_rows_reserve(h5_out *f, const char *name, h5_stored as, int ndim, const long *dim);
/* fill: rows may be put */
h5_rows *h5_rows_open(const char *path, const char *name, h5_stored as, int ndim, const long *dim, bool fill,
                      error *e);
void h5_rows_close(h5_rows *r);
long h5_rows_bytes(const h5_rows *r);              /* of one row */
bool h5_rows_has(const h5_rows *r, long row);      /* as it was when the file was opened, or put since */
bool h5_rows_put(h5_rows *r, long row, const void *bytes, error *e);
bool h5_rows_get(const h5_rows *r, long row, void *to, error *e);  /* any thread; damage is an error */
bool h5_rows_sync(h5_rows *r, error *e);           /* what was put is on the disk */

/* ---- numbers in 16 bits: f16 is IEEE 754's binary16, bf16 the upper half of a float ------------------- */
/* To the nearest, ties to even; how many became infinite that were not. */
long narrow_reals(h5_stored as, long n, const real *from, void *to);
void widen_reals(h5_stored as, long n, const void *from, real *to);
#pragma GCC visibility pop
#endif
