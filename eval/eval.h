/* eval.h - how well a model does: protocols and metrics. */
#ifndef EVAL_H
#define EVAL_H
#include "blip2/blip2.h"
#pragma GCC visibility push(default)

/* ---- retrieval: which text goes with which picture (paper, section 4.4; lavis compute_sim_matrix) ---------------- */
typedef struct eval_retrieval {
    long images, texts;
    real *itc;                         /* (images,texts) max over queries of the cosine */
    real *i2t, *t2i;                   /* (images,texts), (texts,images): itc + matching logit for the best k of each
                                          row, -100 elsewhere */
} eval_retrieval;
/* features (n,N,E) of the vision tower. The arrays live on the tape; k 0: itc alone. */
eval_retrieval eval_retrieve(const blip2_model *m, tape *t, const real *features, long n, long N, blip2_text texts, long k);
/* The share of rows that have a column of their own id among their k best. */
double eval_recall(const real *scores, long rows, long columns, const long *row_id, const long *column_id, long k);
#pragma GCC visibility pop
#endif
