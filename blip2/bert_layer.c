/* bert_layer.c - one layer of the Q-Former: a BERT layer (Devlin et al. 2019, post-norm) with a
 * cross-attention and a feed-forward of its own for the query rows (Li et al. 2023, section 3.1; lavis
 * Qformer.py, BertLayer).
 *
 *     all rows, queries and text, with shared weights:     h  = LN(self(x) + x)
 *     query rows, in layers that own a cross-attention:    hq = LN(cross(hq, image) + hq)
 *                 and then:                                LN(W2q gelu(W1q hq) + hq)
 *     text rows:                                           LN(W2 gelu(W1 ht) + ht)
 *
 * with dropout on attention probabilities and on what each residual adds. A text row sees a picture only
 * through the keys and values of the query rows.                                                           */
#include "blip2/internal.h"

enum { DROP_SELF_PROBS, DROP_SELF, DROP_CROSS_PROBS, DROP_CROSS, DROP_TEXT, DROP_QUERY };

static const nn_names self_names = { "attention.self.query", "attention.self.key", "attention.self.value",
                                     "attention.output.dense" };
static const nn_names cross_names = { "crossattention.self.query", "crossattention.self.key",
                                      "crossattention.self.value", "crossattention.output.dense" };

void blip2_bert_layer_init(blip2_bert_layer *l, nn_scope s, const blip2_qformer_config *c, long index)
{
    nn_init in = NN_INIT_NORMAL(c->init_std), out = NN_INIT_NORMAL(c->init_std * c->output_scale);
    long D = c->width, I = c->hidden;
    bool queries = c->queries != 0;                        /* without any: a layer of BERT */
    *l = (blip2_bert_layer){ .dropout = c->dropout,
                             .has_cross = queries && index % c->cross_attention_freq == 0,
                             .site = (uint32_t)(SITE_QFORMER_LAYER + index * SITES_A_LAYER) };
    nn_attention_init(&l->self, s, &self_names, D, D, (int)c->heads, in, out);
    nn_layer_norm_init(&l->self_norm, nn_sub(s, "attention.output.LayerNorm"), D, c->eps);
    if (l->has_cross) {
        nn_attention_init(&l->cross, s, &cross_names, D, c->memory_width, (int)c->heads, in, out);
        nn_layer_norm_init(&l->cross_norm, nn_sub(s, "crossattention.output.LayerNorm"), D, c->eps);
    }
    if (c->text) {
        nn_linear_init(&l->text_in, nn_sub(s, "intermediate.dense"), I, D, in);
        nn_linear_init(&l->text_out, nn_sub(s, "output.dense"), D, I, out);
        nn_layer_norm_init(&l->text_norm, nn_sub(s, "output.LayerNorm"), D, c->eps);
    }
    if (!queries)
        return;
    nn_scope twin = s;                                     /* starts as a copy of the text feed-forward */
    twin.without = "_query";
    nn_linear_init(&l->query_in, nn_sub(twin, "intermediate_query.dense"), I, D, in);
    nn_linear_init(&l->query_out, nn_sub(twin, "output_query.dense"), D, I, out);
    nn_layer_norm_init(&l->query_norm, nn_sub(twin, "output_query.LayerNorm"), D, c->eps);
}

static ag_drop drop(const blip2_bert_layer *l, int place)
{
    return (ag_drop){ l->dropout, l->site + (uint32_t)place };
}

/* LN(dropout(y) + x) */
static tensor *join(const blip2_bert_layer *l, tape *t, tensor *x, tensor *y, const nn_layer_norm *norm,
                    int place)
{
    tensor *dropped = ag_dropout(t, y, drop(l, place));
    tensor *sum = ag_add(t, dropped, x);
    return nn_layer_norm_forward(norm, t, sum);
}

static tensor *feed_forward(const blip2_bert_layer *l, tape *t, tensor *x, const nn_linear *in,
                            const nn_linear *out, const nn_layer_norm *norm, int place)
{
    tensor *hidden = nn_linear_act(in, t, x, AG_GELU);                     /* (B,rows,I) */
    tensor *y = nn_linear_forward(out, t, hidden);                         /* (B,rows,D) */
    return join(l, t, x, y, norm, place);
}

/* All rows are looked at, the first `rows` look. */
static tensor *self_attention(const blip2_bert_layer *l, tape *t, tensor *x, long rows, blip2_layer_io *io)
{
    io->present = nn_attention_memory(&l->self, t, x);                     /* (B,S,D) */
    tensor *looking = rows < x->dim[1] ? ag_slice(t, x, 1, 0, rows) : x;   /* (B,rows,D) */
    tensor *y = nn_attention_forward(&l->self, t, looking, io->present, (ag_attn){
        .mask = io->mask, .past_k = io->past.k, .past_v = io->past.v, .cache = io->cache,
        .probs = io->self_probs, .drop = drop(l, DROP_SELF_PROBS) });
    return join(l, t, looking, y, &l->self_norm, DROP_SELF);
}

static tensor *cross_attention(const blip2_bert_layer *l, tape *t, tensor *queries, const blip2_layer_io *io)
{
    if (!io->memory.k)
        ag_fail("bert_layer", "queries %s have no image to look at", SHAPE(queries));
    tensor *y = nn_attention_forward(&l->cross, t, queries, io->memory, (ag_attn){
        .mask = io->memory_mask, .memory_row = io->memory_row, .probs = io->cross_probs,
        .drop = drop(l, DROP_CROSS_PROBS) });
    return join(l, t, queries, y, &l->cross_norm, DROP_CROSS);
}

static tensor *forward(const blip2_bert_layer *l, tape *t, tensor *x, blip2_layer_io *io)
{
    long rows = io->rows ? io->rows : x->ndim == 3 ? x->dim[1] : 0;
    if (rows < 1 || io->queries < 0 || io->queries > rows || x->ndim != 3 || rows > x->dim[1])
        ag_fail("bert_layer", "x %s cannot give %ld rows that begin with %ld queries", SHAPE(x), rows,
                io->queries);
    if (rows < x->dim[1] && io->mask && io->mask->Tq > 1)
        ag_fail("bert_layer", "a mask a row is given for x %s, but only %ld rows are wanted", SHAPE(x), rows);
    long Q = io->queries, T = rows - Q;
    tensor *h = self_attention(l, t, x, rows, io);                         /* (B,Q+T,D) */
    tensor *hq = NULL, *ht = NULL;
    if (Q) {
        hq = T ? ag_slice(t, h, 1, 0, Q) : h;                              /* (B,Q,D) */
        if (l->has_cross)
            hq = cross_attention(l, t, hq, io);
        hq = feed_forward(l, t, hq, &l->query_in, &l->query_out, &l->query_norm, DROP_QUERY);
    }
    if (T) {
        if (!l->text_in.weight)
            ag_fail("bert_layer", "%ld text rows in %s: this model has no text feed-forward", T, SHAPE(x));
        ht = Q ? ag_slice(t, h, 1, Q, T) : h;                              /* (B,T,D) */
        ht = feed_forward(l, t, ht, &l->text_in, &l->text_out, &l->text_norm, DROP_TEXT);
    }
    return hq && ht ? ag_concat(t, 2, (tensor *[]){ hq, ht }, 1) : hq ? hq : ht;       /* (B,Q+T,D) */
}

/* ---- the layer as one node that runs again in backward ------------------------------------------------- */
typedef struct again { const blip2_bert_layer *l; blip2_layer_io io; } again;

static void run_again(tape *t, void *context, tensor *const *in, tensor **out)
{
    again *a = context;
    blip2_layer_io io = a->io;
    io.memory = (nn_kv){ in[1], in[2] };
    io.past = (nn_kv){ in[3], in[4] };
    out[0] = forward(a->l, t, in[0], &io);
    if (io.present_wanted) {
        out[1] = io.present.k;
        out[2] = io.present.v;
    }
}

tensor *blip2_bert_layer_forward(const blip2_bert_layer *l, tape *t, tensor *x, blip2_layer_io *io)
{
    if (!io->recompute || io->cache || io->self_probs || io->cross_probs)
        return forward(l, t, x, io);
    again *a = ag_alloc(t, sizeof *a);
    *a = (again){ l, *io };
    tensor *out[3] = { NULL }, *in[] = { x, io->memory.k, io->memory.v, io->past.k, io->past.v };
    ag_checkpoint(t, run_again, a, 5, in, io->present_wanted ? 3 : 1, out);
    io->present = (nn_kv){ out[1], out[2] };
    return out[0];                                                         /* (B,Q+T,D) */
}
