/* retrieve.c - retrieval over a test split: each picture with its first caption; pictures whose captions
 * read the same count as right for each other. Recall by ITC alone and after re-ranking the best k by ITM,
 * beside chance.                                                                                           */
#include "eval/internal.h"
#include <stdio.h>
#include <string.h>

/* Equal numbers for equal captions. */
static long *ids_of(const eval_data *d, const char *const *texts)
{
    long *id = mem_new((size_t)d->n * sizeof *id);
    for (long i = 0; id && i < d->n; i++)
        for (id[i] = 0; id[i] < i && strcmp(texts[id[i]], texts[i]); id[i]++)
            ;
    return id;
}

double eval_chance(long n, const long *id, long k)
{
    double sum = 0;
    for (long i = 0; i < n; i++) {
        long m = 0;
        double miss = 1;
        for (long j = 0; j < n; j++)
            m += id[j] == id[i];
        for (long j = 0; j < k && j < n; j++)
            miss *= (double)(n - m - j > 0 ? n - m - j : 0) / (double)(n - j);
        sum += 1 - miss;
    }
    return sum / (double)n;
}

static json_t *recalls(const real *i2t, const real *t2i, long n, const long *id)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "i2t_r1", eval_recall(i2t, n, n, id, id, 1),
                     "i2t_r5", eval_recall(i2t, n, n, id, id, 5), "t2i_r1", eval_recall(t2i, n, n, id, id, 1),
                     "t2i_r5", eval_recall(t2i, n, n, id, id, 5));
}

typedef struct ranking {
    eval_session *s;
    const eval_data *d;
    blip2_text text;
    const long *id;
    long k;
    json_t *metrics;
} ranking;

static void rank(void *context)
{
    const ranking *x = context;
    const eval_data *d = x->d;
    tape *t = x->s->t;
    eval_retrieval r = eval_retrieve(&x->s->model, t, d->features, d->n, d->N, x->text, x->k);
    real *turned = ag_alloc_real(t, d->n * d->n);          /* itc by text */
    for (long i = 0; i < d->n; i++)
        for (long j = 0; j < d->n; j++)
            turned[j * d->n + i] = r.itc[i * d->n + j];
    const long *id = x->id;
    json_t *m = json_pack("{s:I, s:I, s:o, s:o, s:{s:f, s:f}}", "pictures", (json_int_t)d->n, "k_test",
                          (json_int_t)x->k,
                          "itc", recalls(r.itc, turned, d->n, id), "itm", recalls(r.i2t, r.t2i, d->n, id),
                          "chance", "i2t_r1", eval_chance(d->n, id, 1), "i2t_r5", eval_chance(d->n, id, 5));
    json_object_set_new(x->metrics, "retrieval", m);
}

static bool run(eval_session *s, const eval_config *c, const eval_data *d, const char *const *texts,
                const long *id, json_t *metrics, error *e)
{
    const tokenizer_options words = { .max = s->model.config.max_text, .literal = true };
    token_batch *batch = &s->lines;
    if (!tokenizer_batch(s->bert, d->n, texts, &words, batch, e))
        return false;
    ag_mark mark = ag_here(s->t);
    ranking x = { s, d, { d->n, batch->T, batch->ids, batch->mask }, id, c->k_test < d->n ? c->k_test : d->n,
                  metrics };
    bool ok = ag_try(s->t, rank, &x, e);
    ag_rewind(s->t, mark);
    return ok;
}

bool eval_retrieval_run(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e)
{
    eval_data some = *d;
    some.n = c->retrieval_pictures && c->retrieval_pictures < d->n ? c->retrieval_pictures : d->n;
    const char **texts = mem_new((size_t)some.n * sizeof *texts);
    for (long i = 0; texts && i < some.n; i++)
        texts[i] = d->records.items[i].caption_count ? d->records.items[i].captions[0] : "";
    long *id = texts ? ids_of(&some, texts) : NULL;
    bool ok = id ? run(s, c, &some, texts, id, metrics, e)
                 : error_set(e, "out of memory for %ld captions", some.n);
    mem_free(texts);
    mem_free(id);
    return ok;
}
