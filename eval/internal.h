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
/* Row i of features moved to row (i + n/2) % n: every picture is another's. */
real *eval_shuffled(const eval_data *d);           /* mem_free it; NULL: memory is out */
#endif
