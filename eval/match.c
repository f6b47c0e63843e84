/* match.c - how well pictures and texts go together, by the two heads of stage 1 (Li et al. 2023, section
 * 3.2; lavis blip2_image_text_matching.py).
 *
 *     itc[i,j] = max_q <u[i,q], w[j]>, no temperature
 *     itm      = logit of class 1 of mean_q head(h[:,q]), its probability by softmax over both classes
 *
 * Pictures and texts are read in groups, so that memory does not grow with their number.                   */
#include "eval/eval.h"
#include <math.h>
#include <string.h>

enum { GROUP = 32 };                                       /* pictures or texts in one pass */

static long least(long a, long b) { return a < b ? a : b; }

/* A model that gives no numbers would otherwise rank first. */
static void check_finite(const char *op, const char *what, long n, const real *x)
{
    for (long i = 0; i < n; i++)
        if (!isfinite(x[i]))
            ag_fail(op, "%s is not finite: the model is not whole", what);
}

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

real *eval_image_features(const blip2_model *m, tape *t, const real *features, long n, long N)
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

real *eval_text_features(const blip2_model *m, tape *t, blip2_text all)
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

void eval_similarities(tape *t, const real *u, const real *w, long n, long Q, long texts, long embed,
                       real *itc)
{
    ag_mark here = ag_here(t);
    real *of_query = ag_alloc_real(t, Q * texts);
    for (long i = 0; i < n; i++) {
        ag_gemm(false, true, Q, texts, embed, 1, u + i * Q * embed, embed, w, embed, 0, of_query, texts);
        for (long j = 0; j < texts; j++) {
            real best = of_query[j];
            for (long q = 1; q < Q; q++)
                best = of_query[q * texts + j] > best ? of_query[q * texts + j] : best;
            itc[i * texts + j] = best;
        }
    }
    check_finite("retrieval", "the similarity of a picture and a text", n * texts, itc);
    ag_rewind(t, here);
}

void eval_itm(const blip2_model *m, tape *t, const real *features, long N, blip2_text all, const int *rows,
              long n, real *logits)
{
    static const int own[GROUP];                           /* every row reads the one picture there is */
    ag_mark here = ag_here(t);
    tensor *x = ag_copy_in(t, DIMS(1, N, m->config.qformer.memory_width), features);
    tensor *image = nn_layer_norm_forward(&m->ln_vision, t, x);            /* (1,N,E) */
    nn_kv *memory = ag_alloc(t, m->config.qformer.layers * (long)sizeof *memory);
    blip2_qformer_memory(&m->qformer, t, image, memory);
    for (long at = 0; at < n; at += GROUP) {
        ag_mark inner = ag_here(t);
        blip2_text some = rows_of(t, all, rows + at, least(GROUP, n - at));
        ag_read(blip2_itm_logits(m, t, memory, own, some, NULL), logits + 2 * at);     /* (n,2) */
        ag_rewind(t, inner);
    }
    check_finite("matching", "the logit of a picture and a text", 2 * n, logits);
    ag_rewind(t, here);
}

void eval_match_texts(const blip2_model *m, tape *t, const real *features, long N, blip2_text texts,
                      eval_match *to)
{
    bool recording = ag_record_on(t, false), training = ag_training(t, false);
    ag_mark here = ag_here(t);
    real *logits = ag_alloc_real(t, 2 * texts.B), *itc = ag_alloc_real(t, texts.B);
    int *all = ag_alloc(t, texts.B * (long)sizeof *all);
    for (long j = 0; j < texts.B; j++)
        all[j] = (int)j;
    const real *u = eval_image_features(m, t, features, 1, N), *w = eval_text_features(m, t, texts);
    eval_similarities(t, u, w, 1, m->config.qformer.queries, texts.B, m->config.embed, itc);
    eval_itm(m, t, features, N, texts, all, texts.B, logits);
    for (long j = 0; j < texts.B; j++) {
        double no = (double)logits[2*j], yes = (double)logits[2*j + 1];
        to[j] = (eval_match){ .itc = (double)itc[j], .itm = yes, .probability = 1 / (1 + exp(no - yes)) };
    }
    ag_rewind(t, here);
    ag_record_on(t, recording);
    ag_training(t, training);
}

/* As LAVIS: cleaned (blip_caption) and cut at max_txt_len. As Hugging Face: as it stands. */
bool eval_texts(eval_session *s, const char *const *texts, long n, blip2_reference reference, blip2_text *to,
                error *e)
{
    const blip2_config *c = &s->model.config;
    bool clean = reference == BLIP2_LAVIS, ok = true;
    const tokenizer_options words = { .max = clean ? c->max_text : c->qformer.positions, .literal = true };
    token_batch batch = { 0 };
    char **own = mem_new((size_t)n * sizeof *own);
    for (long i = 0; own && ok && i < n; i++)
        ok = (own[i] = clean ? clean_caption(texts[i]) : mem_text("%s", texts[i])) != NULL;
    ok = (own && ok) || error_set(e, "out of memory for %ld texts", n);
    ok = ok && tokenizer_batch(s->bert, n, (const char *const *)own, &words, &batch, e);
    if (ok) {
        unsigned char *mask = ag_alloc(s->t, n * batch.T);
        memcpy(mask, batch.mask, (size_t)(n * batch.T));
        *to = (blip2_text){ n, batch.T, ag_ids(s->t, batch.ids, n * batch.T), mask };
    }
    for (long i = 0; own && i < n; i++)
        mem_free(own[i]);
    mem_free(own);
    token_batch_free(&batch);
    return ok;
}
