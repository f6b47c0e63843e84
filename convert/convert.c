/* convert.c - from published files to one model file: what the sources are and where each parameter comes
 * from (sources.c), which architecture they make together, and then one parameter after the other from file
 * to file, so that memory holds one at a time. */
#include "convert/convert.h"
#include "convert/internal.h"
#include "data/data.h"
#include <stdio.h>
#include <string.h>

static void note(const convert_job *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(const convert_job *j, const char *format, ...)
{
    char text[ERROR_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (j->watch && j->watch->note)
        j->watch->note(j->watch->context, text);
}

/* ---- architecture ---------------------------------------------------------------------------------- */
/* A LAVIS checkpoint, what is beside it, and the folder of its language model. */
static bool lavis_config(convert_job *j, blip2_config *c)
{
    source *checkpoint = convert_of_kind(j, SOURCE_LAVIS), *tower = convert_of_kind(j, SOURCE_TOWER),
           *llm = convert_of_kind(j, SOURCE_LLM);
    if (!llm)
        llm = convert_of_kind(j, SOURCE_HF);
    const blip2_config *like = checkpoint->has_config ? &checkpoint->config : llm ? &llm->config : NULL;
    if (!convert_lavis_config(checkpoint, tower, like, c, j->e))
        return false;
    if (!like || !like->qformer.queries)
        note(j, "%s: no config.json says how many heads its Q-Former has: %ld are assumed", checkpoint->path,
             c->qformer.heads);
    if (c->vision.kind != BLIP2_VIT_NONE && !convert_says_tower(tower)
        && (!like || like->vision.kind == BLIP2_VIT_NONE))
        note(j, "%s: no config.json says how many heads its vision tower has: %ld are assumed",
             checkpoint->path, c->vision.heads);
    if (llm && llm->config.llm != BLIP2_LLM_NONE) {
        c->llm = llm->config.llm;
        c->opt = llm->config.opt;
        c->t5 = llm->config.t5;
        c->t5.gelu = BLIP2_GELU_ERF;                       /* LAVIS sets dense_act_fn to "gelu" */
    } else if (weights_find(checkpoint->w, "opt_proj.weight")
               || weights_find(checkpoint->w, "t5_proj.weight"))
        note(j, "%s: made without its language model; give its folder as a further source to have it",
             checkpoint->path);
    if (c->vision.kind == BLIP2_VIT_NONE)
        note(j, "%s: made without a vision tower; give eva_vit_g.pth as a further source to have it",
             checkpoint->path);
    return true;
}

static void tell_foreign(const convert_job *j)
{
    for (int i = 0; i < j->count; i++)
        if (j->source[i].foreign)
            note(j, "%s/config.json: passed over: its model_type is none of blip-2, opt, t5 and bert",
                 j->source[i].folder);
}

/* What `export` wrote says itself all that it is. */
static bool is_export(const source *s) { return s->w && s->w->config; }

/* Its configuration has no place for more than tokenizers. */
static bool export_config(convert_job *j, const source *export, blip2_config *c)
{
    for (int i = 0; i < j->count; i++)
        if (&j->source[i] != export && j->source[i].w)
            return error_set(j->e,
                             "%s: weights beside those of %s, which `export` wrote and which is a whole "
                             "model; expected a tokenizer's folder",
                             QUOTE(j->source[i].path), QUOTE(export->path));
    *c = export->config;
    return true;
}

static bool find_config(convert_job *j, blip2_config *c)
{
    source *first = &j->source[0];
    if (is_export(convert_main(j)))
        return export_config(j, convert_main(j), c);
    if (convert_of_kind(j, SOURCE_LAVIS))
        return lavis_config(j, c);
    if (first->kind == SOURCE_BERT) {
        bool known = first->has_config && blip2_is_bert(&first->config);
        *c = known ? first->config : blip2_config_default();
        convert_bert_sizes(first->w, known, c);
        if (!known)
            note(j, "%s: no BERT's config.json beside it: %ld heads, 64 wide each, are assumed", first->path,
                 c->qformer.heads);
        return blip2_config_check(first->path, c, j->e);
    }
    if (first->kind == SOURCE_TOWER && j->count == 1) {
        if (!convert_tower_config(first, c, j->e))
            return false;
        note(j, "%s: a vision tower alone, %ld blocks of %ld heads%s", first->path, c->vision.depth,
             c->vision.heads, convert_says_tower(first) ? "" : ", as no config.json says another number");
        return true;
    }
    if (first->kind != SOURCE_HF && first->kind != SOURCE_LLM)
        return error_set(
            j->e, "%s: %s alone is no model; expected a Hugging Face folder or a LAVIS checkpoint first",
            QUOTE(first->path), first->kind == SOURCE_TOWER ? "a vision tower" : "a tokenizer");
    *c = first->config;
    return true;
}

/* What is written must be what can be opened: printed and read back as when a model is opened, which knows
 * the range of every number. */
static bool can_be_opened(convert_job *j, const blip2_config *c)
{
    const source *first = &j->source[0];
    blip2_config copy = *c, back = blip2_config_default();
    config_table from = blip2_config_table("", &copy), to = blip2_config_table("", &back);
    char *text = config_print(&from, 1, false);
    error why = { 0 };
    if (!text)
        return error_set(j->e, "%s: out of memory", QUOTE(first->path));
    bool ok = config_read_text("configuration", text, strlen(text), &to, 1, &why)
              && blip2_config_check("configuration", &back, &why);
    mem_free(text);
    return ok || error_set(j->e, "%s%s: makes a model that cannot be opened: %s", QUOTE(first->path),
                           first->has_config && !first->w->config ? "/config.json" : "", why.text);
}

/* Is T5's head the table of tokens? The configuration says whether it is scaled, the file whether it
 * differs. */
static bool settle_head(convert_job *j, blip2_config *c)
{
    found head = { 0 }, table = { 0 };
    bool has = false, scaled = c->t5.tied;
    if (is_export(convert_main(j)))
        return true;                                       /* our own says what is tied */
    for (int i = 0; i < j->count && c->llm == BLIP2_LLM_T5 && !has; i++)
        has = convert_look(j, &j->source[i], "t5_model.lm_head.weight", &head);
    if (has
        && (convert_look(j, head.s, "t5_model.shared.weight", &table)
            || convert_look(j, head.s, "t5_model.encoder.embed_tokens.weight", &table))
        && head.x->size == table.x->size && head.x->type == table.x->type) {
        size_t bytes = (size_t)(head.x->size * weights_type_bytes(head.x->type));
        char *a = mem_new(bytes), *b = mem_new(bytes);
        bool ok = a && b ? weights_read_raw(head.s->w, head.x, a, j->e)
                               && weights_read_raw(table.s->w, table.x, b, j->e)
                         : error_set(j->e, "%s: out of memory", QUOTE(head.s->path));
        has = ok && memcmp(a, b, bytes);
        if (ok && !has)
            head.s->used[head.x - weights_at(head.s->w, 0)] = true;
        mem_free(a);
        mem_free(b);
        if (!ok)
            return false;
    }
    if (has && scaled)
        return error_set(j->e, "%s: a T5 head of its own behind a scaled output: not built in this version",
                         QUOTE(head.s->path));
    c->t5.tied = scaled;
    j->head_is_table = !has && !scaled;
    return true;
}

typedef struct start { blip2_model *m; const blip2_config *config; } start;

static void init(void *context)
{
    const start *s = context;
    blip2_model_init(s->m, s->m->store, s->config);
}

/* ---- tokenizers ------------------------------------------------------------------------------------ */
/* The Q-Former reads WordPiece, language models the other two. Of several the first is taken. */
static bool read_words(convert_job *j, const char *folder)
{
    if (!convert_has_words(folder))
        return true;
    tokenizer *t = tokenizer_read(folder, j->e);
    if (!t)
        return false;
    tokenizer **to = tokenizer_is(t) == TOKENIZER_WORDPIECE ? &j->bert : &j->llm;
    if (*to)
        tokenizer_free(t);
    else
        *to = t;
    return true;
}

/* Of every source; an export of two tokenizers has the Q-Former's in a folder of its own. */
static bool read_all_words(convert_job *j)
{
    bool ok = true;
    for (int i = 0; ok && i < j->count; i++) {
        const source *s = &j->source[i];
        char *second = is_export(s) ? mem_text("%s/bert", s->folder) : NULL;
        ok = second || !is_export(s) || error_set(j->e, "%s: out of memory", QUOTE(s->path));
        ok = ok && read_words(j, s->folder) && (!second || read_words(j, second));
        mem_free(second);
    }
    return ok;
}

/* LAVIS ends OPT's captions with the newline token, whatever the folder's end token is. */
static bool lavis_end(convert_job *j, blip2_config *c)
{
    token_list line = { 0 };
    bool ok = true;
    const source *checkpoint = convert_of_kind(j, SOURCE_LAVIS);
    if (checkpoint && !checkpoint->w->config && c->llm == BLIP2_LLM_OPT && j->llm) {
        tokenizer_options bare = { .bare = true };
        ok = tokenizer_encode(j->llm, "\n", 1, &bare, &line, j->e);
        if (ok && line.n == 1)
            c->opt.eos = line.ids[0];
    }
    mem_free(line.ids);
    return ok;
}

static bool add_parts(const tokenizer *t, const char *group, blip2_part *parts, int *n, error *e)
{
    tokenizer_file files[TOKENIZER_FILES];
    int count = t ? tokenizer_files(t, files, e) : 0;
    for (int i = 0; i < count; i++) {
        snprintf(parts[*n].name, sizeof parts[*n].name, "%s/%s", group, files[i].name);
        parts[*n].bytes = files[i].bytes;
        parts[(*n)++].size = files[i].size;
    }
    return !t || count > 0;
}

/* ---- writing --------------------------------------------------------------------------------------- */
/* A parameter of ours from where it was found, (size) reals. */
static bool read_parameter(convert_job *j, const nn_entry *p, real *to)
{
    found f;
    if (!convert_look_up(j, p->name, &f)) {
        for (long i = 0; i < p->value->size; i++)
            to[i] = (real)p->init.a;                       /* temp, where a source has none */
        return true;
    }
    if (f.of == 1)
        return weights_read_reals(f.s->w, f.x, to, j->e);
    real *all = space_of(&j->whole, (size_t)f.x->size * sizeof *all);
    bool ok = all ? weights_read_reals(f.s->w, f.x, all, j->e)
                  : error_set(j->e, "%s: out of memory", QUOTE(f.s->path));
    if (ok)
        memcpy(to, all + f.at * p->value->size, (size_t)p->value->size * sizeof *to);
    return ok;
}

/* In which precision a parameter is written: matrices of the towers alone are ever low. */
static ag_dtype precision(convert_job *j, const nn_entry *p, found *f)
{
    static const ag_dtype types[] = { [CONVERT_F32] = AG_REAL, [CONVERT_F16] = AG_F16,
                                      [CONVERT_BF16] = AG_BF16,
                                      [CONVERT_INT8] = AG_INT8 };
    const blip2_llm llm = blip2_llm_of(&j->model.config);
    bool has = convert_look_up(j, p->name, f);
    bool tower = nn_has_prefix(p->name, "visual_encoder")
                 || (llm.parameters && nn_has_prefix(p->name, llm.parameters));
    if (!has || !tower || !p->matrix)
        return AG_REAL;
    if (j->dtype == CONVERT_AS_IS)
        return f->x->type == W_F16 ? AG_F16 : f->x->type == W_BF16 ? AG_BF16 : AG_REAL;
    return types[j->dtype];
}

/* The source's own bits where it has the type, else rounded. */
static bool write_low(convert_job *j, h5_out *to, const nn_entry *p, const found *f, ag_dtype type)
{
    const tensor *x = p->value;
    long N = x->dim[0], K = x->size / N, bad = -1;
    bool same = f->of == 1 && f->x->type == (type == AG_F16 ? W_F16 : W_BF16) && type != AG_INT8;
    char *data = space_of(&j->low, (size_t)ag_frozen_bytes(type, N, K)), name[NN_NAME];
    real *wide = same ? NULL : space_of(&j->wide, (size_t)x->size * sizeof *wide);
    float *scale = (float *)(void *)(data + ag_frozen_bytes(type, N, K) - N * (long)sizeof *scale);
    bool ok = data && (same || wide);
    if (!ok)
        error_set(j->e, "%s: out of memory for %ld numbers", p->name, x->size);
    ok = ok && (same ? weights_read_raw(f->s->w, f->x, data, j->e) : read_parameter(j, p, wide));
    if (ok && !same && (bad = ag_quantize(type, N, K, wide, data, scale)) >= 0)
        ok = error_set(j->e, "%s: %s: element %ld is %g; expected a finite number that %s can hold",
                       QUOTE(f->s->path), QUOTE(f->x->name), bad, (double)wide[bad], ag_dtype_name(type));
    nn_dataset(p->name, name);
    if (ok)
        nn_write_low(to, name, type, x->ndim, x->dim, data, scale);
    return ok;
}

static bool write_parameter(convert_job *j, h5_out *f, const nn_entry *p)
{
    found where;
    char name[NN_NAME];
    ag_dtype type = precision(j, p, &where);
    if (type != AG_REAL)
        return write_low(j, f, p, &where, type);
    real *x = space_of(&j->wide, (size_t)p->value->size * sizeof *x);
    bool ok = x ? read_parameter(j, p, x)
                : error_set(j->e, "%s: out of memory for %ld numbers", p->name, p->value->size);
    nn_dataset(p->name, name);
    if (ok)
        h5_write(f, name, H5_REALS, p->value->ndim, p->value->dim, x);
    return ok;
}

static bool write_parameters(convert_job *j, h5_out *f)
{
    const nn_store *s = j->model.store;
    char name[NN_NAME], of[NN_NAME];
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        nn_dataset(p->name, name);
        if (p->alias_of) {
            nn_dataset(p->alias_of, of);
            h5_link(f, name, of);
        } else if (!write_parameter(j, f, p))
            return false;
        if (j->watch && j->watch->progress)
            j->watch->progress(j->watch->context, i + 1, s->count);
    }
    return true;
}

static bool write_all(convert_job *j, const char *out)
{
    blip2_part parts[2 * TOKENIZER_FILES];
    int n = 0;
    char *origin = mem_text("converted: %s%s%s", j->source[0].path, j->count > 1 ? ", " : "",
                            j->count > 1 ? j->source[1].path : "");
    bool ok = origin || error_set(j->e, "%s: out of memory", QUOTE(out));
    ok = ok && add_parts(j->bert, "bert", parts, &n, j->e) && add_parts(j->llm, "llm", parts, &n, j->e);
    h5_out *f = ok ? h5_create(out, j->e) : NULL;
    ok = f != NULL;
    if (ok && !blip2_write_head(&j->model, f, origin, parts, n))
        ok = error_set(j->e, "%s: out of memory", QUOTE(out));
    ok = ok && write_parameters(j, f);
    if (f && !ok)
        h5_abandon(f);
    ok = ok && h5_finish(f, j->e);
    blip2_free_parts(parts, n);
    mem_free(origin);
    return ok;
}

/* ---- all ------------------------------------------------------------------------------------------- */
static bool prepare(convert_job *j)
{
    blip2_config c;
    error why;
    tell_foreign(j);
    bool ok = find_config(j, &c) && read_all_words(j);
    ok = ok && settle_head(j, &c) && lavis_end(j, &c);
    if (ok && blip2_is_bert(&c))
        convert_bert_ids(j->bert, &c);
    ok = ok && can_be_opened(j, &c);
    if (!ok || !(j->model.store = nn_store_new(0)))
        return ok ? error_set(j->e, "out of memory") : false;
    nn_store *store = j->model.store;
    if (!ag_try(store->names, init, &(start){ &j->model, &c }, &why)) {
        j->model.store = store;
        return error_set(j->e, "%s: %s", QUOTE(j->source[0].path), why.text);
    }
    if ((c.qformer.queries || blip2_is_bert(&c)) && c.qformer.text && !j->bert)
        note(j, "%s: no tokenizer for its Q-Former: give a folder with vocab.txt as a further source",
             j->source[0].path);
    if (c.llm != BLIP2_LLM_NONE && !j->llm)
        note(j, "%s: no tokenizer for its language model: give a folder with its files as a further source",
             j->source[0].path);
    return convert_check(j);
}

bool convert_run(const char *const *sources, int n, const char *out, const convert_watch *watch, error *e)
{
    return convert_run_as(sources, n, out, CONVERT_AS_IS, watch, e);
}

bool convert_run_as(const char *const *sources, int n, const char *out, convert_dtype dtype,
                    const convert_watch *watch, error *e)
{
    convert_job j = { .dtype = dtype, .watch = watch, .e = e };
    if (n < 1 || n > SOURCES)
        return error_usage(e, "convert: expected 1 to %d sources, found %d", SOURCES, n);
    bool ok = true;
    for (; ok && j.count < n; j.count++)
        ok = convert_open_source(&j.source[j.count], sources[j.count], !j.count, e);
    ok = ok && prepare(&j) && write_all(&j, out);
    if (!ok)
        e->kind = ERROR_RUN;                               /* a file's configuration is data here */
    for (int i = 0; i < j.count; i++) {
        weights_close(j.source[i].w);
        mem_free(j.source[i].folder);
        mem_free(j.source[i].used);
    }
    space_free(&j.wide);
    space_free(&j.low);
    space_free(&j.whole);
    tokenizer_free(j.bert);
    tokenizer_free(j.llm);
    nn_store_free(j.model.store);
    return ok;
}
