/* model.c - the whole model, by configuration: which parts there are, their names and how they start.
 *
 * Names are those of LAVIS's checkpoints. Starts: matrices and tables N(0, init_std), query tokens N(0,
 * query_std), projections and the matching head PyTorch's default for linear layers, norms (1, 0).         */
#include "blip2/internal.h"

blip2_config blip2_config_default(void)
{
    return (blip2_config){
        .vision = { BLIP2_VIT_EVA, .image_size = 224, .patch = 14, .width = 1408, .depth = 39, .heads = 16,
                    .hidden = 6144, .init_std = 0.02, .position_std = 0.02 },
        .qformer = { .width = 768, .layers = 12, .heads = 12, .hidden = 3072, .queries = 32, .vocab = 30523,
                     .positions = 512, .memory_width = 1408, .cross_attention_freq = 2, .dropout = 0.1,
                     .eps = 1e-12, .init_std = 0.02, .query_std = 0.02, .output_scale = 1,
                     .text = true, .head = true },
        .stage1 = true, .embed = 256, .temperature = 0.07, .label_smoothing = 0.1, .ln_vision_eps = 1e-5,
        .llm = BLIP2_LLM_NONE,
        .opt = { .vocab = 50272, .width = 2560, .layers = 32, .heads = 32, .hidden = 10240, .positions = 2048,
                 .dropout = 0.1, .init_std = 0.02, .bos = 2, .eos = 50118, .pad = 1 },
        .t5 = { .vocab = 32128, .width = 2048, .layers = 24, .decoder_layers = 24, .heads = 32,
                .head_width = 64, .hidden = 5120, .buckets = 32, .max_distance = 128, .dropout = 0.1,
                .eps = 1e-6, .init_factor = 1, .gelu = BLIP2_GELU_ERF, .start = 0, .eos = 1, .pad = 0 },
        .max_text = 32, .question_prompt = "Question: {} Short answer:", .cls = 101, .sep = 102,
        .dec = 30522, .text_pad = 0,
    };
}

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
    if (c->vision.kind != BLIP2_VIT_NONE)
        blip2_vit_init(&m->vision, nn_sub(root, "visual_encoder"), &c->vision);
    if (c->qformer.queries) {
        const blip2_qformer_config *q = &c->qformer;
        nn_init start = NN_INIT_NORMAL(q->query_std);
        nn_layer_norm_init(&m->ln_vision, nn_sub(root, "ln_vision"), q->memory_width, c->ln_vision_eps);
        m->query_tokens = nn_parameter(root, "query_tokens", start, DIMS(1, q->queries, q->width));
        blip2_qformer_init(&m->qformer, nn_sub(root, "Qformer"), q);
        if (c->stage1)
            init_stage1(m, root, c);
    }
    if (blip2_is_bert(c))
        blip2_qformer_init(&m->qformer, nn_sub(root, "Qformer"), &c->qformer);
    blip2_llm llm = blip2_llm_of(c);
    if (c->llm == BLIP2_LLM_OPT)
        blip2_opt_init(&m->opt, nn_sub(root, "%s", llm.parameters), &c->opt);
    if (c->llm == BLIP2_LLM_T5)
        blip2_t5_init(&m->t5, nn_sub(root, "%s", llm.parameters), &c->t5);
    if (c->llm != BLIP2_LLM_NONE && c->qformer.queries)
        nn_linear_init_torch(&m->llm_proj, nn_sub(root, "%s", llm.projection), llm.width, c->qformer.width);
}

tensor *blip2_vision_features(const blip2_model *m, tape *t, tensor *pictures)
{
    if (m->config.vision.kind == BLIP2_VIT_NONE)
        ag_fail("vision", "this model has no vision tower for pictures %s", SHAPE(pictures));
    return blip2_vit_forward(&m->vision, t, pictures, NULL);               /* (B,N,E) */
}
