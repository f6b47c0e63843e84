/* test_recompute.c - layers that run again in backward give the same bits at less memory. */
#include "tests/tests.h"
#include <string.h>

enum { B = 4, T = 9, SIDE = 28, PATCH = 4 };
enum { STAGE1, STAGE2_OPT, STAGE2_T5, WHAT };

static blip2_model m;

static void make(int what, blip2_recompute_what how)
{
    error e;
    blip2_config c = tiny_config();
    c.vision = (blip2_vit_config){ .kind = what == STAGE2_T5 ? BLIP2_VIT_CLIP : BLIP2_VIT_EVA,
                                   .image_size = SIDE,
                                   .patch = PATCH, .width = 48, .depth = 8, .heads = 3, .hidden = 192,
                                   .init_std = 0.1, .position_std = 0.1 };
    c.qformer.layers = 6;
    c.qformer.width = 48;
    c.qformer.hidden = 192;
    c.stage1 = c.qformer.text = c.qformer.head = what == STAGE1;
    c.llm = what == STAGE1 ? BLIP2_LLM_NONE : what == STAGE2_OPT ? BLIP2_LLM_OPT : BLIP2_LLM_T5;
    c.opt = tiny_opt_config();
    c.t5 = tiny_t5_config();
    blip2_model_init(&m, nn_store_new(5), &c);
    nn_freeze(m.store, what == STAGE2_OPT ? "opt_model" : "t5_model");
    m.vision.drop_path = 0.2;
    blip2_recompute(&m, how);
    ck_assert_msg(nn_build(m.store, true, &e), "%s", e.text);
    tiny_shake(m.store);
}

static tensor *loss_of(int what, tape *t)
{
    tensor *features = blip2_vision_features(&m, t, tiny_normal(t, 8, DIMS(B, 3, SIDE, SIDE)));
    blip2_text text = tiny_text(t, &m.config, B, T, 1, 5, 5);
    if (what == STAGE1) {
        blip2_stage1_out out;
        blip2_stage1(&m, t, &(blip2_stage1_in){ .features = features, .text = text }, &out);
        return out.loss;
    }
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * T);
    tiny_opt_text(B, T, ids, mask);
    for (long i = 0; i < B * T; i++)
        ids[i] %= 19;                                      /* T5's words */
    blip2_text words = { B, T, ids, mask };
    blip2_stage2_out out;
    blip2_stage2(&m, t, &(blip2_stage2_in){ .features = features, .text = words,
        .target = what == STAGE2_T5 ? words : (blip2_text){ 0 } }, false, &out);
    return out.loss;
}

/* The gradients, to be freed; what the tape held. */
static real *step(int what, blip2_recompute_what how, long *n, long *bytes, double *loss)
{
    make(what, how);
    tape *t = ag_tape_new();
    ag_training(t, true);
    ag_seed(t, (ag_random){ .seed = 4, .step = 2 });
    tensor *l = loss_of(what, t);
    *loss = (double)ag_value(l);
    tiny_backward(t, m.store, l);
    *n = m.store->trainable;
    *bytes = ag_bytes(t);
    real *grads = mem_new((size_t)*n * sizeof *grads);
    memcpy(grads, m.store->grads, (size_t)*n * sizeof *grads);
    ag_tape_free(t);
    nn_store_free(m.store);
    return grads;
}

START_TEST(what_runs_again_gives_the_same_bits_at_less_memory)
{
    long n, again_n, bytes, again_bytes;
    double loss, again_loss;
    real *kept = step(_i, BLIP2_RECOMPUTE_NONE, &n, &bytes, &loss);
    for (int how = BLIP2_RECOMPUTE_VISION; how <= BLIP2_RECOMPUTE_ALL; how++) {
        real *again = step(_i, (blip2_recompute_what)how, &again_n, &again_bytes, &again_loss);
        ck_assert_int_eq(n, again_n);
        ck_assert(loss == again_loss);
        ck_assert(!memcmp(kept, again, (size_t)n * sizeof *kept));
        ck_assert_msg(again_bytes < (how == BLIP2_RECOMPUTE_ALL ? 0.5 : 0.9) * (double)bytes,
                      "%ld bytes, %ld with recomputation", bytes, again_bytes);
        mem_free(again);
    }
    mem_free(kept);
}
END_TEST

Suite *suite_recompute(void)
{
    Suite *s = suite_create("recompute");
    TCase *c = tcase_create("recompute");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_loop_test(c, what_runs_again_gives_the_same_bits_at_less_memory, 0, WHAT);
    suite_add_tcase(s, c);
    return s;
}
