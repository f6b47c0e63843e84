/* likelihood.c - how likely the true captions are to a model: the mean loss of a token, its end included, and
 * perplexity, its exponential; of each picture the first caption.
 *
 *   stage 2   the language model behind the picture and its prompt: blip2_stage2's loss
 *   stage 1   the Q-Former's ITG head: blip2_stage1's, without label smoothing
 * With run.controls also behind another picture: what the difference is, is seen.                         */
#include "eval/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct reading {
    eval_session *s;
    const eval_data *d;
    const real *features;              /* (n,N,E) */
    long first, n;                     /* pictures of the split */
    double loss, tokens;               /* summed over tokens; how many */
} reading;

/* The tokens of a text behind `at`, as many as fit before `most`. */
static long put_text(const reading *x, const char *text, int *ids, long at, long most)
{
    const tokenizer_options plain = { .bare = true, .literal = true };
    error e;
    if (!tokenizer_encode(x->s->llm, text, (long)strlen(text), &plain, &x->s->line, &e))
        ag_fail("likelihood", "%s", e.text);
    for (long i = 0; i < x->s->line.n && at < most; i++)
        ids[at++] = x->s->line.ids[i];
    return at;
}

/* Rows of `</s>` (OPT) prompt, and caption end; weights are 1 from the caption on. T5: `said` alone, or the
 * prompt alone. */
static blip2_text rows_of(const reading *x, bool prompt, bool said, real **weight)
{
    tape *t = x->s->t;
    const blip2_config *c = &x->s->model.config;
    const blip2_llm llm = blip2_llm_of(c);
    const long T = c->max_text;
    const size_t length = strlen(c->prompt);
    const bool gap = length && c->prompt[length - 1] != ' ' && !llm.encodes;
    int *ids = ag_alloc(t, x->n * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, x->n * T);
    *weight = ag_alloc_real(t, x->n * T);
    for (long b = 0; b < x->n; b++) {
        int *row = ids + b * T;
        long at = 0;
        if (prompt && !llm.encodes)
            row[at++] = (int)llm.start;
        if (prompt)
            at = put_text(x, c->prompt, row, at, T - 1);
        long from = at;
        if (said) {
            const char *caption = eval_captioned(x->d, x->first + b)->texts[0];
            char *text = ag_alloc(t, (long)strlen(caption) + 2);
            sprintf(text, "%s%s", gap ? " " : "", caption);
            at = put_text(x, text, row, at, T - 1);
        }
        row[at++] = (int)llm.eos;
        for (long i = 0; i < T; i++) {
            mask[b*T + i] = i < at;
            (*weight)[b*T + i] = said && i >= from && i < at;
            if (i >= at)
                row[i] = (int)llm.pad;
        }
    }
    return (blip2_text){ x->n, T, ids, mask };
}

static double weights_of(blip2_text text, const real *weight)
{
    double sum = 0;
    for (long i = 0; i < text.B * text.T; i++)
        sum += (double)weight[i];
    return sum;
}

static void read_stage2(reading *x, tensor *features)
{
    tape *t = x->s->t;
    const bool encodes = blip2_llm_of(&x->s->model.config).encodes;
    real *weight, *unused;
    blip2_stage2_in in = { .features = features };
    if (encodes) {
        in.text = rows_of(x, true, false, &unused);
        in.target = rows_of(x, false, true, &weight);
    } else
        in.text = rows_of(x, true, true, &weight);
    in.loss_weight = weight;
    blip2_stage2_out out = { 0 };
    blip2_stage2(&x->s->model, t, &in, false, &out);
    double tokens = weights_of(encodes ? in.target : in.text, weight);
    x->loss += ag_value(out.loss) * tokens;
    x->tokens += tokens;
}

static void read_stage1(reading *x, tensor *features)
{
    tape *t = x->s->t;
    const char **texts = ag_alloc(t, x->n * (long)sizeof *texts);
    int *next = ag_alloc(t, x->n * (long)sizeof *next);    /* ITM is made too: its pairs do not matter here */
    for (long b = 0; b < x->n; b++) {
        texts[b] = eval_captioned(x->d, x->first + b)->texts[0];
        next[b] = (int)((b + 1) % x->n);
    }
    blip2_stage1_in in = { .features = features, .negative_image = next, .negative_text = next };
    blip2_stage1_out out = { 0 };
    blip2_model m = x->s->model;
    error e;
    if (!eval_captions_read(x->s, texts, x->n, &in.text, &e))
        ag_fail("likelihood", "%s", e.text);
    m.config.label_smoothing = 0;
    blip2_stage1(&m, t, &in, &out);
    long tokens = 0;
    for (long i = 0; i < x->n * (out.tokens - 1); i++)
        tokens += out.itg_labels[i] >= 0;
    x->loss += ag_value(out.itg) * (double)tokens;
    x->tokens += (double)tokens;
}

static void read_some(void *context)
{
    reading *x = context;
    tape *t = x->s->t;
    bool recording = ag_record_on(t, false), training = ag_training(t, false);
    tensor *features = ag_copy_in(t, DIMS(x->n, x->d->N, x->d->E), x->features);           /* (n,N,E) */
    if (x->s->model.config.llm == BLIP2_LLM_NONE)
        read_stage1(x, features);
    else
        read_stage2(x, features);
    ag_record_on(t, recording);
    ag_training(t, training);
}

/* The mean loss of a token. shift: each picture is that many places further on. */
static bool mean_loss(eval_session *s, const eval_config *c, const eval_data *d, long shift, double *loss,
                      double *tokens, error *e)
{
    reading x = { .s = s, .d = d };
    const long n = d->pictures;
    const char *what = shift ? "perplexity, shuffled" : "perplexity";
    eval_progress(&c->watch, what, 0, n);
    for (long first = 0; first < n; first += x.n) {
        long seen[EVAL_BATCH];
        x.n = n - first < c->batch ? n - first : c->batch;
        x.first = first;
        for (long i = 0; i < x.n; i++)
            seen[i] = (first + i + shift) % n;
        real *features = eval_rows(s, c, d, seen, x.n, e);
        ag_mark mark = ag_here(s->t);
        x.features = features;
        bool ok = features && ag_try(s->t, read_some, &x, e);
        ag_rewind(s->t, mark);
        mem_free(features);
        if (!ok)
            return false;
        eval_progress(&c->watch, what, first + x.n, n);
    }
    *tokens = x.tokens;
    *loss = x.loss / x.tokens;
    return isfinite(*loss) || error_set(e, "perplexity: the loss of the true captions is not finite");
}

bool eval_likelihood(eval_session *s, const eval_config *c, const eval_data *d, json_t *m, error *e)
{
    double tokens, loss;
    if (!mean_loss(s, c, d, 0, &loss, &tokens, e))
        return false;
    json_object_set_new(m, "perplexity", json_real(exp(loss)));
    json_object_set_new(m, "lm_loss", json_real(loss));
    json_object_set_new(m, "tokens", json_integer((json_int_t)tokens));
    if (!c->controls || d->pictures < 2)
        return true;
    if (!mean_loss(s, c, d, d->pictures / 2, &loss, &tokens, e))
        return false;
    json_object_set_new(m, "perplexity_shuffled", json_real(exp(loss)));
    return true;
}
