/* json.h - JSON by jansson, behind limits (json.c). */
#ifndef DATA_JSON_H
#define DATA_JSON_H
#include "base/base.h"
#include <jansson.h>
#pragma GCC visibility push(default)

/* At most `most` values, 32 levels, no key twice; name and line: of the first byte, for e. NULL: failed. */
json_t *data_json(const char *name, long line, const char *bytes, long n, long most, error *e);
/* The same of a whole text, where whole numbers may be of any size: they are reals. */
json_t *data_json_reals(const char *name, const char *bytes, long n, long most, error *e);
/* A whole file, at most 1 GiB and 100 million values. */
json_t *data_json_file(const char *path, error *e);
const char *data_without_mark(const char *text, long *n);          /* behind UTF-8's byte order mark */
#pragma GCC visibility pop
#endif
