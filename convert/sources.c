/* sources.c - what each source of a conversion is, where in them each parameter of the model is, and all that
 * is missing, unexpected or of another shape, in one go. */
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

/* Of a folder that `export` wrote, config.json is for others: it cannot say all that a model may be. */
static bool open_folder(source *s, error *e)
{
    const char *file = weights_in(s->folder);
    bool bare = false;
    s->kind = SOURCE_WORDS;
    if (!there(s->folder, "config.json"))
        return convert_has_words(s->folder)
               || error_set(e, "%s: neither config.json nor a tokenizer's files in it", QUOTE(s->path));
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
    bool bert = bare && s->config.llm == BLIP2_LLM_NONE;
    s->kind = bert ? SOURCE_BERT : bare ? SOURCE_LLM
        : weights_find(s->w, "ln_vision.weight") ? SOURCE_LAVIS : SOURCE_HF;
    return true;
}

static bool open_file(source *s, error *e)
{
    error ignored;
    bool bare = false;
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
    if (s->w->config)
        return own_config(s, e);
    if (there(s->folder, "config.json"))                   /* says how many heads there are */
        s->has_config = read_config(s, &bare, &ignored);
    return true;
}

bool convert_open_source(source *s, const char *path, error *e)
{
    struct stat about;
    const char *slash = strrchr(path, '/');
    *s = (source){ .path = path };
    if (stat(path, &about))
        return error_set(e, "%s: cannot be opened; no such file or folder", QUOTE(path));
    bool folder = S_ISDIR(about.st_mode);
    s->folder = folder  ? mem_text("%s", path)
                : slash ? mem_text("%.*s", (int)(slash - path + 1), path)
                        : mem_text(".");
    if (!s->folder)
        return error_set(e, "%s: out of memory", QUOTE(path));
    if (!(folder ? open_folder(s, e) : open_file(s, e)))
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

/* ---- where a parameter is -------------------------------------------------------------------------- */
/* One of our names in one source; false: it has no such tensor. */
bool convert_look(source *s, const char *ours, found *to)
{
    static const char tower[] = "visual_encoder.";
    const char *dot = strchr(ours, '.');
    convert_part part = { .of = 1 };
    const weights_entry *x = NULL;
    if (s->kind == SOURCE_HF)
        x = convert_hf_name(ours, &part) ? weights_find(s->w, part.name) : NULL;
    else if (s->kind == SOURCE_LAVIS)
        x = weights_find(s->w, ours);
    else if (s->kind == SOURCE_BERT)
        x = convert_bert_find(s->w, ours);
    else if (s->kind == SOURCE_TOWER)
        x = !strncmp(ours, tower, strlen(tower)) ? weights_find(s->w, ours + strlen(tower)) : NULL;
    else if (s->kind == SOURCE_LLM && dot
             && (!strncmp(ours, "opt_model.", 10) || !strncmp(ours, "t5_model.", 9))) {
        x = weights_find(s->w, dot + 1);
        if (!x && !strncmp(dot, ".model.", 7))             /* old OPT files leave out "model." */
            x = weights_find(s->w, dot + 7);
    }
    *to = (found){ s, x, part.of, part.at };
    return x != NULL;
}

/* By its name or one of its second names, in the order of the sources. */
bool convert_look_up(convert_job *j, const char *name, found *to)
{
    const nn_store *store = j->model.store;
    for (int i = 0; i < j->count; i++) {
        if (convert_look(&j->source[i], name, to))
            return true;
        for (long k = 0; k < store->count; k++)
            if (store->entries[k].alias_of && !strcmp(store->entries[k].alias_of, name)
                && convert_look(&j->source[i], store->entries[k].name, to))
                return true;
    }
    return j->head_is_table && !strcmp(name, "t5_model.lm_head.weight")
           && convert_look_up(j, "t5_model.shared.weight", to);
}

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

/* What HF and LAVIS do not have and a start says as well. */
static bool may_lack(const convert_job *j, const char *name)
{
    return !strcmp(name, "temp") && j->source[0].kind == SOURCE_HF;
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

/* Do two tensors differ in shape or numbers? Read a few rows at a time: among them are tables of tokens, the
 * largest that there are. */
static bool differ(const found *a, const found *b, error *e)
{
    enum { NUMBERS = 1 << 16 };
    weights_entry x = *a->x, y = *b->x;
    long rows = x.ndim ? x.dim[0] : 1, width = rows ? x.size / rows : 1, step = 1 + NUMBERS / (width + 1), n;
    if (x.ndim != y.ndim || memcmp(x.dim, y.dim, (size_t)x.ndim * sizeof *x.dim))
        return true;
    double *p = mem_new((size_t)(step * width) * sizeof *p), *q = mem_new((size_t)(step * width) * sizeof *q);
    bool same = (p && q) || error_set(e, "%s: out of memory", QUOTE(a->s->path));
    for (long row = 0; same && row < rows; row += n) {
        n = rows - row < step ? rows - row : step;
        x.dim[0] = y.dim[0] = n;
        x.size = y.size = n * width;
        same = weights_read_doubles(a->s->w, &x, p, e) && weights_read_doubles(b->s->w, &y, q, e)
               && !memcmp(p, q, (size_t)(n * width) * sizeof *p);
        x.offset += n * x.stride[0] * weights_type_bytes(x.type);
        y.offset += n * y.stride[0] * weights_type_bytes(y.type);
    }
    mem_free(p);
    mem_free(q);
    return !same;
}

/* A second name of a parameter. Where a source has both, the second must say the same: a head of its own
 * would be lost without a word. */
static void check_alias(convert_job *j, const nn_entry *p)
{
    found f, tied;
    for (int k = 0; k < j->count; k++) {
        if (!convert_look(&j->source[k], p->name, &f))
            continue;
        f.s->used[f.x - weights_at(f.s->w, 0)] = true;
        error why = { 0 };
        if (!convert_look_up(j, p->alias_of, &tied) || tied.s != f.s || tied.x == f.x
            || !differ(&f, &tied, &why))
            continue;
        if (*why.text)
            error_line(j->e, "%s", why.text);
        else
            error_line(j->e, "%s: %s: differs from %s, to which it is tied here; expected the same numbers",
                       QUOTE(f.s->path), QUOTE(f.x->name), QUOTE(tied.x->name));
    }
}

/* Everything that does not fit, in one go. */
bool convert_check(convert_job *j)
{
    const nn_store *store = j->model.store;
    char shape[160];
    j->e->lines = 0;
    for (long i = 0; i < store->count; i++) {
        const nn_entry *p = &store->entries[i];
        found f;
        bool has = p->alias_of ? false : convert_look_up(j, p->name, &f);
        if (p->alias_of)
            check_alias(j, p);
        else if (!has && !may_lack(j, p->name))
            error_line(j->e, "%s: %s: missing; expected %s", QUOTE(j->source[0].path), p->name,
                       SHAPE(p->value));
        else if (has) {
            f.s->used[f.x - weights_at(f.s->w, 0)] = true;
            if (!same_shape(p->value, &f))
                error_line(j->e, "%s: %s: shape: expected %s%s, found %s", QUOTE(f.s->path), QUOTE(f.x->name),
                           SHAPE(p->value), f.of > 1 ? " in each third" : "",
                           shape_text(f.x, shape, sizeof shape));
            else if (f.x->type >= W_I64)
                error_line(j->e, "%s: %s: expected real numbers, found %s", QUOTE(f.s->path),
                           QUOTE(f.x->name), weights_type_name(f.x->type));
        }
    }
    for (int k = 0; k < j->count; k++)
        for (long i = 0; j->source[k].w && i < weights_count(j->source[k].w); i++) {
            const char *name = weights_at(j->source[k].w, i)->name;
            bool donor = k > 0 && j->source[k].kind == SOURCE_HF; /* a BLIP-2 that gives a part alone */
            bool bridge = j->model.config.llm == BLIP2_LLM_NONE
                          && (!strncmp(name, "opt_proj.", 9) || !strncmp(name, "t5_proj.", 8));
            if (!j->source[k].used[i] && !of_no_use(&j->source[k], name) && !donor && !bridge)
                error_line(j->e, "%s: %s: unexpected; the model has no such parameter",
                           QUOTE(j->source[k].path), QUOTE(name));
        }
    return error_close(j->e, ERROR_RUN, "%s: %d tensors missing, unexpected or of another shape",
                       QUOTE(j->source[0].path), j->e->lines);
}
