/* test_stage1_edges.c - hard negatives, wrong inputs, and batches at the edge of what is possible. */
#include "tests/tests.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 4, T = 9, N = 6, LONGEST = 5 };                 /* captions of 0 to 5 words in 9 columns */
static const long shared[B] = { 7, 5, 7, 2 };              /* samples 0 and 2 show the same picture */

static tape *t;
static blip2_config config;
static blip2_model m;
static blip2_stage1_in in;
static blip2_stage1_out out;

static void make(void)
{
    error e;
    nn_store_free(m.store);
    blip2_model_init(&m, nn_store_new(1), &config);
    ck_assert_msg(nn_build(m.store, true, &e), "%s", e.text);
}

static void give(long samples, uint64_t seed)
{
    in = (blip2_stage1_in){
        .features = tiny_normal(t, seed, DIMS(samples, N, config.qformer.memory_width)),
        .text = tiny_text(t, &config, samples, T, 0, LONGEST, seed) };
}

static void run(void)
{
    blip2_stage1(&m, t, &in, &out);
}

static void setup(void)
{
    t = ag_tape_new();
    config = tiny_config();
    m.store = NULL;
    make();
    give(B, 3);
}

static void teardown(void)
{
    nn_store_free(m.store);
    ag_tape_free(t);
}

START_TEST(negatives_follow_the_softmax_and_are_never_positive)
{
    enum { STEPS = 4000 };
    long counts[2][B][B] = { 0 };
    ag_record_on(t, false);
    in.image_id = shared;
    for (uint32_t step = 0; step < STEPS; step++) {
        ag_mark here = ag_here(t);
        ag_seed(t, (ag_random){ .seed = 11, .step = step });
        run();
        for (int b = 0; b < B; b++) {
            counts[0][b][out.negative_image[b]]++;
            counts[1][b][out.negative_text[b]]++;
        }
        if (step < STEPS - 1)
            ag_rewind(t, here);
    }
    const real *weights[2] = { out.weights_t2i, out.weights_i2t };
    for (int k = 0; k < 2; k++)
        for (int b = 0; b < B; b++)
            for (int j = 0; j < B; j++) {
                double p = (double)weights[k][b * B + j];
                if (shared[b] == shared[j])
                    ck_assert_int_eq(counts[k][b][j], 0);
                double sigma = sqrt(p * (1 - p) / STEPS) + 1e-9;
                ck_assert_double_eq_tol((double)counts[k][b][j] / STEPS, p, 4.5 * sigma);
            }
}
END_TEST

START_TEST(negatives_are_keyed_by_the_sample_not_its_place)
{
    give(2 * B, 3);                                        /* uniform weights: all pictures and texts alike */
    for (long i = 0; i < in.features->size; i++)
        in.features->data[i] = (real)cos((double)(i % (N * config.qformer.memory_width)));
    in.text = tiny_text(t, &config, 2 * B, T, 2, 2, 1);
    for (int b = 1; b < 2 * B; b++)
        memcpy((int *)in.text.ids + b * T, in.text.ids, T * sizeof(int));
    int forth[2 * B], back[2 * B];
    for (int b = 0; b < 2 * B; b++)
        back[2 * B - 1 - b] = forth[b] = 100 + b;
    long same = 0;
    ag_seed(t, (ag_random){ .seed = 3, .sample = forth });
    run();
    const int *first = out.negative_text;
    ag_seed(t, (ag_random){ .seed = 3, .sample = back });
    run();
    for (int b = 0; b < 2 * B; b++) {                      /* the same share of the line, with another hole */
        int other = out.negative_text[2 * B - 1 - b];
        ck_assert_int_le(abs(first[b] - other), 1);
        same += out.negative_text[b] == first[b];
    }
    ck_assert_int_lt(same, 2 * B);
}
END_TEST

/* The weights that `power` of the softmax gives */
static void drawn_by(double power)
{
    in.soft_negatives = 1 - power;
    run();
    for (int b = 0; b < B; b++)
        for (int j = 0; j < B; j++) {
            double sum[2] = { 0 };
            for (int k = 0; k < B; k++) {
                sum[0] += k == b ? 0 : exp(power * (double)out.sim_t2i->data[b * B + k]);
                sum[1] += k == b ? 0 : exp(power * (double)out.sim_i2t->data[b * B + k]);
            }
            double images = j == b ? 0 : exp(power * (double)out.sim_t2i->data[b * B + j]) / sum[0];
            double texts = j == b ? 0 : exp(power * (double)out.sim_i2t->data[b * B + j]) / sum[1];
            ck_assert_double_eq_tol((double)out.weights_t2i[b * B + j], images, TINY_ROUNDING);
            ck_assert_double_eq_tol((double)out.weights_i2t[b * B + j], texts, TINY_ROUNDING);
        }
}

START_TEST(images_are_drawn_by_the_text_and_texts_by_the_image)
{
    drawn_by(1);
}
END_TEST

START_TEST(negatives_may_be_drawn_less_hard_down_to_all_alike)
{
    drawn_by(0.3);
    drawn_by(0);
    ck_assert_double_eq_tol((double)out.weights_i2t[1], 1.0 / (B - 1), TINY_ROUNDING);
}
END_TEST

static void wrong_negative(void *unused)
{
    (void)unused;
    static const int images[B] = { 1, 0, 4, 0 };
    in.negative_image = images;
    run();
}

static void wrong_features(void *unused)
{
    (void)unused;
    in.features = tiny_normal(t, 1, DIMS(B, N, 3));
    run();
}

static void no_loss(void *unused)
{
    (void)unused;
    in.weights = &(blip2_stage1_weights){ 0, 0, 0 };
    run();
}

START_TEST(wrong_inputs_are_told)
{
    error e;
    ck_assert(!ag_try(t, no_loss, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "weights of ITC, ITM and ITG: expected one that is not 0"));
    in.weights = NULL;
    ck_assert(!ag_try(t, wrong_negative, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "negative_image 4 of sample 2: expected 0 to 3"));
    ck_assert(!ag_try(t, wrong_features, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "features (4,6,3) and text (4,9): expected (B,N,10)"));
}
END_TEST

/* ---- edges --------------------------------------------------------------------------------------------- */

START_TEST(a_batch_of_one_has_finite_losses_and_no_contrast)
{
    give(1, 3);
    in.text = tiny_text(t, &config, 1, T, 3, 3, 1);
    run();
    tiny_backward(t, m.store, out.loss);
    ck_assert_double_eq_tol((double)ag_value(out.itc), 0, TINY_ROUNDING);
    ck_assert_int_eq(out.negative_image[0], 0);
    ck_assert(isfinite(ag_value(out.loss)));
    ck_assert(isfinite(tiny_largest_grad(m.query_tokens)));
}
END_TEST

START_TEST(an_empty_caption_is_a_caption)
{
    in.text = tiny_text(t, &config, B, T, 0, 0, 1);        /* [CLS] [SEP] */
    run();
    tiny_backward(t, m.store, out.loss);
    ck_assert_int_eq(out.tokens, 2);
    ck_assert(isfinite(ag_value(out.loss)));
    ck_assert(isfinite(tiny_largest_grad(m.qformer.words.weight)));
}
END_TEST

START_TEST(all_masked_but_one_token_is_finite)
{
    in.keep = true;
    unsigned char *mask = ag_alloc(t, B * T);
    for (int i = 0; i < B * T; i++)
        mask[i] = i % T == 0;
    mask[1] = 1;                                           /* one sample has a target */
    in.text.mask = mask;
    run();
    tiny_backward(t, m.store, out.loss);
    ck_assert(isfinite(ag_value(out.loss)));
    ck_assert(isfinite(tiny_largest_grad(m.qformer.words.weight)));
}
END_TEST

START_TEST(first_losses_are_those_of_a_guess)
{
    enum { MANY = 16 };
    config.qformer.width = 32, config.qformer.heads = 4, config.qformer.hidden = 64;
    config.qformer.vocab = 101;
    config.qformer.init_std = config.qformer.query_std = 0.02, config.qformer.output_scale = 1;
    config.embed = 16, config.dec = 100;
    make();
    give(MANY, 3);
    run();
    ck_assert_double_eq_tol((double)ag_value(out.itc), log(MANY), 0.4);
    ck_assert_double_eq_tol((double)ag_value(out.itm), log(2), 0.15);
    ck_assert_double_eq_tol((double)ag_value(out.itg), log(101), 0.05);
    ck_assert_double_lt(out.query_cosine, 0.9);
}
END_TEST

START_TEST(a_warm_step_calls_no_allocator)
{
    long before = 0;
    ag_training(t, true);
    for (uint32_t step = 0; step < 4; step++) {
        before = mem_count();
        ag_reset(t);
        ag_seed(t, (ag_random){ .seed = 1, .step = step });
        give(B, 3);
        run();
        tiny_backward(t, m.store, out.loss);
    }
    ck_assert_int_eq(mem_count(), before);
}
END_TEST

START_TEST(threads_change_no_bit)
{
    real *first = mem_new((size_t)m.store->trainable * sizeof *first);
    for (int k = 0; k < 4; k++) {
        ag_threads((int[]){ 1, 3, 4, 8 }[k]);
        ag_reset(t);
        ag_training(t, true);
        give(B, 3);
        run();
        tiny_backward(t, m.store, out.loss);
        if (!k)
            memcpy(first, m.store->grads, (size_t)m.store->trainable * sizeof *first);
        ck_assert_mem_eq(first, m.store->grads, (size_t)m.store->trainable * sizeof *first);
    }
    mem_free(first);
}
END_TEST

Suite *suite_stage1_edges(void)
{
    Suite *s = suite_create("stage1_edges");
    TCase *c = tcase_create("stage1_edges");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, negatives_follow_the_softmax_and_are_never_positive);
    tcase_add_test(c, negatives_are_keyed_by_the_sample_not_its_place);
    tcase_add_test(c, images_are_drawn_by_the_text_and_texts_by_the_image);
    tcase_add_test(c, negatives_may_be_drawn_less_hard_down_to_all_alike);
    tcase_add_test(c, wrong_inputs_are_told);
    tcase_add_test(c, a_batch_of_one_has_finite_losses_and_no_contrast);
    tcase_add_test(c, an_empty_caption_is_a_caption);
    tcase_add_test(c, all_masked_but_one_token_is_finite);
    tcase_add_test(c, first_losses_are_those_of_a_guess);
    tcase_add_test(c, a_warm_step_calls_no_allocator);
    tcase_add_test(c, threads_change_no_bit);
    suite_add_tcase(s, c);
    return s;
}
