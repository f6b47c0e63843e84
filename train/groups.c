/* groups.c - which parameters are treated apart: layer-wise decay of the tower's learning rate, and gradient
 * norms by part of the model. What is decayed is in adamw.c.
 *
 * Layer-wise decay (BEiT, Bao et al. 2022, by LAVIS's rule, lavis base_model.py and eva_vit.py): with n
 * blocks a parameter of id k has factor decay^(n + 1 - k). Ids: 0 class token, positions and patch
 * embedding; i + 1 block i; n the rest. LAVIS looks for CLIP's patch embedding and first norm under EVA's
 * names, so theirs is n too: conv1 and ln_pre learn at decay^1, faster than the blocks behind them. Kept,
 * since it is what a LAVIS run would do - if it applied the factors, which it stores and never reads
 * (run.apply_layer_decay). */
#include "train/train.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool begins(const char *name, const char *with, const char **rest)
{
    size_t n = strlen(with);
    *rest = name + n;
    return !strncmp(name, with, n);
}

double train_layer_factor(const blip2_vit_config *v, const char *name, double decay)
{
    static const char *const first[] = { "class_embedding", "positional_embedding", "cls_token", "pos_embed",
                                         "patch_embed.proj.weight", "patch_embed.proj.bias" };
    const char *inside, *rest;
    long id = v->depth, block;
    if (decay == 1 || !begins(name, "visual_encoder.", &inside))
        return 1;
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        if (!strcmp(inside, first[i]))
            id = 0;
    if ((begins(inside, "blocks.", &rest) || begins(inside, "transformer.resblocks.", &rest))
        && sscanf(rest, "%ld.", &block) == 1)
        id = block + 1;
    return pow(decay, (double)(v->depth + 1 - id));
}

/* ---- gradient norms by part ---------------------------------------------------------------------------- */
static const struct { const char *prefix, *group; } groups[] = {
    { "query_tokens", "grad_norm_queries" }, { "Qformer", "grad_norm_qformer" },
    { "visual_encoder", "grad_norm_vision" }, { "ln_vision", "grad_norm_ln_vision" },
    { "opt_proj", "grad_norm_projection" }, { "t5_proj", "grad_norm_projection" },
    { "connector", "grad_norm_projection" }, { "opt_model", "grad_norm_llm" },
    { "t5_model", "grad_norm_llm" },
};

static const char *group_of(const char *name)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (nn_has_prefix(name, groups[i].prefix))
            return groups[i].group;
    return "grad_norm_heads"; /* vision_proj, text_proj, itm_head, temp, contrastive */
}

/* In double, blocks in fixed places: the same bits for any number of threads. */
static double squares(long n, const real *g)
{
    enum { BLOCKS = 16 };
    double part[BLOCKS] = { 0 }, sum = 0;
    #pragma omp parallel for if (n > 65536)
    for (long k = 0; k < BLOCKS; k++) {
        double mine = 0;
        #pragma omp simd reduction(+:mine)
        for (long i = n * k / BLOCKS; i < n * (k + 1) / BLOCKS; i++)
            mine += (double)g[i] * (double)g[i];
        part[k] = mine;
    }
    for (int k = 0; k < BLOCKS; k++)
        sum += part[k];
    return sum;
}

void train_group_norms(const nn_store *s, train_losses *l)
{
    l->groups = 0;
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        if (p->frozen || p->alias_of)
            continue;
        const char *group = group_of(p->name);
        int k = 0;
        while (k < l->groups && strcmp(l->group[k], group))
            k++;
        if (k == l->groups) {
            l->group[l->groups] = group;
            l->group_norm[l->groups++] = 0;
        }
        l->group_norm[k] += squares(p->value->size, p->value->grad);
    }
    for (int k = 0; k < l->groups; k++)
        l->group_norm[k] = sqrt(l->group_norm[k]);
}
