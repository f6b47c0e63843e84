/* models.c - models and texts as the cases under golden/lavis describe them, for the handlers that share
 * them.                                                                                                    */
#include "tests/golden/golden.h"
#include <string.h>

blip2_qformer_config golden_qformer_config(const golden *g)
{
    blip2_qformer_config c = blip2_config_default().qformer;
    c.width = golden_int(g, "D", 0);
    c.layers = golden_int(g, "L", 0);
    c.heads = golden_int(g, "H", 0);
    c.hidden = golden_int(g, "I", 0);
    c.queries = golden_int(g, "Q", 0);
    c.vocab = golden_int(g, "vocab", 0) + 1;               /* and [DEC] */
    c.positions = golden_int(g, "P", 0);
    c.memory_width = golden_int(g, "Wv", 0);
    c.cross_attention_freq = golden_int(g, "freq", 1);
    c.dropout = 0;
    return c;
}

blip2_config golden_stage1_config(const golden *g)
{
    blip2_config c = blip2_config_default();
    c.vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    c.qformer = golden_qformer_config(g);
    c.embed = golden_int(g, "E", 0);
    c.temperature = golden_real(g, "temp", 0.07);
    c.max_text = golden_int(g, "max_txt_len", 32);
    c.cls = 1;
    c.sep = 2;
    c.dec = (int)golden_int(g, "vocab", 0);
    return c;
}

blip2_vit_config golden_tower(golden *g)
{
    long hidden[8] = { 0 };
    bool clip = !strcmp(golden_text(g, "vit.type", ""), "clip");
    golden_dims(g, clip ? "weights/visual_encoder/transformer/resblocks/0/mlp/c_fc/weight"
                        : "weights/visual_encoder/blocks/0/mlp/fc1/weight", hidden);
    return (blip2_vit_config){
        .kind = clip ? BLIP2_VIT_CLIP : BLIP2_VIT_EVA, .image_size = golden_int(g, "vit.img", 0),
        .patch = golden_int(g, "vit.patch", 14), .width = golden_int(g, "vit.dim", 0),
        .depth = golden_int(g, "vit.depth", 0), .heads = golden_int(g, "vit.heads", 0), .hidden = hidden[0],
        .init_std = 0.02, .position_std = 0.02 };
}

/* Rows of ids, -1 behind the last, as [CLS] ids [SEP] padded to `width`; what does not fit is cut off
 * before [SEP].                                                                                            */
blip2_text golden_bert_text(golden *g, tape *t, const blip2_config *c, const char *name, long width)
{
    long dim[8] = { 0 }, n;
    golden_dims(g, name, dim);
    const int *raw = golden_ints(g, t, name, &n);
    long B = dim[0], room = dim[1];
    int *ids = ag_alloc(t, B * width * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * width);
    for (long b = 0; b < B; b++) {
        long at = 0;
        ids[b * width + at++] = c->cls;
        for (long i = 0; i < room && raw[b * room + i] >= 0 && at < width - 1; i++)
            ids[b * width + at++] = raw[b * room + i];
        ids[b * width + at++] = c->sep;
        for (long i = 0; i < width; i++) {
            mask[b * width + i] = i < at;
            if (i >= at)
                ids[b * width + i] = c->text_pad;
        }
    }
    return (blip2_text){ B, width, ids, mask };
}

void golden_compare_mask(golden *g, tape *t, const char *name, const unsigned char *mask, long n)
{
    int *as_ints = ag_alloc(t, n * (long)sizeof *as_ints);
    for (long i = 0; i < n; i++)
        as_ints[i] = mask[i];
    golden_compare_ints(g, name, as_ints, n);
}

void golden_compare_grad(golden *g, tape *t, const char *name, tensor *x)
{
    golden_compare(g, name, ag_copy_in(t, x->ndim, x->dim, ag_grad(x)));
}

void golden_compare_grad_heads(golden *g, tape *t, const char *name, tensor *x, long heads)
{
    golden_compare_heads(g, name, ag_copy_in(t, x->ndim, x->dim, ag_grad(x)), heads);
}

/* Keys or values as the reference keeps them, (B,H,T,d), as ours, (B,T,Hd). */
tensor *golden_leaf_heads(golden *g, tape *t, const char *name)
{
    long dim[8] = { 0 }, n;
    golden_dims(g, name, dim);
    const real *theirs = golden_reals(g, t, name, &n);
    long B = dim[0], H = dim[1], T = dim[2], d = dim[3];
    real *ours = ag_alloc_real(t, n);
    for (long b = 0; b < B; b++)
        for (long h = 0; h < H; h++)
            for (long i = 0; i < T; i++)
                for (long k = 0; k < d; k++)
                    ours[((b * T + i) * H + h) * d + k] = theirs[((b * H + h) * T + i) * d + k];
    return ag_leaf(t, DIMS(B, T, H * d), ours);
}

nn_store *golden_store(golden *g, nn_store *s)
{
    error e;
    if (!nn_build(s, true, &e))
        golden_fail(g, "%s", e.text);
    golden_load(g, s, "");
    return s;
}

const long *golden_image_ids(golden *g, tape *t)
{
    long n;
    if (!golden_has(g, "inputs/image_id"))
        return NULL;
    const int *ids = golden_ints(g, t, "inputs/image_id", &n);
    long *wide = ag_alloc(t, n * (long)sizeof *wide);
    for (long i = 0; i < n; i++)
        wide[i] = ids[i];
    return wide;
}
