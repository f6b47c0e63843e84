/* sources.c - what each source of a conversion is, what it may give, where in them each parameter of the
 * model is, and all that is missing, unexpected, of another shape or there twice with other numbers, in one
 * go. */
#include "convert/convert.h"
#include "convert/internal.h"
#include "convert/names.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- sources --------------------------------------------------------------------------------------- */
static bool there(const char *folder, const char *name)
{
    char *path = mem_text("%s/%s", folder, name);
    bool yes = path && !access(path, F_OK);
    mem_free(path);
    return yes;
}

/* Where a folder has several, the one that transformers takes: it looks for them in this order. */
static const char *weights_in(const char *folder)
{
    static const char *const names[] = { "model.safetensors", "model.safetensors.index.json",
                                         "pytorch_model.bin", "pytorch_model.bin.index.json" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (there(folder, names[i]))
            return names[i];
    return NULL;
}

bool convert_has_words(const char *folder)
{
    return there(folder, "vocab.txt") || there(folder, "vocab.json") || there(folder, "spiece.model")
        || there(folder, "tokenizer.json");
}

static bool read_config(source *s, bool *bare, error *e)
{
    char *path = mem_text("%s/config.json", s->folder);
    char *generation = mem_text("%s/generation_config.json", s->folder);
    if (!path || !generation)
        error_set(e, "out of memory");
    else
        s->has_config = convert_hf_config(path, &s->config, bare, e)
            && (!there(s->folder, "generation_config.json")
                || convert_hf_generation(generation, &s->config, e));
    mem_free(path);
    mem_free(generation);
    return s->has_config;
}

/* What an export left in the header. */
static bool own_config(source *s, error *e)
{
    blip2_config *c = &s->config;
    *c = blip2_config_default();
    config_table table = blip2_config_table("", c);
    const char *path = weights_path(s->w);
    s->has_config = config_read_text(path, s->w->config, strlen(s->w->config), &table, 1, e)
                    && blip2_config_check(path, c, e);
    return s->has_config;
}

static bool open_weights(source *s, const char *file, error *e)
{
    char *path = mem_text("%s/%s", s->folder, file);
    s->w = path ? weights_open(path, e) : NULL;
    if (!path)
        error_set(e, "out of memory");
    mem_free(path);
    return s->w != NULL;
}

static bool is_bert_folder(const source *s)
{
    char *path = mem_text("%s/config.json", s->folder);
    bool bert = path && convert_hf_is_bert(path);
    mem_free(path);
    return bert;
}

/* Of a BERT that is not the first source: nothing of its weights goes into a model. */
static bool words_alone(source *s, error *e)
{
    weights_close(s->w);
    s->w = NULL;
    s->kind = SOURCE_WORDS;
    return convert_has_words(s->folder)
           || error_set(e, "%s: a BERT that is not the first source gives its tokenizer alone; expected "
                           "vocab.txt or tokenizer.json beside it",
                        QUOTE(s->path));
}

/* Of a folder that `export` wrote, config.json is for others: it cannot say all that a model may be. */
static bool open_folder(source *s, bool first, error *e)
{
    const char *file = weights_in(s->folder);
    bool bare = false;
    s->kind = SOURCE_WORDS;
    if (!there(s->folder, "config.json"))
        return convert_has_words(s->folder)
               || error_set(e, "%s: neither config.json nor a tokenizer's files in it", QUOTE(s->path));
    if (!first && is_bert_folder(s))
        return words_alone(s, e);
    if (file && !open_weights(s, file, e))
        return false;
    bool own = s->w && s->w->config;
    if (!(own ? own_config(s, e) : read_config(s, &bare, e)))
        return false;
    if (!file)
        return error_set(
            e, "%s: no weights in it; expected model.safetensors, pytorch_model.bin or an index of shards",
            QUOTE(s->path));
    bare = own ? !s->config.qformer.queries : bare;
    s->kind = bare && blip2_is_bert(&s->config)       ? SOURCE_BERT
            : bare && s->config.llm == BLIP2_LLM_NONE ? SOURCE_TOWER
            : bare                                    ? SOURCE_LLM
            : weights_find(s->w, "ln_vision.weight")  ? SOURCE_LAVIS
                                                      : SOURCE_HF;
    return true;
}

/* Checkpoints lie where they were downloaded to: beside one may be the config.json of another model. */
static bool read_config_beside(source *s, error *e)
{
    bool bare = false;
    char *path = mem_text("%s/config.json", s->folder);
    if (!path)
        return error_set(e, "out of memory");
    s->foreign = convert_hf_is_foreign(path);
    mem_free(path);
    return s->foreign || read_config(s, &bare, e);
}

static bool open_file(source *s, bool first, error *e)
{
    if (!(s->w = weights_open(s->path, e)))
        return false;
    s->kind = weights_find(s->w, "query_tokens") ? SOURCE_LAVIS
            : convert_is_bert(s->w)              ? SOURCE_BERT
                                                 : SOURCE_TOWER;
    if (s->kind == SOURCE_TOWER && !weights_find(s->w, "cls_token") && !weights_find(s->w, "class_embedding"))
        return error_set(
            e,
            "%s: neither a LAVIS checkpoint (query_tokens) nor a vision tower (cls_token) nor a BERT in it; "
            "a language model is given as its folder",
            QUOTE(s->path));
    if (s->kind == SOURCE_BERT && !first)
        return words_alone(s, e);
    if (s->w->config)
        return own_config(s, e);
    return !there(s->folder, "config.json") || read_config_beside(s, e);       /* how many heads there are */
}

bool convert_open_source(source *s, const char *path, bool first, error *e)
{
    struct stat about;
    const char *slash = strrchr(path, '/');
    *s = (source){ .path = path };
    if (stat(path, &about))
        return error_set(e, "%s: cannot be opened; no such file or folder", QUOTE(path));
    bool folder = S_ISDIR(about.st_mode);
    s->folder = folder  ? mem_text("%s", path)
                : slash ? mem_text("%.*s", (int)(slash - path), path)
                        : mem_text(".");
    if (!s->folder)
        return error_set(e, "%s: out of memory", QUOTE(path));
    if (!(folder ? open_folder(s, first, e) : open_file(s, first, e)))
        return false;
    s->used = s->w ? mem_new((size_t)weights_count(s->w) + 1) : NULL;
    return !s->w || s->used || error_set(e, "%s: out of memory", QUOTE(path));
}

source *convert_of_kind(convert_job *j, source_kind kind)
{
    for (int i = 0; i < j->count; i++)
        if (j->source[i].kind == kind)
            return &j->source[i];
    return NULL;
}

source *convert_main(convert_job *j)
{
    source *checkpoint = convert_of_kind(j, SOURCE_LAVIS);
    return checkpoint ? checkpoint : &j->source[0];
}

/* ---- where a parameter is -------------------------------------------------------------------------- */
static bool is_of_llm(const char *ours)
{
    return !strncmp(ours, "opt_model.", 10) || !strncmp(ours, "t5_model.", 9);
}

/* The others give what the main source leaves out on purpose: the language model, and the tower where a LAVIS
 * checkpoint has nothing of one. All else that it lacks is a hole, to be told and not filled from another
 * model. */
static bool may_give(convert_job *j, const source *s, const char *ours)
{
    const source *of = convert_main(j);
    if (s == of)
        return true;
    if (s->kind == SOURCE_TOWER)
        return of->kind == SOURCE_LAVIS && !weights_find(of->w, "visual_encoder.cls_token")
               && !weights_find(of->w, "visual_encoder.class_embedding");
    return is_of_llm(ours);
}

bool convert_look(convert_job *j, source *s, const char *ours, found *to)
{
    static const char tower[] = "visual_encoder.";
    const char *dot = strchr(ours, '.');
    convert_part part = { .of = 1 };
    const weights_entry *x = NULL;
    if (!s->w || !may_give(j, s, ours))
        x = NULL;
    else if (s->kind == SOURCE_HF)
        x = convert_hf_name(ours, &part) ? weights_find(s->w, part.name) : NULL;
    else if (s->kind == SOURCE_LAVIS)
        x = weights_find(s->w, ours);
    else if (s->kind == SOURCE_BERT)
        x = convert_bert_find(s->w, ours);
    else if (s->kind == SOURCE_TOWER)
        x = !strncmp(ours, tower, strlen(tower)) ? weights_find(s->w, ours + strlen(tower)) : NULL;
    else if (is_of_llm(ours)) {
        x = weights_find(s->w, dot + 1);
        if (!x && !strncmp(dot, ".model.", 7))             /* old OPT files leave out "model." */
            x = weights_find(s->w, dot + 7);
    }
    *to = (found){ s, x, part.of, part.at };
    return x != NULL;
}

static bool by_any_name(convert_job *j, source *s, const char *name, found *to)
{
    const nn_store *store = j->model.store;
    if (convert_look(j, s, name, to))
        return true;
    for (long k = 0; k < store->count; k++)
        if (store->entries[k].alias_of && !strcmp(store->entries[k].alias_of, name)
            && convert_look(j, s, store->entries[k].name, to))
            return true;
    return false;
}

/* A LAVIS checkpoint keeps second names of its language model's table, in its own precision: the folder goes
 * before it. */
bool convert_look_up(convert_job *j, const char *name, found *to)
{
    for (int i = 0; is_of_llm(name) && i < j->count; i++)
        if (j->source[i].kind != SOURCE_LAVIS && by_any_name(j, &j->source[i], name, to))
            return true;
    for (int i = 0; i < j->count; i++)
        if (by_any_name(j, &j->source[i], name, to))
            return true;
    return j->head_is_table && !strcmp(name, "t5_model.lm_head.weight")
           && convert_look_up(j, "t5_model.shared.weight", to);
}

/* ---- what fits ------------------------------------------------------------------------------------- */
/* One of `of` equal parts; -1, which no axis has: there are none such. */
static long part_of(long dim, int of)
{
    return dim % of ? -1 : dim / of;
}

/* Shape (1,1,C) of one file may be (C) in another: axes of 1 do not count. */
static bool same_shape(const tensor *x, const found *f)
{
    int a = 0, b = 0;
    while (a < x->ndim || b < f->x->ndim) {
        long theirs = b < f->x->ndim ? b ? f->x->dim[b] : part_of(f->x->dim[b], f->of) : 1;
        long ours = a < x->ndim ? x->dim[a] : 1;
        if (ours == theirs) {
            a++;
            b++;
        } else if (ours == 1 && a < x->ndim)
            a++;
        else if (theirs == 1 && b < f->x->ndim)
            b++;
        else
            return false;
    }
    return true;
}

/* ---- what may be missing or left over -------------------------------------------------------------- */
/* What HF and LAVIS do not have and a start says as well. */
static bool may_lack(convert_job *j, const char *name)
{
    return !strcmp(name, "temp") && convert_main(j)->kind == SOURCE_HF;
}

/* Of a language model that is not converted: its projection, and the second names under which a LAVIS
 * checkpoint keeps the table. */
static bool leads_to_llm(const char *name)
{
    static const char *const parts[] = { "opt_proj.", "t5_proj.", "opt_model.lm_head.weight",
                                         "t5_model.encoder.embed_tokens.weight",
                                         "t5_model.decoder.embed_tokens.weight" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strncmp(name, parts[i], strlen(parts[i])))
            return true;
    return false;
}

/* Buffers and leftovers that published files have beside their parameters. */
static bool of_no_use(const source *s, const char *name)
{
    static const char *const parts[] = { "position_ids", "EncDecAttention.relative_attention_bias",
                                         "rotary_emb.inv_freq", "attn.k_bias" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i]))
            return true;
    if (s->kind == SOURCE_BERT && (!strncmp(name, "cls.", 4) || strstr(name, "pooler.")))
        return true;                                       /* heads of tasks that BLIP-2 has not */
    return s->kind == SOURCE_TOWER;                        /* its last block, norm and head */
}

static char *shape_text(const weights_entry *x, char *to, size_t size)
{
    size_t used = (size_t)snprintf(to, size, "[");
    for (int i = 0; i < x->ndim && used < size; i++)
        used += (size_t)snprintf(to + used, size - used, "%s%ld", i ? "," : "", x->dim[i]);
    if (used < size)
        snprintf(to + used, size - used, "]");
    return to;
}

static void mark(const found *f) { f->s->used[f->x - weights_at(f->s->w, 0)] = true; }

/* ---- all of it ------------------------------------------------------------------------------------- */
/* One more place of a parameter that is taken from f: a head of its own, or another language model, would be
 * lost without a word. */
static void check_copy(convert_job *j, const found *f, source *s, const char *name)
{
    found copy;
    error why;
    bool same = true;
    if (!convert_look(j, s, name, &copy))
        return;
    mark(&copy);
    if (copy.x == f->x || copy.of > 1)
        return;
    if (!weights_compare(copy.s->w, copy.x, f->s->w, f->x, &same, &why))
        error_line(j->e, "%s", why.text);
    else if (!same)
        error_line(j->e, "%s: %s: differs from %s of %s, which is the same parameter here; expected the same "
                         "numbers",
                   QUOTE(copy.s->path), QUOTE(copy.x->name), QUOTE(f->x->name), QUOTE(f->s->path));
}

/* Everywhere, under its name and its second names. */
static void check_copies(convert_job *j, const nn_entry *p, const found *f)
{
    const nn_store *store = j->model.store;
    for (int k = 0; k < j->count; k++) {
        check_copy(j, f, &j->source[k], p->name);
        for (long i = 0; i < store->count; i++)
            if (store->entries[i].alias_of && !strcmp(store->entries[i].alias_of, p->name))
                check_copy(j, f, &j->source[k], store->entries[i].name);
    }
}

static void check_parameter(convert_job *j, const nn_entry *p)
{
    found f;
    char shape[160];
    if (!convert_look_up(j, p->name, &f)) {
        if (!may_lack(j, p->name))
            error_line(j->e, "%s: %s: missing; expected %s", QUOTE(convert_main(j)->path), p->name,
                       SHAPE(p->value));
        return;
    }
    mark(&f);
    if (!same_shape(p->value, &f))
        error_line(j->e, "%s: %s: shape: expected %s%s, found %s", QUOTE(f.s->path), QUOTE(f.x->name),
                   SHAPE(p->value), f.of > 1 ? " in each third" : "", shape_text(f.x, shape, sizeof shape));
    else if (f.x->type >= W_I64)
        error_line(j->e, "%s: %s: expected real numbers, found %s", QUOTE(f.s->path), QUOTE(f.x->name),
                   weights_type_name(f.x->type));
    check_copies(j, p, &f);
}

/* A BLIP-2 that gives its language model alone, and a BERT that is there for its tokenizer, may have more. */
static void check_rest(convert_job *j, const source *s)
{
    bool donor = s != convert_main(j) && (s->kind == SOURCE_HF || s->kind == SOURCE_BERT);
    for (long i = 0; s->w && !donor && i < weights_count(s->w); i++) {
        const char *name = weights_at(s->w, i)->name;
        bool bridge = j->model.config.llm == BLIP2_LLM_NONE && leads_to_llm(name);
        if (!s->used[i] && !of_no_use(s, name) && !bridge)
            error_line(j->e, "%s: %s: unexpected; the model has no such parameter", QUOTE(s->path),
                       QUOTE(name));
    }
}

/* Everything that does not fit, in one go. */
bool convert_check(convert_job *j)
{
    const nn_store *store = j->model.store;
    j->e->lines = 0;
    for (long i = 0; i < store->count; i++)
        if (!store->entries[i].alias_of)
            check_parameter(j, &store->entries[i]);
    for (int k = 0; k < j->count; k++)
        check_rest(j, &j->source[k]);
    return error_close(j->e, ERROR_RUN, "%s: %d tensors missing, unexpected or of another shape",
                       QUOTE(convert_main(j)->path), j->e->lines);
}
