/* retrieval.c - scores of all pictures against all texts: by ITC, and the best re-ranked by ITM (Li et al.
 * 2023, section 4.4; lavis blip2_qformer.py, compute_sim_matrix).
 *
 *     itc[i,j]  = max_q <u[i,q], w[j]>, no temperature
 *     best[i,j] = itc[i,j] + matching logit, -100 if not read
 *
 * A picture reads its k best texts, and a text its k best pictures. A pair is read once, whichever side
 * asks for it, and picture by picture, so that each picture's keys and values are made once.               */
#include "eval/eval.h"
#include <string.h>

enum { GROUP = 32 };                                       /* pictures or texts in one pass */
enum { BY_IMAGE = 1, BY_TEXT = 2 };                        /* who asks for a pair to be read */

static long least(long a, long b) { return a < b ? a : b; }

static blip2_text rows_of(tape *t, blip2_text all, const int *rows, long n)
{
    int *ids = ag_alloc(t, n * all.T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, n * all.T);
    for (long r = 0; r < n; r++) {
        memcpy(ids + r * all.T, all.ids + rows[r] * all.T, (size_t)all.T * sizeof *ids);
        memcpy(mask + r * all.T, all.mask + rows[r] * all.T, (size_t)all.T);
    }
    return (blip2_text){ n, all.T, ids, mask };
}

/* u (n,Q,embed) */
static real *image_features(const blip2_model *m, tape *t, const real *features, long n, long N)
{
    long E = m->config.qformer.memory_width, row = m->config.qformer.queries * m->config.embed;
    real *u = ag_alloc_real(t, n * row);
    for (long i = 0; i < n; i += GROUP) {
        ag_mark here = ag_here(t);
        tensor *x = ag_copy_in(t, DIMS(least(GROUP, n - i), N, E), features + i * N * E);
        tensor *queries = blip2_image_queries(m, t, x, NULL, NULL);        /* (n,Q,D) */
        ag_read(blip2_image_features(m, t, queries), u + i * row);
        ag_rewind(t, here);
    }
    return u;
}

/* w (n,embed) */
static real *text_features(const blip2_model *m, tape *t, blip2_text all)
{
    real *w = ag_alloc_real(t, all.B * m->config.embed);
    for (long i = 0; i < all.B; i += GROUP) {
        ag_mark here = ag_here(t);
        blip2_text some = { least(GROUP, all.B - i), all.T, all.ids + i * all.T, all.mask + i * all.T };
        tensor *hidden = blip2_text_hidden(m, t, some);                    /* (n,T,D) */
        ag_read(blip2_text_feature(m, t, hidden), w + i * m->config.embed);
        ag_rewind(t, here);
    }
    return w;
}

static void similarities(tape *t, const real *u, const real *w, long n, long Q, long texts, long E, real *itc)
{
    ag_mark here = ag_here(t);
    real *of_query = ag_alloc_real(t, Q * texts);
    for (long i = 0; i < n; i++) {
        ag_gemm(false, true, Q, texts, E, 1, u + i * Q * E, E, w, E, 0, of_query, texts);
        for (long j = 0; j < texts; j++) {
            real best = of_query[j];
            for (long q = 1; q < Q; q++)
                best = of_query[q * texts + j] > best ? of_query[q * texts + j] : best;
            itc[i * texts + j] = best;
        }
    }
    ag_rewind(t, here);
}

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

/* Reads picture i with n texts and writes their scores where they were asked for. */
static void read_group(const blip2_model *m, tape *t, const nn_kv *memory, blip2_text all, const int *texts,
                       long n, long i, const unsigned char *asked, eval_retrieval *r)
{
    static const int own[GROUP];                           /* every row reads the one picture there is */
    ag_mark here = ag_here(t);
    real logits[2 * GROUP];
    ag_read(blip2_itm_logits(m, t, memory, own, rows_of(t, all, texts, n), NULL), logits);     /* (n,2) */
    ag_rewind(t, here);
    for (long p = 0; p < n; p++) {
        long j = texts[p];
        real score = r->itc[i * all.B + j] + logits[2 * p + 1];
        if (asked[j] & BY_IMAGE)
            r->i2t[i * all.B + j] = score;
        if (asked[j] & BY_TEXT)
            r->t2i[j * r->images + i] = score;
    }
}

/* Reads picture i with every text for which it is asked. */
static void read_picture(const blip2_model *m, tape *t, const real *features, long N, blip2_text all, long i,
                         const unsigned char *asked, eval_retrieval *r)
{
    ag_mark here = ag_here(t);
    tensor *x = ag_copy_in(t, DIMS(1, N, m->config.qformer.memory_width), features);
    tensor *image = nn_layer_norm_forward(&m->ln_vision, t, x);            /* (1,N,E) */
    nn_kv *memory = ag_alloc(t, m->config.qformer.layers * (long)sizeof *memory);
    int *texts = ag_alloc(t, all.B * (long)sizeof *texts);
    long n = 0;
    blip2_qformer_memory(&m->qformer, t, image, memory);
    for (long j = 0; j < all.B; j++)
        if (asked[j])
            texts[n++] = (int)j;
    for (long at = 0; at < n; at += GROUP)
        read_group(m, t, memory, all, texts + at, least(GROUP, n - at), i, asked, r);
    ag_rewind(t, here);
}

eval_retrieval eval_retrieve(const blip2_model *m, tape *t, const real *features, long n, long N,
                             blip2_text texts, long k)
{
    bool recording = ag_record_on(t, false), training = ag_training(t, false);
    const blip2_qformer_config *q = &m->config.qformer;
    long pairs = n * texts.B;
    eval_retrieval r = { .images = n, .texts = texts.B };
    r.itc = ag_alloc_real(t, pairs);
    r.i2t = ag_alloc_real(t, pairs);
    r.t2i = ag_alloc_real(t, pairs);
    ag_mark here = ag_here(t);
    const real *u = image_features(m, t, features, n, N), *w = text_features(m, t, texts);
    similarities(t, u, w, n, q->queries, texts.B, m->config.embed, r.itc);
    for (long p = 0; p < pairs; p++)
        r.i2t[p] = r.t2i[p] = -100;
    unsigned char *asked = ag_alloc(t, pairs);             /* (images,texts) */
    long *best = ag_alloc(t, (k ? k : 1) * (long)sizeof *best);
    memset(asked, 0, (size_t)pairs);
    for (long i = 0; i < n && k; i++)
        mark_best(r.itc + i * texts.B, asked + i * texts.B, texts.B, 1, k, BY_IMAGE, best);
    for (long j = 0; j < texts.B && k; j++)
        mark_best(r.itc + j, asked + j, n, texts.B, k, BY_TEXT, best);
    for (long i = 0; i < n && k; i++)
        read_picture(m, t, features + i * N * q->memory_width, N, texts, i, asked + i * texts.B, &r);
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
            better += column_id[j] != row_id[i] && s[j] >= s[own];
        found += own >= 0 && better < k;
    }
    return rows ? (double)found / (double)rows : 0;
}
