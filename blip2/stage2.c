/* stage2.c - vision-to-language generative learning (Li et al. 2023, section 3.3): the queries' outputs,
 * projected, are soft tokens in front of the text; a frozen language model tells them what to say.
 *
 *     Z = Q-Former(queries | LN(features))                   (B,Q,D)
 *     inputs = [W Z + b; words[ids]]                         (B,Q+T,L)
 *     loss = mean of -log p(label_i | inputs before i)       no smoothing
 * Queries, padding and the prompt's tokens carry no loss (label -100). Without a prompt the first token,
 * </s>, is a target too, predicted from the last query. lavis blip2_opt.py.                                */
#include "blip2/internal.h"
#include <string.h>

enum { IGNORED = -100 };

/* The queries beside the question's tokens, all seeing all: (B,Q,D). InstructBLIP, Dai et al. 2023, Fig. 3. */
static tensor *asked_pass(const blip2_model *m, tape *t, tensor *image, blip2_text question)
{
    long B = image->dim[0], Q = m->config.qformer.queries;
    nn_kv *memory = layer_room(m, t);
    if (question.B != B)
        ag_fail("stage2", "questions (%ld,%ld) for image features %s", question.B, question.T, SHAPE(image));
    blip2_qformer_memory(&m->qformer, t, image, memory);
    tensor *queries = ag_repeat(t, m->query_tokens, B);                    /* (B,Q,D) */
    return blip2_qformer_forward(&m->qformer, t, &(blip2_pass){
        .queries = queries, .ids = question.ids, .B = B, .T = question.T, .memory = memory, .rows = Q,
        .mask = blip2_mask_bidirectional(t, B, Q, question.T, question.mask), .pass = PASS_MATCHING });
}

tensor *language_input(const blip2_model *m, tape *t, tensor *features, blip2_text question, blip2_text text,
                       blip2_stage2_out *out)
{
    tensor *words = text.T ? blip2_opt_embed(&m->opt, t, text.ids, text.B, text.T) : NULL;     /* (B,T,L) */
    long B = features ? features->dim[0] : text.B, Q = 0, T = text.T;
    if (features) {
        out->image = nn_layer_norm_forward(&m->ln_vision, t, features);                        /* (B,N,E) */
        out->query_output = question.T ? asked_pass(m, t, out->image, question)                /* (B,Q,D) */
                                       : image_pass(m, t, out->image, layer_room(m, t), NULL);
        out->projected = nn_linear_forward(&m->opt_proj, t, out->query_output);                /* (B,Q,L) */
        Q = out->projected->dim[1];
    }
    out->embeddings = !words ? out->projected : !features ? words
                    : ag_concat(t, 2, (tensor *[]){ out->projected, words }, 1);               /* (B,Q+T,L) */
    unsigned char *mask = ag_alloc(t, B * (Q + T));
    for (long b = 0; b < B; b++) {
        memset(mask + b * (Q + T), 1, (size_t)Q);
        for (long i = 0; i < T; i++)
            mask[b * (Q + T) + Q + i] = text.mask[b * T + i];
    }
    out->mask = mask;
    return out->embeddings;
}

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
    real *weight = in->loss_weight ? ag_alloc_real(t, B * n) : NULL;
    for (long b = 0; b < B; b++)
        for (long i = 0; i < n; i++) {
            ids[b * n + i] = out->labels[b * S + Q + first + i];
            if (weight)
                weight[b * n + i] = in->loss_weight[b * T + first + i];
        }
    ag_ce rule = { .ids = ids, .ignore = IGNORED, .weight = weight };
    tensor *from = out->logits ? out->logits : hidden;
    tensor *rows = ag_slice(t, from, 1, Q + first - 1, n);                 /* (B,n,L or V) */
    return out->logits ? ag_cross_entropy(t, rows, &rule)
                       : ag_linear_cross_entropy(t, rows, m->opt.tokens.weight, NULL, &rule);
}

static void check(const blip2_model *m, const blip2_stage2_in *in, long first)
{
    if (m->config.llm != BLIP2_LLM_OPT)
        ag_fail("stage2", "the model was made without a language model");
    if (in->features && (!m->config.qformer.queries || in->features->ndim != 3
                         || in->features->dim[0] != in->text.B))
        ag_fail("stage2", "features %s and text (%ld,%ld), %ld queries: expected (B,N,E) and (B,T)",
                SHAPE(in->features), in->text.B, in->text.T, m->config.qformer.queries);
    if (in->question.T && (in->question.B != in->text.B || !m->config.qformer.text))
        ag_fail("stage2", "%ld questions for %ld texts, and a Q-Former %s text", in->question.B, in->text.B,
                m->config.qformer.text ? "with" : "without");
    if (first >= in->text.T || !in->text.mask)
        ag_fail("stage2", "a text of %ld tokens, the first %ld of which are given: nothing is left to learn",
                in->text.T, first);
}

void blip2_stage2(const blip2_model *m, tape *t, const blip2_stage2_in *in, bool keep, blip2_stage2_out *out)
{
    long first = in->prompt_tokens > 0 || in->features ? in->prompt_tokens : 1;    /* nothing precedes 0 */
    check(m, in, first);
    *out = (blip2_stage2_out){ 0 };
    tensor *inputs = language_input(m, t, in->features, in->question, in->text, out);   /* (B,Q+T,L) */
    inputs->keep_grad |= keep;
    out->labels = labels_of(t, in, inputs->dim[1] - in->text.T);
    if (out->query_output)
        out->query_cosine = blip2_query_cosine(out->query_output);
    tensor *hidden = blip2_opt_forward(&m->opt, t, inputs, out->mask, NULL);       /* (B,Q+T,L) */
    if (keep)
        out->logits = blip2_opt_logits(&m->opt, t, hidden);                /* (B,Q+T,V) */
    out->loss = caption_loss(m, t, in, first, hidden, out);
}
