/* t5.c - T5 1.1 (Raffel et al. 2020; Shazeer 2020 for the gate), an encoder and a decoder, pre-norm, of any
 * size; FLAN-T5 is this. N is RMS norm without a shift; no projection has a bias.
 *
 *     x = x + out(attention(N1 x))                        encoder: all see all; decoder: up to themselves
 *     x = x + out(attention(N2 x, encoded))               decoder only
 *     x = x + down( gelu(gate N3 x) * (up N3 x) )         for each block
 *     encoded, hidden = N(x);   logits = hidden head'     tied head: hidden L^-1/2 tokens'
 * Scores are not scaled. Self-attention adds a number that depends on the head and on how far the key stands
 * from the query, by a table that the blocks of a stack share; there are no other positions. Dropout stands
 * where modeling_t5.py of transformers has it: behind the embeddings and the final norm, on probabilities,
 * between gate and down, and on each of the three summands. */
#include "blip2/internal.h"
#include <math.h>

enum { DROP_INPUT = 0, DROP_OUTPUT };                      /* of a stack */
/* of a block */
enum { DROP_PROBS = 0, DROP_SELF, DROP_CROSS_PROBS, DROP_CROSS, DROP_GATE, DROP_FEED_FORWARD };

typedef struct stack_io {              /* what one pass through a stack is given */
    const ag_mask *mask, *memory_mask;
    const nn_kv *memory;
    const int *memory_row;
    ag_cache *cache;
    tensor **self_probs, **cross_probs;
} stack_io;

/* ---- parts and how they start (factor f: transformers' initializer_factor) ----------------------------- */
static void attention_init(nn_attention *a, nn_scope s, const blip2_t5_config *c)
{
    double f = c->init_factor;
    long L = c->width, inner = c->heads * c->head_width;
    nn_init from_width = NN_INIT_NORMAL(f / sqrt((double)L));
    a->heads = (int)c->heads;
    nn_linear_init_plain(&a->query, nn_sub(s, "q"), inner, L,
                         NN_INIT_NORMAL(f / sqrt((double)(L * c->head_width))));   /* in place of 1/sqrt(d) */
    nn_linear_init_plain(&a->key, nn_sub(s, "k"), inner, L, from_width);
    nn_linear_init_plain(&a->value, nn_sub(s, "v"), inner, L, from_width);
    nn_linear_init_plain(&a->out, nn_sub(s, "o"), L, inner, NN_INIT_NORMAL(f / sqrt((double)inner)));
}

static void block_init(blip2_t5_block *b, nn_scope s, const blip2_t5_config *c, const blip2_t5_stack *stack,
                       long index)
{
    nn_scope self = nn_sub(s, "layer.0"), cross = nn_sub(s, "layer.1");
    nn_scope last = nn_sub(s, stack->decodes ? "layer.2" : "layer.1"), feed = nn_sub(last, "DenseReluDense");
    nn_init from_width = NN_INIT_NORMAL(c->init_factor / sqrt((double)c->width));
    nn_init from_hidden = NN_INIT_NORMAL(c->init_factor / sqrt((double)c->hidden));
    b->site = stack->site + (uint32_t)((1 + index) * SITES_A_LAYER);
    attention_init(&b->self, nn_sub(self, "SelfAttention"), c);
    nn_rms_norm_init(&b->self_norm, nn_sub(self, "layer_norm"), c->width, c->eps);
    if (stack->decodes) {
        attention_init(&b->cross, nn_sub(cross, "EncDecAttention"), c);
        nn_rms_norm_init(&b->cross_norm, nn_sub(cross, "layer_norm"), c->width, c->eps);
    }
    nn_linear_init_plain(&b->gate, nn_sub(feed, "wi_0"), c->hidden, c->width, from_width);
    nn_linear_init_plain(&b->up, nn_sub(feed, "wi_1"), c->hidden, c->width, from_width);
    nn_linear_init_plain(&b->down, nn_sub(feed, "wo"), c->width, c->hidden, from_hidden);
    nn_rms_norm_init(&b->norm, nn_sub(last, "layer_norm"), c->width, c->eps);
}

static void stack_init(blip2_t5_stack *k, nn_scope s, const blip2_t5_config *c, bool decodes)
{
    *k = (blip2_t5_stack){ .layers = decodes ? c->decoder_layers : c->layers, .decodes = decodes,
                           .site = decodes ? SITE_T5_DECODER : SITE_T5_ENCODER };
    k->blocks = ag_alloc(s.store->names, k->layers * (long)sizeof *k->blocks);
    k->bias = nn_parameter(nn_sub(s, "block.0.layer.0.SelfAttention.relative_attention_bias"), "weight",
                           NN_INIT_NORMAL(c->init_factor / sqrt((double)c->width)),
                           DIMS(c->buckets, c->heads));
    for (long i = 0; i < k->layers; i++) {
        k->blocks[i] = (blip2_t5_block){ .site = 0 };
        block_init(&k->blocks[i], nn_sub(s, "block.%ld", i), c, k, i);
    }
    nn_rms_norm_init(&k->norm, nn_sub(s, "final_layer_norm"), c->width, c->eps);
}

void blip2_t5_init(blip2_t5 *m, nn_scope s, const blip2_t5_config *c)
{
    if (c->buckets < 4 || c->max_distance <= c->buckets / 2)
        ag_fail("t5", "%ld buckets up to a distance of %ld: expected at least 4, and a distance above half "
                "of it", c->buckets, c->max_distance);
    nn_scope encodes = nn_sub(s, "encoder"), decodes = nn_sub(s, "decoder"), head = nn_sub(s, "lm_head");
    *m = (blip2_t5){ .config = *c };
    nn_embedding_init(&m->tokens, nn_sub(s, "shared"), c->vocab, c->width, NN_INIT_NORMAL(c->init_factor));
    nn_alias(nn_sub(encodes, "embed_tokens"), "weight", m->tokens.weight);
    nn_alias(nn_sub(decodes, "embed_tokens"), "weight", m->tokens.weight);
    stack_init(&m->encoder, encodes, c, false);
    stack_init(&m->decoder, decodes, c, true);
    m->head = m->tokens.weight;
    if (c->tied)
        nn_alias(head, "weight", m->tokens.weight);
    else                                           /* transformers starts it with 1: a first loss of L / 2 */
        m->head = nn_matrix(head, "weight", NN_INIT_NORMAL(c->init_factor / sqrt((double)c->width)),
                            DIMS(c->vocab, c->width));
}

tensor *blip2_t5_embed(const blip2_t5 *m, tape *t, const int *ids, long B, long T)
{
    return nn_embedding_forward(&m->tokens, t, ids, DIMS(B, T));           /* (B,T,L) */
}

/* ---- relative positions -------------------------------------------------------------------------------- */
/* Of the n buckets of a direction the first half holds one distance each; above it they widen as the
 * logarithm does, up to max_distance and all beyond. In float, as the reference computes it. */
int blip2_t5_bucket(const blip2_t5_config *c, bool decodes, long distance)
{
    long n = decodes ? c->buckets : c->buckets / 2, exact = n / 2, first = 0;
    if (!decodes && distance > 0)
        first = n;                                         /* the encoder looks both ways */
    long behind = distance < 0 ? -distance : 0, far = decodes || distance < 0 ? behind : distance;
    if (far < exact)
        return (int)(first + far);
    float share = logf((float)far / (float)exact) / (float)log((double)c->max_distance / (double)exact);
    long bucket = exact + (long)(share * (float)(n - exact));
    return (int)(first + (bucket < n ? bucket : n - 1));
}

/* (H,T,past+T) */
static tensor *position_bias(const blip2_t5 *m, tape *t, const blip2_t5_stack *k, long past, long T)
{
    long S = past + T;
    int *buckets = ag_alloc(t, T * S * (long)sizeof *buckets);
    for (long i = 0; i < T; i++)
        for (long j = 0; j < S; j++)
            buckets[i * S + j] = blip2_t5_bucket(&m->config, k->decodes, j - (past + i));
    return ag_relative_bias(t, k->bias, buckets, T, S);
}

/* ---- a stack ------------------------------------------------------------------------------------------- */
static tensor *feed_forward(const blip2_t5 *m, const blip2_t5_block *b, tape *t, tensor *x)
{
    ag_act gelu = m->config.gelu == BLIP2_GELU_TANH ? AG_GELU_TANH : AG_GELU;
    tensor *h = nn_rms_norm_forward(&b->norm, t, x);                       /* (B,T,L) */
    tensor *gate = nn_linear_act(&b->gate, t, h, gelu);                    /* (B,T,hidden) */
    tensor *up = nn_linear_forward(&b->up, t, h);
    h = ag_mul(t, gate, up);
    h = ag_dropout(t, h, (ag_drop){ m->config.dropout, b->site + DROP_GATE });
    h = nn_linear_forward(&b->down, t, h);                                 /* (B,T,L) */
    return ag_dropout(t, h, (ag_drop){ m->config.dropout, b->site + DROP_FEED_FORWARD });
}

static tensor *block_forward(const blip2_t5 *m, const blip2_t5_stack *k, long i, tape *t, tensor *x,
                             tensor *bias, const stack_io *io)
{
    const blip2_t5_block *b = &k->blocks[i];
    double p = m->config.dropout;
    tensor *h = nn_rms_norm_forward(&b->self_norm, t, x);                  /* (B,T,L) */
    nn_kv kv = nn_attention_memory(&b->self, t, h);                        /* (B,T,H x d) */
    h = nn_attention_forward(&b->self, t, h, kv, (ag_attn){ .scale = 1, .mask = io->mask,
        .causal = k->decodes, .bias = bias, .cache = io->cache ? &io->cache[i] : NULL,
        .drop = { p, b->site + DROP_PROBS }, .probs = io->self_probs ? &io->self_probs[i] : NULL });
    h = ag_dropout(t, h, (ag_drop){ p, b->site + DROP_SELF });
    x = ag_add(t, x, h);
    if (k->decodes) {
        h = nn_rms_norm_forward(&b->cross_norm, t, x);
        h = nn_attention_forward(&b->cross, t, h, io->memory[i], (ag_attn){ .scale = 1,
            .mask = io->memory_mask, .memory_row = io->memory_row, .drop = { p, b->site + DROP_CROSS_PROBS },
            .probs = io->cross_probs ? &io->cross_probs[i] : NULL });
        h = ag_dropout(t, h, (ag_drop){ p, b->site + DROP_CROSS });
        x = ag_add(t, x, h);
    }
    h = feed_forward(m, b, t, x);
    return ag_add(t, x, h);
}

typedef struct again { const blip2_t5 *m; const blip2_t5_stack *k; long index; stack_io io; } again;

static void block_again(tape *t, void *context, tensor *const *in, tensor **out)
{
    const again *a = context;
    nn_kv *memory = ag_alloc(t, (a->index + 1) * (long)sizeof *memory);
    memory[a->index] = (nn_kv){ in[2], in[3] };
    stack_io io = a->io;
    io.memory = memory;
    out[0] = block_forward(a->m, a->k, a->index, t, in[0], in[1], &io);
}

static tensor *one_block(const blip2_t5 *m, const blip2_t5_stack *k, long i, tape *t, tensor *x, tensor *bias,
                         const stack_io *io)
{
    if (!m->recompute || io->cache || io->self_probs || io->cross_probs)
        return block_forward(m, k, i, t, x, bias, io);
    again *a = ag_alloc(t, sizeof *a);
    *a = (again){ m, k, i, *io };
    nn_kv memory = io->memory ? io->memory[i] : (nn_kv){ NULL, NULL };
    tensor *y, *in[] = { x, bias, memory.k, memory.v };
    ag_checkpoint(t, block_again, a, 4, in, 1, &y);
    return y;                                                              /* (B,T,L) */
}

static tensor *stack_forward(const blip2_t5 *m, const blip2_t5_stack *k, tape *t, tensor *x,
                             const stack_io *io)
{
    if (x->ndim != 3 || x->dim[2] != m->config.width)
        ag_fail("t5", "embeddings %s: expected (B,T,%ld)", SHAPE(x), m->config.width);
    bool probs = io->self_probs || io->cross_probs;
    tensor *bias = position_bias(m, t, k, io->cache ? io->cache->length : 0, x->dim[1]);
    ag_mark before = ag_here(t);
    x = ag_dropout(t, x, (ag_drop){ m->config.dropout, k->site + DROP_INPUT });
    for (long i = 0; i < k->layers; i++) {
        x = one_block(m, k, i, t, x, bias, io);                            /* (B,T,L) */
        if (!x->needs_grad && !probs)                      /* what is frozen needs one block's memory */
            x = ag_rewind_keep(t, before, x);
    }
    x = nn_rms_norm_forward(&k->norm, t, x);
    return ag_dropout(t, x, (ag_drop){ m->config.dropout, k->site + DROP_OUTPUT });
}

/* (B,1,S): nobody sees padding. row: which row of mask each of the B reads, NULL: its own. */
static const ag_mask *padding_mask(tape *t, const unsigned char *mask, long B, long S, const int *row)
{
    if (!mask)
        return NULL;
    ag_mask *may = ag_mask_new(t, B, 1, S);
    for (long b = 0; b < B; b++)
        for (long i = 0; i < S; i++)
            may->may[b * S + i] = mask[(row ? row[b] : b) * S + i] != 0;
    return may;
}

tensor *blip2_t5_encode(const blip2_t5 *m, tape *t, tensor *embeddings, const unsigned char *mask,
                        tensor **probs)
{
    const ag_mask *may = padding_mask(t, mask, embeddings->dim[0], embeddings->dim[1], NULL);
    return stack_forward(m, &m->encoder, t, embeddings, &(stack_io){ .mask = may, .self_probs = probs });
}

void blip2_t5_memory(const blip2_t5 *m, tape *t, tensor *encoded, nn_kv *memory)
{
    for (long i = 0; i < m->decoder.layers; i++)
        memory[i] = nn_attention_memory(&m->decoder.blocks[i].cross, t, encoded);      /* (M,S,H x d) */
}

tensor *blip2_t5_decode(const blip2_t5 *m, tape *t, const blip2_t5_pass *p)
{
    long B = p->embeddings->dim[0], T = p->embeddings->dim[1], past = p->cache ? p->cache->length : 0;
    stack_io io = { .memory = p->memory, .memory_row = p->memory_row, .cache = p->cache,
                    .self_probs = p->self_probs, .cross_probs = p->cross_probs };
    io.mask = padding_mask(t, p->mask, B, past + T, NULL);
    io.memory_mask = padding_mask(t, p->memory_mask, B, p->memory->k->dim[1], p->memory_row);
    return stack_forward(m, &m->decoder, t, p->embeddings, &io);           /* (B,T,L) */
}

tensor *blip2_t5_before_head(const blip2_t5 *m, tape *t, tensor *hidden)
{
    return m->config.tied ? ag_scale(t, hidden, 1 / sqrt((double)m->config.width)) : hidden;
}

tensor *blip2_t5_logits(const blip2_t5 *m, tape *t, tensor *hidden)
{
    tensor *x = blip2_t5_before_head(m, t, hidden);                        /* (...,L) */
    return ag_linear(t, x, m->head, NULL, AG_NONE);                        /* (...,V) */
}
