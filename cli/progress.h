/* progress.h - a training run as a person sees it. */
#ifndef PROGRESS_H
#define PROGRESS_H
#include "cli/cli.h"
#include "train/train.h"

typedef struct progress {
    bool quiet, terminal, bar, told;   /* bar: one is drawn; told: a first line has been written */
    double second;                     /* when the second step began, seconds */
} progress;
train_watch progress_watch(progress *p, bool quiet);       /* what it points to is p */
void progress_end(progress *p);                            /* before the last messages */
#endif
