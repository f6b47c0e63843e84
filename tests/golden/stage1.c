/* stage1.c - cases of kind stage1: the three losses with given negatives, everything on the way, and the
 * gradients of their sum and of each.                                                                      */
#include "tests/golden/golden.h"
#include <stdio.h>

static void compare_activations(golden *g, const blip2_model *m, const blip2_stage1_out *o)
{
    char name[60];
    long B = o->query_output->dim[0];
    const real losses[] = { ag_value(o->loss), ag_value(o->itc), ag_value(o->itm), ag_value(o->itg) };
    golden_compare_reals(g, "out/losses", losses, 4);
    golden_compare(g, "out/image_embeds", o->image);
    golden_compare(g, "out/query_output", o->query_output);
    golden_compare(g, "out/image_feats", o->image_features);
    golden_compare(g, "out/text_output", o->text_output);
    golden_compare(g, "out/text_feat", o->text_feature);
    golden_compare(g, "out/sim_i2t", o->sim_i2t);
    golden_compare(g, "out/sim_t2i", o->sim_t2i);
    golden_compare_reals(g, "out/weights_i2t", o->weights_i2t, B * B);
    golden_compare_reals(g, "out/weights_t2i", o->weights_t2i, B * B);
    golden_compare(g, "out/itm_hidden", o->itm_hidden);
    golden_compare(g, "out/itm_logits", o->itm_logits);
    golden_compare_ints(g, "out/itm_labels", o->itm_labels, 3 * B);
    golden_compare(g, "out/lm_logits", o->itg_logits);
    golden_compare_ints(g, "out/lm_labels_shifted", o->itg_labels, B * (o->text_output->dim[1] - 1));
    for (long i = 0; i < m->config.qformer.layers; i++) {
        snprintf(name, sizeof name, "out/past/%ld/k", i);
        golden_compare_heads(g, name, o->past[i].k, m->config.qformer.heads);
        snprintf(name, sizeof name, "out/past/%ld/v", i);
        golden_compare_heads(g, name, o->past[i].v, m->config.qformer.heads);
    }
}

static void compare_gradients(golden *g, tape *t, nn_store *store, tensor *features,
                              const blip2_stage1_out *o)
{
    const struct { const char *name; tensor *loss; } each[] = {
        { "out/grads_itc", o->itc }, { "out/grads_itm", o->itm }, { "out/grads_lm", o->itg } };
    ag_backward(t, o->loss);
    golden_compare_grads(g, "out/grads", store, "", false);
    golden_compare_grad(g, t, "out/grad_inputs/vit_out", features);
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        if (golden_has(g, each[i].name)) {
            nn_zero_grad(store);
            ag_backward(t, each[i].loss);
            golden_compare_grads(g, each[i].name, store, "", true);
        }
}

void golden_stage1(golden *g, tape *t)
{
    blip2_config c = golden_stage1_config(g);
    blip2_model m;
    long n;
    blip2_model_init(&m, nn_store_new(1), &c);
    golden_store(g, m.store);
    nn_zero_grad(m.store);
    tensor *features = golden_leaf(g, t, "inputs/vit_out");
    blip2_stage1_in in = { .features = features, .image_id = golden_image_ids(g, t), .keep = true,
                           .text = golden_bert_text(g, t, &c, "inputs/text", c.max_text),
                           .negative_image = golden_ints(g, t, "inputs/neg_image", &n),
                           .negative_text = golden_ints(g, t, "inputs/neg_text", &n) };
    blip2_stage1_out o;
    blip2_stage1(&m, t, &in, &o);
    golden_compare_ints(g, "out/text_ids", in.text.ids, in.text.B * in.text.T);
    golden_compare_mask(g, t, "out/text_mask", in.text.mask, in.text.B * in.text.T);
    compare_activations(g, &m, &o);
    compare_gradients(g, t, m.store, features, &o);
    nn_store_free(m.store);
}
