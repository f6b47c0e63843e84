/* dataset.h - the parts of `blip2 dataset` that stand in files of their own. */
#ifndef CLI_DATASET_H
#define CLI_DATASET_H
#include "cli/cli.h"
#include "data/data.h"
#include <signal.h>

/* words: counts tokens too, or NULL; sheet: a PNG file, or NULL; images: where paths start, NULL: the list's
 * folder; missing: pictures that are known not to be there and stand in no list */
typedef struct dataset_look {
    const tokenizer *words; const char *sheet, *images; bool json; long missing;
} dataset_look;
int dataset_inspect(const char *path, const dataset_look *how);        /* the exit code */
void dataset_print(const char *folder, const import_result *r, bool json);         /* what an import made */
/* A line that changes on a terminal, else a line a file; false: SIGINT or SIGTERM has come. */
bool dataset_progress(void *common, const char *what, long done, long total);
extern volatile sig_atomic_t dataset_stopped;      /* the signal that asked us to stop */
void dataset_watch_signals(void);
#endif
