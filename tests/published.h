/* published.h - folders of Hugging Face's form and what commands print about them, for the suites that
 * read them. */
#ifndef PUBLISHED_H
#define PUBLISHED_H
#include "data/json.h"
#include "tests/shell.h"

/* Where the folders are: ../shared/golden/hf, or what PUBLISHED names. */
const char *published_root(void);
const char *published_in(char to[900], const char *model, const char *name);
#define IN_MODEL(name) published_in((char[900]){ 0 }, model, (name))
json_t *line_of(said s, int which);                        /* the which-th line of what a command printed */
#endif
