/* lavis_config.c - the architecture of a LAVIS checkpoint, which does not say it: sizes are read off the
 * shapes. Heads have no shape: they are taken from a config.json beside the checkpoint, else from the
 * published models' width of a head (64, in ViT-g 88). */
#include "convert/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYER_DIGITS = 4 };                                 /* of a number that is a layer's */

static const weights_entry *find(const source *s, const char *prefix, const char *name)
{
    char whole[2 * NN_NAME];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    return s ? weights_find(s->w, whole) : NULL;
}

static long dim(const weights_entry *x, int axis)
{
    return x && axis >= 0 && axis < x->ndim ? x->dim[axis] : 0;
}

long convert_layers(const weights *w, const char *prefix)
{
    size_t size = strlen(prefix);
    long most = 0;
    for (long i = 0; i < weights_count(w); i++) {
        const char *name = weights_at(w, i)->name, *at = name + size;
        if (strncmp(name, prefix, size))
            continue;
        size_t digits = strspn(at, "0123456789");
        long n = digits && digits <= LAYER_DIGITS && at[digits] == '.' ? strtol(at, NULL, 10) + 1 : 0;
        most = n > most ? n : most;
    }
    return most;
}

static long heads_of(long width, long like)
{
    return like ? like : width == 1408 ? 16 : width / 64;
}

static long root(long n)
{
    long r = 0;
    while (r * r < n)
        r++;
    return r;
}

/* A tower's own file has one block more than is run (second-to-last features), unless `like` knows better. */
static bool read_tower(const source *s, const char *prefix, const blip2_config *like, blip2_vit_config *v,
                       error *e)
{
    char blocks[64];
    bool clip = find(s, prefix, "class_embedding") != NULL;
    const weights_entry *positions = find(s, prefix, clip ? "positional_embedding" : "pos_embed");
    const weights_entry *patch = find(s, prefix, clip ? "conv1.weight" : "patch_embed.proj.weight");
    const blip2_vit_config *known = like && like->vision.kind != BLIP2_VIT_NONE ? &like->vision : NULL;
    snprintf(blocks, sizeof blocks, "%s%s", prefix, clip ? "transformer.resblocks." : "blocks.");
    const weights_entry *fc = find(s, blocks, clip ? "0.mlp.c_fc.weight" : "0.mlp.fc1.weight");
    if (!positions || !patch || !fc)
        return error_set(
            e, "%s: no vision tower of LAVIS's names in it (pos_embed, patch_embed.proj.weight, blocks.0...)",
            QUOTE(s->path));
    long all = convert_layers(s->w, blocks);
    *v = (blip2_vit_config){ .kind = clip ? BLIP2_VIT_CLIP : BLIP2_VIT_EVA,
                             .width = dim(patch, 0),
                             .patch = dim(patch, 2),
                             .hidden = dim(fc, 0),
                             .init_std = 0.02,
                             .position_std = 0.02 };
    v->depth = known && known->depth <= all ? known->depth : *prefix || all < 2 ? all : all - 1;
    v->heads = heads_of(v->width, known ? known->heads : 0);
    v->image_size = root(dim(positions, positions->ndim - 2) - 1) * v->patch;
    return true;
}

static const char layer[] = "Qformer.bert.encoder.layer.";

/* Has this layer of the Q-Former cross-attention, or a part of it? */
static bool looks(const source *s, long which)
{
    char prefix[64];
    int size = snprintf(prefix, sizeof prefix, "%s%ld.crossattention.", layer, which);
    for (long i = 0; i < weights_count(s->w); i++)
        if (!strncmp(weights_at(s->w, i)->name, prefix, (size_t)size))
            return true;
    return false;
}

static void read_qformer(const source *s, const blip2_config *like, blip2_config *c)
{
    blip2_qformer_config *q = &c->qformer;
    const weights_entry *tokens = find(s, "", "query_tokens");
    const weights_entry *words = find(s, "", "Qformer.bert.embeddings.word_embeddings.weight");
    q->queries = dim(tokens, 1);
    q->width = dim(tokens, 2);
    q->layers = convert_layers(s->w, layer);
    q->heads = heads_of(q->width, like && like->qformer.queries ? like->qformer.heads : 0);
    q->hidden = dim(find(s, layer, "0.intermediate_query.dense.weight"), 0);
    q->memory_width = dim(find(s, layer, "0.crossattention.self.key.weight"), 1);
    q->cross_attention_freq = 1;
    while (q->cross_attention_freq < q->layers && !looks(s, q->cross_attention_freq))
        q->cross_attention_freq++;
    q->text = words && find(s, layer, "0.intermediate.dense.weight");
    q->vocab = words ? dim(words, 0) : q->vocab;
    q->positions = words ? dim(find(s, "", "Qformer.bert.embeddings.position_embeddings.weight"), 0)
                         : q->positions;
    c->max_text = c->max_text < q->positions ? c->max_text : q->positions;
    q->head = q->text && find(s, "", "Qformer.cls.predictions.bias");
    c->stage1 = q->text && find(s, "", "vision_proj.weight") && find(s, "", "itm_head.weight");
    c->embed = c->stage1 ? dim(find(s, "", "vision_proj.weight"), 0) : c->embed;
}

bool convert_says_tower(const source *s)
{
    return s && s->has_config && s->config.vision.kind != BLIP2_VIT_NONE;
}

bool convert_tower_config(const source *tower, blip2_config *c, error *e)
{
    *c = blip2_config_default();
    c->qformer = (blip2_qformer_config){ .eps = c->qformer.eps };
    c->stage1 = false;
    c->llm = BLIP2_LLM_NONE;
    return read_tower(tower, "", tower->has_config ? &tower->config : NULL, &c->vision, e)
           && blip2_config_check(tower->path, c, e);
}

bool convert_lavis_config(const source *checkpoint, const source *tower, const blip2_config *like,
                          blip2_config *c, error *e)
{
    bool inside = find(checkpoint, "visual_encoder.", "cls_token")
                  || find(checkpoint, "visual_encoder.", "class_embedding");
    *c = blip2_config_default();
    c->vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    c->llm = BLIP2_LLM_NONE;
    snprintf(c->prompt, sizeof c->prompt, "a photo of");
    if (!find(checkpoint, "", "query_tokens") || find(checkpoint, "", "query_tokens")->ndim != 3)
        return error_set(e, "%s: query_tokens: missing, or not of shape (1,queries,width)",
                         QUOTE(checkpoint->path));
    read_qformer(checkpoint, like, c);
    if (!inside && convert_says_tower(tower) && (!like || like->vision.kind == BLIP2_VIT_NONE))
        like = &tower->config;
    if (inside ? !read_tower(checkpoint, "visual_encoder.", like, &c->vision, e)
               : tower && !read_tower(tower, "", like, &c->vision, e))
        return false;
    if (!inside && tower && tower->w->config)              /* of an export: our own says it all */
        c->vision = tower->config.vision;
    return blip2_config_check(checkpoint->path, c, e);
}
