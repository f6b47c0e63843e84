/* dist2.c - cases of kind dist2: stage 1 on W ranks, each with B rows of the inputs. What each rank computes,
 * its own gradients, and their mean. The ranks are threads of this process.                               */
#include "tests/golden/golden.h"
#include "train/ranks.h"
#include <stdio.h>

typedef struct one {                   /* a rank */
    tape *t;
    blip2_model m;
    blip2_stage1_in in;
    blip2_stage1_out out;
    real *own;                         /* its gradients; those in the store become the mean */
} one;

static bool step(const ag_ranks *r, void *context, error *e)
{
    one *o = (one *)context + r->rank;
    nn_store *s = o->m.store;
    o->in.ranks = r;
    nn_zero_grad(s);
    blip2_stage1(&o->m, o->t, &o->in, &o->out);
    ag_backward(o->t, o->out.loss);
    nn_finish_grad(s);
    for (long i = 0; i < s->trainable; i++)
        o->own[i] = s->grads[i];
    if (!ranks_sum(r, s->grads, s->trainable, e))
        return false;
    train_scale_grad(s, 1.0 / r->world);
    return true;
}

/* Every input has W B rows. */
static void check_rows(golden *g, long rows)
{
    static const char *const inputs[] = { "vit_out", "text", "neg_image", "neg_text", "image_id" };
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        char name[40];
        long dim[8] = { 0 };
        snprintf(name, sizeof name, "inputs/%s", inputs[i]);
        if ((i < 4 || golden_has(g, name)) && golden_dims(g, name, dim) && dim[0] != rows)
            ag_fail("golden", "%s: expected %ld rows, found %ld", name, rows, dim[0]);
    }
}

/* Rank k's rows of the inputs, which live on t. */
static void give(golden *g, tape *t, one *o, const blip2_config *c, long k, long B)
{
    long n, dim[8] = { 0 };
    blip2_model_init(&o->m, nn_store_new(1), c);
    golden_store(g, o->m.store);
    o->own = ag_alloc_real(t, o->m.store->trainable);
    golden_dims(g, "inputs/vit_out", dim);
    const real *features = golden_reals(g, t, "inputs/vit_out", &n);
    const long *id = golden_image_ids(g, t);
    blip2_text text = golden_bert_text(g, t, c, "inputs/text", c->max_text);
    o->in = (blip2_stage1_in){
        .features = ag_leaf(o->t, DIMS(B, dim[1], dim[2]), features + k * B * dim[1] * dim[2]),
        .text = { B, text.T, text.ids + k * B * text.T, text.mask + k * B * text.T },
        .negative_image = golden_ints(g, t, "inputs/neg_image", &n) + k * B,
        .negative_text = golden_ints(g, t, "inputs/neg_text", &n) + k * B,
        .image_id = id ? id + k * B : NULL, .own_mean = true, .keep = true };
}

static const char *under(char to[80], long k, const char *name)
{
    snprintf(to, 80, "out/rank%ld/%s", k, name);
    return to;
}

static void compare_activations(golden *g, const blip2_stage1_out *o, long k)
{
    char name[80];
    long B = o->query_output->dim[0], T = o->text_output->dim[1], n = o->sim_i2t->size;
    const real losses[] = { ag_value(o->loss), ag_value(o->itc), ag_value(o->itm), ag_value(o->itg) };
    const struct { const char *name; const tensor *x; } all[] = {
        { "image_embeds", o->image }, { "query_output", o->query_output }, { "text_output", o->text_output },
        { "image_feats", o->image_features }, { "text_feat", o->text_feature }, { "sim_i2t", o->sim_i2t },
        { "sim_t2i", o->sim_t2i }, { "itm_hidden", o->itm_hidden }, { "itm_logits", o->itm_logits },
        { "lm_logits", o->itg_logits } };
    golden_compare_reals(g, under(name, k, "losses"), losses, 4);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        golden_compare(g, under(name, k, all[i].name), all[i].x);
    golden_compare_reals(g, under(name, k, "weights_i2t"), o->weights_i2t, n);
    golden_compare_reals(g, under(name, k, "weights_t2i"), o->weights_t2i, n);
    golden_compare_ints(g, under(name, k, "itm_labels"), o->itm_labels, 3 * B);
    golden_compare_ints(g, under(name, k, "lm_labels_shifted"), o->itg_labels, B * (T - 1));
}

static void compare_gradients(golden *g, const one *o, long k)
{
    char name[80];
    nn_store *s = o->m.store;
    for (long i = 0; i < s->trainable; i++)
        s->grads[i] = o->own[i];
    golden_compare_grads(g, under(name, k, "grads"), s, "", false);
    golden_compare_grad(g, o->t, under(name, k, "grad_inputs/vit_out"), o->in.features);
}

void golden_dist2(golden *g, tape *t)
{
    blip2_config c = golden_stage1_config(g);
    long W = golden_int(g, "W", 0), B = golden_int(g, "B", 0);
    one all[RANKS_MOST] = { 0 };
    error e;
    if (W < 1 || W > RANKS_MOST)
        ag_fail("golden", "W %ld: expected from 1 to %d ranks", W, RANKS_MOST);
    check_rows(g, W * B);
    for (long k = 0; k < W; k++) {
        if (!(all[k].t = ag_tape_new()))
            ag_fail("golden", "memory is out");
        give(g, t, &all[k], &c, k, B);
    }
    if (ranks_threads((int)W, step, all, &e)) {
        golden_compare_grads(g, "out/ddp_average/ddp_grads", all[W - 1].m.store, "", false);
        for (long k = 0; k < W; k++) {
            compare_activations(g, &all[k].out, k);
            compare_gradients(g, &all[k], k);
        }
    } else
        golden_fail(g, "%s", e.text);
    for (long k = 0; k < W; k++) {
        nn_store_free(all[k].m.store);
        ag_tape_free(all[k].t);
    }
}
