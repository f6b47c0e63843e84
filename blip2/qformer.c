/* qformer.c - the Q-Former (Li et al. 2023, section 3.1): one transformer for queries, text, or both; the
 * mask says which of the three objectives it serves (masks.c). lavis Qformer.py, BertModel and
 * BertLMHeadModel.
 *
 *   x = dropout(LN([queries; words[ids] + positions]))       queries have neither words nor positions;
 *                                                            a plain BERT adds its row for token type 0
 *   x = layer_i(x), i = 0 ..                                 bert_layer.c
 *   logits = LN(gelu(W x + b)) words' + head_bias            the head's matrix is the table of words       */
#include "blip2/internal.h"
#include <math.h>

void blip2_qformer_init(blip2_qformer *q, nn_scope s, const blip2_qformer_config *c)
{
    if (c->cross_attention_freq < 1 || (c->head && !c->text))
        ag_fail("qformer", "cross-attention in every %ld-th layer, text %d, head %d: expected at least 1, "
                "and a head only with text", c->cross_attention_freq, c->text, c->head);
    nn_init start = NN_INIT_NORMAL(c->init_std);
    nn_scope embeddings = nn_sub(s, "bert.embeddings"), head = nn_sub(s, "cls.predictions");
    *q = (blip2_qformer){ .config = *c };
    q->layers = ag_alloc(s.store->names, c->layers * (long)sizeof *q->layers);
    if (c->text) {
        nn_scope words = nn_sub(embeddings, "word_embeddings");
        nn_scope at = nn_sub(embeddings, "position_embeddings");
        nn_embedding_init(&q->words, words, c->vocab, c->width, start);
        nn_embedding_init(&q->positions, at, c->positions, c->width, start);
        if (c->token_types)
            nn_embedding_init(&q->types, nn_sub(embeddings, "token_type_embeddings"), c->token_types,
                              c->width, start);
    }
    nn_layer_norm_init(&q->norm, nn_sub(embeddings, "LayerNorm"), c->width, c->eps);
    for (long i = 0; i < c->layers; i++)
        blip2_bert_layer_init(&q->layers[i], nn_sub(s, "bert.encoder.layer.%ld", i), c, i);
    if (c->head) {
        nn_linear_init(&q->transform, nn_sub(head, "transform.dense"), c->width, c->width, start);
        nn_layer_norm_init(&q->transform_norm, nn_sub(head, "transform.LayerNorm"), c->width, c->eps);
        q->head_bias = nn_parameter(head, "bias", NN_INIT_ZERO, DIMS(c->vocab));
        nn_alias(head, "decoder.weight", q->words.weight);
        nn_alias(head, "decoder.bias", q->head_bias);
    }
}

void blip2_qformer_memory(const blip2_qformer *q, tape *t, tensor *image, nn_kv *memory)
{
    for (long i = 0; i < q->config.layers; i++) {
        memory[i] = (nn_kv){ NULL, NULL };
        if (q->layers[i].has_cross)
            memory[i] = nn_attention_memory(&q->layers[i].cross, t, image);            /* (B,N,D) */
    }
}

/* words[ids] (+ type 0) + positions, (B,T,D); in transformers' order of sums */
static tensor *embed_text(const blip2_qformer *q, tape *t, const blip2_pass *p)
{
    if (!q->words.weight)
        ag_fail("qformer", "text (%ld,%ld) given to a model without word embeddings", p->B, p->T);
    if (p->first_position < 0 || p->T > q->config.positions - p->first_position)
        ag_fail("qformer", "%ld tokens from position %ld on; there are %ld positions", p->T,
                p->first_position, q->config.positions);
    int *at = ag_alloc(t, p->T * (long)sizeof *at), zero = 0;
    for (long i = 0; i < p->T; i++)
        at[i] = (int)(p->first_position + i);
    tensor *words = nn_embedding_forward(&q->words, t, p->ids, DIMS(p->B, p->T));              /* (B,T,D) */
    if (q->types.weight) {
        tensor *type = nn_embedding_forward(&q->types, t, &zero, DIMS(1, 1));                  /* (1,1,D) */
        words = ag_add(t, words, type);
    }
    tensor *positions = nn_embedding_forward(&q->positions, t, at, DIMS(1, p->T));             /* (1,T,D) */
    return ag_add(t, words, positions);
}

static tensor *embed(const blip2_qformer *q, tape *t, const blip2_pass *p)
{
    tensor *text = p->ids ? embed_text(q, t, p) : NULL;
    if (!text && !p->queries)
        ag_fail("qformer", "neither queries nor text given");
    tensor *x = text && p->queries ? ag_concat(t, 2, (tensor *[]){ p->queries, text }, 1)      /* (B,Q+T,D) */
              : text ? text : p->queries;
    tensor *normed = nn_layer_norm_forward(&q->norm, t, x);
    return ag_dropout(t, normed, (ag_drop){ q->config.dropout, SITE_QFORMER_EMBEDDING });
}

/* What layer i is given of the pass. */
static blip2_layer_io layer_io(const blip2_qformer *q, const blip2_pass *p, long i)
{
    bool last = i == q->config.layers - 1;
    blip2_layer_io io = { .queries = p->queries ? p->queries->dim[1] : 0, .rows = last ? p->rows : 0,
                          .mask = p->mask, .memory_mask = p->memory_mask, .memory_row = p->memory_row,
                          .recompute = q->recompute, .present_wanted = p->present != NULL };
    if (p->memory)
        io.memory = p->memory[i];
    if (p->past)
        io.past = p->past[i];
    if (p->cache)
        io.cache = &p->cache[i];
    if (p->self_probs)
        io.self_probs = &p->self_probs[i];
    if (p->cross_probs && io.memory.k)
        io.cross_probs = &p->cross_probs[i];
    return io;
}

tensor *blip2_qformer_forward(const blip2_qformer *q, tape *t, const blip2_pass *p)
{
    ag_random outside = ag_random_now(t), inside = outside;
    inside.pass = p->pass;
    ag_seed(t, inside);
    tensor *x = embed(q, t, p);                                            /* (B,S,D) */
    if (p->hidden)
        p->hidden[0] = x;
    for (long i = 0; i < q->config.layers; i++) {
        blip2_layer_io io = layer_io(q, p, i);
        x = blip2_bert_layer_forward(&q->layers[i], t, x, &io);            /* (B,S,D) */
        if (p->present)
            p->present[i] = io.present;
        if (p->hidden)
            p->hidden[i + 1] = x;
    }
    ag_seed(t, outside);
    return x;
}

tensor *blip2_qformer_transform(const blip2_qformer *q, tape *t, tensor *hidden)
{
    if (!q->transform.weight)
        ag_fail("qformer", "this model has no language modelling head");
    tensor *x = nn_linear_act(&q->transform, t, hidden, AG_GELU);          /* (B,T,D) */
    return nn_layer_norm_forward(&q->transform_norm, t, x);
}

tensor *blip2_qformer_logits(const blip2_qformer *q, tape *t, tensor *hidden)
{
    tensor *x = blip2_qformer_transform(q, t, hidden);                     /* (B,T,D) */
    return ag_linear(t, x, q->words.weight, q->head_bias, AG_NONE);        /* (B,T,V) */
}

/* Over the pictures, the mean over pairs of different queries of cos(z_q, z_r): with u = z / |z| and s the
 * sum of the u of a picture, its pairs sum to |s|^2 - Q. 1: the queries say all the same.                  */
double blip2_query_cosine(const tensor *queries)
{
    if (queries->ndim != 3 || !queries->tape)
        ag_fail("query_cosine", "%s: expected (B,Q,D) on a tape", SHAPE(queries));
    long B = queries->dim[0], Q = queries->dim[1], D = queries->dim[2];
    tape *t = queries->tape;
    ag_mark here = ag_here(t);
    real *z = ag_alloc_real(t, queries->size);
    double *s = ag_alloc(t, D * (long)sizeof *s), total = 0;
    if (ag_spent(0)) {                                     /* nothing to look at */
        ag_rewind(t, here);
        return 0;
    }
    ag_read(queries, z);
    for (long b = 0; b < B; b++) {
        for (long d = 0; d < D; d++)
            s[d] = 0;
        for (long q = 0; q < Q; q++) {
            const real *row = z + (b * Q + q) * D;
            double length = 0;
            for (long d = 0; d < D; d++)
                length += (double)row[d] * (double)row[d];
            if (length == 0)
                continue;
            for (long d = 0; d < D; d++)
                s[d] += (double)row[d] / sqrt(length);
            total -= 1;
        }
        for (long d = 0; d < D; d++)
            total += s[d] * s[d];
    }
    ag_rewind(t, here);
    return Q > 1 ? total / (double)(B * Q * (Q - 1)) : 1;
}
