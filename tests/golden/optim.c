/* optim.c - cases of kind optim: stage 1 with a trained tower, end to end: gradients of the first step,
 * losses of three steps, and all parameters after AdamW's third. The rate warms up over an epoch of two
 * steps, and the cosine has two. */
#include "tests/golden/golden.h"
#include "train/train.h"
#include <stdio.h>

static tensor *forward(golden *g, tape *t, const blip2_model *m, blip2_stage1_out *o)
{
    long n;
    tensor *pictures = golden_tensor(g, t, "inputs/image");                        /* (B,3,S,S) */
    blip2_stage1_in in = { .features = blip2_vision_features(m, t, pictures),
                           .text = golden_bert_text(g, t, &m->config, "inputs/text", m->config.max_text),
                           .image_id = golden_image_ids(g, t),
                           .negative_image = golden_ints(g, t, "inputs/neg_image", &n),
                           .negative_text = golden_ints(g, t, "inputs/neg_text", &n) };
    blip2_stage1(m, t, &in, o);
    return o->loss;
}

void golden_optim(golden *g, tape *t)
{
    enum { STEPS = 3, EPOCH = 2 };
    blip2_config c = golden_stage1_config(g);
    blip2_model m;
    blip2_stage1_out o;
    real rates[STEPS];
    c.vision = golden_tower(g);
    blip2_model_init(&m, nn_store_new(1), &c);
    golden_store(g, m.store);
    train_schedule schedule = { .init_lr = golden_real(g, "init_lr", 0),
                                .min_lr = golden_real(g, "min_lr", 0),
                                .warmup_lr = golden_real(g, "warmup_lr", -1), .warmup_steps = EPOCH,
                                .max_epoch = 2, .steps_per_epoch = EPOCH };
    train_adamw adamw = { 0, 0.9, golden_real(g, "beta2", 0.999), 1e-8, golden_real(g, "wd", 0) };
    for (int step = 0; step < STEPS; step++) {
        char name[32];
        ag_reset(t);
        nn_zero_grad(m.store);
        ag_backward(t, forward(g, t, &m, &o));
        nn_finish_grad(m.store);
        const real losses[] = { ag_value(o.loss), ag_value(o.itc), ag_value(o.itm), ag_value(o.itg) };
        snprintf(name, sizeof name, "out/loss/%d", step);
        golden_compare_reals(g, name, losses, 4);
        if (step == 0)
            golden_compare_grads(g, "out/grads", m.store, "", false);
        adamw.lr = train_lr(&schedule, step / EPOCH, step % EPOCH);
        rates[step] = (real)adamw.lr;
        train_adamw_step(m.store, &adamw, step + 1);
    }
    golden_compare_reals(g, "out/lrs", rates, STEPS);
    golden_compare_params(g, "out/params_after3", m.store, "");
    nn_store_free(m.store);
}
