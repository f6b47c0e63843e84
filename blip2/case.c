/* case.c - models and inputs in files that another implementation wrote (blip2.h): the form of the reference
 * values under golden/lavis. The configuration is JSON with LAVIS's sizes under short names; texts are rows
 * of token ids without special ones. */
#include "blip2/blip2.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { OPT_BOS = 2, OPT_NEWLINE = 4, OPT_PAD = 1, T5_PAD = 0, T5_EOS = 1, BERT_CLS = 1, BERT_SEP = 2 };
enum { LARGEST = 1 << 20 };

/* ---- the configuration -------------------------------------------------------------------------------- */
typedef struct keys { const char *file, *group; const json_t *json; error *e; } keys;

static long size_of(const keys *k, const char *key, long otherwise)
{
    const json_t *v = json_object_get(k->json, key);
    long n = json_is_integer(v) ? (long)json_integer_value(v) : -1;
    if (!v && otherwise >= 0)
        return otherwise;
    if (n < 1 || n > LARGEST)
        error_line(k->e, "%s: config: %s%s: %s; expected a whole number from 1 to %d", QUOTE(k->file),
                   k->group, key, v ? "out of range" : "missing", LARGEST);
    return n;
}

static void read_qformer(const keys *k, blip2_config *c)
{
    blip2_qformer_config *q = &c->qformer;
    q->width = size_of(k, "D", -1);
    q->layers = size_of(k, "L", -1);
    q->heads = size_of(k, "H", -1);
    q->hidden = size_of(k, "I", -1);
    q->queries = size_of(k, "Q", -1);
    q->vocab = size_of(k, "vocab", -1) + 1;                /* and [DEC] */
    q->positions = size_of(k, "P", -1);
    q->memory_width = size_of(k, "Wv", -1);
    q->cross_attention_freq = size_of(k, "freq", 1);
    q->dropout = 0;
    c->embed = size_of(k, "E", -1);
    c->max_text = size_of(k, "max_txt_len", 32);
    const json_t *temperature = json_object_get(k->json, "temp");
    c->temperature = json_is_number(temperature) ? json_number_value(temperature) : c->temperature;
    c->cls = BERT_CLS;
    c->sep = BERT_SEP;
    c->dec = q->vocab - 1;
}

static void read_tower(keys k, h5 *f, blip2_vit_config *v)
{
    const char *type = json_string_value(json_object_get(k.json, "type"));
    bool clip = type && !strcmp(type, "clip");
    h5_shape hidden = { 0 };
    error why;
    if (!clip && (!type || strcmp(type, "eva")))
        error_line(k.e, "%s: config: vit.type: expected clip or eva", QUOTE(k.file));
    if (!h5_find(f, clip ? "weights/visual_encoder/transformer/resblocks/0/mlp/c_fc/weight"
                         : "weights/visual_encoder/blocks/0/mlp/fc1/weight", &hidden, &why))
        error_line(k.e, "%s", why.text);
    *v = (blip2_vit_config){ .kind = clip ? BLIP2_VIT_CLIP : BLIP2_VIT_EVA, .hidden = hidden.dim[0],
                             .image_size = size_of(&k, "img", -1), .patch = size_of(&k, "patch", 14),
                             .width = size_of(&k, "dim", -1), .depth = size_of(&k, "depth", -1),
                             .heads = size_of(&k, "heads", -1), .init_std = 0.02, .position_std = 0.02 };
}

static void read_opt(keys k, blip2_config *c)
{
    c->llm = BLIP2_LLM_OPT;
    c->opt = (blip2_opt_config){ .vocab = size_of(&k, "vocab", -1), .width = size_of(&k, "dim", -1),
                                 .layers = size_of(&k, "layers", -1), .heads = size_of(&k, "heads", -1),
                                 .hidden = size_of(&k, "ff", -1), .positions = size_of(&k, "P", -1),
                                 .init_std = 0.02, .bos = OPT_BOS, .eos = OPT_NEWLINE, .pad = OPT_PAD };
}

static void read_t5(keys k, blip2_config *c)
{
    long layers = size_of(&k, "layers", -1);
    c->llm = BLIP2_LLM_T5;
    c->t5 = (blip2_t5_config){ .vocab = size_of(&k, "vocab", -1), .width = size_of(&k, "dim", -1),
                               .layers = layers, .decoder_layers = size_of(&k, "decoder_layers", layers),
                               .heads = size_of(&k, "heads", -1), .head_width = size_of(&k, "dkv", -1),
                               .hidden = size_of(&k, "ff", -1), .buckets = size_of(&k, "buckets", 32),
                               .max_distance = size_of(&k, "maxdist", 128), .eps = 1e-6, .init_factor = 1,
                               .gelu = BLIP2_GELU_ERF, .start = T5_PAD, .eos = T5_EOS, .pad = T5_PAD };
}

/* Stage 2: the Q-Former has a text stream where it reads the question as well (InstructBLIP). */
static void read_language(const keys *k, const json_t *llm, h5 *f, blip2_config *c)
{
    bool text = h5_has(f, "weights/Qformer/bert/embeddings/word_embeddings/weight") == H5_DATASET;
    keys inner = { k->file, "llm.", llm, k->e };
    if (json_object_get(llm, "dkv"))
        read_t5(inner, c);
    else
        read_opt(inner, c);
    c->stage1 = c->qformer.head = false;
    c->qformer.text = c->question_in_qformer = text;
}

static json_t *config_of(h5 *f, error *e)
{
    char *text = h5_text(f, "", "config", e);
    json_t *json = text ? json_loads(text, 0, NULL) : NULL;
    if (text && !json_is_object(json)) {
        error_set(e, "%s: its root attribute `config` is no JSON object", QUOTE(h5_path(f)));
        json_decref(json);
        json = NULL;
    }
    mem_free(text);
    return json;
}

bool blip2_case_config(h5 *f, blip2_config *c, error *e)
{
    json_t *json = config_of(f, e);
    if (!json)
        return false;
    *c = blip2_config_default();
    c->vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    e->lines = 0;
    keys k = { h5_path(f), "", json, e };
    const json_t *tower = json_object_get(json, "vit"), *llm = json_object_get(json, "llm");
    bool alone = tower && h5_has(f, "weights/query_tokens") == H5_NOTHING;
    if (tower)
        read_tower((keys){ k.file, "vit.", tower, e }, f, &c->vision);
    if (alone)
        c->qformer.queries = 0;
    else
        read_qformer(&k, c);
    if (llm)
        read_language(&k, llm, f, c);
    json_decref(json);
    return error_close(e, ERROR_RUN, "%s: config: %d sizes are missing or out of range", QUOTE(h5_path(f)),
                       e->lines);
}

/* ---- texts -------------------------------------------------------------------------------------------- */
static long length_of(const int *row, long room)
{
    long n = 0;
    while (n < room && row[n] >= 0)
        n++;
    return n;
}

blip2_text blip2_bert_rows(const blip2_config *c, tape *t, const int *raw, long B, long room, long width)
{
    int *ids = ag_alloc(t, B * width * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * width);
    for (long b = 0; b < B; b++) {
        long n = length_of(raw + b * room, room), words = n < width - 2 ? n : width - 2;
        for (long i = 0; i < width; i++) {
            mask[b * width + i] = i < words + 2;
            ids[b * width + i] = i == 0 ? (int)c->cls : i <= words ? raw[b * room + i - 1]
                               : i == words + 1 ? (int)c->sep : (int)c->text_pad;
        }
    }
    return (blip2_text){ B, width, ids, mask };
}

blip2_text blip2_opt_rows(const blip2_opt_config *c, tape *t, const int *raw, long B, long room, bool newline,
                          long most, bool pad_left)
{
    long T = 0, *length = ag_alloc(t, B * (long)sizeof *length);
    for (long b = 0; b < B; b++) {
        long n = length_of(raw + b * room, room) + 1 + newline;
        length[b] = n < most ? n : most;
        T = length[b] > T ? length[b] : T;
    }
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * T);
    for (long b = 0; b < B; b++)
        for (long i = 0; i < T; i++) {
            long at = i - (pad_left ? T - length[b] : 0);  /* which token stands at column i */
            bool is_real = at >= 0 && at < length[b];
            bool word = is_real && at > 0 && at - 1 < room && raw[b * room + at - 1] >= 0;
            mask[b * T + i] = is_real;
            ids[b * T + i] = word ? raw[b * room + at - 1]
                           : (int)(!is_real ? c->pad : at == 0 ? c->bos : c->eos);
        }
    return (blip2_text){ B, T, ids, mask };
}

blip2_text blip2_t5_rows(const blip2_t5_config *c, tape *t, const int *raw, long B, long room, long most)
{
    long T = 0;
    for (long b = 0; b < B; b++) {
        long n = length_of(raw + b * room, room) + 1;
        n = n < most ? n : most;
        T = n > T ? n : T;
    }
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * T);
    for (long b = 0; b < B; b++) {
        long n = length_of(raw + b * room, room);
        n = n < most - 1 ? n : most - 1;
        for (long i = 0; i < T; i++) {
            mask[b * T + i] = i <= n;
            ids[b * T + i] = i < n ? raw[b * room + i] : (int)(i == n ? c->eos : c->pad);
        }
    }
    return (blip2_text){ B, T, ids, mask };
}
