/* test_large_batch.c - a batch of stage 1 in parts has the loss and the gradients of the undivided batch,
 * at the memory of a part (blip2/large_batch.c). */
#include "tests/tests.h"
#include "train/ranks.h"
#include <math.h>
#include <string.h>

enum { C = 12, T = 9, SIDE = 6, PATCH = 2, N = 10 };
static const double BOUND = REAL == 64 ? 1e-9 : 2e-4;      /* of the largest gradient */

typedef struct setting { bool trained, shared; int parts, world; } setting;
static const setting settings[] = {
    { false, false, 3, 1 }, { true, false, 3, 1 }, { true, true, 4, 1 }, { false, true, 12, 1 },
    { true, true, 2, 3 }, { false, false, 3, 2 },
};
/* What comes of a step: gradients and losses; how many drawn pictures belonged to another part or rank. */
typedef struct result { real *grads; long n, far; double losses[4]; } result;

static blip2_config config_of(void)
{
    blip2_config c = tiny_config();
    c.vision = (blip2_vit_config){ .kind = BLIP2_VIT_EVA, .image_size = SIDE, .patch = PATCH, .width = 12,
                                   .depth = 2,
                                   .heads = 3, .hidden = 16, .init_std = 0.3, .position_std = 0.3 };
    return c;
}

static blip2_model *model_new(bool trained)
{
    static _Thread_local blip2_model m;
    error e;
    blip2_config c = config_of();
    blip2_model_init(&m, nn_store_new(3), &c);
    if (!trained)
        nn_freeze(m.store, "visual_encoder");
    m.vision.drop_path = 0.3;
    ck_assert_msg(nn_build(m.store, true, &e), "%s", e.text);
    tiny_shake(m.store);
    return &m;
}

/* Samples from .. from + n - 1 of the C: random numbers follow the sample. */
static void seed(tape *t, long from, long n)
{
    int *rows = ag_alloc(t, n * (long)sizeof *rows);
    for (long b = 0; b < n; b++)
        rows[b] = 100 + (int)(from + b);
    ag_training(t, true);
    ag_seed(t, (ag_random){ .seed = 9, .step = 4, .sample = rows });
}

static tensor *pictures(tape *t, long from, long n)
{
    tensor *all = tiny_normal(t, 77, DIMS(C, 3, SIDE, SIDE));
    return ag_copy_in(t, DIMS(n, 3, SIDE, SIDE), all->data + from * 3 * SIDE * SIDE);
}

static const long *identities(bool shared)
{
    static const long id[C] = { 7, 5, 3, 7, 1, 0, 5, 8, 9, 7, 2, 4 };
    return shared ? id : NULL;
}

static void add(result *r, const blip2_stage1_out *out, double share)
{
    const tensor *const losses[] = { out->loss, out->itc, out->itm, out->itg };
    for (int k = 0; k < 4; k++)
        r->losses[k] += share * (double)ag_value(losses[k]);
}

static result undivided(const setting *s)
{
    blip2_model *m = model_new(s->trained);
    tape *t = ag_tape_new();
    result r = { 0 };
    seed(t, 0, C);
    blip2_stage1_out out;
    blip2_stage1(m, t, &(blip2_stage1_in){ .features = blip2_vision_features(m, t, pictures(t, 0, C)),
        .text = tiny_text(t, &m->config, C, T, 1, 5, 5), .image_id = identities(s->shared) }, &out);
    add(&r, &out, 1);
    tiny_backward(t, m->store, out.loss);
    r.n = m->store->trainable;
    r.grads = mem_new((size_t)r.n * sizeof *r.grads);
    memcpy(r.grads, m->store->grads, (size_t)r.n * sizeof *r.grads);
    nn_store_free(m->store);
    ag_tape_free(t);
    return r;
}

typedef struct job { const setting *s; result r[4]; } job;

/* Part p of rank k holds the samples from (p world + k) B on. */
static bool in_parts(const ag_ranks *ranks, void *context, error *e)
{
    job *j = context;
    const setting *s = j->s;
    long B = C / (s->parts * s->world), rank = ag_rank(ranks);
    blip2_model *m = model_new(s->trained);
    tape *t = ag_tape_new();
    result *r = &j->r[rank];
    blip2_text all = tiny_text(t, &m->config, C, T, 1, 5, 5);
    int ids[C * T];
    unsigned char mask[C * T];
    long id[C];
    for (long p = 0; p < s->parts; p++)
        for (long b = 0; b < B; b++) {
            long from = (p * s->world + rank) * B + b, to = p * B + b;
            memcpy(ids + to * T, all.ids + from * T, T * sizeof *ids);
            memcpy(mask + to * T, all.mask + from * T, T);
            id[to] = s->shared ? identities(true)[from] : 0;
        }
    nn_zero_grad(m->store);
    blip2_large l = blip2_large_new(m, t, ranks, s->parts, (blip2_text){ s->parts * B, T, ids, mask },
                                    s->shared ? id : NULL, N, s->trained);
    ag_mark here = ag_here(t);
    for (long p = 0; p < s->parts; p++, ag_rewind(t, here)) {
        long from = (p * s->world + rank) * B;
        bool recording = ag_record_on(t, false);
        seed(t, from, B);
        blip2_large_show(m, t, ranks, &l, p, blip2_vision_features(m, t, pictures(t, from, B)));
        ag_record_on(t, recording);
    }
    for (long p = 0; p < s->parts; p++, ag_rewind(t, here)) {
        long from = (p * s->world + rank) * B;
        seed(t, from, B);
        blip2_stage1_out out;
        blip2_stage1(m, t, &(blip2_stage1_in){ .large = &l, .part = p, .ranks = ranks }, &out);
        add(r, &out, 1.0 / (s->parts * s->world));
        for (long b = 0; b < B; b++)
            r->far += out.negative_image[b] < from || out.negative_image[b] >= from + B;
        ag_backward(t, ag_scale(t, out.loss, 1.0 / (s->parts * s->world)));
    }
    for (long p = 0; s->trained && p < s->parts; p++, ag_rewind(t, here)) {
        seed(t, (p * s->world + rank) * B, B);
        blip2_large_back(m, t, ranks, &l, p, pictures(t, (p * s->world + rank) * B, B));
    }
    nn_finish_grad(m->store);
    bool ok = ranks_sum(ranks, m->store->grads, m->store->trainable, e);
    r->n = m->store->trainable;
    r->grads = mem_new((size_t)r->n * sizeof *r->grads);
    memcpy(r->grads, m->store->grads, (size_t)r->n * sizeof *r->grads);
    nn_store_free(m->store);
    ag_tape_free(t);
    return ok;
}

START_TEST(parts_have_the_loss_and_the_gradients_of_the_undivided_batch)
{
    const setting *s = &settings[_i];
    error e;
    job j = { .s = s };
    result whole = undivided(s);
    if (s->world == 1)
        ck_assert(in_parts(NULL, &j, &e));
    else
        ck_assert_msg(ranks_threads(s->world, in_parts, &j, &e), "%s", e.text);
    double largest = 0, losses[4] = { 0 };
    long far = 0;
    for (long i = 0; i < whole.n; i++)
        largest = fmax(largest, fabs((double)whole.grads[i]));
    for (int k = 0; k < s->world; k++) {
        ck_assert_int_eq(j.r[k].n, whole.n);
        for (long i = 0; i < whole.n; i++)
            ck_assert_msg(fabs((double)j.r[k].grads[i] - (double)whole.grads[i]) <= BOUND * largest,
                          "number %ld of the gradients: %.12g in parts, %.12g undivided, largest %.3g", i,
                          (double)j.r[k].grads[i], (double)whole.grads[i], largest);
        for (int i = 0; i < 4; i++)
            losses[i] += j.r[k].losses[i];
        far += j.r[k].far;
        mem_free(j.r[k].grads);
    }
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(losses[i], whole.losses[i], BOUND * fabs(whole.losses[i]));
    ck_assert_int_gt(far, 2);                              /* negatives did come from elsewhere */
    mem_free(whole.grads);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------- */
static tape *tape_of_step(blip2_model *m, long parts, long B)
{
    enum { TOKENS = 33 };
    tape *t = ag_tape_new();
    nn_zero_grad(m->store);
    long E = m->config.qformer.memory_width;
    blip2_text text = tiny_text(t, &m->config, parts * B, T, 1, 5, 5);
    tensor *features = tiny_normal(t, 6, DIMS(B, TOKENS, E));
    blip2_stage1_in in = { .features = features, .text = text };
    blip2_large l = { 0 };
    if (parts > 1) {
        l = blip2_large_new(m, t, NULL, parts, text, NULL, TOKENS, false);
        for (long p = 0; p < parts; p++)
            blip2_large_show(m, t, NULL, &l, p, features);
        in.large = &l;
    }
    ag_mark here = ag_here(t);
    for (in.part = 0; in.part < parts; in.part++) {
        blip2_stage1_out out;
        ag_rewind(t, here);
        blip2_stage1(m, t, &in, &out);
        ag_backward(t, out.loss);
    }
    return t;
}

START_TEST(a_step_in_parts_needs_the_memory_of_a_part)
{
    error e;
    blip2_config c = tiny_config();
    blip2_model m;
    c.qformer.width = 96;
    c.qformer.hidden = 384;
    blip2_model_init(&m, nn_store_new(3), &c);
    ck_assert_msg(nn_build(m.store, true, &e), "%s", e.text);
    tape *part = tape_of_step(&m, 1, 8), *parts = tape_of_step(&m, 12, 8), *whole = tape_of_step(&m, 1, 96);
    ck_assert_msg(ag_bytes(parts) < 2 * ag_bytes(part) && ag_bytes(parts) * 4 < ag_bytes(whole),
                  "12 parts of 8: %ld bytes, one of 8: %ld, one of 96: %ld", ag_bytes(parts), ag_bytes(part),
                  ag_bytes(whole));
    ag_tape_free(part);
    ag_tape_free(parts);
    ag_tape_free(whole);
    nn_store_free(m.store);
}
END_TEST

Suite *suite_large_batch(void)
{
    Suite *s = suite_create("large_batch");
    TCase *c = tcase_create("large_batch");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_loop_test(c, parts_have_the_loss_and_the_gradients_of_the_undivided_batch, 0,
                        sizeof settings / sizeof *settings);
    tcase_add_test(c, a_step_in_parts_needs_the_memory_of_a_part);
    suite_add_tcase(s, c);
    return s;
}
