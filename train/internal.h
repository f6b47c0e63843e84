/* internal.h - what the files of train/ share. */
#ifndef TRAIN_INTERNAL_H
#define TRAIN_INTERNAL_H
#include "train/train.h"
#include "data/data.h"
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

/* ---- feed.c: pictures and text of a batch, on the tape ------------------------------------------------------------- */
typedef struct feed {
    record_list records;
    uint8_t *pixels;                               /* (n,S,S,3) of all pictures, resized */
    long size, n;                                  /* S; pictures or documents */
    char *text;                                    /* documents: lines, pieces parted by tabs */
    char **documents;
    long *identity;                                /* (n) equal numbers are positives of each other, or NULL */
} feed;
bool feed_pictures(feed *f, const train_config *c, error *e);
bool feed_documents(feed *f, const train_config *c, error *e);
bool feed_identities(feed *f, train_identity by, error *e);
const long *feed_identities_of(const feed *f, tape *t, long B, const long *samples);       /* (B), or NULL */
void feed_free(feed *f);
tensor *feed_pixels(const feed *f, tape *t, long B, const long *samples);          /* (B,3,S,S) */
const char *feed_caption(const feed *f, long sample, uint64_t key);
blip2_text feed_captions(tape *t, const tokenizer *words, long most, long B, const char *const *texts);
blip2_text feed_questions(tape *t, const tokenizer *words, long most, long B, const char *const *questions);  /* NULL: none */

/* ---- pieces.c: token sequences for the language model, with the loss weight of each token ---------------------------- */
typedef struct pieces { int *ids; real *weight; long n, room; bool failed; } pieces;
/* `</s> given said \n`: a token of `given` weighs `context`, one of `said` 1. */
void pieces_add(pieces *p, const tokenizer *words, const blip2_opt_config *o, const char *given, const char *said, double context);
blip2_text pieces_batch(tape *t, long B, pieces *rows, long most, long pad, const real **weight);      /* pads, frees rows */

/* ---- run.c ----------------------------------------------------------------------------------------------------------- */
typedef struct run {
    const train_config *c;
    blip2_model model;
    blip2_contrastive contrastive;
    nn_store *store;
    tape *t;
    tokenizer *bert, *llm;
    feed feed;
    sampler sampler;
    long steps, per_epoch;                         /* optimiser steps in all; samples of an epoch that are used */
    const long *samples;                           /* (batch) of the part in hand */
    long epoch, done;                              /* done: optimiser steps */
    double data_seconds;
} run;
tensor *task_stage1(run *r, tape *t, train_losses *l);
tensor *task_stage2(run *r, tape *t, train_losses *l);
tensor *task_vit(run *r, tape *t, train_losses *l);
tensor *task_lm(run *r, tape *t, train_losses *l);
#endif
