/* dataset.h - the parts of `blip2 dataset` that stand in files of their own. */
#ifndef CLI_DATASET_H
#define CLI_DATASET_H
#include "cli/cli.h"
#include "data/data.h"

/* words: counts tokens too, or NULL; sheet: a PNG file, or NULL */
typedef struct dataset_look { const tokenizer *words; const char *sheet; bool json; } dataset_look;
int dataset_inspect(const char *path, const dataset_look *how);        /* the exit code */
#endif
