/* base.h - what every folder needs and that knows no tensor: the type of numbers, errors, memory, files.
 *
 * One tree, two builds: `real` is float in what users run and double where gradients are checked. */
#ifndef BASE_H
#define BASE_H
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

/* ---- errors -------------------------------------------------------------------------------------------------
 * The world's mistakes (files, options, data): a function returns false and fills an error. The text is
 * "FILE[:LINE[:COL]]: KEY-OR-TENSOR: what; expected X, found Y"; the program prints it behind "blip2: error: ".
 * A list of problems is one headline and up to ERROR_LINES more lines, indented by two spaces.              */
enum { ERROR_LINES = 20, ERROR_TEXT = 8192 };
typedef enum { ERROR_RUN = 1, ERROR_USAGE = 2 } error_kind;    /* the exit codes of the program */
typedef struct error { error_kind kind; int lines; char text[ERROR_TEXT]; } error;

bool error_set(error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));     /* ERROR_RUN, false */
bool error_usage(error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));   /* ERROR_USAGE, false */
bool error_line(error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));    /* one more problem, false */
bool error_head(error *e, error_kind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
                                        /* puts the headline before the lines collected so far; false */

/* A name from a file, safe to print: control characters and broken UTF-8 as \xNN, cut at 200 bytes. */
#define QUOTE(s) error_quote((char[BASE_QUOTE]){ 0 }, (s))
enum { BASE_QUOTE = 832 };
const char *error_quote(char *to, const char *name);
const char *nearest(const char *word, const char *const *words, int n);  /* most alike of words, NULL if none is near */

/* ---- memory -------------------------------------------------------------------------------------------------
 * Every allocation of the project goes through these (NULL when memory is out), so that one place can count,
 * and a test can make the N-th one fail.                                                                    */
void *mem_new(size_t bytes);                       /* zeroed, 64-byte aligned */
void *mem_grow(void *old, size_t old_bytes, size_t bytes);      /* the new part is zeroed; old stays valid on NULL */
void mem_free(void *p);
char *mem_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
long mem_peak_bytes(void);                         /* peak resident memory of the process, from the system */
void mem_fail_at(long nth, bool from_then_on);     /* tests: the nth allocation from now on fails; 0: none */
long mem_count(void);                              /* tests: allocations made so far */

/* ---- configurations -------------------------------------------------------------------------------------------
 * One table of keys a struct: {key, type, offset, range, choices, help}. The same tables read YAML (an unknown key is an
 * error that names the nearest known one; all problems of a file are reported together, with line and column),
 * take key=value from the command line, print the configuration in force, and explain it.                       */
typedef enum { CONFIG_BOOL, CONFIG_INT, CONFIG_REAL, CONFIG_TEXT, CONFIG_CHOICE, CONFIG_LIST } config_type;
enum { CONFIG_TEXT_SIZE = 512, CONFIG_LIST_MOST = 16, CONFIG_NAME = 256 };
typedef struct config_list { int count; char item[CONFIG_LIST_MOST][CONFIG_TEXT_SIZE]; } config_list;
typedef struct config_key {
    const char *name;                  /* "init_lr"; dots make sections */
    config_type type;                  /* of the field: bool, long, double, char[CONFIG_TEXT_SIZE], int, config_list */
    size_t offset;
    double least, most;                /* of numbers; both 0: any */
    const char *choices;               /* CONFIG_CHOICE: "red green blue", the field is the index */
    const char *help;
} config_key;
typedef struct config_table { const char *section; const config_key *keys; int count; void *to; } config_table;

void config_name(const config_table *t, const config_key *k, char to[CONFIG_NAME]);   /* "run.init_lr" */
bool config_read(const char *path, const config_table *tables, int count, error *e);       /* fields not named keep their values */
bool config_read_text(const char *name, const char *text, size_t bytes, const config_table *tables, int count, error *e);
bool config_override(const char *assignment, const config_table *tables, int count, error *e);     /* "run.seed=7" */
char *config_print(const config_table *tables, int count, bool help);   /* YAML; help: with comments; mem_free it */

double clock_seconds(void);                        /* monotonic */
#pragma GCC visibility pop
#endif
