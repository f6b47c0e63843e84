/* vit.c - the two vision towers, CLIP's ViT-L/14 (Radford et al. 2021) and EVA-CLIP's ViT-g/14 (Fang et al.
 * 2022), of any size: pre-norm transformers over patches (Dosovitskiy et al. 2021). lavis clip_vit.py and
 * eva_vit.py.
 *     x = [class; W patch + b] + positions;     CLIP: x = LN(x)
 *     x = x + proj(attention(LN1 x));  x = x + W2 act(W1 LN2 x)       for each block
 * The result is all tokens after the last block that is run: no final norm, no head. The families differ in
 * names, in the epsilon of their norms (CLIP 1e-5, EVA 1e-6), in the activation (CLIP x sigmoid(1.702 x), EVA
 * exact GELU), and in biases: CLIP's patches have none; EVA's q and v have one each and its k none.        */
#include "blip2/internal.h"
#include <math.h>
#include <string.h>

typedef struct family {
    const char *patch, *class_token, *positions, *pre, *block;
    const char *norm1, *norm2, *qkv_weight, *proj, *fc1, *fc2;
    bool batch_axis;                   /* class token (1,1,E) and positions (1,N,E), or (E) and (N,E) */
    double eps;
    ag_act act;
} family;

static const family clip = {
    .patch = "conv1", .class_token = "class_embedding", .positions = "positional_embedding", .pre = "ln_pre",
    .block = "transformer.resblocks", .norm1 = "ln_1", .norm2 = "ln_2", .qkv_weight = "attn.in_proj_weight",
    .proj = "attn.out_proj", .fc1 = "mlp.c_fc", .fc2 = "mlp.c_proj", .eps = 1e-5, .act = AG_QUICK_GELU,
};
static const family eva = {
    .patch = "patch_embed.proj", .class_token = "cls_token", .positions = "pos_embed",
    .block = "blocks", .norm1 = "norm1", .norm2 = "norm2", .qkv_weight = "attn.qkv.weight",
    .proj = "attn.proj", .fc1 = "mlp.fc1", .fc2 = "mlp.fc2", .batch_axis = true, .eps = 1e-6, .act = AG_GELU,
};

static const family *family_of(const blip2_vit_config *c) { return c->kind == BLIP2_VIT_CLIP ? &clip : &eva; }

/* ---- parameters ----------------------------------------------------------------------------------------
 * EVA's start for both: N(0, std) cut at 2; output matrices of block i = 0 .. divided by sqrt(2 (i + 1)).  */

double vit_eps(const blip2_vit_config *c) { return c->eps > 0 ? c->eps : family_of(c)->eps; }
static nn_init truncated(double std) { return (nn_init){ NN_TRUNCATED, std, NULL }; }

static void positions_init(blip2_vit *v, nn_scope s, const family *f)
{
    const blip2_vit_config *c = &v->config;
    long grid = c->image_size / c->patch, N = 1 + grid * grid;
    nn_init start = truncated(c->position_std);
    if (c->position_std == 0) {
        real *table = ag_alloc_real(s.store->names, N * c->width);
        sinusoid_positions(grid, c->width, 0.3, table);
        start = (nn_init){ .kind = NN_GIVEN, .given = table };
    }
    const long batch[] = { 1, N, c->width }, plain[] = { N, c->width };
    v->positions = nn_parameter(s, f->positions, start, f->batch_axis ? 3 : 2, f->batch_axis ? batch : plain);
}

static void block_init(blip2_vit_block *b, nn_scope s, const family *f, const blip2_vit_config *c, long index)
{
    long E = c->width;
    nn_init in = truncated(c->init_std), out = truncated(c->init_std / sqrt(2 * ((double)index + 1)));
    *b = (blip2_vit_block){ 0 };
    nn_layer_norm_init(&b->norm1, nn_sub(s, "%s", f->norm1), E, vit_eps(c));
    b->qkv = nn_matrix(s, f->qkv_weight, in, DIMS(3 * E, E));
    if (c->kind == BLIP2_VIT_CLIP)
        b->qkv_bias = nn_parameter(s, "attn.in_proj_bias", NN_INIT_ZERO, DIMS(3 * E));
    else {
        b->q_bias = nn_parameter(s, "attn.q_bias", NN_INIT_ZERO, DIMS(E));
        b->v_bias = nn_parameter(s, "attn.v_bias", NN_INIT_ZERO, DIMS(E));
    }
    nn_linear_init(&b->proj, nn_sub(s, "%s", f->proj), E, E, out);
    nn_layer_norm_init(&b->norm2, nn_sub(s, "%s", f->norm2), E, vit_eps(c));
    nn_linear_init(&b->fc1, nn_sub(s, "%s", f->fc1), c->hidden, E, in);
    nn_linear_init(&b->fc2, nn_sub(s, "%s", f->fc2), E, c->hidden, out);
}

void blip2_vit_init(blip2_vit *v, nn_scope s, const blip2_vit_config *c)
{
    if (c->kind != BLIP2_VIT_CLIP && c->kind != BLIP2_VIT_EVA)
        ag_fail("vit", "there is no vision tower of kind %d", (int)c->kind);
    if (c->patch < 1 || c->image_size < c->patch || c->image_size % c->patch || c->heads < 1
        || c->width % c->heads)
        ag_fail("vit", "pictures of %ld in patches of %ld, a width of %ld in %ld heads: expected whole parts",
                c->image_size, c->patch, c->width, c->heads);
    const family *f = family_of(c);
    const long batch[] = { 1, 1, c->width };
    nn_scope patch = nn_sub(s, "%s", f->patch);
    *v = (blip2_vit){ .config = *c, .blocks = ag_alloc(s.store->names, c->depth * (long)sizeof *v->blocks) };
    v->class_token = nn_parameter(s, f->class_token, truncated(c->init_std), f->batch_axis ? 3 : 1,
                                  f->batch_axis ? batch : &c->width);
    positions_init(v, s, f);
    v->patch_weight = nn_matrix(patch, "weight", truncated(c->init_std),
                                DIMS(c->width, 3, c->patch, c->patch));
    if (c->kind == BLIP2_VIT_EVA)
        v->patch_bias = nn_parameter(patch, "bias", NN_INIT_ZERO, DIMS(c->width));
    if (f->pre)
        nn_layer_norm_init(&v->pre, nn_sub(s, "%s", f->pre), c->width, vit_eps(c));
    for (long i = 0; i < c->depth; i++)
        block_init(&v->blocks[i], nn_sub(s, "%s.%ld", f->block, i), f, c, i);
}

/* ---- forward ------------------------------------------------------------------------------------------- */

/* The bias of q, k and v together, (3E): EVA's k has none. */
static tensor *qkv_bias(const blip2_vit_block *b, tape *t)
{
    if (b->qkv_bias)
        return b->qkv_bias;
    long E = b->q_bias->size;
    real *zero = ag_alloc_real(t, E);
    memset(zero, 0, (size_t)E * sizeof *zero);
    tensor *k_bias = ag_copy_in(t, DIMS(E), zero);
    return ag_concat(t, 3, (tensor *[]){ b->q_bias, k_bias, b->v_bias }, 0);
}

static tensor *attention(const blip2_vit_block *b, tape *t, tensor *x, int heads)
{
    long E = x->dim[2];
    tensor *bias = qkv_bias(b, t);
    tensor *qkv = ag_linear(t, x, b->qkv, bias, AG_NONE);                  /* (B,N,3E) */
    tensor *q = ag_slice(t, qkv, 2, 0, E);                                 /* (B,N,E) each */
    tensor *k = ag_slice(t, qkv, 2, E, E);
    tensor *v = ag_slice(t, qkv, 2, 2 * E, E);
    tensor *y = ag_attention(t, q, k, v, &(ag_attn){ .heads = heads });    /* (B,N,E) */
    return nn_linear_forward(&b->proj, t, y);
}

/* Is a matrix or a norm of the block trained? */
static bool is_trained(const blip2_vit_block *b)
{
    return b->qkv->needs_grad || b->proj.weight->needs_grad || b->fc1.weight->needs_grad
        || b->fc2.weight->needs_grad || b->norm1.weight->needs_grad || b->norm2.weight->needs_grad;
}

/* Stochastic depth (Huang et al. 2016): y (B,N,E) of a sample is left out with a probability that rises
 * over the blocks from 0 to drop_path, and scaled up to make up for it. Only where the tower is trained,
 * as in LAVIS. */
static tensor *branch(const blip2_vit *v, tape *t, long i, int place, tensor *y)
{
    double p = v->config.depth > 1 ? v->drop_path * (double)i / (double)(v->config.depth - 1) : v->drop_path;
    if (p <= 0 || !ag_is_training(t) || !is_trained(&v->blocks[i]))
        return y;
    long B = y->dim[0];
    real *ones = ag_alloc_real(t, B);
    for (long b = 0; b < B; b++)
        ones[b] = 1;
    tensor *all = ag_copy_in(t, DIMS(B, 1, 1), ones);
    tensor *kept = ag_dropout(t, all, (ag_drop){ p, (uint32_t)(SITE_VIT + i * SITES_A_LAYER + place) });
    return ag_mul(t, y, kept);
}

static tensor *block_forward(const blip2_vit *v, tape *t, long i, tensor *x)
{
    const blip2_vit_config *c = &v->config;
    const blip2_vit_block *b = &v->blocks[i];
    tensor *h = nn_layer_norm_forward(&b->norm1, t, x);                    /* (B,N,E) */
    tensor *looked = attention(b, t, h, (int)c->heads);
    looked = branch(v, t, i, 0, looked);
    x = ag_add(t, x, looked);
    h = nn_layer_norm_forward(&b->norm2, t, x);
    tensor *hidden = nn_linear_act(&b->fc1, t, h, family_of(c)->act);      /* (B,N,hidden) */
    tensor *thought = nn_linear_forward(&b->fc2, t, hidden);               /* (B,N,E) */
    thought = branch(v, t, i, 1, thought);
    return ag_add(t, x, thought);
}

typedef struct again { const blip2_vit *v; long index; } again;

static void block_again(tape *t, void *context, tensor *const *in, tensor **out)
{
    const again *a = context;
    out[0] = block_forward(a->v, t, a->index, in[0]);
}

/* Block i, by recomputation if that is asked for and there is something to go back for. */
static tensor *one_block(const blip2_vit *v, tape *t, long i, tensor *x)
{
    if (!v->recompute || !(x->needs_grad || is_trained(&v->blocks[i])))
        return block_forward(v, t, i, x);
    again *a = ag_alloc(t, sizeof *a);
    *a = (again){ v, i };
    tensor *y;
    ag_checkpoint(t, block_again, a, 1, &x, 1, &y);
    return y;                                                              /* (B,N,E) */
}

static tensor *embed(const blip2_vit *v, tape *t, tensor *pictures)
{
    long E = v->config.width, B = pictures->dim[0];
    tensor *patches = ag_patch_embed(t, pictures, v->patch_weight, v->patch_bias, v->config.patch);
    tensor *token = ag_reshape(t, v->class_token, DIMS(1, 1, E));
    tensor *tokens = ag_repeat(t, token, B);                               /* (B,1,E) */
    tensor *x = ag_concat(t, 2, (tensor *[]){ tokens, patches }, 1);       /* (B,N,E) of (B,1,E), (B,N-1,E) */
    x = ag_add(t, x, v->positions);
    return v->pre.weight ? nn_layer_norm_forward(&v->pre, t, x) : x;
}

tensor *blip2_vit_forward(const blip2_vit *v, tape *t, tensor *pictures, tensor **blocks)
{
    long S = v->config.image_size;
    if (pictures->ndim != 4 || pictures->dim[1] != 3 || pictures->dim[2] != S || pictures->dim[3] != S)
        ag_fail("vit", "pictures %s: expected (B,3,%ld,%ld)", SHAPE(pictures), S, S);
    ag_mark before = ag_here(t);
    tensor *x = embed(v, t, pictures);                                     /* (B,N,E) */
    for (long i = 0; i < v->config.depth; i++) {
        if (blocks)
            before = ag_here(t);
        x = one_block(v, t, i, x);
        if (!x->needs_grad)                                /* a frozen tower needs one block's memory */
            x = ag_rewind_keep(t, before, x);
        if (blocks)
            blocks[i] = x;
    }
    return x;
}
