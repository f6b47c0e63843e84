/* weights.h - the files that published weights come in: safetensors (one file, or shards with an index) and
 * torch zip archives (.pth, .bin). All are untrusted: every length is checked before anything is allocated,
 * and a pickle is data, of which nothing is ever called. Formats: reference/hf, section 7 of its notes;
 * sources named in each file. */
#ifndef CONVERT_WEIGHTS_H
#define CONVERT_WEIGHTS_H
#include "base/base.h"
#pragma GCC visibility push(default)

typedef enum { W_F64, W_F32, W_F16, W_BF16, W_I64, W_I32, W_I16, W_I8, W_U8, W_BOOL, W_TYPES } weights_type;
enum { WEIGHTS_DIMS = 8 };
typedef struct weights_entry {
    char *name;
    weights_type type;
    int ndim;
    long dim[WEIGHTS_DIMS], stride[WEIGHTS_DIMS], size;    /* in elements; a view of torch has any strides */
    int file;                          /* which of the files, and where its first element lies there */
    long offset;
} weights_entry;

typedef struct weights weights;
/* path: FILE.safetensors, FILE.safetensors.index.json, FILE.pth, FILE.bin, told apart by their first
 * bytes. */
weights *weights_open(const char *path, error *e);             /* NULL: failed */
void weights_close(weights *w);
const char *weights_path(const weights *w);
long weights_count(const weights *w);
const weights_entry *weights_at(const weights *w, long i);     /* by name, in order */
const weights_entry *weights_find(const weights *w, const char *name);     /* NULL: not there */
const char *weights_type_name(weights_type t);                 /* "float16" */
long weights_type_bytes(weights_type t);

/* All elements in row-major order, widened: half and bfloat16 exactly. Integers only as longs. */
bool weights_read_reals(const weights *w, const weights_entry *x, real *to, error *e);
bool weights_read_doubles(const weights *w, const weights_entry *x, double *to, error *e);
bool weights_read_longs(const weights *w, const weights_entry *x, int64_t *to, error *e);
/* As they are stored, in row-major order: size x weights_type_bytes. */
bool weights_read_raw(const weights *w, const weights_entry *x, void *to, error *e);
#pragma GCC visibility pop
#endif
