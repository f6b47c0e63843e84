/* t5_language.c - T5 as BLIP-2's language model: the encoder reads what is given, the decoder says the rest.
 *
 *     encoder  [soft tokens; prompt </s>]        decoder  start y_1 .. y_{n-1}  ->  y_1 .. y_n = </s>
 *     loss = mean of -log p(y_i | encoded, y before i), no smoothing; padding has the label -100
 * lavis blip2_t5.py; the caption's own split into prompt and target (prefix language modelling, section 3.3
 * of the paper) is made where texts are chosen.                                                            */
#include "blip2/internal.h"
#include <string.h>

static tensor *embed(const blip2_model *m, tape *t, const int *ids, long B, long T)
{
    return blip2_t5_embed(&m->t5, t, ids, B, T);                           /* (B,T,L) */
}

static nn_kv *memory_room(const blip2_model *m, tape *t)                   /* (decoder_layers) */
{
    return ag_alloc(t, m->config.t5.decoder_layers * (long)sizeof(nn_kv));
}

/* ---- stage 2 ------------------------------------------------------------------------------------------- */
/* (B,To) each: what is to be said, or IGNORED; what the decoder is fed, one step behind. */
static void shift(const blip2_model *m, tape *t, blip2_text target, blip2_stage2_out *out)
{
    long To = target.T;
    int *labels = ag_alloc(t, target.B * To * (long)sizeof *labels);
    int *fed = ag_alloc(t, target.B * To * (long)sizeof *fed);
    for (long i = 0; i < target.B * To; i++) {
        labels[i] = target.mask[i] ? target.ids[i] : IGNORED;
        fed[i] = (int)(i % To == 0 ? m->config.t5.start
                       : labels[i - 1] == IGNORED ? m->config.t5.pad : labels[i - 1]);
    }
    out->labels = labels;
    out->decoder_ids = fed;
}

static tensor *loss(const blip2_model *m, tape *t, const blip2_stage2_in *in, bool keep,
                    blip2_stage2_out *out)
{
    blip2_text said = in->target;
    long B = out->embeddings->dim[0];
    if (said.T < 1 || said.B != B || !said.mask || in->prompt_tokens)
        ag_fail("stage2", "a target (%ld,%ld) for inputs %s, and %ld tokens of it that are given: expected "
                "(B,To), and what is given in text", said.B, said.T, SHAPE(out->embeddings),
                in->prompt_tokens);
    shift(m, t, said, out);
    nn_kv *memory = memory_room(m, t);
    out->encoded = blip2_t5_encode(&m->t5, t, out->embeddings, out->mask, NULL);           /* (B,Q+T,L) */
    blip2_t5_memory(&m->t5, t, out->encoded, memory);
    tensor *words = blip2_t5_embed(&m->t5, t, out->decoder_ids, B, said.T);                /* (B,To,L) */
    tensor *hidden = blip2_t5_decode(&m->t5, t, &(blip2_t5_pass){
        .embeddings = words, .mask = said.mask, .memory = memory, .memory_mask = out->mask });
    ag_ce rule = { .ids = out->labels, .ignore = IGNORED, .weight = in->loss_weight };
    if (keep) {
        out->logits = blip2_t5_logits(&m->t5, t, hidden);                  /* (B,To,V) */
        tensor *mean = ag_cross_entropy(t, out->logits, &rule);
        return share_mean(t, in->ranks, mean, &rule, B * said.T);
    }
    tensor *rows = blip2_t5_before_head(&m->t5, t, hidden);                /* (B,To,L) */
    tensor *mean = ag_linear_cross_entropy(t, rows, m->t5.head, NULL, &rule);
    return share_mean(t, in->ranks, mean, &rule, B * said.T);
}

/* ---- token by token: what was encoded is projected once, all beams of a text read its one row ---------- */
static void begin(writer *w, tape *t)
{
    const blip2_t5 *m = &w->m->t5;
    long S = (w->features ? blip2_prompts(&w->m->config, w->features) : 0) + w->prompt.T;
    w->mask = ag_alloc(t, w->B * S);
    w->memory = memory_room(w->m, t);
    ag_mark here = ag_here(t);
    blip2_stage2_out side = { 0 };
    /* (B,S,L) */
    tensor *inputs = language_input(w->m, t, w->features, w->question, w->prompt, false, &side);
    memcpy(w->mask, side.mask, (size_t)(w->B * S));
    tensor *encoded = blip2_t5_encode(m, t, inputs, w->mask, NULL);        /* (B,S,L) */
    encoded = ag_rewind_keep(t, here, encoded);
    blip2_t5_memory(m, t, encoded, w->memory);
}

static tensor *say(writer *w, tape *t, const int *ids, long rows)
{
    const blip2_t5 *m = &w->m->t5;
    int *text = ag_alloc(t, rows * (long)sizeof *text);
    for (long r = 0; r < rows; r++)
        text[r] = (int)(r * w->B / rows);                  /* B rows at first, then B x beams */
    tensor *words = blip2_t5_embed(m, t, ids, rows, 1);                    /* (rows,1,L) */
    tensor *hidden = blip2_t5_decode(m, t, &(blip2_t5_pass){
        .embeddings = words, .memory = w->memory, .memory_mask = w->mask, .memory_row = text,
        .cache = w->cache });
    writer_advance(w, 1);
    return blip2_t5_logits(m, t, ag_reshape(t, hidden, DIMS(rows, m->config.width)));      /* (rows,V) */
}

static tensor *first_logits(writer *w, tape *t)
{
    int *ids = ag_alloc(t, w->B * (long)sizeof *ids);
    for (long b = 0; b < w->B; b++)
        ids[b] = w->start;
    return say(w, t, ag_ids(t, ids, w->B), w->B);                          /* (B,V) */
}

static void open_writer(writer *w, long given, const blip2_generate *o)
{
    const blip2_t5_config *c = &w->m->config.t5;
    (void)given;                                           /* distances have no end: rows of any length */
    (void)o;
    w->layers = c->decoder_layers;
    w->width = c->heads * c->head_width;
    w->prefix = 1;                                         /* the start */
    w->start = (int)c->start;
    w->eos = (int)c->eos;
    w->begin = begin;
    w->first = first_logits;
    w->say = say;
}

const language_model language_t5 = { embed, loss, open_writer };
