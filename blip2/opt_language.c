/* opt_language.c - OPT as BLIP-2's language model: one row holds what is given and what is said.
 *
 *     [soft tokens; </s> prompt caption \n]    loss = mean of -log p(label_i | inputs before i), no smoothing
 * Queries, padding and the prompt's tokens carry no loss (label -100). Without a prompt the first token,
 * </s>, is a target too, predicted from the last query. lavis blip2_opt.py.                                */
#include "blip2/internal.h"
#include <string.h>

static tensor *embed(const blip2_model *m, tape *t, const int *ids, long B, long T)
{
    return blip2_opt_embed(&m->opt, t, ids, B, T);                         /* (B,T,L) */
}

/* ---- stage 2 ------------------------------------------------------------------------------------------- */
/* (B,Q+T): what each position says, or IGNORED */
static const int *labels_of(tape *t, const blip2_stage2_in *in, long Q)
{
    long B = in->text.B, T = in->text.T;
    int *labels = ag_alloc(t, B * (Q + T) * (long)sizeof *labels);
    for (long b = 0; b < B; b++)
        for (long i = -Q; i < T; i++) {
            bool counts = i >= in->prompt_tokens && i >= 0 && in->text.mask[b * T + i];
            labels[b * (Q + T) + Q + i] = counts ? in->text.ids[b * T + i] : IGNORED;
        }
    return labels;
}

/* The mean over the targets, which are tokens first .. T-1; each is predicted one position earlier. */
static tensor *caption_loss(const blip2_model *m, tape *t, const blip2_stage2_in *in, long first,
                            tensor *hidden, const blip2_stage2_out *out)
{
    long B = in->text.B, T = in->text.T, S = hidden->dim[1], Q = S - T, n = T - first;
    int *ids = ag_alloc(t, B * n * (long)sizeof *ids);
    real *weight = in->loss_weight ? ag_alloc(t, B * n * (long)sizeof *weight) : NULL;
    for (long b = 0; b < B; b++)
        for (long i = 0; i < n; i++) {
            ids[b * n + i] = out->labels[b * S + Q + first + i];
            if (weight)
                weight[b * n + i] = in->loss_weight[b * T + first + i];
        }
    ag_ce rule = { .ids = ids, .ignore = IGNORED, .weight = weight };
    tensor *from = out->logits ? out->logits : hidden;
    tensor *rows = ag_slice(t, from, 1, Q + first - 1, n);                 /* (B,n,L or V) */
    tensor *mean = out->logits ? ag_cross_entropy(t, rows, &rule)
                               : ag_linear_cross_entropy(t, rows, m->opt.tokens.weight, NULL, &rule);
    return share_mean(t, in->ranks, mean, &rule, B * n);
}

static tensor *loss(const blip2_model *m, tape *t, const blip2_stage2_in *in, bool keep,
                    blip2_stage2_out *out)
{
    long first = in->prompt_tokens > 0 || in->features ? in->prompt_tokens : 1;    /* nothing precedes 0 */
    if (first >= in->text.T)
        ag_fail("stage2", "a text of %ld tokens, the first %ld of which are given: nothing is left to learn",
                in->text.T, first);
    if (in->target.T)
        ag_fail("stage2", "a target of %ld tokens: OPT has no decoder beside the text", in->target.T);
    out->labels = labels_of(t, in, out->embeddings->dim[1] - in->text.T);
    tensor *hidden = blip2_opt_forward(&m->opt, t, out->embeddings, out->mask, NULL);      /* (B,Q+T,L) */
    if (keep)
        out->logits = blip2_opt_logits(&m->opt, t, hidden);                /* (B,Q+T,V) */
    return caption_loss(m, t, in, first, hidden, out);
}

/* ---- token by token ------------------------------------------------------------------------------------ */
/* Logits (rows,V) at the last of the positions of `embeddings`, which are put behind what the caches hold. */
static tensor *last_logits(writer *w, tape *t, tensor *embeddings, const unsigned char *mask)
{
    long rows = embeddings->dim[0], T = embeddings->dim[1];
    tensor *hidden = blip2_opt_forward(&w->m->opt, t, embeddings, mask, w->cache);     /* (rows,T,L) */
    writer_advance(w, T);
    tensor *last = ag_slice(t, hidden, 1, T - 1, 1);                       /* (rows,1,L) */
    return blip2_opt_logits(&w->m->opt, t, ag_reshape(t, last, DIMS(rows, last->dim[2])));
}

static void begin(writer *w, tape *t)
{
    w->mask = ag_alloc(t, w->B * w->prefix);
}

static tensor *first_logits(writer *w, tape *t)
{
    blip2_stage2_out side = { 0 };
    /* (B,prefix,L) */
    tensor *inputs = language_input(w->m, t, w->features, w->question, w->prompt, false, &side);
    memcpy(w->mask, side.mask, (size_t)(w->B * w->prefix));
    return last_logits(w, t, inputs, w->mask);
}

static tensor *say(writer *w, tape *t, const int *ids, long rows)
{
    long S = w->cache->length + 1;
    unsigned char *mask = ag_alloc(t, rows * S);
    for (long r = 0; r < rows; r++) {
        memset(mask + r * S, 1, (size_t)S);
        memcpy(mask + r * S, w->mask + r / w->beams * w->prefix, (size_t)w->prefix);
    }
    tensor *words = blip2_opt_embed(&w->m->opt, t, ids, rows, 1);          /* (rows,1,L) */
    return last_logits(w, t, words, mask);
}

static void open_writer(writer *w, long given, const blip2_generate *o)
{
    const blip2_opt_config *c = &w->m->config.opt;
    if (given + generate_limit(o) - 2 > c->positions)      /* neither start nor the last token is ever read */
        ag_fail("generate", "%ld tokens before and up to %d new ones: the language model has %ld positions",
                given, generate_limit(o) - 1, c->positions);
    w->layers = c->layers;
    w->width = c->width;
    w->prefix = given;
    w->start = (int)c->bos;
    w->eos = (int)c->eos;
    w->begin = begin;
    w->first = first_logits;
    w->say = say;
}

const language_model language_opt = { embed, loss, open_writer };
