/* itg.c - image-grounded text generation (Li et al. 2023, section 3.2; lavis blip2_qformer.py).
 *
 * The caption is predicted word by word, [DEC] standing in the place of [CLS]; what it knows of the
 * picture are the keys and values that the queries had in the image pass, with their gradient (the causal
 * mask without query rows):
 *     loss = mean over tokens n of CE(logits[n], ids[n+1]), with label smoothing; padding is no target.    */
#include "blip2/internal.h"
#include <string.h>

/* The first n columns of the text, with [DEC] in front. */
static blip2_text decoder_text(tape *t, blip2_text text, long n, int dec)
{
    int *ids = ag_alloc(t, text.B * n * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, text.B * n);
    for (long b = 0; b < text.B; b++) {
        memcpy(ids + b * n, text.ids + b * text.T, (size_t)n * sizeof *ids);
        memcpy(mask + b * n, text.mask + b * text.T, (size_t)n);
        ids[b * n] = dec;
    }
    return (blip2_text){ text.B, n, ids, mask };
}

/* (B,T-1): what each token but the last should be followed by */
static const int *next_ids(tape *t, blip2_text text)
{
    int *ids = ag_alloc(t, text.B * (text.T - 1) * (long)sizeof *ids), *to = ids;
    for (long b = 0; b < text.B; b++)
        for (long i = 1; i < text.T; i++)
            *to++ = text.mask[b * text.T + i] ? text.ids[b * text.T + i] : -100;
    return ids;
}

/* The part's mean as its share of the whole batch's, or this rank's as its share of all ranks'. */
static tensor *share(tape *t, const blip2_stage1_in *in, tensor *mean, const ag_ce *rule, long n)
{
    const blip2_large *l = in->large;
    if (!l)
        return share_mean(t, in->own_mean ? NULL : in->ranks, mean, rule, n);
    double own = 0;
    for (long i = 0; i < n; i++)
        own += rule->ids[i] != rule->ignore;
    return ag_scale(t, mean, l->targets > 0 ? own * (double)(l->parts * l->world) / l->targets : 0);
}

tensor *stage1_itg(const blip2_model *m, tape *t, const blip2_stage1_in *in, blip2_text text,
                   blip2_stage1_out *out)
{
    const blip2_qformer *q = &m->qformer;
    long B = text.B, T = text.T;
    bool keep = in->keep;
    if (T < 2)
        ag_fail("stage1", "text (%ld,%ld): at least [CLS] and [SEP] are expected", B, T);
    blip2_text given = decoder_text(t, text, keep ? T : T - 1, m->config.dec); /* nothing follows the last */
    out->itg_labels = next_ids(t, text);
    ag_ce options = { .ids = out->itg_labels, .ignore = -100, .smoothing = m->config.label_smoothing };
    tensor *hidden = blip2_qformer_forward(q, t, &(blip2_pass){
        .ids = given.ids, .B = B, .T = given.T, .past = out->past, .pass = PASS_CAPTION,
        .mask = blip2_mask_causal_cached(t, B, m->config.qformer.queries, given.T, given.mask) });
    if (keep) {
        out->itg_logits = blip2_qformer_logits(q, t, hidden);              /* (B,T,V) */
        tensor *predicting = ag_slice(t, out->itg_logits, 1, 0, T - 1);    /* (B,T-1,V) */
        tensor *mean = ag_cross_entropy(t, predicting, &options);
        return share(t, in, mean, &options, B * (T - 1));
    }
    tensor *x = blip2_qformer_transform(q, t, hidden);                     /* (B,T-1,D) */
    tensor *rows = ag_reshape(t, x, DIMS(B * (T - 1), x->dim[2]));
    tensor *mean = ag_linear_cross_entropy(t, rows, q->words.weight, q->head_bias, &options);
    return share(t, in, mean, &options, B * (T - 1));
}
