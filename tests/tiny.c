/* tiny.c - a model small enough to check every gradient of, and inputs for it. */
#include "tests/tests.h"
#include <math.h>

blip2_config tiny_config(void)
{
    blip2_config c = blip2_config_default();
    c.vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    c.qformer = (blip2_qformer_config){ .width = 12, .layers = 3, .heads = 3, .hidden = 20, .queries = 4,
        .vocab = 29, .positions = 16, .memory_width = 10, .cross_attention_freq = 2, .dropout = 0.1,
        .eps = 1e-12, .init_std = 0.3, .query_std = 1, .output_scale = 0.5, .text = true, .head = true };
    c.embed = 6;
    c.max_text = 9;
    c.cls = 1, c.sep = 2, c.dec = 28, c.text_pad = 0;
    return c;
}

blip2_opt_config tiny_opt_config(void)
{
    return (blip2_opt_config){ .vocab = 23, .width = 16, .layers = 2, .heads = 4, .hidden = 24,
                               .positions = 24,
                               .dropout = 0.1, .init_std = 0.3, .bos = 2, .eos = 4, .pad = 1 };
}

blip2_t5_config tiny_t5_config(void)
{
    return (blip2_t5_config){ .vocab = 19, .width = 16, .layers = 2, .decoder_layers = 3, .heads = 3,
                              .head_width = 5, .hidden = 24, .buckets = 8, .max_distance = 5, .dropout = 0.1,
                              .eps = 1e-6, .init_factor = 1, .start = 0, .eos = 2, .pad = 0 };
}

/* Every hidden unit of the feed-forwards far on or far off: no step of a gradient check may cross ReLU's
 * corner. */
void tiny_settle(const blip2_opt *m)
{
    for (long i = 0; i < m->config.layers; i++)
        for (long k = 0; k < m->config.hidden; k++)
            m->layers[i].fc1.bias->data[k] = k % 3 ? 8 : -8;
}

/* B texts of T columns for OPT: T, T - 2, T - 1, T, ... tokens, then padding. */
void tiny_opt_text(long B, long T, int *ids, unsigned char *mask)
{
    for (long i = 0; i < B * T; i++) {
        mask[i] = i % T < T - (const long[]){ 0, 2, 1 }[i / T % 3];
        ids[i] = mask[i] ? 5 + (int)(i * 7 % 18) : 1;
    }
}

/* Captions [CLS] words [SEP] of `shortest` to `longest` words, in T columns. */
blip2_text tiny_text(tape *t, const blip2_config *c, long B, long T, long shortest, long longest,
                     uint64_t seed)
{
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * T);
    for (long b = 0; b < B; b++) {
        long words = shortest + b % (longest - shortest + 1);
        for (long i = 0; i < T; i++) {
            double share = ag_uniform(seed, (uint64_t)(b * 1000 + i));
            long word = 3 + (long)(share * (double)(c->qformer.vocab - 4));
            ids[b * T + i] = i == 0 ? c->cls : i <= words ? (int)word : i == words + 1 ? c->sep : c->text_pad;
            mask[b * T + i] = i < words + 2;
        }
    }
    return (blip2_text){ B, T, ids, mask };
}

tensor *tiny_normal(tape *t, uint64_t seed, int ndim, const long *dim)
{
    tensor *x = ag_new(t, ndim, dim);
    for (long i = 0; i < x->size; i++)
        x->data[i] = (real)ag_normal(seed, (uint64_t)i);
    return x;
}

double tiny_distance(const tensor *a, const tensor *b)
{
    double most = 0;
    ck_assert_int_eq(a->size, b->size);
    for (long i = 0; i < a->size; i++) {
        double d = fabs((double)a->data[i] - (double)b->data[i]);
        most = d <= most ? most : d;
        if (isnan(d))
            return d;
    }
    return most;
}

void tiny_shake(nn_store *s)
{
    for (long i = 0; i < s->count; i++) {
        const nn_entry *e = &s->entries[i];
        double size = e->init.a != 0 ? 0.1 * e->init.a : 0.1;
        for (long k = 0; k < e->value->size && e->init.kind == NN_CONSTANT && !e->alias_of; k++)
            e->value->data[k] += (real)(size * ag_normal(e->key, (uint64_t)k));
    }
}

void tiny_backward(tape *t, nn_store *s, tensor *loss)
{
    nn_zero_grad(s);
    ag_backward(t, loss);
    nn_finish_grad(s);
}

double tiny_largest_grad(const tensor *x)
{
    double most = 0;
    for (long i = 0; i < x->size; i++)
        most = fmax(most, fabs((double)x->grad[i]));
    return most;
}
