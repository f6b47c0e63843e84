/* model.h - what the commands that use a model share: opening it, and pictures as its vision tower sees
 * them. */
#ifndef CLI_MODEL_H
#define CLI_MODEL_H
#include "cli/cli.h"
#include "eval/eval.h"

typedef struct cli_use { const char *compute; bool quiet; } cli_use;       /* compute: "f32", "bf16" */
#define CLI_COMPUTE_OPTION(use) { "compute", "f32|bf16|bf16-fast", CLI_TEXT, &(use).compute, 0, 0, \
    "f32 (the default): weights are widened; bf16: the CPU's bf16 products, activations as the sum of two; " \
    "bf16-fast: both rounded once, half the products; docs/precision.md" }
bool cli_precision(const char *word, ag_precision *to);            /* NULL: f32; false: no such word */

/* Opens the model; `can` says whether it has the parts that the command needs. Warns of a file without
 * digests. */
bool cli_open_model(eval_session *s, const char *path,
                    bool (*can)(const eval_session *, const char *, error *), const cli_use *use, error *e);
nn_watch cli_loading(bool quiet); /* on a terminal, how much of a large file is read */
void cli_warn_unsealed(const char *path, bool quiet);      /* of an HDF5 file without digests */
real *cli_features(eval_session *s, const char *path, error *e);   /* (N,E), mem_free it; NULL: failed */
#endif
