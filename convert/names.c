/* names.c - from LAVIS's parameter names, which are ours, to Hugging Face's (Blip2ForConditionalGeneration
 * and Blip2ForImageTextRetrieval; transformers/models/blip_2/convert_blip_2_original_to_pytorch.py names the
 * pairs).
 *
 * A rule turns a prefix; what follows is turned by the rules of its part. EVA's biases of q and v are thirds
 * of one bias at Hugging Face's; the middle one, k's, changes no output. */
#include "convert/names.h"
#include <stdio.h>
#include <string.h>

typedef struct rule { const char *ours, *theirs; } rule;

static const rule vision[] = {
    { "cls_token", "embeddings.class_embedding" }, { "pos_embed", "embeddings.position_embedding" },
    { "patch_embed.proj.", "embeddings.patch_embedding." }, { "blocks.", "encoder.layers." } };
static const rule block[] = {
    { "norm1.", "layer_norm1." }, { "norm2.", "layer_norm2." }, { "attn.qkv.weight", "self_attn.qkv.weight" },
    { "attn.q_bias", "self_attn.qkv.bias" }, { "attn.v_bias", "self_attn.qkv.bias" },
    { "attn.proj.", "self_attn.projection." }, { "mlp.", "mlp." } };
static const rule qformer[] = {
    { "embeddings.LayerNorm.", "qformer.layernorm." },
    { "embeddings.word_embeddings.", "embeddings.word_embeddings." },
    { "embeddings.position_embeddings.", "embeddings.position_embeddings." },
    { "encoder.", "qformer.encoder." } };
static const rule whole[] = { { "query_tokens", "query_tokens" },
                              { "ln_vision.", "vision_model.post_layernorm." },
                              { "vision_proj.", "vision_projection." },
                              { "text_proj.", "text_projection." },
                              { "itm_head.", "itm_head." },
                              { "opt_proj.", "language_projection." },
                              { "t5_proj.", "language_projection." },
                              { "opt_model.", "language_model." },
                              { "t5_model.", "language_model." } };
#define COUNT(a) (int)(sizeof (a) / sizeof *(a))

/* The rule whose prefix `name` has; what follows it in *rest. */
static const rule *find(const rule *rules, int n, const char *name, const char **rest)
{
    for (int i = 0; i < n; i++) {
        size_t size = strlen(rules[i].ours);
        if (!strncmp(name, rules[i].ours, size) && (rules[i].ours[size - 1] == '.' || !name[size])) {
            *rest = name + size;
            return &rules[i];
        }
    }
    return NULL;
}

static bool vision_name(const char *ours, convert_part *to)
{
    const char *rest;
    const rule *r = find(vision, COUNT(vision), ours, &rest);
    if (r && strcmp(r->ours, "blocks.")) {
        snprintf(to->name, sizeof to->name, "vision_model.%s%s", r->theirs, rest);
        return true;
    }
    size_t digits = r ? strspn(rest, "0123456789") : 0;
    const rule *inner = digits && rest[digits] == '.' ? find(block, COUNT(block), rest + digits + 1, &ours)
                                                      : NULL;
    if (!inner)
        return false;
    snprintf(to->name, sizeof to->name, "vision_model.%s%.*s.%s%s", r->theirs, (int)digits, rest,
             inner->theirs, ours);
    if (strstr(inner->ours, "_bias")) {
        to->of = 3;
        to->at = inner->ours[5] == 'q' ? 0 : 2;
    }
    return true;
}

/* "attention.self." and "crossattention.self." are "attention.attention." and "crossattention.attention." */
static bool qformer_name(const char *ours, convert_part *to)
{
    const char *rest;
    const rule *r = find(qformer, COUNT(qformer), ours, &rest);
    if (!r)
        return false;
    const char *self = strstr(rest, "attention.self.");
    if (self)
        snprintf(to->name, sizeof to->name, "%s%.*sattention.attention.%s", r->theirs, (int)(self - rest),
                 rest, self + strlen("attention.self."));
    else
        snprintf(to->name, sizeof to->name, "%s%s", r->theirs, rest);
    return true;
}

bool convert_hf_name(const char *ours, convert_part *to)
{
    static const char tower[] = "visual_encoder.", bert[] = "Qformer.bert.";
    const char *rest;
    *to = (convert_part){ .of = 1 };
    if (!strncmp(ours, tower, strlen(tower)))
        return vision_name(ours + strlen(tower), to);
    if (!strncmp(ours, bert, strlen(bert)))
        return qformer_name(ours + strlen(bert), to);
    const rule *r = find(whole, COUNT(whole), ours, &rest);
    if (r)
        snprintf(to->name, sizeof to->name, "%s%s", r->theirs, rest);
    return r != NULL;
}
