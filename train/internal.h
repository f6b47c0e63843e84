/* internal.h - what the files of train/ share. */
#ifndef TRAIN_INTERNAL_H
#define TRAIN_INTERNAL_H
#include "train/ranks.h"
#include "base/rows.h"
#include "data/data.h"
#include <stdio.h>

/* ---- lavis.c: a file written for LAVIS ----------------------------------------------------------------- */
#define TASKS "stage1 stage2 vit lm"               /* by train_task */
extern const config_key lavis_keys[];
extern const int lavis_key_count;

/* ---- paths.c ------------------------------------------------------------------------------------------- */
bool path_readable(const char *path);  /* is the file there, or the one that FILE:part names a part of? */

/* ---- log.c: log.jsonl, metrics.csv and events.out.tfevents.blip2, a line of each a step ---------------- */
enum { LOG_FILES = 3, LOG_FIELDS = 64 };
typedef struct log_field {
    char name[48], tag[56];                        /* "val_loss", "val/loss"; tag "": not in events */
    double value;
    bool whole, timing, absent;                    /* absent: not measured at this step */
} log_field;
typedef struct run_log { file_log file[LOG_FILES]; char *titles; } run_log;
#define LOG_CLOSED ((run_log){ .file = { { .fd = -1 }, { .fd = -1 }, { .fd = -1 } } })
bool log_open(run_log *l, const char *folder, long keep, error *e);    /* keep: what is of later steps goes */
bool log_write(run_log *l, const train_line *line, error *e);
void log_close(run_log *l);

/* ---- events.c: TensorBoard's form --------------------------------------------------------------------- */
bool events_start(file_log *l, error *e);
bool events_write(file_log *l, long step, const log_field *fields, int count, error *e);
long events_up_to(const void *file, long bytes, long keep);   /* bytes of whole events up to a step */
uint32_t events_crc(const void *data, long bytes);            /* CRC-32C */

/* ---- sampler.c: the samples of all data sets, one after another, are numbered from 0 ------------------ */
typedef struct drawn { long sample, visit; } drawn; /* visit: how often its data set was gone through */
typedef struct sampler_data { long n; double ratio; const long *family; } sampler_data;    /* (n) or NULL */
typedef struct sampler_set {
    long first, n, used, group_count, visit[2];    /* used: samples of a visit; the visits that order holds */
    long *order[2], *begin, *groups;               /* begin: where each family begins in the data set */
    double share;                                  /* of the places that the data sets before it leave */
} sampler_set;
typedef struct sampler {
    uint64_t seed;
    long per_epoch;                                /* places */
    int count;
    sampler_set sets[CONFIG_NAMED_MOST];
} sampler;
bool sampler_new(sampler *s, uint64_t seed, long step, int count, const sampler_data *data, error *e);
void sampler_free(sampler *s);
drawn sampler_at(sampler *s, long place);          /* places of the whole run, from 0 */

/* ---- sequences.c: texts as ids, each with its weight in the loss ------------------------------------- */
typedef struct weighted_token { int id; real weight; } weighted_token;
typedef struct sequences {
    long count, rows, used, room;                  /* sequences, room for them; tokens, room for them */
    long *first;                                   /* (count + 1) where each begins */
    weighted_token *tokens;
    token_list scratch;
    bool failed;
} sequences;
bool sequences_text(sequences *s, const tokenizer *words, const tokenizer_options *o, const char *text,
                    long bytes, double weight, error *e);
/* OPT: `</s> text \n`, the first `given` bytes weigh `context`, the rest is what is to be learned and weighs
 * 1. T5: the given bytes are a sequence of their own, which is ended, and the rest begins the next. */
bool sequences_piece(sequences *s, const tokenizer *words, const blip2_llm *llm, const char *text, long given,
                     long bytes, double context, error *e);
/* Pieces parted by tabs. The first is given, unless it asks and answers; of later captions all words count.
 */
bool sequences_document(sequences *s, const tokenizer *words, const blip2_llm *llm, const char *line,
                        double context, error *e);
void sequences_cut(sequences *s, long most);       /* what was put since the last end: its first tokens */
bool sequences_end(sequences *s, error *e);        /* what was put since the last end is one sequence */
void sequences_free(sequences *s);
typedef struct token_run { long first, count; } token_run;             /* of tokens */
token_run sequences_run(const sequences *s, long row);     /* all of a sequence; -1: none */
long sequences_key(const sequences *s, long row);  /* equal for equal texts, a number of 63 bits */
/* Row b is runs[b*each .. b*each + each-1] behind each other and the token `end` (-1: none), at most `most`
 * tokens, of which `end` is one. */
blip2_text sequences_rows(const sequences *s, tape *t, long B, long each, const token_run *runs, long most,
                          long end, long pad, const real **weight);
/* Row b is sequences rows[b*each .. b*each + each-1] (-1: none) behind each other, at most `most` tokens. */
blip2_text sequences_batch(const sequences *s, tape *t, long B, long each, const long *rows, long most,
                           long pad, const real **weight);

/* ---- album.c: pictures, held decoded or read when they are drawn -------------------------------------- */
typedef struct album_page {
    char *path;
    const picture_view *view;                      /* NULL: the whole picture */
    picture held;                                  /* nothing, the whole picture, or resized if that is all */
    bool bad;
} album_page;
typedef struct album { long n, size; album_page *pages; } album;           /* size: S */
bool album_new(album *a, long room, long size, error *e);
bool album_add(album *a, const char *root, const char *image, const picture_view *view, error *e);
long album_open(album *a, long memory, error *e);  /* how many cannot be decoded; e: lines that say why */
/* The same, if it is known which cannot; nothing is held. */
long album_open_known(album *a, const uint8_t *broken, error *e);
void album_drop_bad(album *a);
void album_let_go(album *a);                       /* holds none any more */
bool album_ready(const album *a);                  /* all are held as they are shown */
bool album_show(const album *a, drawn d, uint64_t seed, uint8_t *to, error *e);        /* (S,S,3) */
void album_free(album *a);

/* ---- ahead.c: threads that make what coming batches are of -------------------------------------------- */
typedef struct ahead ahead;
typedef void (*ahead_plan)(void *context, long number, drawn *draws);      /* the samples of a batch */
typedef struct ahead_maker {           /* of a sample's bytes */
    bool (*make)(void *context, drawn d, uint8_t *to, error *e);
    void *context;
    long bytes;
} ahead_maker;
ahead *ahead_start(ahead_maker maker, long batch, long first, int workers, ahead_plan plan, void *context,
                   error *e);
double ahead_bytes(long batch, long bytes);        /* that ahead_start allocates for samples of so many */
const uint8_t *ahead_take(ahead *a, long number, error *e);        /* (batch,bytes), until the next one */
void ahead_stop(ahead *a);

/* ---- features.c: what the frozen tower makes of the pictures, computed once and read from a file ------- */
typedef struct feature_cache {
    h5_rows *rows;                                 /* NULL: there is no cache, or it is not complete yet */
    h5_stored as;
    long views[CONFIG_NAMED_MOST], begin[CONFIG_NAMED_MOST]; /* of a picture; the first row of a data set */
    long count, tokens, width;                     /* rows; N, E */
    uint64_t seed, list; /* that views are drawn by; digest of all that was listed */
    uint8_t *broken; long listed;                  /* (listed) which pictures cannot be decoded */
} feature_cache;

/* ---- feed.c: all pictures and texts of a run, and those of a batch ----------------------------------- */
typedef struct feed_set { record_list list; picture_view view; long n; } feed_set;
typedef struct feed {
    feed_set sets[CONFIG_NAMED_MOST];
    int set_count;
    long n, bad;                                   /* samples; pictures left out because they are broken */
    uint64_t digest;                               /* of all that the lists say of the samples; about.c */
    long untold, unanswered;                       /* left out: pictures without a text, questions */
    const record **records;                        /* (n) */
    album album;
    uint64_t seed;                                 /* of views */
    feature_cache features;
    ahead *ahead;                                  /* NULL: all pictures are held as they are shown */
    long *identity;                                /* (n) equal: positives of each other; or NULL */
    sequences texts;                               /* documents; or each record's captions and, for a language
                                                      model, questions with their answers */
    sequences asked;                               /* questions alone, for the Q-Former */
    long *first_text, *first_question, *first_asked;       /* (n) the sequence of each record's first; of a
                                                              document's, (n + 1), where a piece is two */
    long each;                                     /* sequences a piece: 1, for an encoder-decoder 2 */
    bool undecoded;                                /* a dry run: pictures are listed, not looked at */
} feed;
/* Broken pictures are left out; *bad says which, or nothing. */
bool feed_pictures(feed *f, const train_config *c, error *bad, error *e);
bool feed_identities(feed *f, train_identity by, error *e);
bool feed_texts(feed *f, const train_config *c, const tokenizer *bert, const tokenizer *llm, error *e);
bool feed_documents(feed *f, const train_config *c, const tokenizer *words, error *e);
bool feed_stand_in(feed *f, const train_config *c, long n, error *e);      /* n samples that are not there */
long feed_sided(const feed *f);        /* captions that tell left from right, of pictures that are mirrored */
void feed_free(feed *f);
uint64_t feed_digest(const feed *f);   /* about.c: names and texts of the samples, or documents, in order */
tensor *feed_pixels(const feed *f, tape *t, long batch, long B, const long *samples);  /* (B,3,S,S) */
tensor *feed_bytes(const feed *f, tape *t, long B, const uint8_t *rgb);        /* (B,3,S,S) of (B,S,S,3) */
bool feed_show(void *feed, drawn d, uint8_t *to, error *e);        /* (S,S,3), for ahead_maker */
const long *feed_identities_of(const feed *f, tape *t, long B, const long *samples);   /* (B), or NULL */
long feed_caption(const feed *f, long sample, uint64_t key);        /* which of a record's captions */

/* ---- exchange.c: pieces for an encoder-decoder ------------------------------------------------------- */
enum { EXCHANGE_GIVEN = 2 };
typedef struct exchange { token_run given[EXCHANGE_GIVEN], said; } exchange;       /* runs of feed.texts */
/* The piece of sequences row, row + 1; split: all of it parted at random, drawn by key. */
exchange exchange_piece(const sequences *s, long row, bool split, uint64_t key);
/* A document's: one of its pieces, drawn by key, is said; the document's first stands in front of it. */
exchange exchange_document(const sequences *s, long first, long end, uint64_t key);
/* in->text: what is given; in->target: what is to be said; both end with </s>. */
void exchange_batch(const sequences *s, tape *t, const blip2_config *m, long B, const exchange *x,
                    blip2_stage2_in *in);

/* ---- validate.c: datasets.val, measured on the way ----------------------------------------------------- */
typedef struct validation {
    bool on;
    train_config config;                           /* of the run, with the lists of datasets.val */
    feed feed;
    long parts;                                    /* batches a look, each of config.batch samples a rank */
    train_losses now;                              /* of the last look */
    double best;                                   /* of the looks so far, run.best_by; NAN: none */
    long best_step, waited;                        /* waited: looks since then */
    double seconds;                                /* that the last look took */
} validation;

/* What doctor.c changes in a part of a batch, and what it wants to see of it. */
typedef struct probe {
    long shift;                                    /* sample b gets the picture of sample b + shift */
    bool blind;                                    /* stage 2: no picture */
    blip2_stage2_out two;
} probe;

/* ---- open.c, checkpoint.c, run.c --------------------------------------------------------------------- */
typedef struct run {
    const train_config *c;
    const ag_ranks *ranks;                         /* NULL: alone */
    const train_watch *watch;
    blip2_model model;
    blip2_contrastive contrastive;
    nn_store *store;
    tape *t;
    tokenizer *bert, *llm;
    feed feed;
    sampler sampler;
    train_stepper stepper;
    long steps;                                    /* optimiser steps in all */
    const long *samples, *visits;                  /* (batch) of the part in hand */
    long part;                                     /* its number in the run */
    blip2_large large;                             /* of the step in hand, with accum_exact; else parts 0 */
    tensor **pictures;                             /* (accumulate) a trained tower's, with accum_exact */
    long epoch, saved;                             /* saved: the step of the newest checkpoint */
    double saved_at;                               /* the clock's time then */
    int loaded;                                    /* which of the checkpoints the run went on from */
    validation *val;
    bool use;                                      /* nothing is trained: all is frozen, without moments */
    probe *probe;                                  /* or NULL */
    double data_seconds;
    bool stand_in;                                 /* the data is not there; see feed_stand_in */
} run;
extern const char *const train_tasks[];
static inline long samples_a_step(const run *r)
{
    return r->c->batch * r->c->accumulate * ag_world(r->ranks);
}
/* Of the first sample that this rank has in a part of the batch; parts are numbered through the run. */
static inline long place_of(const run *r, long part)
{
    return (part * ag_world(r->ranks) + ag_rank(r->ranks)) * r->c->batch;
}
/* Data first, then what it takes, then the model. run_open_data fills sizes into c; dry: what is not there is
 * told and something stands in for it. empty: for a tape that measures. */
bool run_check_parts(const train_config *c, error *e);     /* behind train_choose_parts */
bool run_open_data(run *r, train_config *c, bool dry, error *e);
bool run_open_model(run *r, bool empty, error *e);
bool run_start_model(run *r, bool resume, error *e);       /* from a checkpoint or from pretrained files */
bool run_lacks_list(const train_config *c, error *e);      /* true: e says which is not there */
void run_close(run *r);
bool run_start_ahead(run *r, error *e);             /* threads that make pictures, if any must be made */
/* What of a cache can be known before the model is there: features.broken, if the file lists these pictures.
 * A damaged file is an error. */
bool features_look(feed *f, const train_config *c, error *e);
long features_broken(const feature_cache *f);           /* how many it says are; -1: it does not know */
bool features_note(feed *f, error *e);             /* which are broken, before they are taken out */
bool features_check(const run *r, error *e);       /* can the run have one? */
/* Finds the cache, or makes it; asked to stop it leaves what it has, which another run goes on with. */
bool features_open(run *r, const volatile int *stop, error *e);
extern const char *const features_dtypes[];
h5_rows *features_rows(const run *r, const char *path, bool fill, error *e);       /* (rows,N,E) */
h5_rows *features_seconds(const run *r, const char *path, bool fill, error *e); /* (rows,1) the tower took */
/* This rank's share of FILE.part; *missing: not 0 if it was asked to stop before all was there. */
bool features_fill(run *r, const char *part, const volatile int *stop, long *missing, error *e);
bool features_show(void *feed, drawn d, uint8_t *to, error *e);    /* a row, for ahead_maker */
tensor *features_take(const feed *f, tape *t, long batch, long B); /* (B,N,E) */
void features_free(feature_cache *f);
bool save_model(run *r, error *e);           /* output_dir/model.h5 */
bool save_best(run *r, error *e);                  /* model_best.h5; checkpoint_best.h5 if save_freq is set */
bool checkpoint_due(const run *r);                 /* by run.save_minutes */
bool save_checkpoint(run *r, error *e);            /* output_dir/checkpoint.h5; the one before is kept */
bool save_checkpoint_here(run *r, error *e);       /* unless the newest is of this step */
bool save_last_checkpoint(run *r, error *e);       /* the same at the end of a run */
bool load_checkpoint(run *r, bool *found, error *e);       /* the newest that is whole, if there are any */
bool tidy_checkpoints(run *r, error *e);           /* behind it: what was found damaged goes */
bool set_checkpoint_aside(const run *r, error *e);
/* the loss of one part of the step in hand */
tensor *run_forward(void *r, tape *t, int part, train_losses *l);
/* After validation_open. decoded: the pictures are in memory. The sampler's memory of what it drew changes,
 * what it draws does not. */
bool run_measure(run *r, bool decoded, train_need *n, error *e);
bool run_fits(const run *r, const train_need *n, error *e);
void run_say(const run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void feed_tell_untold(const feed *f, const run *r, const char *list);  /* warns of what it left out; feed.c */
void run_warn(const run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Off where there is no datasets.val; dry: and where it is not there. */
bool validation_open(run *r, bool dry, error *e);
void validation_close(validation *v);
/* The configuration with the lists of datasets.val in the place of those to train on; how many there are. */
int watched_config(const train_config *c, train_config *to);
bool validation_due(const run *r);
/* Measures and judges: *best, is it the best so far? */
bool validation_look(run *r, bool *best, error *e);
bool validation_ends(const run *r);                /* run.patience is at its end */
void validation_write(const run *r, h5_out *f);    /* what a run that goes on must know */
bool validation_read(run *r, h5 *f, error *e);

/* ---- start.c: what stands at the beginning ------------------------------------------------------------- */
void say_modules(const run *r);
bool save_modules(const run *r, error *e);         /* output_dir/modules.txt */
bool save_about(const run *r, error *e);           /* output_dir/run.json; after config.yaml (about.c) */
void say_first(const run *r, const train_losses *l);       /* losses of step 1 beside what they are to be */

/* ---- tasks.c ----------------------------------------------------------------------------------------- */
void run_part(run *r, tape *t, int part);   /* its samples, and random numbers that are keyed by them */
bool run_exact(const run *r);                      /* are the parts of a step one batch? */
void task_before(void *context, tape *t);          /* train_stepper's, for a run */
void task_after(void *context, tape *t);
/* The loss () of the samples in hand, and what goes into the log. */
tensor *task_forward(run *r, tape *t, train_losses *l);
/* What a model that knows nothing gets; NAN: no rule. */
double task_start(const run *r, const char *loss, char why[32]);
#endif
