/* index.h - features kept in a file, and the search among them (paper, section 4.4: ITC finds candidates, ITM
 * ranks them again). The file: dataset features, (n,Q,embed) of pictures or (n,embed) of texts, and root
 * attributes names (a JSON list of paths or texts), kind (images, texts), model (its path) and weights_xxh3,
 * a digest of what made them: features of other weights are of another space. */
#ifndef EVAL_INDEX_H
#define EVAL_INDEX_H
#include "eval/eval.h"
#pragma GCC visibility push(default)

typedef struct eval_index {
    bool images, named;                /* named: it says which weights made it, and they are the model's */
    long n, Q, embed;
    char **names;
    real *features;
} eval_index;
typedef struct eval_index_job {
    bool images;
    const char *const *names;          /* (n) pictures' paths, or texts */
    long n;
    const char *model;                 /* its path, for the file */
    void (*done)(void *context, long ready);               /* NULL, or told how many are ready */
    void (*bad)(void *context, const error *e);            /* told what is left out; NULL: an error */
    void *context;
} eval_index_job;
/* How many are in it; -1: failed. */
long eval_index_make(eval_session *s, const eval_index_job *job, const char *out, error *e);
bool eval_index_open(eval_index *x, const char *path, const blip2_model *m, error *e);
void eval_index_close(eval_index *x);
typedef struct eval_hit {
    long at;
    double itc, itm;
} eval_hit; /* itm: NAN where it was not asked */
/* The `most` best of the index for a text or a picture's path, best first; how many, -1: failed. The first
 * `rerank` are ranked again by the matching head, which reads their pictures again. */
long eval_search(eval_session *s, const eval_index *x, const char *query, bool shown, long most, long rerank,
                 eval_hit *to, error *e);
#pragma GCC visibility pop
#endif
