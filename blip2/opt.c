/* opt.c - OPT (Zhang et al. 2022), a decoder-only language model of any size.
 *
 *     x = embeddings + positions[2 + n],       n: how many real tokens stand before this one in its row
 *     x = x + dropout(out(attention(LN1 x)));  x = x + dropout(W2 relu(W1 LN2 x))        for each layer
 *     hidden = LN(x);  logits = hidden words'                      the head's matrix is the table of tokens
 * opt-350m alone is built otherwise: its norms stand behind the residuals, x = LN1(x + ...), with none at the
 * end (post_norm), and its table of tokens is narrower, so that a matrix leads in and one out (embed).
 * A token looks at the real tokens up to itself. Padding may stand left or right; it takes position 1, nobody
 * sees it, and its own rows mean nothing. transformers modeling_opt.py.                                    */
#include "blip2/internal.h"

enum { OFFSET = 2, DROP_ATTENTION = 0, DROP_FEED_FORWARD };

static const nn_names names = { "q_proj", "k_proj", "v_proj", "out_proj" };

static void layer_init(blip2_opt_layer *l, nn_scope s, const blip2_opt_config *c, long index)
{
    nn_init start = NN_INIT_NORMAL(c->init_std);
    l->site = (uint32_t)(SITE_OPT + index * SITES_A_LAYER);
    nn_attention_init(&l->self, nn_sub(s, "self_attn"), &names, c->width, c->width, (int)c->heads, start,
                      start);
    nn_layer_norm_init(&l->norm1, nn_sub(s, "self_attn_layer_norm"), c->width, 1e-5);
    nn_linear_init(&l->fc1, nn_sub(s, "fc1"), c->hidden, c->width, start);
    nn_linear_init(&l->fc2, nn_sub(s, "fc2"), c->width, c->hidden, start);
    nn_layer_norm_init(&l->norm2, nn_sub(s, "final_layer_norm"), c->width, 1e-5);
}

void blip2_opt_init(blip2_opt *m, nn_scope s, const blip2_opt_config *c)
{
    nn_scope inside = nn_sub(s, "model.decoder");
    nn_init start = NN_INIT_NORMAL(c->init_std);
    *m = (blip2_opt){ .config = *c, .layers = ag_alloc(s.store->names, c->layers * (long)sizeof *m->layers) };
    long E = c->embed ? c->embed : c->width;
    nn_embedding_init(&m->tokens, nn_sub(inside, "embed_tokens"), c->vocab, E, start);
    nn_embedding_init(&m->positions, nn_sub(inside, "embed_positions"), c->positions + OFFSET, c->width,
                      start);
    if (E != c->width) {
        nn_linear_init_plain(&m->project_in, nn_sub(inside, "project_in"), c->width, E, start);
        nn_linear_init_plain(&m->project_out, nn_sub(inside, "project_out"), E, c->width, start);
    }
    if (!c->post_norm)
        nn_layer_norm_init(&m->norm, nn_sub(inside, "final_layer_norm"), c->width, 1e-5);
    for (long i = 0; i < c->layers; i++)
        layer_init(&m->layers[i], nn_sub(inside, "layers.%ld", i), c, i);
    nn_alias(nn_sub(s, "lm_head"), "weight", m->tokens.weight);
}

tensor *blip2_opt_embed(const blip2_opt *m, tape *t, const int *ids, long B, long T)
{
    tensor *x = nn_embedding_forward(&m->tokens, t, ids, DIMS(B, T));      /* (B,T,embed) */
    return m->project_in.weight ? nn_linear_forward(&m->project_in, t, x) : x;     /* (B,T,L) */
}

/* Which rows of the table of positions the last T of `past + T` columns take: cumsum(mask) * mask - 1 + 2. */
static const int *position_ids(const blip2_opt *m, tape *t, const unsigned char *mask, long B, long past,
                               long T)
{
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    for (long b = 0; b < B; b++) {
        long real_tokens = 0;
        for (long i = 0; i < past + T; i++) {
            bool is_real = !mask || mask[b * (past + T) + i];
            real_tokens += is_real;
            if (i >= past)
                ids[b * T + i - past] = (int)(is_real ? real_tokens : 0) - 1 + OFFSET;
        }
        if (real_tokens > m->config.positions)
            ag_fail("opt", "%ld tokens, there are %ld positions", real_tokens, m->config.positions);
    }
    return ids;
}

/* (B,1,past+T): nobody sees padding; that nobody sees what comes later is attention's option `causal`. */
static const ag_mask *padding_mask(tape *t, const unsigned char *mask, long B, long S)
{
    if (!mask)
        return NULL;
    ag_mask *may = ag_mask_new(t, B, 1, S);
    for (long i = 0; i < B * S; i++)
        may->may[i] = mask[i] != 0;
    return may;
}

static tensor *layer_forward(const blip2_opt *m, const blip2_opt_layer *l, tape *t, tensor *x,
                             const ag_mask *mask, ag_cache *cache)
{
    double p = m->config.dropout;
    bool post = m->config.post_norm;
    tensor *h = post ? x : nn_layer_norm_forward(&l->norm1, t, x);         /* (B,T,L) */
    nn_kv kv = nn_attention_memory(&l->self, t, h);
    h = nn_attention_forward(&l->self, t, h, kv, (ag_attn){ .mask = mask, .causal = true, .cache = cache });
    h = ag_dropout(t, h, (ag_drop){ p, l->site + DROP_ATTENTION });
    x = ag_add(t, x, h);
    if (post)
        x = nn_layer_norm_forward(&l->norm1, t, x);
    h = post ? x : nn_layer_norm_forward(&l->norm2, t, x);
    h = nn_linear_act(&l->fc1, t, h, AG_RELU);                             /* (B,T,hidden) */
    h = nn_linear_forward(&l->fc2, t, h);                                  /* (B,T,L) */
    h = ag_dropout(t, h, (ag_drop){ p, l->site + DROP_FEED_FORWARD });
    x = ag_add(t, x, h);
    return post ? nn_layer_norm_forward(&l->norm2, t, x) : x;
}

typedef struct again { const blip2_opt *m; long index; const ag_mask *mask; } again;

static void layer_again(tape *t, void *context, tensor *const *in, tensor **out)
{
    const again *a = context;
    out[0] = layer_forward(a->m, &a->m->layers[a->index], t, in[0], a->mask, NULL);
}

static tensor *one_layer(const blip2_opt *m, tape *t, long i, tensor *x, const ag_mask *mask, ag_cache *cache)
{
    if (!m->recompute || cache)
        return layer_forward(m, &m->layers[i], t, x, mask, cache ? &cache[i] : NULL);
    again *a = ag_alloc(t, sizeof *a);
    *a = (again){ m, i, mask };
    tensor *y;
    ag_checkpoint(t, layer_again, a, 1, &x, 1, &y);
    return y;                                                              /* (B,T,L) */
}

tensor *blip2_opt_forward(const blip2_opt *m, tape *t, tensor *embeddings, const unsigned char *mask,
                          ag_cache *cache)
{
    if (embeddings->ndim != 3 || embeddings->dim[2] != m->config.width)
        ag_fail("opt", "embeddings %s: expected (B,T,%ld)", SHAPE(embeddings), m->config.width);
    long B = embeddings->dim[0], T = embeddings->dim[1], past = cache ? cache->length : 0;
    const int *at = position_ids(m, t, mask, B, past, T);
    const ag_mask *may = padding_mask(t, mask, B, past + T);
    ag_mark before = ag_here(t);
    tensor *positions = nn_embedding_forward(&m->positions, t, at, DIMS(B, T));        /* (B,T,L) */
    tensor *x = ag_add(t, embeddings, positions);
    for (long i = 0; i < m->config.layers; i++) {
        x = one_layer(m, t, i, x, may, cache);
        if (!x->needs_grad)                                /* what is frozen needs one layer's memory */
            x = ag_rewind_keep(t, before, x);
    }
    if (m->norm.weight)
        x = nn_layer_norm_forward(&m->norm, t, x);
    return m->project_out.weight ? nn_linear_forward(&m->project_out, t, x) : x;       /* (B,T,L or embed) */
}

tensor *blip2_opt_logits(const blip2_opt *m, tape *t, tensor *hidden)
{
    return ag_linear(t, hidden, m->tokens.weight, NULL, AG_NONE);          /* (...,V) */
}
