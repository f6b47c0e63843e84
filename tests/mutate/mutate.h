/* mutate.h - breaks every gradient on purpose, one place at a time, and asks whether the tests see it.
 *
 * lexer.c reads C as tokens, functions.c finds what backward passes are made of, changes.c lists what can be
 * broken there, known.c holds what is shown to change nothing, trial.c builds and runs one broken program,
 * main.c draws, shares out and reports. docs/mutation.md explains. */
#ifndef MUTATE_H
#define MUTATE_H
#include "base/base.h"
#include <stdio.h>

enum { OPS = 63, TAPE = OPS, SUITES_MOST = 32 }; /* ops fit the bits of a word; TAPE: the tape's bit */

typedef enum { WORD, NUMBER, TEXT, MARK } token_kind;
typedef struct token { token_kind kind; int line; long at, length; } token;
typedef struct source {
    const char *path;
    char *text;
    long bytes;
    token *tokens;                     /* no comments, no preprocessor lines; an empty one behind the last */
    int count;
} source;

typedef struct function {
    char name[64];
    int source, first, last;           /* tokens { and } of its body */
    bool exported;                     /* not static */
    uint64_t ops;                      /* whose backward reaches it */
    bool forward;                      /* something else than a backward pass uses it too */
} function;
typedef struct op { char name[64]; int source, backward; } op;         /* backward: a function */

typedef struct program {
    source *sources;
    function *functions;
    op ops[OPS];
    int source_count, function_count, op_count;
} program;

typedef enum { UNTRIED, CAUGHT, SURVIVED, SAME_CODE, KNOWN, NOT_C } verdict;
typedef struct mutant {
    int function, line, nth;           /* nth such change of its line */
    long at, length;                   /* the text that is replaced */
    char *with;
} mutant;
typedef struct mutants { mutant *of; long count, room; } mutants;

/* how programs are made, and how long they may take */
typedef struct build {
    const char *compile, *link, *folder;       /* commands; where one trial may write */
    char *objects;                             /* all objects, separated by blanks */
    const char *suites[SUITES_MOST];           /* after `ops`, in order */
    int suite_count;
    double op_seconds[OPS + 1], ops_seconds, suite_seconds[SUITES_MOST];       /* of the sound program */
} build;
typedef struct result { verdict verdict; double seconds; char by[48]; } result;

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *room(void *old, long count, long *room_, long size);             /* for one more */

void lex(source *s);
bool is(const source *s, int i, const char *text);
int closing(const source *s, int i);   /* the token that closes ( [ or { at i; i itself if none of these */
int opening(const source *s, int i);   /* the same backwards, from ) ] or } */

int find_functions(program *p);        /* and ops; how many functions belong to backward passes alone */
void find_changes(const program *p, int f, mutants *to);
/* to: the line of m, trimmed; was: what is replaced */
void describe(const program *p, const mutant *m, char line[160], char change[160]);

bool known_load(const char *path, error *e);
const char *known_reason(const program *p, const mutant *m);           /* NULL: not known to be equivalent */
int known_unused(void);                /* prints the entries that met no mutant, and counts them */

void trial_baseline(const program *p, build *b);                       /* dies if the sound program fails */
void trial(const program *p, const build *b, const mutant *m, int first_op, result *r);
#endif
