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
/* Row i of features moved to row (i + n/2) % n: every picture is another's. */
real *eval_shuffled(const eval_data *d);           /* mem_free it; NULL: memory is out */

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
#endif
