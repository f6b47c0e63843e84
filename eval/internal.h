/* internal.h - what the protocols of eval/ share. */
#ifndef EVAL_INTERNAL_H
#define EVAL_INTERNAL_H
#include "eval/eval.h"
#include <jansson.h>

typedef struct eval_data {
    record_list records;
    long n, N, E;                                  /* pictures in use; tokens and width of their features */
    real *features;                                /* (n,N,E) */
} eval_data;

/* Each protocol adds its figures to `metrics` and its results file to the output folder. */
bool eval_captions(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e);
bool eval_vqa(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e);
bool eval_retrieval_run(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e);
bool eval_save(const eval_config *c, const char *file, const json_t *what, error *e);  /* to output_dir */
json_t *eval_image_id(const record *r);            /* a number, or the text that the list has */
/* How texts were made and intervals drawn, to stand beside the figures; length: the longest text. */
json_t *eval_settings(const eval_session *s, const eval_config *c, long length);
json_t *eval_interval(long n, const double *values, double factor, const eval_config *c); /* [low, high] */
/* The first record of each picture, in order: records of one image_id are of one. mem_free it; NULL:
 * memory. */
long *eval_pictures(const eval_data *d, long *n);
/* (n,N,E), mem_free it */
real *eval_rows(const eval_data *d, const real *features, const long *rows, long n);
/* As training reads them: cut at max_txt_len. Good until the session reads something else. */
bool eval_captions_read(eval_session *s, const char *const *texts, long n, blip2_text *to, error *e);
bool eval_likelihood(eval_session *s, const eval_config *c, const eval_data *d, const long *rows, long n,
                     json_t *m, error *e);
/* METEOR and SPICE by the user's own jars, where they are configured. */
bool eval_jars(const eval_config *c, const json_t *results, const json_t *references, json_t *m, error *e);

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
void eval_plain(eval_text *texts, long n);         /* bytes of 0 in texts that go into files become "\0" */

/* ---- pairing.c: what belongs together ---------------------------------------------------------------- */
typedef struct eval_candidate { const char *text; long picture, at, id; } eval_candidate;
typedef struct eval_pairing {               /* pictures, and texts (m) with the picture they are of */
    long n, m;
    const long *rows;                  /* (n) records */
    eval_candidate *text;                   /* (m) */
    const char **words;                /* (m) */
    long **of_picture, **of_text;      /* right columns, ended by -1 */
} eval_pairing;
bool eval_pair(const eval_config *c, const eval_data *d, const long *rows, long n, eval_pairing *to);
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
#endif
