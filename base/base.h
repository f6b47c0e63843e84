/* base.h - what every folder needs and that knows no tensor: the type of numbers, errors, memory, files.
 *
 * One tree, two builds: `real` is float in what users run and double where gradients are checked. */
#ifndef BASE_H
#define BASE_H
#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#pragma GCC visibility push(default)

#ifndef REAL
#define REAL 32
#endif
#if REAL == 64
typedef double real;
#elif REAL == 32
typedef float real;
#else
#error "REAL is 32 (float) or 64 (double)"
#endif

/* ---- errors --------------------------------------------------------------------------------------------
 * The world's mistakes (files, options, data): a function returns false and fills an error. The text is
 * "FILE[:LINE[:COL]]: KEY-OR-TENSOR: what; expected X, found Y"; the program prints it behind "blip2: error:
 * ". A list of problems is one headline and up to ERROR_LINES more lines, indented by two spaces. */
enum { ERROR_LINES = 20, ERROR_TEXT = 8192 };
typedef enum { ERROR_RUN = 1, ERROR_USAGE = 2 } error_kind;    /* the exit codes of the program */
typedef struct error { error_kind kind; int lines; char text[ERROR_TEXT]; } error;

/* ERROR_RUN, false */
bool error_set(error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* ERROR_USAGE, false */
bool error_usage(error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* one more problem, false */
bool error_line(error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool error_head(error *e, error_kind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
                                        /* puts the headline before the lines collected so far; false */
bool error_close(error *e, error_kind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
                                        /* true if no line was collected; a single one becomes the error,
                                         * without headline */

/* A name from a file, safe to print: control characters and broken UTF-8 as \xNN, cut at 200 bytes. */
#define QUOTE(s) error_quote((char[BASE_QUOTE]){ 0 }, (s))
enum { BASE_QUOTE = 832 };
const char *error_quote(char *to, const char *name);
int text_printable(const char *s);  /* bytes of the UTF-8 character at s; 0: broken or a control character */
/* most alike of words, NULL if none is near */
const char *nearest(const char *word, const char *const *words, int n);

/* ---- memory --------------------------------------------------------------------------------------------
 * Every allocation of the project goes through these (NULL when memory is out), so that one place can count,
 * and a test can make the N-th one fail. */
void *mem_new(size_t bytes);                       /* zeroed, 64-byte aligned */
/* the new part is zeroed; old stays valid on NULL */
void *mem_grow(void *old, size_t old_bytes, size_t bytes);
void mem_free(void *p);
char *mem_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Addresses alone, for what is never or hardly touched; memory comes with the first touch of a page. NULL:
 * none. */
void *mem_reserve(size_t bytes);
void mem_unreserve(void *p, size_t bytes);
long mem_peak_bytes(void);                         /* peak resident memory of the process, from the system */
double mem_resident_bytes(void);                   /* resident now; 0: not known */
/* What this process can still get, and what sets the limit ("of this machine"). root: "", or, for tests,
 * where other proc and sys lie. */
double mem_available(const char *root, const char **limit);
void mem_fail_at(long nth, bool from_then_on);     /* tests: the nth allocation from now on fails; 0: none */
long mem_count(void);                              /* tests: allocations made so far */
long mem_live(void);                               /* tests: how many of them are not freed */

/* ---- configurations ------------------------------------------------------------------------------------
 * One table of keys a struct: {key, type, offset, range, choices, help}. The same tables read YAML (an
 * unknown key is an error that names the nearest known one; all problems of a file are reported together,
 * with line and column), take key=value from the command line, print the configuration in force, and explain
 * it. */
/* ELSEWHERE: a name that another program has; meeting it is an error whose text is the key's help. */
typedef enum {
    CONFIG_BOOL, CONFIG_INT, CONFIG_REAL, CONFIG_TEXT, CONFIG_CHOICE, CONFIG_LIST, CONFIG_ELSEWHERE
} config_type;
enum { CONFIG_TEXT_SIZE = 512, CONFIG_LIST_MOST = 16, CONFIG_NAME = 256 };
typedef struct config_list { int count; char item[CONFIG_LIST_MOST][CONFIG_TEXT_SIZE]; } config_list;
typedef struct config_key {
    const char *name;                  /* "init_lr"; dots make sections */
    config_type type;  /* of the field: bool, long, double, char[CONFIG_TEXT_SIZE], int, config_list */
    size_t offset;
    double least, most;                /* of numbers; both 0: any */
    const char *choices;               /* CONFIG_CHOICE: "red green blue", the field is the index */
    const char *help;                  /* NULL: another program's name, which no ${...} can mean */
} config_key;
typedef struct config_table {
    const char *section;               /* ends in ".*": sections that the file names itself */
    const config_key *keys;
    int count;
    void *to;                          /* a struct with the fields; of named sections, a config_named */
} config_table;
enum { CONFIG_NAMED_MOST = 8, CONFIG_NAMED_SIZE = 64 };
typedef struct config_named {
    int count;                         /* sections that were met, in their order */
    char name[CONFIG_NAMED_MOST][CONFIG_NAMED_SIZE];       /* letters, digits, _ and - */
    void *items;                       /* CONFIG_NAMED_MOST structs, set to their defaults */
    size_t size;                       /* of one */
} config_named;

void config_name(const config_table *t, const config_key *k, char to[CONFIG_NAME]);   /* "run.init_lr" */
/* Fields not named keep their values. A file may begin with include: FILE, or a list of files, from its
 * folder on, whose keys come first. A text that is no file may not. */
bool config_read(const char *path, const config_table *tables, int count, error *e);
bool config_read_text(const char *name, const char *text, size_t bytes, const config_table *tables, int count,
                      error *e);
/* "run.seed=7" */
bool config_override(const char *assignment, const config_table *tables, int count, error *e);
/* config_read, then each of the words as config_override, then ${KEY} in texts: the text, whole number or
 * choice of that key; a word without dots is a key of the same section, else the only one that ends so;
 * ${env:NAME} is of the environment. */
bool config_open(const char *path, char *const *words, int word_count, const config_table *tables, int count,
                 error *e);
/* YAML; help: with comments; mem_free it */
char *config_print(const config_table *tables, int count, bool help);

/* "0.1 (4f2a9c1)": with the revision of git that it was built from, -dirty if files differed; else "0.1" */
const char *program_version(void);
double clock_seconds(void);                        /* monotonic */
/* Numbers in files have a point in them, whatever locale the host program has set: between the two, this
 * thread prints and reads as in the locale "C". */
locale_t numbers_begin(void);
void numbers_end(locale_t before);

/* ---- numbers of 16 bits: IEEE binary16 and bfloat16; widening is exact, rounding is to nearest even ---- */
void half_widen(long n, const uint16_t *x, real *y);
void half_round(long n, const real *x, uint16_t *y);
void brain_widen(long n, const uint16_t *x, real *y);
void brain_round(long n, const real *x, uint16_t *y);

/* ---- files ---------------------------------------------------------------------------------------------
 * Input: regular files only, so that a pipe or a device cannot hang the program. Output: whole or not at all.
 * It is written as NAME.tmp.PID beside its place, flushed and renamed; the first failure is remembered, what
 * follows does nothing, and file_finish reports it and removes the temporary file. The program must ignore
 * SIGXFSZ, so that a full quota is an error like any other. */
int file_open(const char *path, long *bytes, error *e);        /* a descriptor, to be closed; -1 */
/* all of them; false: errno says why, 0 for the end */
bool file_read_at(int fd, long offset, void *to, long bytes);
/* mem_free it; a 0 stands behind the bytes */
void *file_load(const char *path, long limit, long *bytes, error *e);

typedef struct file_out file_out;
file_out *file_create(const char *path, error *e);  /* removes temporaries that killed processes left */
void file_write(file_out *f, const void *data, long bytes);    /* behind what was written last */
void file_write_at(file_out *f, long offset, const void *data, long bytes);
void file_print(file_out *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool file_read_back(file_out *f, long offset, void *to, long bytes);   /* what was written, for a digest */
void file_cut(file_out *f, long bytes);                        /* sets the length */
bool file_good(const file_out *f);                             /* nothing has failed so far */
bool file_finish(file_out *f, error *e);                       /* frees f; false: the old file is untouched */
void file_abandon(file_out *f);                                /* frees f and leaves no trace */
/* *was: there was such a file; none is no error */
bool file_rename(const char *from, const char *to, bool *was, error *e);
/* A log: lines are with the system at once, and a line that does not fit leaves no part of itself. */
typedef struct file_log { int fd; long end; char *path; } file_log;
bool file_log_open(file_log *l, const char *path, long keep, error *e);    /* keep: its first bytes stay */
bool file_log_add(file_log *l, const char *line, long bytes, error *e);
void file_log_close(file_log *l);
long file_sweep(const char *folder);  /* removes NAME.tmp.PID of processes that are gone; how many */
bool file_make_folders(const char *path, error *e);  /* a folder and those above it; fine if it is there */
bool file_may_fill(const char *folder, error *e);  /* could it be made, and files in it? Makes nothing */
bool file_same(const char *a, const char *b);      /* are both there, and one file under two names? */
bool program_on_path(const char *program);         /* is there one in a folder of PATH? */
/* Tests: the nth call of the system from now on fails with errno `number`; 0: a read or write does half its
 * work. */
void file_fail_at(long nth, int number, bool from_then_on);
long file_count(void);                             /* tests: such calls made so far */

/* ---- HDF5: named arrays in one file --------------------------------------------------------------------
 * Names are "group/group/dataset", exactly, reached by hard links only. A file that h5_create wrote is
 * sealed: behind HDF5's end of file stand XXH3 digests of the metadata, checked before HDF5 sees the file,
 * and of each dataset, checked as it is read. Any other file (h5py's) opens with structural checks alone:
 * h5_sealed is false and the caller warns once. HDF5's parser is not safe against files made to harm. One
 * thread at a time uses a file. */
enum { H5_DIMS = 8 };
/* In memory: real, int, int64_t, uint8_t; and as they stand in the file: binary16 and bfloat16 in uint16_t,
 * int8_t. */
typedef enum { H5_REALS, H5_INTS, H5_LONGS, H5_BYTES,
               H5_HALVES, H5_BRAINS, H5_INT8S } h5_type;
typedef enum { H5_NOTHING, H5_GROUP, H5_DATASET, H5_OTHER } h5_kind;
typedef struct h5_shape {
    int ndim, width;                   /* width: bytes of an element in the file */
    long dim[H5_DIMS], size;
    h5_type type;                      /* how it is best read */
    h5_type stored; /* H5_HALVES, H5_BRAINS, H5_INT8S: can be read as it stands; else type */
} h5_shape;

typedef struct h5 h5;
h5 *h5_open(const char *path, error *e);
void h5_close(h5 *f);
bool h5_sealed(const h5 *f);
const char *h5_path(const h5 *f);
h5_kind h5_has(h5 *f, const char *name);
/* has every read succeeded so far? "Not there" may mean "cannot be read" */
bool h5_readable(h5 *f, error *e);
bool h5_find(h5 *f, const char *name, h5_shape *shape, error *e);
/* could h5_read read it? */
bool h5_expect(h5 *f, const char *name, h5_type as, int ndim, const long *dim, error *e);
/* exactly this shape */
bool h5_read(h5 *f, const char *name, h5_type as, int ndim, const long *dim, void *to, error *e);
bool h5_same(h5 *f, const char *name, const char *other);      /* two names of one dataset */
/* all datasets below, sorted; "" is the root */
char **h5_list(h5 *f, const char *group, long *count, error *e);
void h5_list_free(char **list, long count);
/* mem_free it; object "" is the root */
char *h5_text(h5 *f, const char *object, const char *attribute, error *e);
bool h5_number(h5 *f, const char *object, const char *attribute, double *value, error *e);

typedef struct h5_out h5_out;          /* the first failure is remembered; h5_finish reports it */
h5_out *h5_create(const char *path, error *e);
void h5_write(h5_out *f, const char *name, h5_type type, int ndim, const long *dim, const void *data);
                                       /* reals as f32 where that loses nothing, else as f64; data NULL, where
                                        * there are numbers: memory was out for them */
void h5_link(h5_out *f, const char *name, const char *of);  /* a second name, of a tied parameter */
void h5_write_text(h5_out *f, const char *attribute, const char *text);        /* root attributes */
void h5_write_number(h5_out *f, const char *attribute, long value);
bool h5_finish(h5_out *f, error *e);   /* seals, flushes, renames; frees f. Equal content gives equal files */
void h5_abandon(h5_out *f);
#pragma GCC visibility pop
#endif
