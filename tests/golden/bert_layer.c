/* bert_layer.c - cases of kind bert_layer: one Q-Former layer in five uses, with the gradients of sum(out
 * * cot).                                                                                                  */
#include "tests/golden/golden.h"
#include <stdio.h>
#include <string.h>

#define NAME(...) (snprintf(name, sizeof name, __VA_ARGS__), name)

static ag_mask *columns(golden *g, tape *t, const char *name)      /* (B,S) of 0 and 1 */
{
    long dim[8] = { 0 }, n;
    golden_dims(g, name, dim);
    const int *keep = golden_ints(g, t, name, &n);
    ag_mask *m = ag_mask_new(t, dim[0], 1, dim[1]);
    for (long i = 0; i < n; i++)
        m->may[i] = keep[i] != 0;
    return m;
}

static void compare_present(golden *g, tape *t, const char *name, tensor *past, tensor *present, long heads)
{
    tensor *all = past ? ag_concat(t, 2, (tensor *[]){ past, present }, 1) : present;
    golden_compare_heads(g, name, all, heads);
}

static void run_sub(golden *g, tape *t, nn_store *store, const blip2_bert_layer *layer, const char *sub,
                    long Q)
{
    char name[200];
    tensor *self_probs = NULL, *cross_probs = NULL, *image = NULL;
    tensor *x = golden_leaf(g, t, NAME("inputs/%s/hidden", sub));
    tensor *cot = golden_tensor(g, t, NAME("inputs/%s/cot", sub));
    blip2_layer_io io = { .queries = Q, .self_probs = &self_probs };
    io.mask = columns(g, t, NAME("inputs/%s/mask", sub));
    if (Q && layer->has_cross) {
        image = golden_leaf(g, t, NAME("inputs/%s/enc", sub));
        io.memory = nn_attention_memory(&layer->cross, t, image);
        io.memory_mask = columns(g, t, NAME("inputs/%s/enc_mask", sub));
        io.cross_probs = &cross_probs;
    }
    if (golden_has(g, NAME("inputs/%s/past_k", sub))) {
        io.past.k = golden_leaf_heads(g, t, NAME("inputs/%s/past_k", sub));
        io.past.v = golden_leaf_heads(g, t, NAME("inputs/%s/past_v", sub));
    }
    nn_zero_grad(store);
    tensor *y = blip2_bert_layer_forward(layer, t, x, &io);
    tensor *loss = ag_sum(t, ag_mul(t, y, cot));
    ag_backward(t, loss);

    golden_compare(g, NAME("out/%s/out", sub), y);
    golden_compare(g, NAME("out/%s/loss", sub), loss);
    golden_compare(g, NAME("out/%s/self_probs", sub), self_probs);
    compare_present(g, t, NAME("out/%s/present_k", sub), io.past.k, io.present.k, layer->self.heads);
    compare_present(g, t, NAME("out/%s/present_v", sub), io.past.v, io.present.v, layer->self.heads);
    golden_compare_grads(g, NAME("out/%s/grads", sub), store, "", false);
    golden_compare_grad(g, t, NAME("out/%s/grad_inputs/hidden", sub), x);
    if (image) {
        golden_compare(g, NAME("out/%s/cross_probs", sub), cross_probs);
        golden_compare_grad(g, t, NAME("out/%s/grad_inputs/enc", sub), image);
    }
    if (io.past.k) {
        golden_compare_grad_heads(g, t, NAME("out/%s/grad_inputs/past_k", sub), io.past.k, layer->self.heads);
        golden_compare_grad_heads(g, t, NAME("out/%s/grad_inputs/past_v", sub), io.past.v, layer->self.heads);
    }
}

void golden_bert_layer(golden *g, tape *t)
{
    blip2_qformer_config c = golden_qformer_config(g);
    nn_store *store = nn_store_new(1);
    blip2_bert_layer cross, plain;
    blip2_bert_layer_init(&cross, nn_sub(nn_root(store), "cross"), &c, 0);
    blip2_bert_layer_init(&plain, nn_sub(nn_root(store), "plain"), &c, 1);
    golden_store(g, store);
    size_t i;
    json_t *sub;
    json_array_foreach(json_object_get(golden_config(g), "subs"), i, sub) {
        const char *layer = json_string_value(json_object_get(sub, "layer"));
        const char *name = json_string_value(json_object_get(sub, "name"));
        long Q = (long)json_integer_value(json_object_get(sub, "Q"));
        run_sub(g, t, store, layer && !strcmp(layer, "cross") ? &cross : &plain, name, Q);
    }
    nn_store_free(store);
}
