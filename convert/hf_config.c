/* hf_config.c - config.json of a Hugging Face folder into our configuration. Files are sparse: what is
 * missing has the default of its class (transformers: configuration_blip_2.py, configuration_opt.py,
 * configuration_t5.py). generation_config.json, where there is one, has the last word on which tokens begin,
 * end and fill a text, as in transformers. */
#include "convert/internal.h"
#include "data/json.h"
#include <stdio.h>
#include <string.h>

typedef struct reader { const char *path; error *e; } reader;      /* problems are collected in e */

static long whole(const reader *r, const json_t *o, const char *key, long otherwise)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return otherwise;
    if (!json_is_integer(v))
        error_line(r->e, "%s: %s: expected a whole number", QUOTE(r->path), key);
    return json_is_integer(v) ? (long)json_integer_value(v) : otherwise;
}

static double number(const reader *r, const json_t *o, const char *key, double otherwise)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return otherwise;
    if (!json_is_number(v))
        error_line(r->e, "%s: %s: expected a number", QUOTE(r->path), key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static bool flag(const reader *r, const json_t *o, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return otherwise;
    if (!json_is_boolean(v))
        error_line(r->e, "%s: %s: expected true or false", QUOTE(r->path), key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static const char *text(const reader *r, const json_t *o, const char *key, const char *otherwise)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return otherwise;
    if (!json_is_string(v))
        error_line(r->e, "%s: %s: expected a text", QUOTE(r->path), key);
    return json_is_string(v) ? json_string_value(v) : otherwise;
}

/* NULL: not there, and all in it has its default. */
static const json_t *section(const reader *r, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (v && !json_is_null(v) && !json_is_object(v))
        error_line(r->e, "%s: %s: expected an object", QUOTE(r->path), key);
    return v;
}

/* Anything but `expected` is something that is not built. */
static void must_be(const reader *r, const json_t *o, const char *key, const char *expected)
{
    const char *given = text(r, o, key, expected);
    if (strcmp(given, expected))
        error_line(r->e, "%s: %s: expected \"%s\", found \"%s\"", QUOTE(r->path), key, expected,
                   QUOTE(given));
}

static void read_opt(const reader *r, const json_t *o, blip2_config *c)
{
    blip2_opt_config *t = &c->opt;
    c->llm = BLIP2_LLM_OPT;
    must_be(r, o, "activation_function", "relu");
    t->vocab = whole(r, o, "vocab_size", 50272);
    t->width = whole(r, o, "hidden_size", 768);
    t->layers = whole(r, o, "num_hidden_layers", 12);
    t->heads = whole(r, o, "num_attention_heads", 12);
    t->hidden = whole(r, o, "ffn_dim", 3072);
    t->positions = whole(r, o, "max_position_embeddings", 2048);
    t->dropout = number(r, o, "dropout", 0.1);
    t->bos = whole(r, o, "bos_token_id", 2);
    t->eos = whole(r, o, "eos_token_id", 2);
    t->pad = whole(r, o, "pad_token_id", 1);
    t->post_norm = !flag(r, o, "do_layer_norm_before", true);
    long embed = whole(r, o, "word_embed_proj_dim", t->width);
    t->embed = embed == t->width ? 0 : embed;
    if (flag(r, o, "_remove_final_layer_norm", false) && !t->post_norm)
        error_line(r->e, "%s: _remove_final_layer_norm: not built in this version", QUOTE(r->path));
    if (!flag(r, o, "enable_bias", true) || !flag(r, o, "layer_norm_elementwise_affine", true))
        error_line(r->e, "%s: an OPT without biases (Galactica): not built in this version", QUOTE(r->path));
}

/* "gated-gelu" means gelu_new; another activation behind "gated-" would be meant by its name. dense_act_fn,
 * where it is given, beats what feed_forward_proj says: BLIP-2's FlanT5 uses exact GELU. */
static void read_t5(const reader *r, const json_t *o, blip2_config *c)
{
    blip2_t5_config *t = &c->t5;
    const char *form = text(r, o, "feed_forward_proj", "relu"), *given = text(r, o, "dense_act_fn", NULL);
    const char *act = given ? given : "gelu_new";
    bool gated = !strncmp(form, "gated-", 6);
    c->llm = BLIP2_LLM_T5;
    if (!gated || (!given && strcmp(form, "gated-gelu")))
        error_line(r->e, "%s: feed_forward_proj: expected \"gated-gelu\", found \"%s\"; %s is not built in "
                         "this version",
                   QUOTE(r->path), QUOTE(form), gated ? "a T5 with this activation" : "the first T5");
    if (strcmp(act, "gelu") && strcmp(act, "gelu_new"))
        error_line(r->e, "%s: dense_act_fn: expected \"gelu\" or \"gelu_new\", found \"%s\"", QUOTE(r->path),
                   QUOTE(act));
    t->gelu = strcmp(act, "gelu") ? BLIP2_GELU_TANH : BLIP2_GELU_ERF;
    t->vocab = whole(r, o, "vocab_size", 32128);
    t->width = whole(r, o, "d_model", 512);
    t->layers = whole(r, o, "num_layers", 6);
    t->decoder_layers = whole(r, o, "num_decoder_layers", t->layers);
    t->heads = whole(r, o, "num_heads", 8);
    t->head_width = whole(r, o, "d_kv", 64);
    t->hidden = whole(r, o, "d_ff", 2048);
    t->buckets = whole(r, o, "relative_attention_num_buckets", 32);
    t->max_distance = whole(r, o, "relative_attention_max_distance", 128);
    t->dropout = number(r, o, "dropout_rate", 0.1);
    t->eps = number(r, o, "layer_norm_epsilon", 1e-6);
    t->start = whole(r, o, "decoder_start_token_id", 0);
    t->eos = whole(r, o, "eos_token_id", 1);
    t->pad = whole(r, o, "pad_token_id", 0);
    t->tied = flag(r, o, "scale_decoder_outputs", flag(r, o, "tie_word_embeddings", true));
}

static void read_llm(const reader *r, const json_t *o, blip2_config *c)
{
    const char *type = text(r, o, "model_type", "none");
    if (!strcmp(type, "opt"))
        read_opt(r, o, c);
    else if (!strcmp(type, "t5"))
        read_t5(r, o, c);
    else
        error_line(r->e, "%s: text_config.model_type: expected opt or t5, found %s", QUOTE(r->path),
                   QUOTE(type));
}

static void read_vision(const reader *r, const json_t *o, blip2_config *c)
{
    blip2_vit_config *v = &c->vision;
    must_be(r, o, "hidden_act", "gelu");
    v->kind = BLIP2_VIT_EVA;
    v->width = whole(r, o, "hidden_size", 1408);
    v->depth = whole(r, o, "num_hidden_layers", 39);
    v->heads = whole(r, o, "num_attention_heads", 16);
    v->hidden = whole(r, o, "intermediate_size", 6144);
    v->patch = whole(r, o, "patch_size", 14);
    v->image_size = whole(r, o, "image_size", 224);
    v->eps = number(r, o, "layer_norm_eps", 1e-6);
    c->ln_vision_eps = v->eps;                             /* Hugging Face has one for all */
    if (v->eps == 1e-6)
        v->eps = 0;
    if (!flag(r, o, "qkv_bias", true))
        error_line(r->e, "%s: vision_config.qkv_bias: false is not built in this version", QUOTE(r->path));
}

static void read_qformer(const reader *r, const json_t *o, blip2_config *c)
{
    blip2_qformer_config *q = &c->qformer;
    must_be(r, o, "hidden_act", "gelu");
    q->width = whole(r, o, "hidden_size", 768);
    q->layers = whole(r, o, "num_hidden_layers", 12);
    q->heads = whole(r, o, "num_attention_heads", 12);
    q->hidden = whole(r, o, "intermediate_size", 3072);
    q->cross_attention_freq = whole(r, o, "cross_attention_frequency", 2);
    q->vocab = whole(r, o, "vocab_size", 30522);
    q->positions = whole(r, o, "max_position_embeddings", 512);
    q->eps = number(r, o, "layer_norm_eps", 1e-12);
    q->dropout = number(r, o, "hidden_dropout_prob", 0.1);
    q->memory_width = c->vision.width;
    q->text = flag(r, o, "use_qformer_text_input", flag(r, o, "qformer_text_input", false));
    q->head = false;
    c->max_text = c->max_text < q->positions ? c->max_text : q->positions;
}

static void read_bert(const reader *r, const json_t *o, blip2_config *c)
{
    blip2_qformer_config *q = &c->qformer;
    convert_bert_none(c);
    must_be(r, o, "hidden_act", "gelu");
    must_be(r, o, "position_embedding_type", "absolute");
    q->width = whole(r, o, "hidden_size", 768);
    q->layers = whole(r, o, "num_hidden_layers", 12);
    q->heads = whole(r, o, "num_attention_heads", 12);
    q->hidden = whole(r, o, "intermediate_size", 3072);
    q->vocab = whole(r, o, "vocab_size", 30522);
    q->positions = whole(r, o, "max_position_embeddings", 512);
    q->token_types = whole(r, o, "type_vocab_size", 2);
    q->eps = number(r, o, "layer_norm_eps", 1e-12);
    q->dropout = number(r, o, "hidden_dropout_prob", 0.1);
    c->max_text = c->max_text < q->positions ? c->max_text : q->positions;
}

static bool is_class(const json_t *o, const char *name)
{
    const json_t *v = json_array_get(json_object_get(o, "architectures"), 0);
    return json_is_string(v) && !strcmp(json_string_value(v), name);
}

/* BLIP-2: with a language model, or for retrieval with the heads of stage 1. */
static void read_blip2(const reader *r, const json_t *o, blip2_config *c)
{
    read_vision(r, section(r, o, "vision_config"), c);
    c->qformer.queries = whole(r, o, "num_query_tokens", 32);
    read_qformer(r, section(r, o, "qformer_config"), c);
    c->embed = whole(r, o, "image_text_hidden_size", 256);
    /* of its documentation */
    snprintf(c->question_prompt, sizeof c->question_prompt, "Question: {} Answer:");
    c->stage1 = is_class(o, "Blip2ForImageTextRetrieval");
    if (c->stage1)
        c->qformer.text = true;
    else
        read_llm(r, section(r, o, "text_config"), c);
}

/* A token's id, or a list of those that end a text, of which the first is taken. */
static long id_of(const reader *r, const json_t *o, const char *key, long otherwise)
{
    const json_t *v = json_object_get(o, key), *first = json_array_get(v, 0);
    return json_is_integer(first) ? (long)json_integer_value(first) : whole(r, o, key, otherwise);
}

bool convert_hf_generation(const char *path, blip2_config *c, error *e)
{
    reader r = { path, e };
    json_t *o = data_json_file(path, e);
    if (!o)
        return false;
    e->lines = 0;
    if (c->llm == BLIP2_LLM_OPT) {
        c->opt.bos = id_of(&r, o, "bos_token_id", c->opt.bos);
        c->opt.eos = id_of(&r, o, "eos_token_id", c->opt.eos);
        c->opt.pad = id_of(&r, o, "pad_token_id", c->opt.pad);
    } else if (c->llm == BLIP2_LLM_T5) {
        c->t5.start = id_of(&r, o, "decoder_start_token_id", c->t5.start);
        c->t5.eos = id_of(&r, o, "eos_token_id", c->t5.eos);
        c->t5.pad = id_of(&r, o, "pad_token_id", c->t5.pad);
    }
    json_decref(o);
    return error_close(e, ERROR_RUN, "%s: %d entries cannot be taken over", QUOTE(path), e->lines)
        && blip2_config_check(path, c, e);
}

static bool is_kind(const json_t *o, const char *kind)
{
    const char *type = json_string_value(json_object_get(o, "model_type"));
    return type && !strcmp(type, kind);
}

bool convert_hf_is_bert(const char *path)
{
    error ignored;                                         /* who reads the rest tells it */
    json_t *o = data_json_file(path, &ignored);
    bool bert = is_kind(o, "bert");
    json_decref(o);
    return bert;
}

bool convert_hf_is_foreign(const char *path)
{
    error ignored;
    json_t *o = data_json_file(path, &ignored);
    bool foreign = o && !is_kind(o, "blip-2") && !is_kind(o, "opt") && !is_kind(o, "t5")
                   && !is_kind(o, "bert");
    json_decref(o);
    return foreign;
}

bool convert_hf_config(const char *path, blip2_config *c, bool *bare, error *e)
{
    reader r = { path, e };
    json_t *o = data_json_file(path, e);
    if (!o)
        return false;
    e->lines = 0;
    const char *type = text(&r, o, "model_type", "none");
    bool bert = !strcmp(type, "bert");
    *bare = bert || !strcmp(type, "opt") || !strcmp(type, "t5");
    *c = blip2_config_default();
    c->llm = BLIP2_LLM_NONE;
    c->prompt[0] = 0;
    if (bert)
        read_bert(&r, o, c);
    else if (*bare) {
        c->vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
        c->qformer.queries = 0;
        c->stage1 = false;
        read_llm(&r, o, c);
    } else if (!strcmp(type, "blip-2"))
        read_blip2(&r, o, c);
    else
        error_line(e, "%s: model_type: expected blip-2, opt, t5 or bert, found %s", QUOTE(path),
                   QUOTE(type));
    json_decref(o);
    return error_close(e, ERROR_RUN, "%s: %d entries cannot be taken over", QUOTE(path), e->lines)
        && blip2_config_check(path, c, e);
}
