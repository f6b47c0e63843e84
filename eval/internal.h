/* internal.h - what the protocols of eval/ share. */
#ifndef EVAL_INTERNAL_H
#define EVAL_INTERNAL_H
#include "eval/eval.h"
#include <jansson.h>

typedef struct eval_data {
    record_list records;
    /* Records of one image_id are of one picture, and the first of them shows it. */
    long pictures;                                 /* in use */
    long *first, *next;                            /* (pictures) records; of each record the next one, -1 */
    long *of;                                      /* of each record its picture, -1: not in use */
    long without_caption;                          /* pictures that have none */
    long N, E;                                     /* tokens and width of their features */
    real *features;                                /* (pictures,N,E), or NULL: there is no room for all */
    json_t *warnings;                              /* texts */
} eval_data;

/* ---- settings.c, split.c ------------------------------------------------------------------------------- */
typedef struct eval_problems { error first, all; int count; error_kind kind; } eval_problems;
void eval_problem(eval_problems *p, const error *e);
bool eval_problems_end(eval_problems *p, error *e); /* true: there were none; one stays as it is */
void eval_config_check(const eval_config *c, eval_problems *p);
int eval_task(const char *name, error *e);         /* its number; -1: there is none */
enum { EVAL_CAPTIONS, EVAL_VQA, EVAL_RETRIEVAL, EVAL_TASKS };
/* The list, grouped by picture and cut at run.limit; broken pictures are told, or left out. */
bool eval_split_read(const eval_config *c, eval_data *d, error *e);
bool eval_split_look(const eval_config *c, eval_data *d, error *e);
void eval_split_free(eval_data *d);
char *eval_picture_path(const eval_config *c, const eval_data *d, long at);   /* mem_free it */
const record *eval_first(const eval_data *d, long at);        /* the record that shows it */
const record *eval_captioned(const eval_data *d, long at);    /* the first with a caption; NULL */
void eval_progress(const eval_watch *w, const char *what, long done, long of);
/* Also stands in metrics.json. */
void eval_warn(const eval_config *c, const eval_data *d, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Each protocol adds its figures to `metrics` and its results file to the output folder. */
bool eval_captions(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e);
bool eval_vqa(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e);
bool eval_retrieval_run(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e);
bool eval_save(const eval_config *c, const char *file, const json_t *what, error *e);  /* to output_dir */
bool eval_save_in(const char *folder, const char *file, const json_t *what, error *e);
json_t *eval_image_id(const record *r);            /* a number, or the text that the list has */
/* How texts were made and intervals drawn, to stand beside the figures; length: the longest text. */
json_t *eval_settings(const eval_session *s, const eval_config *c, long length);
json_t *eval_interval(long n, const double *values, double factor, const eval_config *c); /* [low, high] */
/* Of the mean of rows, of which row r is in cluster of[r]; clusters are drawn whole. */
json_t *eval_interval_of(long rows, const double *values, const long *of, long clusters, double factor,
                         const eval_config *c);
/* (n,N,E) of these pictures, mem_free it; where they are not held, through the tower again. NULL: failed. */
real *eval_rows(eval_session *s, const eval_config *c, const eval_data *d, const long *pictures, long n,
                error *e);
/* The same of any number of pictures, always through the tower, which is told of; pictures NULL: the first n.
 */
real *eval_look(eval_session *s, const eval_config *c, const eval_data *d, const long *pictures, long n,
                error *e);
/* As training reads them: cut at max_txt_len. Good until the session reads something else. */
bool eval_captions_read(eval_session *s, const char *const *texts, long n, blip2_text *to, error *e);
bool eval_likelihood(eval_session *s, const eval_config *c, const eval_data *d, json_t *m, error *e);
/* METEOR or SPICE (spice) by the user's own jar, added to m; annotations: COCO's. */
typedef struct eval_jar { const char *path, *folder; bool spice, whitespace; } eval_jar;
bool eval_jar_score(const eval_jar *jar, const json_t *results, const json_t *annotations, json_t *m,
                    error *e);
bool eval_jar_there(const char *path, error *e);   /* it and java */
extern const char *const eval_jar_files[2][5];     /* METEOR's and SPICE's in that folder; end with NULL */
void eval_jar_forget(const char *folder, bool spice);          /* removes these */

long eval_other(long n, long i);       /* the picture of n that is shown for i: another, if n > 1 */

/* ---- captions.c: what a caption of the synthetic world says is there ------------------------------- */
enum { EVAL_WORDS = 64, EVAL_PAIRS = 32 };
typedef struct eval_words {            /* the names that a list's objects have */
    const char *colour[EVAL_WORDS], *shape[EVAL_WORDS];
    int colours, shapes;
} eval_words;
eval_words eval_words_of(const record_list *l);
/* Pairs of a colour and the shape right behind it, as colour x EVAL_WORDS + shape: how many. */
int eval_pairs(const eval_words *v, const char *text, int pairs[EVAL_PAIRS]);
bool eval_names_objects(const eval_words *v, const record *r, const char *text);       /* all, and no other */

/* ---- session.c ------------------------------------------------------------------------------------- */
/* What is new in texts that go into files: without their prompts, bytes of 0 as "\0". */
void eval_plain(eval_text *texts, long n);

/* ---- pairing.c: what belongs together ---------------------------------------------------------------- */
typedef struct eval_candidate { const char *text; long picture, at, id; } eval_candidate;
typedef struct eval_pairing {               /* pictures, and texts (m) with the picture they are of */
    long n, m;
    long *rows;                        /* (n) which pictures of the split: those with a caption */
    eval_candidate *text;                   /* (m) */
    const char **words;                /* (m) */
    long **of_picture, **of_text;      /* right columns, ended by -1 */
} eval_pairing;
bool eval_pair(const eval_config *c, const eval_data *d, eval_pairing *to);
long eval_candidates(const eval_config *c, const eval_data *d);    /* how many pictures that chooses */
void eval_pairing_free(eval_pairing *p);

/* ---- weigh.c: ITC's and ITM's weights that make the right candidates most likely --------------------- */
typedef struct eval_weight {
    long rows;                         /* that read a right candidate and a wrong one */
    double cosine, odds, low, high;    /* weights of cosine / temperature and log odds; 95 % of the latter */
    double weight;                     /* odds / cosine, at least 0: run.itm_weight; NAN: cosine is not > 0 */
} eval_weight;
/* k: how many candidates a row reads. With 0 rows the weights are 1. */
eval_weight eval_weigh(tape *t, const eval_retrieval *r, const eval_pairing *p, double temperature, long k);

/* ---- vqa.c, retrieve.c ----------------------------------------------------------------------------- */
enum { EVAL_TYPES = 32 };
typedef struct eval_tally {            /* questions asked and answered right, by type */
    int count;
    long asked, right;
    struct { const char *type; long asked, right; } row[EVAL_TYPES];
} eval_tally;
void eval_tally_add(eval_tally *t, const char *type, bool right);
json_t *eval_tally_shares(const eval_tally *t);    /* {"TYPE": share, ..., "all": share, "questions": n} */
/* What a random order gives: the mean over rows of the chance that one of the row's own columns, those with
 * its id, is among k of n. */
double eval_chance(long n, const long *id, long k);
double eval_chance_of(long n, long right, long k); /* of one row, `right` of whose n columns are right */
double eval_chance_mrr(long n, long right);        /* the same of the reciprocal rank */
#endif
