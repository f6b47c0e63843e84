/* start.c - what a model that is to be trained takes from the files it starts from: every parameter that both
 * have, by name. Where a file does not fit to the letter:
 *
 *   positions of a picture      another grid: resized by the family's rule (positions.c)
 *   table of words, head's bias one row shorter, the model's own [DEC] at the end: that row stays fresh
 *   Qformer...X_query...        the file has X alone, as a BERT has: a copy of X
 *
 * This is lavis Blip2Base.init_Qformer, resize_token_embeddings and Blip2Qformer's constructor: queries start
 * with BERT's feed-forwards, cross-attention is fresh, token types are left behind.                        */
#include "blip2/internal.h"
#include <stdio.h>
#include <string.h>

static const char words_name[] = "Qformer.bert.embeddings.word_embeddings.weight";
static const char bias_name[] = "Qformer.cls.predictions.bias";

/* The first rows; the last, [DEC]'s, stays as it is. */
static bool fit_words(const blip2_config *c, tensor *to, const h5_shape *from, const real *data)
{
    bool rows = !strcmp(to->name, words_name) || !strcmp(to->name, bias_name);
    if (!rows || from->ndim != to->ndim || from->dim[0] != to->dim[0] - 1 || c->dec != from->dim[0]
        || (to->ndim == 2 && from->dim[1] != to->dim[1]))
        return false;
    if (data)
        memcpy(to->data, data, (size_t)from->size * sizeof *data);
    return true;
}

static bool fit(void *ctx, tensor *to, const h5_shape *from, const real *data)
{
    const blip2_config *c = ctx;
    return fit_words(c, to, from, data) || blip2_fit_positions(c, to, from, data);
}

/* "output_query.dense.weight" -> "output.dense.weight"; false: no name of a query's feed-forward */
static bool twin_of(const char *name, char to[NN_NAME])
{
    const char *query = strstr(name, "_query.");
    if (!query || !nn_has_prefix(name, "Qformer.bert.encoder"))
        return false;
    snprintf(to, NN_NAME, "%.*s%s", (int)(query - name), name, query + strlen("_query"));
    return true;
}

static void copy_twins(const blip2_model *m, h5 *f)
{
    char twin[NN_NAME], own[NN_NAME], path[NN_NAME];
    for (long i = 0; i < m->store->count; i++) {
        nn_entry *p = &m->store->entries[i];
        const tensor *x = twin_of(p->name, twin) ? nn_find(m->store, twin) : NULL;
        if (!x || p->value->frozen)
            continue;
        nn_dataset(p->name, own);
        nn_dataset(twin, path);
        if (h5_has(f, own) == H5_NOTHING && h5_has(f, path) == H5_DATASET) {
            ag_read(x, p->value->data);
            p->source = nn_source(m->store, h5_path(f));
        }
    }
}

/* Numbers of another BERT would fit in shape and mean nothing where its heads are others. */
static bool same_bert(const blip2_config *want, h5 *f, error *e)
{
    blip2_config c;
    error none;
    if (!blip2_read_config(f, &c, &none) || !blip2_is_bert(&c) || !want->qformer.queries)
        return true;
    const blip2_qformer_config *a = &want->qformer, *b = &c.qformer;
    const struct { const char *key; double want, has; } same[] = {
        { "width", (double)a->width, (double)b->width }, { "layers", (double)a->layers, (double)b->layers },
        { "heads", (double)a->heads, (double)b->heads }, { "hidden", (double)a->hidden, (double)b->hidden },
        { "positions", (double)a->positions, (double)b->positions }, { "eps", a->eps, b->eps },
    };
    e->lines = 0;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        bool text = a->text || strcmp(same[i].key, "positions");
        if (same[i].want != same[i].has && text)
            error_line(e, "model.qformer.%s: expected %g, as this BERT has, found %g", same[i].key,
                       same[i].has, same[i].want);
    }
    return error_close(e, ERROR_USAGE, "%s: a BERT that the Q-Former cannot start from: %d sizes differ",
                       QUOTE(h5_path(f)), e->lines);
}

/* What no shape tells: with other heads, epsilons or activations the same numbers are another function. */
bool blip2_same_parts(const blip2_config *want, h5 *f, const char *prefix, error *e)
{
    blip2_config c;
    error none;
    if (!blip2_read_config(f, &c, &none) || blip2_is_bert(&c))
        return true;
    const blip2_vit_config *v = &want->vision, *u = &c.vision;
    const blip2_qformer_config *q = &want->qformer, *p = &c.qformer;
    const blip2_t5_config *t = &want->t5, *s = &c.t5;
    bool tower = v->kind && u->kind, bridge = blip2_bridged(want) && blip2_bridged(&c);
    bool qformer = q->queries && p->queries, opt = want->llm == BLIP2_LLM_OPT && c.llm == BLIP2_LLM_OPT;
    bool t5 = want->llm == BLIP2_LLM_T5 && c.llm == BLIP2_LLM_T5;
    const struct { const char *part, *key; bool both; double want, has; } same[] = {
        { "visual_encoder", "vit.kind", tower, v->kind, u->kind },
        { "visual_encoder", "vit.heads", tower, (double)v->heads, (double)u->heads },
        { "visual_encoder", "vit.eps", tower, vit_eps(v), vit_eps(u) },
        { "ln_vision", "ln_vision_eps", bridge, want->ln_vision_eps, c.ln_vision_eps },
        { "Qformer", "qformer.heads", qformer, (double)q->heads, (double)p->heads },
        { "Qformer", "qformer.eps", qformer, q->eps, p->eps },
        { "opt_model", "opt.heads", opt, (double)want->opt.heads, (double)c.opt.heads },
        { "opt_model", "opt.post_norm", opt, want->opt.post_norm, c.opt.post_norm },
        { "t5_model", "t5.heads", t5, (double)t->heads, (double)s->heads },
        { "t5_model", "t5.max_distance", t5, (double)t->max_distance, (double)s->max_distance },
        { "t5_model", "t5.eps", t5, t->eps, s->eps },
        { "t5_model", "t5.gelu (0: erf, 1: tanh)", t5, t->gelu, s->gelu },
        { "t5_model", "t5.tie_word_embeddings", t5, t->tied, s->tied },
    };
    e->lines = 0;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        /* a prefix that begins with * may be of every part */
        bool loaded = !*prefix || *prefix == '*' || nn_has_prefix(prefix, same[i].part);
        if (loaded && same[i].both && same[i].want != same[i].has)
            error_line(e, "%s: model.%s: expected %g, as in the file, found %g", QUOTE(h5_path(f)),
                       same[i].key, same[i].has, same[i].want);
    }
    return error_close(e, ERROR_USAGE, "%s: its numbers would be another function here", QUOTE(h5_path(f)));
}

bool blip2_load_start(blip2_model *m, h5 *f, error *e)
{
    if (!same_bert(&m->config, f, e) || !nn_load_common(m->store, f, fit, &m->config, e))
        return false;
    copy_twins(m, f);
    return true;
}
