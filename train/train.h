/* train.h - optimiser, schedules, data order, the loop, checkpoints and logs. Tasks: stage 1, stage 2, and
 * the two small pre-trainings that make frozen towers from nothing (a CLIP-style ViT, OPT as a language
 * model).                                                                                                  */
#ifndef TRAIN_H
#define TRAIN_H
#include "blip2/blip2.h"
#pragma GCC visibility push(default)

/* ---- AdamW (Loshchilov & Hutter 2019), as torch.optim.AdamW computes it ------------------------------ */
typedef struct train_adamw { double lr, beta1, beta2, eps, weight_decay; } train_adamw;
bool train_decays(const nn_entry *p);          /* LAVIS: not if it is 1-D or its name ends in ".bias" */
/* Layer-wise decay of the tower's learning rate, LAVIS's: decay^(depth + 1 - id) (groups.c); 1 elsewhere. */
double train_layer_factor(const blip2_vit_config *v, const char *name, double decay);
void train_adamw_step(nn_store *s, const train_adamw *o, long step);       /* step counts from 1 */
double train_grad_norm(const nn_store *s);         /* of all trainable parameters together */
void train_scale_grad(nn_store *s, double factor);

/* ---- learning rate by LAVIS's rules (lavis/common/optims.py) and, by_step, the paper's smooth cosine - */
typedef enum { TRAIN_COSINE, TRAIN_STEP, TRAIN_CONSTANT } train_schedule_kind;
typedef struct train_schedule {
    train_schedule_kind kind;
    double init_lr, min_lr, warmup_lr, decay_rate; /* warmup_lr < 0: init_lr */
    long warmup_steps, max_epoch, steps_per_epoch;
    long steps;                        /* by_step: of the run; 0: max_epoch of steps_per_epoch */
    bool by_step;                      /* cosine over all steps after the warm-up; else a staircase */
} train_schedule;
double train_lr(const train_schedule *s, long epoch, long step);           /* step within the epoch */

/* ---- one optimiser step ------------------------------------------------------------------------------ */
enum { TRAIN_LOSSES = 16, TRAIN_GROUPS = 8 };
typedef struct train_losses {
    int count;
    const char *name[TRAIN_LOSSES];
    double value[TRAIN_LOSSES], grad_norm;         /* of the gradient before it is clipped; here and below */
    int groups;                        /* parts of the model that are trained */
    const char *group[TRAIN_GROUPS];   /* "grad_norm_queries" */
    double group_norm[TRAIN_GROUPS];
} train_losses;
void train_group_norms(const nn_store *s, train_losses *l);            /* groups.c */
void train_loss(train_losses *l, const char *name, double value);      /* one number of the log of a step */
/* Builds the loss () of one part (0..accumulate-1) of the batch and names what goes into the log. */
typedef tensor *(*train_forward)(void *ctx, tape *t, int part, train_losses *losses);
/* Before the first part, and behind the last: for parts that are one batch (blip2_large). What the first
 * leaves on the tape stands there until the end of the step. */
typedef void (*train_around)(void *ctx, tape *t);
typedef struct train_stepper {
    nn_store *store;
    tape *t;
    train_adamw adamw;
    double clip;                       /* largest gradient norm, 0: none (LAVIS has none) */
    int accumulate;                    /* parts a step; the loss of each is divided by it */
    uint64_t seed;
    long step;                         /* done so far */
    const ag_ranks *ranks;             /* that share the batch; losses and gradients are their means. NULL */
    train_around before, after;        /* NULL: parts know nothing of each other */
} train_stepper;
/* False, and weights as before: loss or gradient not finite; the error names step and first bad tensor. Or
 * nothing that is trained has a part in the loss: ERROR_USAGE. */
bool train_step(train_stepper *s, train_forward forward, void *ctx, train_losses *losses, error *e);


/* ---- a run ------------------------------------------------------------------------------------------- */
typedef enum { TRAIN_STAGE1, TRAIN_STAGE2, TRAIN_VIT, TRAIN_LM } train_task;
typedef enum { TRAIN_IDENTITY_NONE, TRAIN_IDENTITY_LIST, TRAIN_IDENTITY_CAPTION, TRAIN_IDENTITY_TEXT
} train_identity;
typedef enum { TRAIN_VIEW_WHOLE, TRAIN_VIEW_CROP, TRAIN_VIEW_RANDOM } train_view;
typedef struct train_data {            /* one data set */
    char root[CONFIG_TEXT_SIZE], images[CONFIG_TEXT_SIZE], train_list[CONFIG_TEXT_SIZE];
    char text_list[CONFIG_TEXT_SIZE];
    char val_list[CONFIG_TEXT_SIZE];
    long max_samples, image_size;      /* image_size: as LAVIS's files say it; 0, or the model's */
    int view, clean;                   /* clean: as blip_caption and blip_question do, 0: not */
    double ratio, min_scale, max_scale, flip, magnitude;
} train_data;
typedef struct train_config {
    blip2_config model;
    config_list pretrained, freeze;
    char bert[CONFIG_TEXT_SIZE], bert_tokenizer[CONFIG_TEXT_SIZE], llm_tokenizer[CONFIG_TEXT_SIZE];
    blip2_contrastive_config contrastive;
    train_data data, set[CONFIG_NAMED_MOST];   /* the only data set; or those that have names */
    config_named sets;
    char output_dir[CONFIG_TEXT_SIZE], feature_cache[CONFIG_TEXT_SIZE];
    long cache_views, cache_seed;
    int cache_dtype;                   /* f16 bf16 f32 */
    int task, schedule, by_step, identity, on_bad_sample, best_by;
    long memory_mb, num_workers;
    double max_bad_fraction;
    long seed, max_iters, max_epoch, batch, accumulate, warmup_steps, questions, log_freq,
        save_freq, valid_freq, val_samples, patience;
    double init_lr, min_lr, warmup_lr, lr_decay_rate, weight_decay, beta1, beta2, max_grad_norm, save_minutes;
    double caption_share, context_weight, prefix_share;
    blip2_stage1_weights loss_weights;
    double hard_negatives;
    double lr_layer_decay, temp_lr, drop_path;
    bool families, first_caption, memory_check, accum_exact, recompute, apply_layer_decay, freeze_vit,
        grad_checkpoint;
} train_config;
enum { TRAIN_TABLES = 7 };
train_config train_config_default(void);
bool train_saved(const train_config *c);           /* does output_dir have a checkpoint? */
void train_choose_parts(train_config *c); /* the parts of the model that its task needs, and no others */
int train_sets(const train_config *c, const train_data **sets);    /* how many; the first */
int train_config_tables(train_config *c, config_table to[TRAIN_TABLES]);   /* sections run, datasets, model */

/* What a configuration names on the disk, looked at before any of it is read: all that is not there, and
 * folders that cannot be written, in one list. resume: weights are then the checkpoint's. */
bool train_paths(const train_config *c, bool resume, error *e);

/* Who watches a run; called between steps, by the thread that trains. Functions may be NULL. */
typedef struct train_line {            /* one step */
    const char *task;
    long step, steps, first, epoch, samples;       /* step counts from 1; first: done before this process */
    long bad_samples;                              /* broken pictures that are left out */
    long in_epoch, per_epoch;                      /* of the steps of an epoch, in_epoch from 0 */
    const train_losses *losses, *watched;          /* watched: of datasets.val, where there is one, or NULL */
    bool looked, best;                             /* watched was measured now, and is the best so far */
    double lr, data_seconds, step_seconds, watch_seconds;
    bool shown;                                    /* log_freq says that a person is to see it */
} train_line;
typedef struct train_watch {
    void *context;
    void (*note)(void *context, const char *text);
    void (*warn)(void *context, const char *text);
    void (*step)(void *context, const train_line *line);
} train_watch;
/* config_open, for these tables. LAVIS's keys that change nothing are taken and named in a warning (watch
 * NULL: in none); those that would change the run are an error. ranks: how many the run has, which LAVIS's
 * world_size must agree with; 0: any. */
bool train_config_open(train_config *c, const char *path, char *const *words, int count, long ranks,
                       const train_watch *watch, error *e);
typedef struct train_options {
    bool resume;                       /* go on from the newest whole checkpoint, to the same bits */
    /* says what the run needs; trains nothing, writes nothing, allocates no model. Data that is not there is
     * a warning. With resume: all is opened */
    bool dry_run;
    const volatile int *stop;          /* set by a signal: end after the step in hand; NULL */
    long ranks;                        /* processes that share each step's batch; 0, 1: this one alone */
    const train_watch *watch;          /* NULL: nobody */
} train_options;
/* What a run needs, counted before its model is there (need.c). Bytes of one rank, but for the last line
 * of them. */
enum { TRAIN_PARTS = 24 };
typedef struct train_need {
    struct train_need_part { char name[64]; long trained, frozen; } part[TRAIN_PARTS];
    int count;
    long trained, frozen, steps, samples;          /* parameters; steps in all; samples a step */
    double parameters, gradients, moments, activations, pool, pictures, texts, program;
    double bytes, available;                       /* the peak, and what there is, of all ranks together */
    const char *limit;                             /* what limits it */
    double flops; /* a step's matrix products, of all ranks; 2 a multiply-add */
    bool stand_in;                                 /* the data was not there: texts of full length */
} train_need;
typedef struct train_result {
    long steps, peak_bytes, bad_samples, best_step;        /* best_step 0: nothing was measured on the way */
    double seconds, best;
    bool stopped, early;                                   /* early: run.patience ended it */
    train_need need;
} train_result;
extern const char *const train_best_names[];               /* by run.best_by; ends with NULL */
/* Each of N ranks takes run.batch_size_train samples of a step, as in LAVIS: N ranks of batch b see the same
 * samples, random numbers and losses as one of batch N b. Ranks are processes: before the first thread.
 *
 * Trains to the end and writes output_dir/{config.yaml,modules.txt,log.jsonl,metrics.csv,model.h5} and
 * TensorBoard's events, checkpoint.h5 every save_freq steps or save_minutes and at the end, and with
 * datasets.val model_best.h5. A run that is stopped saves model and checkpoint; one that meets a number that
 * is not finite saves the checkpoint before it.                                                            */
bool train_run(const train_config *c, const train_options *o, train_result *result, error *e);

/* ---- doctor: is a model of stage 1 or 2 one of those that trained badly? ------------------------------ */
typedef enum { TRAIN_FINE, TRAIN_DOUBTFUL, TRAIN_ILL } train_verdict;
typedef struct train_finding {
    char name[32], what[160], threshold[80];
    double figure, low, high;          /* and its 95 % interval over batches; NAN: none */
    train_verdict verdict;
    const char *advice;                /* for one that is not fine */
} train_finding;
enum { TRAIN_FINDINGS = 16 };
typedef struct train_diagnosis {
    int task, count;
    long batches, batch;
    const char *left_out;              /* a test that says nothing of such a model, and why; or NULL */
    train_finding finding[TRAIN_FINDINGS];
} train_diagnosis;
/* Looks at datasets.val, or else at what was trained on: at most `samples` of each list. */
bool train_doctor(const train_config *c, const char *model, long samples, const train_watch *watch,
                  train_diagnosis *d, error *e);
#pragma GCC visibility pop
#endif
