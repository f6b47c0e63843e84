/* eval_case.h - runs of `evaluate` on the test split of a small world, for the suites about its edges. */
#ifndef TESTS_EVAL_CASE_H
#define TESTS_EVAL_CASE_H
#include "tests/world.h"
#include "eval/internal.h"

void case_begin(void);                             /* a fixture: a folder with a world */
/* Names of the test's folder but for the list, which is the world's. */
eval_config case_config(const char *model, const char *list, const char *folder);
void case_task(eval_config *c, const char *task);  /* that one alone */
json_t *case_run(const eval_config *c);            /* the figures of a run that must succeed */
json_t *case_file(const char *name);
double case_value(const json_t *o, const char *key);           /* NAN: not there */
const char *case_warning(const json_t *figures, size_t i);     /* "": there is none */
const char *case_picture(long i, char to[64]);     /* of the test split, by its path in the list */
#define CASE_PICTURE(i) case_picture((i), (char[64]){ 0 })

typedef struct case_line { long of; int id; const char *rest; } case_line;     /* rest: more of the object */
void case_list(const char *name, const case_line *lines, int n);
#endif
