/* model.c - the whole model, by configuration: which parts there are, their names and how they start.
 *
 * Names are those of LAVIS's checkpoints. Starts: matrices and tables N(0, init_std), query tokens N(0,
 * query_std), projections and the matching head PyTorch's default for linear layers, norms (1, 0).         */
#include "blip2/internal.h"

static void init_stage1(blip2_model *m, nn_scope root, const blip2_config *c)
{
    nn_linear_init_torch(&m->vision_proj, nn_sub(root, "vision_proj"), c->embed, c->qformer.width);
    nn_linear_init_torch(&m->text_proj, nn_sub(root, "text_proj"), c->embed, c->qformer.width);
    nn_linear_init_torch(&m->itm_head, nn_sub(root, "itm_head"), 2, c->qformer.width);
    m->temp = nn_parameter(root, "temp", (nn_init){ NN_CONSTANT, c->temperature, NULL }, 0, NULL);
    if (c->fixed_temperature)
        nn_freeze(root.store, "temp");
}

void blip2_model_init(blip2_model *m, nn_store *store, const blip2_config *config)
{
    *m = (blip2_model){ .config = *config, .store = store };
    if (config->vision.kind != BLIP2_VIT_NONE)
        m->config.qformer.memory_width = config->vision.width;
    const blip2_config *c = &m->config;
    nn_scope root = nn_root(store);
    blip2_llm llm = blip2_llm_of(c);
    if (c->vision.kind != BLIP2_VIT_NONE)
        blip2_vit_init(&m->vision, nn_sub(root, "visual_encoder"), &c->vision);
    if (blip2_bridged(c))
        nn_layer_norm_init(&m->ln_vision, nn_sub(root, "ln_vision"), c->qformer.memory_width,
                           c->ln_vision_eps);
    if (c->qformer.queries) {
        const blip2_qformer_config *q = &c->qformer;
        nn_init start = NN_INIT_NORMAL(q->query_std);
        m->query_tokens = nn_parameter(root, "query_tokens", start, DIMS(1, q->queries, q->width));
        blip2_qformer_init(&m->qformer, nn_sub(root, "Qformer"), q);
        if (c->stage1)
            init_stage1(m, root, c);
    } else if (blip2_bridged(c))
        connector_init(&m->connector, nn_sub(root, "connector"), c);
    if (blip2_is_bert(c))
        blip2_qformer_init(&m->qformer, nn_sub(root, "Qformer"), &c->qformer);
    if (c->llm == BLIP2_LLM_OPT)
        blip2_opt_init(&m->opt, nn_sub(root, "%s", llm.parameters), &c->opt);
    if (c->llm == BLIP2_LLM_T5)
        blip2_t5_init(&m->t5, nn_sub(root, "%s", llm.parameters), &c->t5);
    if (c->llm != BLIP2_LLM_NONE && c->qformer.queries)
        nn_linear_init_torch(&m->llm_proj, nn_sub(root, "%s", llm.projection), llm.width, c->qformer.width);
}

void blip2_recompute(blip2_model *m, blip2_recompute_what what)
{
    m->vision.recompute = what != BLIP2_RECOMPUTE_NONE;
    m->qformer.recompute = m->opt.recompute = m->t5.recompute = what == BLIP2_RECOMPUTE_ALL;
}

tensor *blip2_vision_features(const blip2_model *m, tape *t, tensor *pictures)
{
    if (m->config.vision.kind == BLIP2_VIT_NONE)
        ag_fail("vision", "this model has no vision tower for pictures %s", SHAPE(pictures));
    return blip2_vit_forward(&m->vision, t, pictures, NULL);               /* (B,N,E) */
}
