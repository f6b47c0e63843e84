/* attend.c - what the Q-Former looks at in one picture: the probabilities of every attention, after the
 * softmax (eval.h). Without a text the image pass, with one the multimodal pass of image-text matching.    */
#include "eval/eval.h"

bool eval_can_attend(const eval_session *s, const char *path, error *e)
{
    const blip2_config *c = &s->model.config;
    const char *lack = c->vision.kind == BLIP2_VIT_NONE ? "vision tower"
                     : !c->qformer.queries ? "Q-Former" : NULL;
    return !lack || error_set(e, "%s: cannot look at a picture: it has no %s", QUOTE(path), lack);
}

eval_attention eval_attend(const blip2_model *m, tape *t, const real *features, long N, blip2_text text)
{
    const blip2_qformer_config *c = &m->config.qformer;
    bool recording = ag_record_on(t, false), training = ag_training(t, false);
    eval_attention a = { .layers = c->layers, .heads = c->heads, .Q = c->queries, .T = text.T, .N = N };
    a.self = ag_alloc(t, c->layers * (long)sizeof *a.self);
    a.cross = ag_alloc(t, c->layers * (long)sizeof *a.cross);
    for (long i = 0; i < c->layers; i++)
        a.cross[i] = NULL;
    nn_kv *memory = ag_alloc(t, c->layers * (long)sizeof *memory);
    tensor *x = ag_copy_in(t, DIMS(1, N, c->memory_width), features);
    tensor *image = nn_layer_norm_forward(&m->ln_vision, t, x);            /* (1,N,E) */
    blip2_qformer_memory(&m->qformer, t, image, memory);
    blip2_qformer_forward(&m->qformer, t, &(blip2_pass){
        .queries = m->query_tokens, .ids = text.T ? text.ids : NULL, .B = 1, .T = text.T, .memory = memory,
        .mask = text.T ? blip2_mask_bidirectional(t, 1, c->queries, text.T, text.mask) : NULL,
        .self_probs = a.self, .cross_probs = a.cross });                   /* (1,Q+T,D), not used */
    ag_record_on(t, recording);
    ag_training(t, training);
    return a;
}
