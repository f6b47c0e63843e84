/* examples.c - every module and loss as a small case whose gradient is compared with differences: what the
 * operations' examples are to them (nn/gradcheck.c has the rule). All with dropout where there is some.
 *
 * An example registers its parameters and its inputs, which are parameters too, and builds its result again
 * and again. The weights are always the same, drawn so that no two queries are nearly the best of a pair
 * and no hidden unit of OPT is near ReLU's corner; the seed of a check draws cotangent and directions. */
#include "blip2/internal.h"
#include <stdio.h>
#include <string.h>

enum { B = 4, T = 6, N = 5, E = 10, D = 12, Q = 4 };       /* samples, words, image tokens, widths, queries */
enum { CLS = 1, SEP = 2, DEC = 18, WORDS = 19 };

static const int words[B * T] = { 1, 2, 0, 0, 0, 0,  1, 9, 5, 2, 0, 0,  1, 7, 7, 11, 2, 0,  1, 15, 4, 2, 0,
                                  0 };
static const unsigned char is_word[B * T] = { 1, 1, 0, 0, 0, 0,  1, 1, 1, 1, 0, 0,  1, 1, 1, 1, 1, 0,
                                              1, 1, 1, 1, 0, 0 };
static const long image_id[B] = { 7, 5, 7, 2 };            /* samples 0 and 2 show the same picture */

typedef struct subject {
    int variant;
    blip2_config config;
    blip2_bert_layer layer;
    blip2_model m;
    tensor *x, *image, *pictures;      /* inputs */
    nn_kv past;
    tensor *image_candidates, *text_candidates;
} subject;
typedef struct example {
    const char *name;
    uint64_t weights;                  /* the seed of the store */
    void (*make)(subject *s, nn_scope root);
    tensor *(*run)(tape *t, void *subject);
    int variants;
    bool all;                          /* the result depends on every parameter there is */
} example;

static blip2_config small(void)
{
    blip2_config c = blip2_config_default();
    c.vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    c.qformer = (blip2_qformer_config){ .width = D, .layers = 3, .heads = 3, .hidden = 20, .queries = Q,
        .vocab = WORDS, .positions = 8, .memory_width = E, .cross_attention_freq = 2, .dropout = 0.1,
        .eps = 1e-12, .init_std = 0.3, .query_std = 1, .output_scale = 0.5, .text = true, .head = true };
    c.opt = (blip2_opt_config){ .vocab = WORDS, .width = 16, .layers = 2, .heads = 4, .hidden = 24,
        .positions = 20, .dropout = 0.1, .init_std = 0.3, .bos = 2, .eos = 4, .pad = 1 };
    c.t5 = (blip2_t5_config){ .vocab = WORDS, .width = 16, .layers = 2, .decoder_layers = 3, .heads = 3,
        .head_width = 5, .hidden = 24, .buckets = 8, .max_distance = 5, .dropout = 0.1, .eps = 1e-6,
        .init_factor = 0.6, .start = 0, .eos = 2, .pad = 0 };
    c.embed = 6;
    c.cls = CLS, c.sep = SEP, c.dec = DEC, c.text_pad = 0;
    return c;
}

static blip2_text text(void) { return (blip2_text){ B, T, words, is_word }; }

static tensor *input(nn_scope root, const char *name, int ndim, const long *dim)
{
    return nn_parameter(root, name, NN_INIT_NORMAL(1), ndim, dim);
}

/* ---- one layer of the Q-Former ------------------------------------------------------------------------- */
static const struct { long index, queries, text, past; } layers[] = {      /* layer 0 looks at the image */
    { 0, 3, 4, 0 }, { 0, 4, 0, 0 }, { 1, 3, 2, 0 }, { 0, 0, 5, 0 }, { 0, 0, 3, 4 }, { 1, 1, 1, 2 } };

static void make_layer(subject *s, nn_scope root)
{
    long S = layers[s->variant].queries + layers[s->variant].text, past = layers[s->variant].past;
    blip2_bert_layer_init(&s->layer, nn_sub(root, "layer"), &s->config.qformer, layers[s->variant].index);
    s->x = input(root, "x", DIMS(B, S, D));
    s->image = input(root, "image", DIMS(B, N, E));
    if (past)
        s->past = (nn_kv){ input(root, "past_k", DIMS(B, past, D)), input(root, "past_v", DIMS(B, past, D)) };
}

static tensor *run_layer(tape *t, void *subject_)
{
    subject *s = subject_;
    long queries = layers[s->variant].queries, past = layers[s->variant].past;
    ag_mask *m = ag_mask_new(t, B, 1, past + s->x->dim[1]);
    m->may[1] = m->may[m->Tk] = 0;
    blip2_layer_io io = { .queries = queries, .past = s->past, .mask = m };
    if (queries && s->layer.has_cross)
        io.memory = nn_attention_memory(&s->layer.cross, t, s->image);
    return blip2_bert_layer_forward(&s->layer, t, s->x, &io);
}

/* ---- the Q-Former in its modes ------------------------------------------------------------------------- */
enum { IMAGE, TEXT, MATCHING, CAUSAL, BEHIND_QUERIES, MODES };

static void make_qformer(subject *s, nn_scope root)
{
    s->image = input(root, "image", DIMS(B, N, E));
    s->config.stage1 = false;
    s->config.qformer.token_types = s->variant == MATCHING ? 1 : 0;
    blip2_model_init(&s->m, root.store, &s->config);
}

static tensor *run_qformer(tape *t, void *subject_)
{
    subject *s = subject_;
    const blip2_qformer *q = &s->m.qformer;
    nn_kv *memory = layer_room(&s->m, t), *past = layer_room(&s->m, t);
    blip2_qformer_memory(q, t, s->image, memory);
    tensor *queries = ag_repeat(t, s->m.query_tokens, B);
    blip2_pass image = { .queries = queries, .memory = memory, .present = past };
    blip2_pass p = { .ids = words, .B = B, .T = T, .pass = 1 };
    if (s->variant == IMAGE)
        return blip2_qformer_forward(q, t, &image);
    if (s->variant == MATCHING || s->variant == CAUSAL) {
        p.queries = queries;
        p.memory = memory;
    }
    if (s->variant == BEHIND_QUERIES) {
        blip2_qformer_forward(q, t, &image);
        p.past = past;
    }
    p.mask = s->variant == CAUSAL ? blip2_mask_causal(t, B, Q, T, is_word)
           : s->variant == BEHIND_QUERIES ? blip2_mask_causal_cached(t, B, Q, T, is_word)
           : blip2_mask_bidirectional(t, B, s->variant == MATCHING ? Q : 0, T, is_word);
    tensor *y = blip2_qformer_forward(q, t, &p);
    return s->variant >= CAUSAL ? blip2_qformer_logits(q, t, y) : y;
}

/* ---- stage 1: negatives given, and what ITC compares with standing still ------------------------------- */
static void make_stage1(subject *s, nn_scope root)
{
    s->image = input(root, "features", DIMS(B, N, E));
    blip2_model_init(&s->m, root.store, &s->config);
}

/* With a tower that is trained: its features of pictures. */
static tensor *features(tape *t, const subject *s)
{
    return s->pictures ? blip2_vision_features(&s->m, t, s->pictures) : s->image;
}

static blip2_stage1_out stage1(tape *t, const subject *s)
{
    static const int images[B] = { 2, 0, 3, 1 }, texts[B] = { 1, 3, 0, 0 };
    blip2_stage1_out out;
    blip2_stage1(&s->m, t, &(blip2_stage1_in){ .features = features(t, s), .text = text(),
        .image_id = s->variant ? image_id : NULL, .negative_image = images, .negative_text = texts,
        .image_candidates = s->image_candidates, .text_candidates = s->text_candidates }, &out);
    return out;
}

static tensor *run_itc(tape *t, void *s) { return stage1(t, s).itc; }
static tensor *run_itm(tape *t, void *s) { return stage1(t, s).itm; }
static tensor *run_itg(tape *t, void *s) { return stage1(t, s).itg; }
static tensor *run_stage1(tape *t, void *s) { return stage1(t, s).loss; }

/* ---- towers, language model, stage 2 ------------------------------------------------------------------- */
static void set_tower(subject *s)
{
    s->config.vision = (blip2_vit_config){ .kind = s->variant % 2 ? BLIP2_VIT_EVA : BLIP2_VIT_CLIP,
        .image_size = 6, .patch = 2, .width = D, .depth = 1 + s->variant / 2, .heads = 3, .hidden = 20,
        .init_std = 0.3, .position_std = 0.3 };
}

static void make_stage1_tower(subject *s, nn_scope root)
{
    set_tower(s);
    s->pictures = input(root, "pictures", DIMS(B, 3, 6, 6));
    blip2_model_init(&s->m, root.store, &s->config);
    s->m.vision.drop_path = 0.3;
}

static void make_vision(subject *s, nn_scope root)
{
    set_tower(s);
    s->config.qformer.queries = 0;
    s->pictures = input(root, "pictures", DIMS(2, 3, 6, 6));
    blip2_model_init(&s->m, root.store, &s->config);
}

static tensor *run_vision(tape *t, void *subject_)
{
    subject *s = subject_;
    return blip2_vision_features(&s->m, t, s->pictures);
}

static void make_opt(subject *s, nn_scope root)
{
    s->config.llm = BLIP2_LLM_OPT;
    s->config.qformer.queries = 0;
    blip2_model_init(&s->m, root.store, &s->config);
}

static tensor *run_opt(tape *t, void *subject_)
{
    subject *s = subject_;
    tensor *x = blip2_opt_embed(&s->m.opt, t, words, B, T);
    return blip2_opt_logits(&s->m.opt, t, blip2_opt_forward(&s->m.opt, t, x, is_word, NULL));
}

/* Both forms of the gate, an own head and a tied one. */
static void make_t5(subject *s, nn_scope root)
{
    s->config.llm = BLIP2_LLM_T5;
    s->config.qformer.queries = 0;
    s->config.t5.gelu = s->variant % 2 ? BLIP2_GELU_TANH : BLIP2_GELU_ERF;
    s->config.t5.tied = s->variant / 2;
    blip2_model_init(&s->m, root.store, &s->config);
}

static tensor *run_t5(tape *t, void *subject_)
{
    subject *s = subject_;
    const blip2_t5 *m = &s->m.t5;
    static const int said[B * T] = { 0, 9, 3, 4, 0, 0,  0, 5, 6, 2, 7, 7,  0, 8, 18, 0, 0, 0,
                                     0, 1, 1, 12, 13, 2 };
    nn_kv *memory = ag_alloc(t, s->config.t5.decoder_layers * (long)sizeof *memory);
    tensor *read = blip2_t5_embed(m, t, words, B, T);
    blip2_t5_memory(m, t, blip2_t5_encode(m, t, read, is_word, NULL), memory);
    tensor *x = blip2_t5_embed(m, t, said, B, T);
    return blip2_t5_logits(m, t, blip2_t5_decode(m, t, &(blip2_t5_pass){
        .embeddings = x, .memory = memory, .memory_mask = is_word }));
}

static void make_with_llm(subject *s, nn_scope root, blip2_llm_kind llm)
{
    s->config.llm = llm;
    s->config.stage1 = s->config.qformer.head = false;
    if (!s->pictures)
        s->image = input(root, "features", DIMS(B, N, E));
    blip2_model_init(&s->m, root.store, &s->config);
    nn_freeze(root.store, blip2_llm_of(&s->config).parameters);
}

/* From variant 2 on the language model is frozen and kept in f16, bf16, int8: gradients pass through it. */
static void keep_llm(const subject *s, nn_scope root, const char *parameters)
{
    if (s->variant < 2)
        return;
    nn_freeze(root.store, parameters);
    nn_keep_as(root.store, parameters, (ag_dtype)(AG_F16 + s->variant - 2));
}

/* A trained tower of both families; variants 0, 1: with OPT, 2, 3: with T5. */
static void make_stage2_tower(subject *s, nn_scope root)
{
    set_tower(s);
    s->config.qformer.text = false;
    s->pictures = input(root, "pictures", DIMS(B, 3, 6, 6));
    make_with_llm(s, root, s->variant < 2 ? BLIP2_LLM_OPT : BLIP2_LLM_T5);
    s->m.vision.drop_path = 0.3;
}

/* Variants 0, 1: linear, mlp, with OPT; 2, 3: with T5. */
static void make_connector(subject *s, nn_scope root)
{
    s->config.qformer.text = false;
    s->config.qformer.queries = 0;
    s->config.connector = s->variant % 2 ? BLIP2_CONNECTOR_MLP : BLIP2_CONNECTOR_LINEAR;
    make_with_llm(s, root, s->variant < 2 ? BLIP2_LLM_OPT : BLIP2_LLM_T5);
}

static void make_stage2(subject *s, nn_scope root)
{
    s->config.qformer.text = false;
    make_with_llm(s, root, BLIP2_LLM_OPT);
    keep_llm(s, root, "opt_model");
}

static void make_stage2_t5(subject *s, nn_scope root)
{
    s->config.qformer.text = false;
    make_with_llm(s, root, BLIP2_LLM_T5);
    keep_llm(s, root, "t5_model");
}

/* The question in the Q-Former too. */
static void make_asked(subject *s, nn_scope root)
{
    make_with_llm(s, root, s->variant ? BLIP2_LLM_T5 : BLIP2_LLM_OPT);
}

static tensor *run_stage2(tape *t, void *subject_)
{
    subject *s = subject_;
    static const real weight[B * T] = { 1, 0.5, 2, 0, 1, 3, 1, 1, 0.25, 2, 9, 9, 1, 2, 3, 4, 5, 9, 2, 1, 1,
                                        3 };
    blip2_stage2_out out;
    blip2_stage2(&s->m, t, &(blip2_stage2_in){ .features = s->image, .text = text(),
        .prompt_tokens = s->variant % 2, .loss_weight = s->variant % 2 ? weight : NULL }, false, &out);
    return out.loss;
}

static tensor *run_stage2_t5(tape *t, void *subject_)
{
    subject *s = subject_;
    static const real weight[B * T] = { 1, 0.5, 2, 0, 1, 3, 1, 1, 0.25, 2, 9, 9, 1, 2, 3, 4, 5, 9, 2, 1, 1,
                                        3 };
    blip2_stage2_out out;
    blip2_stage2(&s->m, t, &(blip2_stage2_in){ .features = s->image, .target = text(),
        .loss_weight = s->variant % 2 ? weight : NULL, .text = s->variant % 2 ? text() : (blip2_text){ 0 } },
        false, &out);
    return out.loss;
}

static tensor *run_asked(tape *t, void *subject_)
{
    subject *s = subject_;
    blip2_stage2_out out;
    blip2_stage2(&s->m, t, &(blip2_stage2_in){ .features = s->image, .text = text(), .question = text(),
        .target = s->variant ? text() : (blip2_text){ 0 } }, false, &out);
    return out.loss;
}

static tensor *run_with_llm(tape *t, void *subject_)
{
    subject *s = subject_;
    blip2_stage2_out out;
    blip2_stage2(&s->m, t, &(blip2_stage2_in){ .features = features(t, s), .text = text(),
        .target = s->config.llm == BLIP2_LLM_T5 ? text() : (blip2_text){ 0 } }, false, &out);
    return out.loss;
}

/* ---- the table ----------------------------------------------------------------------------------------- */
static const example examples[] = {
    { "bert_layer", 3, make_layer, run_layer, sizeof layers / sizeof *layers, false },
    { "qformer", 3, make_qformer, run_qformer, MODES, false },
    { "itc", 3, make_stage1, run_itc, 2, false },
    { "itm", 3, make_stage1, run_itm, 2, false },
    { "itg", 3, make_stage1, run_itg, 2, false },
    { "stage1", 3, make_stage1, run_stage1, 2, true },
    { "vision", 3, make_vision, run_vision, 4, true },
    { "opt", 3, make_opt, run_opt, 1, true },
    { "t5", 3, make_t5, run_t5, 4, true },
    { "stage2", 11, make_stage2, run_stage2, 5, true },
    { "stage2_t5", 3, make_stage2_t5, run_stage2_t5, 5, true },
    { "stage1_tower", 5, make_stage1_tower, run_stage1, 4, true },
    { "stage2_tower", 11, make_stage2_tower, run_with_llm, 4, true },
    { "connector", 11, make_connector, run_with_llm, 4, true },
    { "stage2_asked", 11, make_asked, run_asked, 2, false },
};

int blip2_example_count(void) { return sizeof examples / sizeof *examples; }
const char *blip2_example_name(int i) { return examples[i].name; }

/* What starts constant is moved: a gamma of 1 and a beta of 0 hide errors. OPT's units are pushed off the
 * corner. */
static void shake(nn_store *s)
{
    for (long i = 0; i < s->count; i++) {
        const nn_entry *e = &s->entries[i];
        bool unit = strstr(e->name, "fc1.bias") && strstr(e->name, "opt_model");
        double size = e->init.a != 0 ? 0.1 * e->init.a : 0.1;
        for (long k = 0; k < e->value->size && e->init.kind == NN_CONSTANT && !e->alias_of; k++)
            e->value->data[k] += (real)(size * ag_normal(e->key, (uint64_t)k) + (unit ? k % 3 ? 8 : -8 : 0));
    }
}

/* Puts the variant in: a module's checker does not know it. */
typedef struct teller { ag_listener tell; void *context; int variant; } teller;

static void tell_variant(void *context, const ag_compared *row)
{
    const teller *to = context;
    ag_compared whole = *row;
    whole.variant = to->variant;
    to->tell(to->context, &whole);
}

static void check_variant(const example *x, nn_store *store, tape *t, uint64_t seed, teller to, ag_check *c)
{
    int variant = to.variant;
    error e;
    subject s = { .variant = variant, .config = small() };
    x->make(&s, nn_root(store));
    if (!nn_build(store, true, &e))
        ag_fail("gradcheck", "%s", e.text);
    shake(store);
    ag_training(t, true);
    ag_seed(t, (ag_random){ .seed = 6, .step = 1 });
    if (x->make == make_stage1 || x->make == make_stage1_tower) {
        blip2_stage1_out first = stage1(t, &s);
        s.image_candidates = ag_detach(t, first.image_features);
        s.text_candidates = ag_detach(t, first.text_feature);
    }
    nn_check k = nn_gradcheck_told(store, t, x->run, &s, c->tolerance, seed, to.tell ? tell_variant : NULL,
                                   &to);
    if (!c->where[0] || !(k.worst <= c->worst)) {
        c->worst = k.worst;
        snprintf(c->where, sizeof c->where, "variant %d, %.100s", variant, k.where);
    }
    c->ok = c->ok && k.ok;
    if (x->all && k.idle)
        snprintf(c->trouble, sizeof c->trouble, "variant %d: nothing depends on %ld parameters", variant,
                 k.idle);
}

ag_check blip2_example_check(int i, uint64_t seed)
{
    return blip2_example_check_told(i, seed, NULL, NULL);
}

ag_check blip2_example_check_told(int i, uint64_t seed, ag_listener tell, void *context)
{
    const example *x = &examples[i];
    ag_check c = { .what = x->name, .variants = x->variants, .tolerance = 1e-8, .ok = true };
    for (int v = 0; v < x->variants; v++) {
        nn_store *store = nn_store_new(x->weights);
        tape *t = ag_tape_new();
        if (!store || !t)
            ag_fail("gradcheck", "memory is out");
        check_variant(x, store, t, seed, (teller){ tell, context, v }, &c);
        ag_tape_free(t);
        nn_store_free(store);
    }
    c.ok = c.ok && !c.trouble[0];
    return c;
}
