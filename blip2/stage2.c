/* stage2.c - vision-to-language generative learning (Li et al. 2023, section 3.3): the queries' outputs,
 * projected, are soft tokens in front of the text; a frozen language model tells them what to say.
 *
 *     Z = Q-Former(queries | LN(features))                   (B,Q,D)
 *     inputs = [W Z + b; words[ids]]                         (B,Q+T,L)
 * Another connector than the Q-Former makes a soft token of each patch instead (connector.c).
 * What is predicted from them, and the loss, is the language model's: opt_language.c, t5_language.c.
 * lavis blip2_opt.py, blip2_t5.py.                                                                         */
#include "blip2/internal.h"
#include <string.h>

const language_model *language_of(const blip2_model *m)
{
    if (m->config.llm == BLIP2_LLM_NONE)
        ag_fail("llm", "the model was made without a language model");
    return m->config.llm == BLIP2_LLM_OPT ? &language_opt : &language_t5;
}

/* The queries beside the question's tokens, all seeing all: (B,Q,D). InstructBLIP, Dai et al. 2023,
 * Fig. 3. */
static tensor *asked_pass(const blip2_model *m, tape *t, tensor *image, blip2_text question, bool keep,
                          blip2_stage2_out *out)
{
    long B = image->dim[0], Q = m->config.qformer.queries;
    nn_kv *memory = layer_room(m, t);
    if (question.B != B)
        ag_fail("stage2", "questions (%ld,%ld) for image features %s", question.B, question.T, SHAPE(image));
    blip2_qformer_memory(&m->qformer, t, image, memory);
    tensor *queries = ag_repeat(t, m->query_tokens, B);                    /* (B,Q,D) */
    tensor *hidden = blip2_qformer_forward(&m->qformer, t, &(blip2_pass){
        .queries = queries, .ids = question.ids, .B = B, .T = question.T, .memory = memory,
        .rows = keep ? 0 : Q, .mask = blip2_mask_bidirectional(t, B, Q, question.T, question.mask),
        .pass = PASS_MATCHING });
    if (!keep)
        return hidden;
    out->asked = hidden;                                                   /* (B,Q+Tq,D) */
    return ag_slice(t, hidden, 1, 0, Q);
}

tensor *language_input(const blip2_model *m, tape *t, tensor *features, blip2_text question, blip2_text text,
                       bool keep, blip2_stage2_out *out)
{
    const char *part = ag_part(t, "language model");
    tensor *words = text.T ? language_of(m)->embed(m, t, text.ids, text.B, text.T) : NULL;     /* (B,T,L) */
    long B = features ? features->dim[0] : text.B, Q = 0, T = text.T;
    if (features) {
        ag_part(t, "image pass");
        out->image = nn_layer_norm_forward(&m->ln_vision, t, features);                        /* (B,N,E) */
        if (m->config.connector == BLIP2_CONNECTOR_QFORMER) {
            out->query_output = question.T ? asked_pass(m, t, out->image, question, keep, out) /* (B,Q,D) */
                                           : image_pass(m, t, out->image, layer_room(m, t), NULL);
            out->projected = nn_linear_forward(&m->llm_proj, t, out->query_output);            /* (B,Q,L) */
        } else
            out->projected = connector_forward(m, t, out->image);          /* (B,Q,L): Q patches */
        Q = out->projected->dim[1];
        ag_part(t, "language model");
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
    ag_part(t, part);
    return out->embeddings;
}

static void check(const blip2_model *m, const blip2_stage2_in *in)
{
    long B = in->features ? in->features->dim[0] : in->text.B;
    if (in->features && (!blip2_bridged(&m->config) || in->features->ndim != 3
                         || (in->text.T && in->text.B != B)))
        ag_fail("stage2", "features %s and text (%ld,%ld), %ld queries: expected (B,N,E) and (B,T)",
                SHAPE(in->features), in->text.B, in->text.T, m->config.qformer.queries);
    if (!in->features && !in->text.T)
        ag_fail("stage2", "neither features nor text: the language model has nothing to read");
    if (in->question.T && (in->question.B != B || !m->config.qformer.text || !m->config.qformer.queries))
        ag_fail("stage2", "%ld questions for %ld texts, and a Q-Former %s text", in->question.B, B,
                m->config.qformer.text ? "with" : "without");
    if (in->text.T && !in->text.mask)
        ag_fail("stage2", "text (%ld,%ld) without a mask", in->text.B, in->text.T);
}

void blip2_stage2(const blip2_model *m, tape *t, const blip2_stage2_in *in, bool keep, blip2_stage2_out *out)
{
    const language_model *llm = language_of(m);
    check(m, in);
    *out = (blip2_stage2_out){ 0 };
    tensor *inputs = language_input(m, t, in->features, in->question, in->text, keep, out);    /* (B,Q+T,L) */
    inputs->keep_grad |= keep;
    if (out->query_output)
        out->query_cosine = blip2_query_cosine(out->query_output);
    const char *part = ag_part(t, "language model");
    out->loss = llm->loss(m, t, in, keep, out);
    ag_part(t, part);
}
