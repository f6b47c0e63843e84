/* internal.h - what the files of train/ share. */
#ifndef TRAIN_INTERNAL_H
#define TRAIN_INTERNAL_H
#include "train/train.h"
#include <stdio.h>

/* ---- log.c ------------------------------------------------------------------------------------------------------ */
enum { LOG_VALUES = 12 };
typedef struct log_step {
    const char *task;
    long step, steps, first, epoch, samples;       /* step counts from 1; first: where this process began */
    int count;
    const char *name[LOG_VALUES];
    double value[LOG_VALUES], grad_norm, lr, data_seconds, step_seconds;
} log_step;
typedef struct run_log { FILE *file; bool quiet, terminal; double started; } run_log;
bool log_open(run_log *l, const char *path, bool append, bool quiet, error *e);
void log_write(run_log *l, const log_step *s, bool show);      /* show: also a line for a person */
bool log_close(run_log *l, const char *path, error *e);

/* ---- sampler.c ---------------------------------------------------------------------------------------------------- */
typedef struct sampler {
    uint64_t seed;
    long n, epoch, group_count;
    long *order, *first, *groups;                  /* first: where each family begins in the data set */
} sampler;
bool sampler_new(sampler *s, uint64_t seed, long n, const long *family, error *e);     /* family: (n) or NULL */
void sampler_free(sampler *s);
long sampler_at(sampler *s, long epoch, long i);
#endif
