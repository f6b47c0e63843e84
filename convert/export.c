/* export.c - a model file back into the form that others read: model.safetensors under Hugging Face's or
 * LAVIS's names, config.json, and the tokenizers' files. Numbers are copied as they are; our own
 * configuration stands in the header's metadata (blip2.config), so that `convert` gives the same model again,
 * to the bit. One tensor is in memory at a time. */
#include "convert/convert.h"
#include "convert/internal.h"
#include "convert/names.h"
#include "data/json.h"
#include <dirent.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_STEP = 8 };
typedef struct piece {
    const nn_entry *of[3];
    int count;
    char name[CONVERT_NAME];
} piece; /* 3: EVA's q, k and v biases */
typedef struct job {
    blip2_model model;
    h5 *f;
    bool hf;
    piece *pieces; long count;
    space wide, raw;                   /* of the tensor in hand */
    error *e;
} job;

/* ---- what is written under which name -------------------------------------------------------------- */
static piece *piece_of(job *j, const char *name)
{
    for (long i = 0; i < j->count; i++)
        if (!strcmp(j->pieces[i].name, name))
            return &j->pieces[i];
    piece *p = &j->pieces[j->count++];
    *p = (piece){ .count = 1 };
    strcpy(p->name, name);
    return p;
}

/* Of the parameters Hugging Face lacks some: the ITG head, temp. */
static bool list_pieces(job *j, long *left_out)
{
    const nn_store *s = j->model.store;
    j->pieces = mem_new((size_t)(s->count + 1) * sizeof *j->pieces);
    *left_out = 0;
    for (long i = 0; j->pieces && i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        convert_part part = { .of = 1 };
        if (p->alias_of)
            continue;
        if (!j->model.config.qformer.queries) /* a language model, tower or BERT alone has its own names */
            strncpy(part.name, strchr(p->name, '.') + 1, sizeof part.name - 1);
        else if (!j->hf)
            strncpy(part.name, p->name, sizeof part.name - 1);
        else if (!convert_hf_name(p->name, &part)) {
            ++*left_out;
            continue;
        }
        piece *to = piece_of(j, part.name);
        to->count = part.of;
        to->of[part.at] = p;
    }
    return j->pieces || error_set(j->e, "export: out of memory");
}

static long size_of(const piece *p)
{
    return p->count * (p->of[0] ? p->of[0] : p->of[2])->value->size;
}

/* ---- config.json ----------------------------------------------------------------------------------- */
static json_t *vision_json(const blip2_config *c)
{
    const blip2_vit_config *v = &c->vision;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:b}", "model_type",
                     "blip_2_vision_model", "hidden_size", (json_int_t)v->width, "num_hidden_layers",
                     (json_int_t)v->depth, "num_attention_heads", (json_int_t)v->heads, "intermediate_size",
                     (json_int_t)v->hidden, "patch_size", (json_int_t)v->patch, "image_size",
                     (json_int_t)v->image_size, "layer_norm_eps", v->eps > 0 ? v->eps : 1e-6, "hidden_act",
                     "gelu", "qkv_bias", 1);
}

static json_t *qformer_json(const blip2_config *c)
{
    const blip2_qformer_config *q = &c->qformer;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:b}", "model_type",
                     "blip_2_qformer", "hidden_size", (json_int_t)q->width, "num_hidden_layers",
                     (json_int_t)q->layers, "num_attention_heads", (json_int_t)q->heads, "intermediate_size",
                     (json_int_t)q->hidden, "cross_attention_frequency", (json_int_t)q->cross_attention_freq,
                     "encoder_hidden_size", (json_int_t)q->memory_width, "vocab_size", (json_int_t)q->vocab,
                     "max_position_embeddings", (json_int_t)q->positions, "layer_norm_eps", q->eps,
                     "hidden_act", "gelu", "use_qformer_text_input", (int)q->text);
}

static json_t *opt_json(const blip2_opt_config *o)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:I, s:I, s:I}", "model_type", "opt",
                     "vocab_size", (json_int_t)o->vocab, "hidden_size", (json_int_t)o->width,
                     "num_hidden_layers", (json_int_t)o->layers, "num_attention_heads", (json_int_t)o->heads,
                     "ffn_dim", (json_int_t)o->hidden, "max_position_embeddings", (json_int_t)o->positions,
                     "word_embed_proj_dim", (json_int_t)(o->embed ? o->embed : o->width),
                     "do_layer_norm_before", (int)!o->post_norm, "activation_function", "relu",
                     "bos_token_id", (json_int_t)o->bos, "eos_token_id", (json_int_t)o->eos, "pad_token_id",
                     (json_int_t)o->pad);
}

static json_t *t5_json(const blip2_t5_config *t)
{
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, "
        "s:b}",
        "model_type", "t5", "vocab_size", (json_int_t)t->vocab, "d_model", (json_int_t)t->width, "num_layers",
        (json_int_t)t->layers, "num_decoder_layers", (json_int_t)t->decoder_layers, "num_heads",
        (json_int_t)t->heads, "d_kv", (json_int_t)t->head_width, "d_ff", (json_int_t)t->hidden,
        "relative_attention_num_buckets", (json_int_t)t->buckets, "relative_attention_max_distance",
        (json_int_t)t->max_distance, "layer_norm_epsilon", t->eps, "feed_forward_proj", "gated-gelu",
        "dense_act_fn", t->gelu == BLIP2_GELU_ERF ? "gelu" : "gelu_new", "tie_word_embeddings", (int)t->tied,
        "scale_decoder_outputs", (int)t->tied, "decoder_start_token_id", (json_int_t)t->start, "bos_token_id",
        (json_int_t)t->eos, "eos_token_id", (json_int_t)t->eos, "pad_token_id", (json_int_t)t->pad,
        "is_encoder_decoder", 1);
}

static json_t *llm_json(const blip2_config *c)
{
    return c->llm == BLIP2_LLM_T5 ? t5_json(&c->t5) : c->llm == BLIP2_LLM_OPT ? opt_json(&c->opt)
                                                    : json_pack("{s:s}", "model_type", "opt");
}

static json_t *bert_json(const blip2_config *c)
{
    const blip2_qformer_config *q = &c->qformer;
    return json_pack("{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s}", "architectures",
                     q->head ? "BertForMaskedLM" : "BertModel", "model_type", "bert", "hidden_size",
                     (json_int_t)q->width, "num_hidden_layers", (json_int_t)q->layers, "num_attention_heads",
                     (json_int_t)q->heads, "intermediate_size", (json_int_t)q->hidden, "vocab_size",
                     (json_int_t)q->vocab, "max_position_embeddings", (json_int_t)q->positions,
                     "type_vocab_size", (json_int_t)q->token_types, "layer_norm_eps", q->eps, "hidden_act",
                     "gelu");
}

static bool is_tower(const blip2_config *c)
{
    return c->vision.kind != BLIP2_VIT_NONE && !c->qformer.queries && c->llm == BLIP2_LLM_NONE;
}

static json_t *config_json(const blip2_config *c, long image_token)
{
    const char *class = c->stage1 ? "Blip2ForImageTextRetrieval" : "Blip2ForConditionalGeneration";
    if (blip2_is_bert(c))
        return bert_json(c);
    if (is_tower(c))
        return vision_json(c);
    if (!c->qformer.queries) {
        json_t *alone = llm_json(c);
        json_object_set_new(
            alone, "architectures",
            json_pack("[s]", c->llm == BLIP2_LLM_T5 ? "T5ForConditionalGeneration" : "OPTForCausalLM"));
        return alone;
    }
    json_t *all = json_pack("{s:[s], s:s, s:I, s:I, s:b, s:s, s:o, s:o, s:o}", "architectures", class,
                            "model_type", "blip-2", "num_query_tokens", (json_int_t)c->qformer.queries,
                            "image_text_hidden_size", (json_int_t)c->embed, "use_decoder_only_language_model",
                            (int)(c->llm != BLIP2_LLM_T5), "torch_dtype", "float32", "vision_config",
                            vision_json(c), "qformer_config", qformer_json(c), "text_config", llm_json(c));
    if (image_token >= 0)
        json_object_set_new(all, "image_token_index", json_integer((json_int_t)image_token));
    return all;
}

static bool write_text(const char *folder, const char *name, const char *text, long size, error *e)
{
    char *path = mem_text("%s/%s", folder, name);
    file_out *f = path ? file_create(path, e) : NULL;
    bool ok = f != NULL || (!path && error_set(e, "export: out of memory"));
    if (f) {
        file_write(f, text, size);
        ok = file_finish(f, e);
    }
    mem_free(path);
    return ok;
}

static bool write_config(const job *j, const char *folder, long image_token)
{
    json_t *all = config_json(&j->model.config, image_token);
    char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    bool ok = text ? write_text(folder, "config.json", text, (long)strlen(text), j->e)
                   : error_set(j->e, "export: out of memory");
    free(text);
    json_decref(all);
    return ok;
}

/* ---- model.safetensors ----------------------------------------------------------------------------- */
/* What its numbers become: as the model file has them, int8 widened. */
typedef struct form { const char *name; long width; h5_type as; } form;

static bool form_of(const job *j, const nn_entry *p, form *to)
{
    char name[NN_NAME];
    h5_shape shape;
    nn_dataset(p->name, name);
    if (!h5_find(j->f, name, &shape, j->e))
        return false;
    *to = shape.stored == H5_HALVES ? (form){ "F16", 2, H5_HALVES }
                                    : shape.stored == H5_BRAINS ? (form){ "BF16", 2, H5_BRAINS }
        : shape.width > 4 ? (form){ "F64", 8, H5_REALS } : (form){ "F32", 4, H5_REALS };
    return true;
}

/* {"NAME": {"dtype", "shape", "data_offsets"}, ...}; each piece's form into forms. */
static char *header_text(const job *j, form *forms, const char *config)
{
    long at = 0;
    json_t *all = json_pack("{s:{s:s, s:s}}", "__metadata__", "format", "pt", "blip2.config", config);
    for (long i = 0; all && i < j->count; i++) {
        const piece *p = &j->pieces[i];
        const nn_entry *first = p->of[0] ? p->of[0] : p->of[2];
        if (!form_of(j, first, &forms[i])) {
            json_decref(all);
            return NULL;
        }
        json_t *shape = json_array();
        for (int d = 0; d < first->value->ndim; d++)
            json_array_append_new(shape,
                                  json_integer((json_int_t)(first->value->dim[d] * (d ? 1 : p->count))));
        long bytes = size_of(p) * forms[i].width;
        json_object_set_new(all, p->name,
                            json_pack("{s:s, s:o, s:[I,I]}", "dtype", forms[i].name, "shape",
                                      shape, "data_offsets", (json_int_t)at, (json_int_t)(at + bytes)));
        at += bytes;
    }
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    if (!text)
        error_set(j->e, "export: out of memory");
    json_decref(all);
    return text;
}

/* One parameter as the file holds it, or zeros where there is none (EVA's bias of k). */
static bool write_entry(job *j, file_out *f, const nn_entry *p, long size, form of)
{
    long width = of.width;
    real *x = space_of(&j->wide, (size_t)size * sizeof *x);
    bool same = p && width > 2 && width == (long)sizeof(real);     /* then raw is not touched */
    void *raw = space_of(&j->raw, (size_t)(size * width));
    char name[NN_NAME];
    if (raw && !p)
        memset(raw, 0, (size_t)(size * width));
    bool ok = (x && raw) || error_set(j->e, "export: out of memory for %ld numbers", size);
    if (ok && p) {
        nn_dataset(p->name, name);
        ok = width == 2 ? h5_read(j->f, name, of.as, p->value->ndim, p->value->dim, raw, j->e)
                        : nn_read_reals(j->f, name, p->value->ndim, p->value->dim, x, j->e);
    }
    for (long i = 0; ok && p && width > 2 && !same && i < size; i++)
        if (width == 8)
            ((double *)raw)[i] = (double)x[i];
        else
            ((float *)raw)[i] = (float)x[i];
    if (ok)
        file_write(f, same ? x : raw, size * width);
    return ok;
}

static bool write_tensors(job *j, const char *folder)
{
    blip2_config copy = j->model.config;
    if (j->hf && copy.qformer.queries)
        copy.qformer.head = false;                         /* it is left out: no name for it */
    config_table table = blip2_config_table("", &copy);
    char *config = config_print(&table, 1, false), *path = mem_text("%s/model.safetensors", folder);
    form *forms = mem_new((size_t)(j->count + 1) * sizeof *forms);
    bool ok = (config && path && forms) || error_set(j->e, "export: out of memory");
    char *header = ok ? header_text(j, forms, config) : NULL;
    file_out *f = header ? file_create(path, j->e) : NULL;
    ok = f != NULL;
    if (ok) {
        uint64_t size = strlen(header), whole = (size + HEADER_STEP - 1) / HEADER_STEP * HEADER_STEP;
        unsigned char length[8];
        for (int i = 0; i < 8; i++)
            length[i] = (unsigned char)(whole >> 8 * i);
        file_write(f, length, 8);
        file_write(f, header, (long)size);
        file_write(f, "        ", (long)(whole - size));
    }
    for (long i = 0; ok && i < j->count; i++)
        for (int k = 0; ok && k < j->pieces[i].count; k++)
            ok = write_entry(j, f, j->pieces[i].of[k], size_of(&j->pieces[i]) / j->pieces[i].count,
                             forms[i]);
    if (f && !ok)
        file_abandon(f);
    ok = ok && file_finish(f, j->e);
    free(header);
    mem_free(forms);
    mem_free(path);
    mem_free(config);
    return ok;
}

/* ---- tokenizers ------------------------------------------------------------------------------------ */
typedef bool words_act(const job *j, const char *folder, const blip2_part *parts, int n);

static bool write_parts(const job *j, const char *folder, const blip2_part *parts, int n)
{
    bool ok = !n || file_make_folders(folder, j->e);
    for (int i = 0; ok && i < n; i++)
        ok = write_text(folder, parts[i].name, parts[i].bytes, parts[i].size, j->e);
    return ok;
}

/* Would it stay beside what is written and be read as a part of it? */
static bool in_the_way(const char *name, const blip2_part *parts, int n)
{
    static const char *const read[] = { "model*.safetensors", "pytorch_model*.bin", "*.index.json",
                                        "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
                                        "tokenizer.json", "tokenizer_config.json", "added_tokens.json" };
    bool way = false;
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        way |= !fnmatch(read[i], name, 0);
    for (int i = 0; i < n; i++)
        way &= strcmp(parts[i].name, name) != 0;
    return way && strcmp(name, "model.safetensors");
}

/* A folder that is not there yet is as good as an empty one. */
static bool nothing_in_the_way(const job *j, const char *folder, const blip2_part *parts, int n)
{
    DIR *d = opendir(folder);
    bool ok = true;
    for (struct dirent *f; ok && d && (f = readdir(d)); )
        if (in_the_way(f->d_name, parts, n))
            ok = error_set(j->e,
                           "%s: holds %s, which is not written over and would be taken for a part of the "
                           "model; expected an empty folder, or an earlier export with the same files",
                           QUOTE(folder), QUOTE(f->d_name));
    if (d)
        closedir(d);
    return ok;
}

/* The files of the language model's tokenizer, or of the Q-Former's where there is no other; with both, the
 * Q-Former's go into the folder bert, where `convert` looks for them. */
static bool each_words(const job *j, const char *folder, words_act *act)
{
    static const char *const groups[] = { "llm", "bert" };
    char *second = mem_text("%s/bert", folder);
    const char *const where[] = { folder, second };
    bool ok = second || error_set(j->e, "export: out of memory");
    int taken = 0;
    for (int g = 0; g < 2 && ok; g++) {
        blip2_part parts[BLIP2_PARTS];
        int n = blip2_read_parts(j->f, groups[g], parts, j->e);
        ok = n >= 0 && (!n || act(j, where[taken], parts, n));
        taken += n > 0;
        if (n > 0)
            blip2_free_parts(parts, n);
    }
    for (; ok && taken < 2; taken++)
        ok = act(j, where[taken], NULL, 0);
    mem_free(second);
    return ok;
}

/* ---- all ------------------------------------------------------------------------------------------- */
typedef struct start { blip2_model *m; const blip2_config *config; } start;

static void init(void *context)
{
    const start *s = context;
    blip2_model_init(s->m, s->m->store, s->config);
}

bool convert_export(const char *model, const char *folder, bool hf, long image_token, long *left_out,
                    error *e)
{
    job j = { .hf = hf, .e = e };
    blip2_config c;
    bool ok = (j.f = h5_open(model, e)) && blip2_read_config(j.f, &c, e);
    if (ok && hf && is_tower(&c))
        ok = error_set(e,
                       "%s: a vision tower alone, which is no model of Hugging Face's BLIP-2; --format lavis "
                       "can hold it",
                       QUOTE(model));
    if (ok && hf && c.vision.kind == BLIP2_VIT_CLIP)
        ok = error_set(e,
                       "%s: Hugging Face's BLIP-2 has EVA's vision tower, this one is CLIP's; --format lavis "
                       "can hold it",
                       QUOTE(model));
    if (ok && hf && c.vision.kind == BLIP2_VIT_NONE && c.qformer.queries)
        ok = error_set(e,
                       "%s: Hugging Face's BLIP-2 has a vision tower, this one has none; --format lavis can "
                       "hold it",
                       QUOTE(model));
    if (ok && c.connector != BLIP2_CONNECTOR_QFORMER)
        ok = error_set(e, "%s: its connector is %s; neither LAVIS nor Hugging Face has a BLIP-2 without a "
                          "Q-Former",
                       QUOTE(model), c.connector == BLIP2_CONNECTOR_LINEAR ? "linear" : "mlp");
    nn_store *store = ok ? nn_store_new(0) : NULL;
    j.model.store = store;
    ok = ok && (store || error_set(e, "export: out of memory"));
    ok = ok && ag_try(store->names, init, &(start){ &j.model, &c }, e);
    ok = ok && list_pieces(&j, left_out) && each_words(&j, folder, nothing_in_the_way)
        && file_make_folders(folder, e) && write_tensors(&j, folder) && write_config(&j, folder, image_token)
        && each_words(&j, folder, write_parts);
    space_free(&j.wide);
    space_free(&j.raw);
    mem_free(j.pieces);
    nn_store_free(store);
    h5_close(j.f);
    return ok;
}
