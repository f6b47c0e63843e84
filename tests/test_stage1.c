/* test_stage1.c - the three losses: whose gradients they are, their equations, and equal ways to them. */
#include "tests/tests.h"
#include <math.h>
#include <string.h>

enum { B = 4, T = 9, N = 6, LONGEST = 5 };                 /* captions of 0 to 5 words in 9 columns */

static const long shared[B] = { 7, 5, 7, 2 };              /* samples 0 and 2 show the same picture */

static tape *t;
static blip2_config config;
static blip2_model m;
static blip2_stage1_in in;
static blip2_stage1_out out;

static void setup(void)
{
    t = ag_tape_new();
    config = tiny_config();
    m.store = NULL;
}

static void teardown(void)
{
    nn_store_free(m.store);
    ag_tape_free(t);
}

static void make(uint64_t seed)
{
    error e;
    nn_store_free(m.store);
    blip2_model_init(&m, nn_store_new(seed), &config);
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

/* ---- whose gradient ------------------------------------------------------------------------------------ */

START_TEST(candidates_carry_no_gradient)
{
    make(1);
    give(B, 3);
    run();
    tensor *i2t = ag_cross_entropy(t, out.sim_i2t, &(ag_ce){ .ids = (int[]){ 0, 1, 2, 3 }, .ignore = -100 });
    tiny_backward(t, m.store, i2t);
    ck_assert(tiny_largest_grad(m.text_proj.weight) == 0);
    ck_assert(tiny_largest_grad(m.vision_proj.weight) > 0);
    tensor *t2i = ag_cross_entropy(t, out.sim_t2i, &(ag_ce){ .ids = (int[]){ 0, 1, 2, 3 }, .ignore = -100 });
    tiny_backward(t, m.store, t2i);
    ck_assert(tiny_largest_grad(m.vision_proj.weight) == 0);
    ck_assert(tiny_largest_grad(m.text_proj.weight) > 0);
}
END_TEST

START_TEST(captioning_teaches_the_queries_through_the_image_pass)
{
    make(1);
    give(B, 3);
    run();
    tiny_backward(t, m.store, out.itg);
    ck_assert(tiny_largest_grad(m.query_tokens) > 0);
    ck_assert(tiny_largest_grad(m.ln_vision.weight) > 0);
    ck_assert(tiny_largest_grad(m.itm_head.weight) == 0);
}
END_TEST

START_TEST(a_fixed_temperature_has_no_gradient)
{
    config.fixed_temperature = true;
    make(1);
    ck_assert(!m.temp->needs_grad);
    ck_assert_double_eq_tol((double)ag_value(m.temp), 0.07, 1e-7);
}
END_TEST

/* ---- values -------------------------------------------------------------------------------------------- */

/* -sum_v target[v] log softmax(z)[v] */
static double cross_entropy(long n, const real *z, const double *target)
{
    double sum = 0, loss = 0;
    for (long v = 0; v < n; v++)
        sum += exp((double)z[v]);
    for (long v = 0; v < n; v++)
        loss -= target[v] * ((double)z[v] - log(sum));
    return loss;
}

START_TEST(contrast_and_matching_are_their_equations)
{
    double contrast = 0, matching = 0, target[B];
    make(1);
    give(B, 3);
    in.image_id = shared;
    run();
    for (int b = 0; b < B; b++) {
        for (int j = 0; j < B; j++)
            target[j] = 0.1 / B + (shared[b] == shared[j] ? 0.9 / (b % 2 ? 1 : 2) : 0);
        contrast += cross_entropy(B, out.sim_i2t->data + b * B, target) / (2 * B);
        contrast += cross_entropy(B, out.sim_t2i->data + b * B, target) / (2 * B);
    }
    for (int r = 0; r < 3 * B; r++)
        matching += cross_entropy(2, out.itm_logits->data + 2 * r, (double[]){ r >= B, r < B }) / (3 * B);
    ck_assert_double_eq_tol((double)ag_value(out.itc), contrast, TINY_ROUNDING * contrast);
    ck_assert_double_eq_tol((double)ag_value(out.itm), matching, TINY_ROUNDING * matching);
    ck_assert_double_eq_tol((double)ag_value(out.loss),
                            (double)(ag_value(out.itc) + ag_value(out.itm) + ag_value(out.itg)), 1e-4);
}
END_TEST

START_TEST(similarity_is_the_best_query_over_the_temperature)
{
    make(1);
    give(B, 3);
    run();
    const real *u = out.image_features->data, *w = out.text_feature->data;
    for (int b = 0; b < B; b++)
        for (int j = 0; j < B; j++) {
            double best = -2;
            for (int query = 0; query < 4; query++) {
                double dot = 0;
                for (int e = 0; e < 6; e++)
                    dot += (double)u[(b * 4 + query) * 6 + e] * (double)w[j * 6 + e];
                best = fmax(best, dot);
            }
            ck_assert_double_eq_tol((double)out.sim_i2t->data[b * B + j], best / 0.07, 20 * TINY_ROUNDING);
            ck_assert_double_eq_tol((double)out.sim_t2i->data[j * B + b], best / 0.07, 20 * TINY_ROUNDING);
        }
}
END_TEST

START_TEST(captioning_is_its_equation)
{
    double loss = 0, target[29];
    long words = 0, V = config.qformer.vocab;
    make(1);
    give(B, 3);
    in.keep = true;
    run();
    for (int b = 0; b < B; b++)
        for (int i = 0; i + 1 < T && in.text.mask[b * T + i + 1]; i++, words++) {
            for (int v = 0; v < V; v++)
                target[v] = 0.1 / (double)V + 0.9 * (v == in.text.ids[b * T + i + 1]);
            loss += cross_entropy(V, out.itg_logits->data + (b * T + i) * V, target);
        }
    ck_assert_double_eq_tol((double)ag_value(out.itg), loss / (double)words, TINY_ROUNDING * loss);
}
END_TEST

START_TEST(captioning_begins_with_dec_whatever_the_text_begins_with)
{
    make(1);
    give(B, 3);
    run();
    tensor *caption = out.itg, *hidden = out.text_output;
    for (int b = 0; b < B; b++)
        ((int *)in.text.ids)[b * T] = 9;
    run();
    ck_assert(tiny_distance(hidden, out.text_output) > 0.01);
    ck_assert(tiny_distance(caption, out.itg) == 0);
}
END_TEST

/* ---- factors ------------------------------------------------------------------------------------------- */

START_TEST(a_factor_weighs_its_loss_and_what_has_none_is_left_out)
{
    static const blip2_stage1_weights some[] = { { 1, 1, 0 }, { 2, 0, 0.5 }, { 0, 3, 1 }, { 0, 0, 1 } };
    make(1);
    give(B, 3);
    run();
    blip2_stage1_out whole = out;
    for (int k = 0; k < 4; k++) {
        const blip2_stage1_weights w = some[k];
        in.weights = &w;
        run();
        ck_assert(!out.itc == (w.itc == 0) && !out.itm == (w.itm == 0) && !out.itg == (w.itg == 0));
        tensor *sum = ag_scale(t, whole.itc, w.itc);
        tensor *itm = ag_scale(t, whole.itm, w.itm);
        tensor *itg = ag_scale(t, whole.itg, w.itg);
        sum = ag_add(t, sum, itm);
        sum = ag_add(t, sum, itg);
        double loss = (double)ag_value(sum);
        ck_assert_double_eq_tol((double)ag_value(out.loss), loss, TINY_ROUNDING * loss);
        tiny_backward(t, m.store, sum);
        long n = m.store->trainable;
        real *grads = ag_alloc_real(t, n);
        memcpy(grads, m.store->grads, (size_t)n * sizeof *grads);
        tiny_backward(t, m.store, out.loss);
        for (long i = 0; i < n; i++)
            ck_assert_double_eq_tol((double)m.store->grads[i], (double)grads[i], 3 * TINY_ROUNDING);
        ck_assert((tiny_largest_grad(m.itm_head.weight) > 0) == (w.itm > 0));
        ck_assert((tiny_largest_grad(m.text_proj.weight) > 0) == (w.itc > 0));
        ck_assert((tiny_largest_grad(m.qformer.head_bias) > 0) == (w.itg > 0));
    }
}
END_TEST

/* ---- equal ways ---------------------------------------------------------------------------------------- */

/* Losses and gradients of two ways of running, side by side. */
static void compare_ways(void (*first)(void), void (*second)(void), double tolerance)
{
    void (*way[2])(void) = { first, second };
    double losses[2][3];
    long n = m.store->trainable;
    real *grads[2];
    for (int k = 0; k < 2; k++) {
        ag_training(t, true);
        ag_seed(t, (ag_random){ .seed = 6, .step = 1 });
        give(B, 3);
        way[k]();
        tiny_backward(t, m.store, out.loss);
        grads[k] = ag_alloc_real(t, n);
        memcpy(grads[k], m.store->grads, (size_t)n * sizeof(real));
        const tensor *each[3] = { out.itc, out.itm, out.itg };
        for (int i = 0; i < 3; i++)
            losses[k][i] = (double)ag_value(each[i]);
    }
    double most = 0, off = 0;
    for (long i = 0; i < n; i++) {
        most = fmax(most, fabs((double)grads[0][i]));
        off = fmax(off, fabs((double)grads[0][i] - (double)grads[1][i]));
    }
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol(losses[0][i], losses[1][i], tolerance * losses[0][i]);
    ck_assert_double_gt(most, 0.1);
    ck_assert_double_le(off, tolerance * most);
}

static void kept(void)
{
    in.keep = true;
    run();
}

START_TEST(computing_only_what_is_looked_at_equals_computing_everything)
{
    make(1);
    compare_ways(run, kept, TINY_ROUNDING);
    ck_assert_int_eq(out.tokens, T);
    ck_assert_int_eq(out.text_output->dim[1], T);
    give(B, 3);
    run();
    ck_assert_int_eq(out.tokens, LONGEST);                 /* the fourth caption: [CLS], 3 words, [SEP] */
}
END_TEST

/* The loss of matching with every image projected anew for each of the 3B rows, as the reference does it. */
static void repeated(void)
{
    run();
    int rows[3 * B], texts[3 * B], sample[3 * B];
    int *ids = ag_alloc(t, 3 * B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, 3 * B * T);
    for (int r = 0; r < 3 * B; r++) {
        rows[r] = r / B == 1 ? out.negative_image[r % B] : r % B;
        texts[r] = r / B == 2 ? out.negative_text[r % B] : r % B;
        sample[r] = 3 * (r % B) + r / B;
        memcpy(ids + r * T, in.text.ids + texts[r] * T, T * sizeof *ids);
        memcpy(mask + r * T, in.text.mask + texts[r] * T, T);
    }
    ag_random random = ag_random_now(t), keyed = random;
    keyed.sample = sample;
    ag_seed(t, keyed);
    nn_kv *memory = ag_alloc(t, config.qformer.layers * (long)sizeof *memory);
    blip2_qformer_memory(&m.qformer, t, ag_gather(t, out.image, rows, 3 * B), memory);
    tensor *logits = blip2_itm_logits(&m, t, memory, NULL, (blip2_text){ 3 * B, T, ids, mask }, NULL);
    ag_seed(t, random);
    out.itm = ag_cross_entropy(t, logits, &(ag_ce){ .ids = out.itm_labels, .ignore = -100 });
    out.loss = ag_add(t, ag_add(t, out.itc, out.itm), out.itg);
}

START_TEST(sharing_keys_and_values_equals_projecting_every_row)
{
    make(1);
    compare_ways(run, repeated, TINY_ROUNDING);
}
END_TEST

START_TEST(the_order_of_a_batch_changes_nothing_dropout_included)
{
    static const int images[B] = { 2, 0, 3, 1 }, texts[B] = { 1, 3, 0, 0 }, to[B] = { 3, 1, 0, 2 };
    int from[B], sample[2][B], moved_images[B], moved_texts[B];
    for (int b = 0; b < B; b++) {
        from[to[b]] = b;
        sample[0][b] = sample[1][to[b]] = 50 + b;
        moved_images[to[b]] = to[images[b]];
        moved_texts[to[b]] = to[texts[b]];
    }
    make(1);
    ag_training(t, true);
    give(B, 3);
    in.negative_image = images, in.negative_text = texts;
    ag_seed(t, (ag_random){ .seed = 6, .sample = sample[0] });
    run();
    blip2_stage1_out first = out;
    blip2_text text = tiny_text(t, &config, B, T, 0, LONGEST, 3);
    for (int r = 0; r < B; r++) {
        memcpy((int *)text.ids + r * T, in.text.ids + from[r] * T, T * sizeof(int));
        memcpy((unsigned char *)text.mask + r * T, in.text.mask + from[r] * T, T);
    }
    in = (blip2_stage1_in){ .features = ag_gather(t, in.features, from, B), .text = text,
                            .negative_image = moved_images, .negative_text = moved_texts };
    ag_seed(t, (ag_random){ .seed = 6, .sample = sample[1] });
    run();
    ck_assert_double_le(tiny_distance(first.itc, out.itc), TINY_ROUNDING);
    ck_assert_double_le(tiny_distance(first.itm, out.itm), TINY_ROUNDING);
    ck_assert_double_le(tiny_distance(first.itg, out.itg), TINY_ROUNDING);
    ag_seed(t, (ag_random){ .seed = 6, .sample = sample[0] });
    run();                                                 /* other numbers of the samples: other masks */
    ck_assert(tiny_distance(first.itm, out.itm) > 1e-3);
}
END_TEST

START_TEST(distinct_image_ids_are_no_ids)
{
    static const long distinct[B] = { 40, 10, 30, 20 };
    make(1);
    give(B, 3);
    run();
    double plain = (double)ag_value(out.itc);
    in.image_id = distinct;
    run();
    ck_assert_double_eq_tol((double)ag_value(out.itc), plain, TINY_ROUNDING * plain);
}
END_TEST

Suite *suite_stage1(void)
{
    Suite *s = suite_create("stage1");
    TCase *c = tcase_create("stage1");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, candidates_carry_no_gradient);
    tcase_add_test(c, captioning_teaches_the_queries_through_the_image_pass);
    tcase_add_test(c, a_fixed_temperature_has_no_gradient);
    tcase_add_test(c, contrast_and_matching_are_their_equations);
    tcase_add_test(c, similarity_is_the_best_query_over_the_temperature);
    tcase_add_test(c, captioning_is_its_equation);
    tcase_add_test(c, captioning_begins_with_dec_whatever_the_text_begins_with);
    tcase_add_test(c, a_factor_weighs_its_loss_and_what_has_none_is_left_out);
    tcase_add_test(c, computing_only_what_is_looked_at_equals_computing_everything);
    tcase_add_test(c, sharing_keys_and_values_equals_projecting_every_row);
    tcase_add_test(c, the_order_of_a_batch_changes_nothing_dropout_included);
    tcase_add_test(c, distinct_image_ids_are_no_ids);
    suite_add_tcase(s, c);
    return s;
}
