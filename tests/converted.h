/* converted.h - models of every kind and files made of them, for the suites that convert. */
#ifndef CONVERTED_H
#define CONVERTED_H
#include "convert/convert.h"
#include "data/data.h"
#include "tests/tests.h"

enum { WITH_OPT, WITH_T5, WITH_TIED_T5, RETRIEVAL, LAVIS_STAGE1, KINDS, NO_TOWER, WIDE_TOWER };
blip2_config made_config(int kind);
/* With shaken weights. */
void made_save(const blip2_config *c, const char *path, const blip2_part *parts, int n);
const char *made_model(int kind);                          /* saved as IN_FOLDER("model.h5") */
void made_convert(const char *from, const char *to);
/* Parameters of both, to the bit; those that `but` begins may be missing from b. How many were compared. */
long made_same(const char *a, const char *b, const char *but);
/* The first `from` in a file becomes `to`, which is as long. */
void made_rewrite(const char *path, const char *from, const char *to);
/* One tensor more in a safetensors file that `export` wrote. */
void made_add_tensor(const char *path, const char *name, const char *shape, const real *data, long count);
/* Another safetensors file without our configuration: each tensor under the name that `name` gives it, NULL:
 * left out; brains: in bfloat16. */
typedef const char *made_name(const char *name);
void made_copy(const char *from, const char *to, made_name *name, bool brains);
void made_text(const char *path, const char *text);        /* a file of this text */
#endif
