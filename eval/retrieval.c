/* retrieval.c - scores of all pictures against all texts: by ITC, and the best re-ranked by ITM (Li et al.
 * 2023, section 4.4; lavis blip2_qformer.py, compute_sim_matrix).
 *
 *     itc[i,j]  = max_q <u[i,q], w[j]>, no temperature
 *     best[i,j] = itc[i,j] + matching logit, -100 if not read
 *     odds[i,j] = matching logit - its opposite
 *
 * A picture reads its k best texts, and a text its k best pictures. A pair is read once, whichever side
 * asks for it, and picture by picture, so that each picture's keys and values are made once.               */
#include "eval/internal.h"
#include <string.h>

enum { BY_IMAGE = 1, BY_TEXT = 2 };                        /* who asks for a pair to be read */

/* Marks the k best of n numbers that stand `step` apart; of equals the first. */
static void mark_best(const real *x, unsigned char *marks, long n, long step, long k, unsigned char mark,
                      long *best)
{
    long held = 0;
    for (long j = 0; j < n; j++) {
        if (held == k && !(x[j * step] > x[best[k - 1] * step]))
            continue;
        long at = held < k ? held++ : k - 1;
        for (; at > 0 && x[j * step] > x[best[at - 1] * step]; at--)
            best[at] = best[at - 1];
        best[at] = j;
    }
    for (long r = 0; r < held; r++)
        marks[best[r] * step] |= mark;
}

/* Reads picture i with every text for which it is asked, and writes their scores where they were asked
 * for. */
static void read_picture(const blip2_model *m, tape *t, const real *features, long N, blip2_text all, long i,
                         const unsigned char *asked, eval_retrieval *r)
{
    ag_mark here = ag_here(t);
    int *texts = ag_alloc(t, all.B * (long)sizeof *texts);
    long n = 0;
    for (long j = 0; j < all.B; j++)
        if (asked[j])
            texts[n++] = (int)j;
    real *logits = ag_alloc_real(t, 2 * n);                                /* (n,2) */
    eval_itm(m, t, features, N, all, texts, n, logits);
    for (long p = 0; p < n; p++) {
        long j = texts[p];
        real score = r->itc[i * all.B + j] + logits[2*p + 1];
        if (asked[j] & BY_IMAGE)
            r->i2t[i * all.B + j] = score;
        if (asked[j] & BY_TEXT)
            r->t2i[j * r->images + i] = score;
        r->odds[i * all.B + j] = logits[2*p + 1] - logits[2*p];
    }
    ag_rewind(t, here);
}

eval_retrieval eval_retrieve(const blip2_model *m, tape *t, const real *features, long n, long N,
                             blip2_text texts, long k)
{
    return eval_retrieve_told(m, t, features, n, N, texts, k, NULL);
}

eval_retrieval eval_retrieve_told(const blip2_model *m, tape *t, const real *features, long n, long N,
                                  blip2_text texts, long k, const eval_watch *watch)
{
    bool recording = ag_record_on(t, false), training = ag_training(t, false);
    const blip2_qformer_config *q = &m->config.qformer;
    long pairs = n * texts.B;
    eval_retrieval r = { .images = n, .texts = texts.B };
    r.itc = ag_alloc_real(t, pairs);
    r.i2t = ag_alloc_real(t, pairs);
    r.t2i = ag_alloc_real(t, pairs);
    r.odds = ag_alloc_real(t, pairs);
    ag_mark here = ag_here(t);
    const real *u = eval_image_features(m, t, features, n, N), *w = eval_text_features(m, t, texts);
    eval_similarities(t, u, w, n, q->queries, texts.B, m->config.embed, r.itc);
    for (long p = 0; p < pairs; p++)
        r.i2t[p] = r.t2i[p] = -100, r.odds[p] = 0;
    unsigned char *asked = ag_alloc(t, pairs);             /* (images,texts) */
    long *best = ag_alloc(t, (k ? k : 1) * (long)sizeof *best);
    memset(asked, 0, (size_t)pairs);
    for (long i = 0; i < n && k; i++)
        mark_best(r.itc + i * texts.B, asked + i * texts.B, texts.B, 1, k, BY_IMAGE, best);
    for (long j = 0; j < texts.B && k; j++)
        mark_best(r.itc + j, asked + j, n, texts.B, k, BY_TEXT, best);
    if (k)
        eval_progress(watch, "re-ranking", 0, n);
    for (long i = 0; i < n && k; i++) {
        read_picture(m, t, features + i * N * q->memory_width, N, texts, i, asked + i * texts.B, &r);
        eval_progress(watch, "re-ranking", i + 1, n);
    }
    ag_rewind(t, here);
    ag_record_on(t, recording);
    ag_training(t, training);
    return r;
}

/* Other columns of the same score count as better: a model that gives all the same score finds nothing. */
double eval_recall(const real *scores, long rows, long columns, const long *row_id, const long *column_id,
                   long k)
{
    long found = 0;
    for (long i = 0; i < rows; i++) {
        const real *s = scores + i * columns;
        long own = -1, better = 0;
        for (long j = 0; j < columns; j++)
            if (column_id[j] == row_id[i] && (own < 0 || s[j] > s[own]))
                own = j;
        for (long j = 0; own >= 0 && j < columns; j++)
            better += column_id[j] != row_id[i] && !(s[j] < s[own]);
        found += own >= 0 && better < k;
    }
    return rows ? (double)found / (double)rows : 0;
}
