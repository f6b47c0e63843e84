/* model.h - what the commands that use a model share: opening it, and pictures as its vision tower sees them. */
#ifndef CLI_MODEL_H
#define CLI_MODEL_H
#include "eval/eval.h"

/* Opens the model; `can` says whether it has the parts that the command needs. Warns of a file without digests. */
bool cli_open_model(eval_session *s, const char *path,
                    bool (*can)(const eval_session *, const char *, error *), error *e);
real *cli_features(eval_session *s, const char *path, error *e);   /* (N,E), mem_free it; NULL: failed */
#endif
