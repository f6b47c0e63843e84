/* cli.h - one file a sub-command, one table of options each: it parses, checks and prints the help. */
#ifndef CLI_H
#define CLI_H
#include "base/base.h"

typedef enum { CLI_FLAG, CLI_INT, CLI_REAL, CLI_TEXT } cli_kind;
typedef struct cli_option {
    const char *name, *argument;       /* "beams", "N"; argument NULL for a flag */
    cli_kind kind;
    void *value;                       /* bool *, long *, double *, const char **; holds the default */
    double least, most;                /* range of numbers; both 0: any */
    const char *help;
} cli_option;

/* What every command takes: --json --quiet --threads N --seed N --device cpu|cuda. */
typedef struct cli_common { bool json, quiet; long threads, seed; const char *device; } cli_common;

typedef struct cli_command {
    const char *name, *arguments, *summary;        /* "caption", "MODEL.h5 IMG...", one line */
    int (*run)(int argc, char **argv);             /* argv[0] is the command; returns the exit code */
    const char *notes;                             /* further paragraphs of its help, or NULL */
} cli_command;
extern const cli_command *const cli_commands[];    /* ends with NULL */
extern const cli_command *const cli_explain_parts[];       /* of two words, "explain tape"; ends with NULL */
extern const cli_command *const cli_dataset_parts[];       /* "dataset import" */

/* Reads options into their targets; what is left (words) stands at argv[1..*words] afterwards. `--name
 * value`, `--name=value`, `--` ends options. A wrong option is reported with the nearest known one. False:
 * exit code 2, or 0 after --help; *code says which.                                                        */
bool cli_parse(int *argc, char **argv, const cli_option *options, int count, cli_common *common, int *code);
/* A command of parts (`explain masks`) may have options of every command before the part's name: where the
 * first word stands that is neither an option nor the value of one of those, 0: nowhere; and argv with it in
 * front, at argv[1]. */
int cli_first_word(int argc, char **argv);
void cli_word_to_front(char **argv, int at);
/* --seed N as the word run.seed=N behind the others, where there is room since it was taken out: what a
 * configuration's texts say of the seed is then of this one. */
void cli_seed_word(int *argc, char **argv, const cli_common *common);
int cli_fail(const error *e);                      /* prints "blip2: error: ..." and returns the exit code */
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));     /* 2 */
/* ---- output.c: before a file is written ---- */
/* May `command` write `out`? Its name must end as what is written does (endings: ".h5 .hdf5") or, where no
 * file of another kind is, have no ending; and it must be none of the n files that are read (NULL: none).
 * False: it is said, exit code 2. */
bool cli_may_write(const char *command, const char *out, const char *endings, int n,
                   const char *const *inputs);
bool cli_spares_models(const char *command, const char *out);      /* false: it is one, which is said; 2 */
void cli_print_help(const char *command, const cli_option *options, int count);
const cli_command *cli_find(const char *name);     /* "caption", "explain tape"; NULL: there is none */
const char *cli_core_set_aside(void);              /* OPENBLAS_CORETYPE that was taken back, or NULL */
void cli_json_text(const char *s);                 /* a JSON string on stdout, quoted */
#endif
