/* test_gradients.c - one layer, the Q-Former in every mode, and every loss: is the gradient the slope? All with
 * dropout, to 1e-8 for every parameter tensor and every input; in double only.                             */
#include "tests/tests.h"

#if REAL == 64
enum { B = 4, Q = 4, T = 5, N = 6 };                       /* samples, queries, text tokens, image tokens */

static tape *t;
static nn_store *store;
static blip2_config config;
static blip2_qformer q;
static blip2_text text;

static void setup(void)
{
    t = ag_tape_new();
    store = nn_store_new(2);
    config = tiny_config();
}

static void teardown(void)
{
    nn_store_free(store);
    ag_tape_free(t);
}

static void build(void)
{
    error e;
    ck_assert_msg(nn_build(store, true, &e), "%s", e.text);
    tiny_shake(store);                                     /* a gamma of 1 and a beta of 0 hide errors */
}

typedef struct layer_case {
    long index, Q, T, past;            /* layer 0 owns a cross-attention, layer 1 does not */
    blip2_bert_layer layer;
    tensor *x, *image, *past_k, *past_v;
} layer_case;

static tensor *run_layer(tape *on, void *ctx)
{
    layer_case *c = ctx;
    ag_training(on, true);
    ag_seed(on, (ag_random){ .seed = 4, .step = 2 });
    blip2_layer_io io = { .queries = c->Q, .past = { c->past_k, c->past_v } };
    ag_mask *m = ag_mask_new(on, B, 1, c->past + c->Q + c->T);
    m->may[2] = m->may[m->Tk + 1] = 0;
    io.mask = m;
    if (c->Q && c->layer.has_cross)
        io.memory = nn_attention_memory(&c->layer.cross, on, c->image);
    return blip2_bert_layer_forward(&c->layer, on, c->x, &io);
}

START_TEST(the_gradient_of_a_layer_is_the_slope)
{
    static const long cases[6][4] = { { 0, 3, 4, 0 }, { 0, 4, 0, 0 }, { 1, 3, 2, 0 },
                                      { 0, 0, 5, 0 }, { 0, 0, 3, 4 }, { 1, 1, 1, 2 } };
    const long *how = cases[_i];
    layer_case c = { .index = how[0], .Q = how[1], .T = how[2], .past = how[3] };
    nn_scope root = nn_root(store);
    blip2_bert_layer_init(&c.layer, nn_sub(root, "layer"), &config.qformer, c.index);
    c.x = nn_parameter(root, "x", NN_INIT_NORMAL(1), DIMS(B, c.Q + c.T, 12));
    c.image = nn_parameter(root, "image", NN_INIT_NORMAL(1), DIMS(B, N, 10));
    if (c.past) {
        c.past_k = nn_parameter(root, "past_k", NN_INIT_NORMAL(1), DIMS(B, c.past, 12));
        c.past_v = nn_parameter(root, "past_v", NN_INIT_NORMAL(1), DIMS(B, c.past, 12));
    }
    build();
    nn_check k = nn_gradcheck(store, t, run_layer, &c, 1e-8, 9);
    ck_assert_msg(k.ok, "%s: %.1e", k.where, k.worst);
}
END_TEST

enum { IMAGE, TEXT, MULTIMODAL, CAUSAL, CACHED, MODES };
typedef struct mode_case { int mode; tensor *queries, *image; } mode_case;

static nn_kv *memory_of(tensor *picture)
{
    nn_kv *memory = ag_alloc(t, config.qformer.layers * (long)sizeof *memory);
    blip2_qformer_memory(&q, t, picture, memory);
    return memory;
}

static tensor *run_mode(tape *on, void *ctx)
{
    const mode_case *c = ctx;
    ag_training(on, true);
    ag_seed(on, (ag_random){ .seed = 4, .step = 2 });
    nn_kv *memory = memory_of(c->image), *past = memory_of(c->image);
    blip2_pass pass = { .queries = c->queries, .memory = memory, .ids = text.ids, .B = B, .T = T, .pass = 3 };
    switch (c->mode) {
    case IMAGE:
        pass.ids = NULL;
        break;
    case TEXT:
        pass.queries = NULL;
        pass.mask = blip2_mask_bidirectional(on, B, 0, T, text.mask);
        break;
    case MULTIMODAL:
        pass.mask = blip2_mask_bidirectional(on, B, Q, T, text.mask);
        break;
    case CAUSAL:
        pass.mask = blip2_mask_causal(on, B, Q, T, text.mask);
        break;
    case CACHED:
        pass.ids = NULL;
        pass.present = past;
        blip2_qformer_forward(&q, on, &pass);
        pass = (blip2_pass){ .ids = text.ids, .B = B, .T = T, .past = past, .pass = 3,
                             .mask = blip2_mask_causal_cached(on, B, Q, T, text.mask) };
        break;
    }
    tensor *y = blip2_qformer_forward(&q, on, &pass);
    return c->mode >= CAUSAL ? blip2_qformer_logits(&q, on, y) : y;
}

START_TEST(the_gradient_of_every_mode_is_the_slope)
{
    mode_case c = { .mode = _i };
    c.queries = nn_parameter(nn_root(store), "queries", NN_INIT_NORMAL(1), DIMS(B, Q, 12));
    c.image = nn_parameter(nn_root(store), "image", NN_INIT_NORMAL(1), DIMS(B, N, 10));
    blip2_qformer_init(&q, nn_sub(nn_root(store), "Qformer"), &config.qformer);
    build();
    text = tiny_text(t, &config, B, T, 0, 2, 5);
    nn_check k = nn_gradcheck(store, t, run_mode, &c, 1e-8, 9);
    ck_assert_msg(k.ok, "mode %d, %s: %.1e", _i, k.where, k.worst);
}
END_TEST

enum { TOTAL, ITC, ITM, ITG, LOSSES };
typedef struct loss_case { int loss; tensor *features, *images, *texts; const long *image_id; } loss_case;

static blip2_model m;
static blip2_stage1_out out;

static tensor *run_loss(tape *on, void *ctx)
{
    static const int images[B] = { 2, 0, 3, 1 }, texts[B] = { 1, 3, 0, 0 };
    const loss_case *c = ctx;
    ag_training(on, true);
    ag_seed(on, (ag_random){ .seed = 6, .step = 1 });
    blip2_stage1_in given = { .features = c->features, .text = tiny_text(on, &config, B, 9, 0, 5, 3),
                              .image_id = c->image_id, .negative_image = images, .negative_text = texts,
                              .image_candidates = c->images, .text_candidates = c->texts };
    blip2_stage1(&m, on, &given, &out);
    return (tensor *[]){ out.loss, out.itc, out.itm, out.itg }[c->loss];
}

static const long shared[B] = { 7, 5, 7, 2 };              /* samples 0 and 2 show the same picture */

START_TEST(the_gradient_of_every_loss_is_the_slope)
{
    loss_case c = { .loss = _i % LOSSES, .image_id = _i < LOSSES ? NULL : shared };
    c.features = nn_parameter(nn_root(store), "features", NN_INIT_NORMAL(1), DIMS(B, N, 10));
    blip2_model_init(&m, store, &config);
    build();
    run_loss(t, &c);                                       /* what ITC compares with has no gradient */
    c.images = ag_detach(t, out.image_features);
    c.texts = ag_detach(t, out.text_feature);
    nn_check k = nn_gradcheck(store, t, run_loss, &c, 1e-8, 12);
    ck_assert_msg(k.ok, "loss %d, %s: %.1e", c.loss, k.where, k.worst);
    ck_assert_int_eq(k.idle == 0, c.loss == TOTAL);
}
END_TEST

Suite *suite_gradients(void)
{
    Suite *s = suite_create("gradients");
    TCase *c = tcase_create("gradients");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, the_gradient_of_a_layer_is_the_slope, 0, 6);
    tcase_add_loop_test(c, the_gradient_of_every_mode_is_the_slope, 0, MODES);
    tcase_add_loop_test(c, the_gradient_of_every_loss_is_the_slope, 0, 2 * LOSSES);
    suite_add_tcase(s, c);
    return s;
}
#endif
