/* config.c - the architecture as a table of keys: what a training configuration sets under `model` and what a
 * model file carries in its root attribute `config`. Names follow LAVIS where it has one (num_query_token,
 * max_txt_len, ...). */
#include "blip2/blip2.h"
#include <string.h>

#define FIELD(f) offsetof(blip2_config, f)
#define INT(name, field, least, most, help) { name, CONFIG_INT, FIELD(field), least, most, NULL, help }
#define REALN(name, field, least, most, help) { name, CONFIG_REAL, FIELD(field), least, most, NULL, help }
#define BOOL(name, field, help) { name, CONFIG_BOOL, FIELD(field), 0, 0, NULL, help }

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

static const config_key keys[] = {
    { "vit.kind", CONFIG_CHOICE, FIELD(vision.kind), 0, 0, "none clip eva", "family of the vision tower" },
    INT("vit.image_size", vision.image_size, 0, 4096, "side of a picture in pixels"),
    INT("vit.patch", vision.patch, 0, 256, "side of a patch"),
    INT("vit.width", vision.width, 0, 65536, "width of a token"),
    INT("vit.depth", vision.depth, 0, 256, "blocks that are run"),
    INT("vit.heads", vision.heads, 0, 256, "attention heads"),
    INT("vit.hidden", vision.hidden, 0, 262144, "width of the MLP"),
    REALN("vit.eps", vision.eps, 0, 1, "of its norms; 0: its family's (CLIP 1e-5, EVA 1e-6)"),
    REALN("vit.init_std", vision.init_std, 0, 10, "start of matrices, from scratch"),
    REALN("vit.position_std", vision.position_std, 0, 10, "start of positions; 0: 2-D sinusoids x 0.3"),
    INT("qformer.num_query_token", qformer.queries, 0, 4096, "learned queries; 0: no Q-Former"),
    INT("qformer.width", qformer.width, 0, 65536, "hidden width"),
    INT("qformer.encoder_width", qformer.memory_width, 0, 65536,
        "width of image features; with a vision tower: its own"),
    INT("qformer.layers", qformer.layers, 0, 256, "layers"),
    INT("qformer.heads", qformer.heads, 0, 256, "attention heads"),
    INT("qformer.hidden", qformer.hidden, 0, 262144, "width of the feed-forwards"),
    INT("qformer.cross_attention_freq", qformer.cross_attention_freq, 0, 256,
        "layers 0, f, 2f, ... look at the picture"),
    INT("qformer.vocab", qformer.vocab, 0, 4194304, "text tokens, [DEC] included"),
    INT("qformer.positions", qformer.positions, 0, 65536, "longest text"),
    REALN("qformer.dropout", qformer.dropout, 0, 0.99, "of hidden states and attention"),
    REALN("qformer.eps", qformer.eps, 0, 1, "of its layer norms"),
    REALN("qformer.init_std", qformer.init_std, 0, 10, "start of matrices, from scratch"),
    REALN("qformer.query_std", qformer.query_std, 0, 10, "start of the queries"),
    REALN("qformer.output_scale", qformer.output_scale, 0, 10, "factor on the start of output matrices"),
    BOOL("qformer.text", qformer.text, "word embeddings and text feed-forwards"),
    BOOL("qformer.head", qformer.head, "language-model head (ITG)"),
    INT("qformer.token_types", qformer.token_types, 0, 16, "rows of BERT's table of token types; BLIP-2: 0"),
    BOOL("stage1", stage1, "projections and heads of the stage-1 losses"),
    INT("embed_dim", embed, 1, 65536, "width of the contrastive features"),
    REALN("temperature", temperature, 1e-4, 100, "start of temp"),
    BOOL("fixed_temperature", fixed_temperature, "temp is not trained"),
    REALN("label_smoothing", label_smoothing, 0, 0.99, "of ITC and ITG"),
    REALN("ln_vision_eps", ln_vision_eps, 1e-12, 1, "1e-5 in LAVIS, 1e-6 in Hugging Face"),
    { "connector", CONFIG_CHOICE, FIELD(connector), 0, 0, "qformer linear mlp",
      "stage 2: queries of a Q-Former (BLIP-2), or each patch by one linear layer or two with GELU "
      "(LLaVA-1.5)" },
    { "llm", CONFIG_CHOICE, FIELD(llm), 0, 0, "none opt t5", "the language model" },
    INT("opt.vocab", opt.vocab, 0, 4194304, "tokens"),
    INT("opt.width", opt.width, 0, 65536, "hidden width"),
    INT("opt.layers", opt.layers, 0, 256, "layers"),
    INT("opt.heads", opt.heads, 0, 256, "attention heads"),
    INT("opt.hidden", opt.hidden, 0, 262144, "width of the feed-forwards"),
    INT("opt.positions", opt.positions, 0, 1048576, "longest sequence, visual prompt included"),
    INT("opt.embed", opt.embed, 0, 65536, "width of the table of tokens; 0: opt.width"),
    BOOL("opt.post_norm", opt.post_norm, "norms behind the residuals and none at the end, as in opt-350m"),
    REALN("opt.dropout", opt.dropout, 0, 0.99, "while training"),
    REALN("opt.init_std", opt.init_std, 0, 10, "start of matrices and embeddings, from scratch"),
    INT("opt.bos", opt.bos, 0, 4194303, "token in front of every text"),
    INT("opt.eos", opt.eos, 0, 4194303, "token that ends a text (LAVIS: the newline)"),
    INT("opt.pad", opt.pad, 0, 4194303, "padding token"),
    INT("t5.vocab", t5.vocab, 0, 4194304, "tokens"),
    INT("t5.width", t5.width, 0, 65536, "hidden width"),
    INT("t5.layers", t5.layers, 0, 256, "layers of the encoder"),
    INT("t5.decoder_layers", t5.decoder_layers, 0, 256, "layers of the decoder"),
    INT("t5.heads", t5.heads, 0, 256, "attention heads"),
    INT("t5.head_width", t5.head_width, 0, 65536, "width of a head; heads x head_width need not be width"),
    INT("t5.hidden", t5.hidden, 0, 262144, "width of the feed-forwards"),
    INT("t5.buckets", t5.buckets, 0, 4096, "of relative positions"),
    INT("t5.max_distance", t5.max_distance, 0, 1048576, "from here on all are in the last bucket"),
    REALN("t5.dropout", t5.dropout, 0, 0.99, "while training"),
    REALN("t5.eps", t5.eps, 1e-12, 1, "of its norms"),
    REALN("t5.init_factor", t5.init_factor, 0, 10, "factor on how everything starts, from scratch"),
    { "t5.gelu", CONFIG_CHOICE, FIELD(t5.gelu), 0, 0, "erf tanh",
      "of the gates: erf in BLIP-2 (gelu), tanh in plain FLAN-T5 (gelu_new)" },
    BOOL("t5.tie_word_embeddings", t5.tied, "the head is the table of tokens, times width^-0.5"),
    INT("t5.start", t5.start, 0, 4194303, "what the decoder begins with"),
    INT("t5.eos", t5.eos, 0, 4194303, "token that ends a text"),
    INT("t5.pad", t5.pad, 0, 4194303, "padding token"),
    INT("max_txt_len", max_text, 1, 65536, "longest text in tokens"),
    { "prompt", CONFIG_TEXT, FIELD(prompt), 0, 0, NULL, "what stands before a caption" },
    { "question_prompt", CONFIG_TEXT, FIELD(question_prompt), 0, 0, NULL,
      "a question's frame; {} is the question" },
    BOOL("question_in_qformer", question_in_qformer,
         "the question goes into the Q-Former too (InstructBLIP)"),
    INT("cls", cls, 0, 4194303, "[CLS]"),
    INT("sep", sep, 0, 4194303, "[SEP]"),
    INT("dec", dec, 0, 4194303, "[DEC]"),
    INT("text_pad", text_pad, 0, 4194303, "[PAD]"),
};

config_table blip2_config_table(const char *section, blip2_config *c)
{
    return (config_table){ section, keys, (int)(sizeof keys / sizeof *keys), c };
}

bool blip2_is_bert(const blip2_config *c)
{
    return !c->qformer.queries && c->qformer.text && !c->stage1 && c->vision.kind == BLIP2_VIT_NONE
        && c->llm == BLIP2_LLM_NONE;
}

bool blip2_bridged(const blip2_config *c)
{
    return c->qformer.queries > 0 || (c->connector != BLIP2_CONNECTOR_QFORMER && c->llm != BLIP2_LLM_NONE);
}

char *blip2_question(const blip2_config *c, const char *question)
{
    const char *hole = strstr(c->question_prompt, "{}");
    if (!hole)
        return mem_text("%s%s", c->question_prompt, question);
    return mem_text("%.*s%s%s", (int)(hole - c->question_prompt), c->question_prompt, question, hole + 2);
}

/* A part that the model has needs sizes; one that it does not have may keep 0. */
static void check_sizes(const char *file, const blip2_config *c, error *e)
{
    const blip2_vit_config *v = &c->vision;
    const blip2_qformer_config *q = &c->qformer;
    const blip2_opt_config *o = &c->opt;
    const blip2_t5_config *f = &c->t5;
    bool vit = v->kind != BLIP2_VIT_NONE, qformer = q->queries > 0 || blip2_is_bert(c);
    bool opt = c->llm == BLIP2_LLM_OPT, t5 = c->llm == BLIP2_LLM_T5;
    const struct { const char *key; long size; bool needed; } sizes[] = {
        { "vit.image_size", v->image_size, vit }, { "vit.patch", v->patch, vit },
        { "vit.width", v->width, vit }, { "vit.depth", v->depth, vit },
        { "vit.heads", v->heads, vit }, { "vit.hidden", v->hidden, vit },
        { "qformer.width", q->width, qformer },
        { "qformer.encoder_width", q->memory_width, blip2_bridged(c) && !vit },
        { "qformer.layers", q->layers, qformer }, { "qformer.heads", q->heads, qformer },
        { "qformer.hidden", q->hidden, qformer },
        { "qformer.cross_attention_freq", q->cross_attention_freq, qformer },
        { "qformer.vocab", q->vocab, qformer && q->text },
        { "qformer.positions", q->positions, qformer && q->text },
        { "opt.vocab", o->vocab, opt }, { "opt.width", o->width, opt }, { "opt.layers", o->layers, opt },
        { "opt.heads", o->heads, opt }, { "opt.hidden", o->hidden, opt },
        { "opt.positions", o->positions, opt },
        { "t5.vocab", f->vocab, t5 }, { "t5.width", f->width, t5 }, { "t5.layers", f->layers, t5 },
        { "t5.decoder_layers", f->decoder_layers, t5 }, { "t5.heads", f->heads, t5 },
        { "t5.head_width", f->head_width, t5 }, { "t5.hidden", f->hidden, t5 },
        { "t5.buckets", f->buckets, t5 }, { "t5.max_distance", f->max_distance, t5 },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].needed && sizes[i].size < 1)
            error_line(e, "%s: %s: expected at least 1, found %ld", file, sizes[i].key, sizes[i].size);
}

static void divides(const char *file, const char *part, const char *by, long whole, long share, error *e)
{
    if (share > 0 && whole % share)
        error_line(e, "%s: %s: expected a multiple of %s (%ld), found %ld", file, part, by, share, whole);
}

static void check_llm(const char *f, const blip2_config *c, error *e)
{
    blip2_llm llm = blip2_llm_of(c);
    if (llm.start >= llm.vocab || llm.eos >= llm.vocab || llm.pad >= llm.vocab)
        error_line(e, "%s: %s.%s, %s.eos, %s.pad: expected below %s.vocab (%ld)", f, llm.name,
                   llm.encodes ? "start" : "bos", llm.name, llm.name, llm.name, llm.vocab);
    if (c->llm == BLIP2_LLM_OPT)
        divides(f, "opt.width", "opt.heads", c->opt.width, c->opt.heads, e);
    if (c->llm == BLIP2_LLM_OPT && blip2_bridged(c) && c->opt.embed && c->opt.embed != c->opt.width)
        error_line(e,
                   "%s: opt.embed: an OPT whose table of tokens is narrower (%ld) than its layers (%ld), as "
                   "opt-350m, cannot take visual prompts; take another one", f, c->opt.embed, c->opt.width);
    if (c->llm == BLIP2_LLM_T5) {
        if (c->t5.buckets < 4)
            error_line(e, "%s: t5.buckets: expected at least 4, found %ld", f, c->t5.buckets);
        if (c->t5.max_distance <= c->t5.buckets / 2)
            error_line(e, "%s: t5.max_distance: expected above half of t5.buckets (%ld), found %ld", f,
                       c->t5.buckets / 2, c->t5.max_distance);
    }
}

bool blip2_config_check(const char *file, const blip2_config *c, error *e)
{
    const char *f = QUOTE(file);
    e->lines = 0;
    check_sizes(f, c, e);
    if (c->vision.kind != BLIP2_VIT_NONE) {
        divides(f, "vit.image_size", "vit.patch", c->vision.image_size, c->vision.patch, e);
        divides(f, "vit.width", "vit.heads", c->vision.width, c->vision.heads, e);
    }
    if (c->qformer.queries || blip2_is_bert(c)) {
        divides(f, "qformer.width", "qformer.heads", c->qformer.width, c->qformer.heads, e);
        if (c->qformer.text && c->qformer.positions < c->max_text)
            error_line(e, "%s: qformer.positions: expected at least max_txt_len (%ld), found %ld", f,
                       c->max_text, c->qformer.positions);
        if (c->qformer.text && c->max_text < 2)
            error_line(e, "%s: max_txt_len: expected at least 2, [CLS] and [SEP], found %ld", f, c->max_text);
        if ((c->stage1 || c->question_in_qformer) && !c->qformer.text)
            error_line(e, "%s: stage1 and question_in_qformer need qformer.text: true", f);
    }
    if (c->connector != BLIP2_CONNECTOR_QFORMER && (c->qformer.queries || c->llm == BLIP2_LLM_NONE))
        error_line(e, "%s: connector: linear and mlp lead straight into a language model; expected llm opt "
                      "or t5, and "
                   "qformer.num_query_token 0, found %ld", f, c->qformer.queries);
    if (c->llm != BLIP2_LLM_NONE)
        check_llm(f, c, e);
    return error_close(e, ERROR_USAGE, "%s: %d parts do not fit together", f, e->lines);
}
