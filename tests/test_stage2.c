/* test_stage2.c - stage 2, with OPT frozen: gradients, the loss, what carries it. */
#include "tests/tests.h"
#include <math.h>
#include <string.h>

enum { B = 3, T = 6, Q = 4, N = 5, V = 23, W = 16, PROMPT = 2 };       /* Q, V, W: as in tiny.c */

static tape *t;
static nn_store *store;
static blip2_model m;
static blip2_config config;
static int ids[B * T];
static unsigned char mask[B * T];      /* 6, 4 and 5 real tokens, right-padded */

static void setup(void)
{
    t = ag_tape_new();
    store = NULL;
    config = tiny_config();
    config.stage1 = config.qformer.text = config.qformer.head = false;
    config.llm = BLIP2_LLM_OPT;
    config.opt = tiny_opt_config();
    tiny_opt_text(B, T, ids, mask);
}

static void teardown(void)
{
    nn_store_free(store);
    ag_tape_free(t);
}

static void make(const char *frozen)
{
    error e;
    ag_reset(t);                                           /* its nodes would remember the store before */
    nn_store_free(store);
    store = nn_store_new(5);
    nn_parameter(nn_root(store), "features", NN_INIT_NORMAL(1), DIMS(B, N, config.qformer.memory_width));
    blip2_model_init(&m, store, &config);
    if (frozen)
        ck_assert_int_gt(nn_freeze(store, frozen), 0);
    ck_assert_msg(nn_build(store, true, &e), "%s", e.text);
}

static tensor *features(void) { return nn_find(store, "features"); }

static blip2_text text(void) { return (blip2_text){ B, T, ids, mask }; }

/* ---- gradients ----------------------------------------------------------------------------------------- */
#if REAL == 64
typedef struct stage2_case {
    bool picture, keep, training, question;
    long prompt;
    const real *weight;
} stage2_case;

static tensor *run_stage2(tape *on, void *ctx)
{
    const stage2_case *c = ctx;
    blip2_stage2_out out;
    ag_training(on, c->training);
    ag_seed(on, (ag_random){ .seed = 9, .step = 4 });
    blip2_stage2_in in = { .features = c->picture ? features() : NULL, .text = text(),
                           .prompt_tokens = c->prompt, .loss_weight = c->weight };
    if (c->question)
        in.question = tiny_text(on, &config, B, T, 0, 3, 2);
    blip2_stage2(&m, on, &in, c->keep, &out);
    return out.loss;
}

static const real weights[B * T] = { 1, 0.5, 2, 0, 1, 3, 1, 1, 0.25, 2, 9, 9, 1, 2, 3, 4, 5, 9 };

START_TEST(the_gradient_of_stage_2_is_the_slope)
{
    static stage2_case cases[] = {
        { .picture = true, .training = true }, { .picture = true, .prompt = PROMPT, .weight = weights },
        { .picture = true, .keep = true, .training = true, .prompt = PROMPT },
        { .picture = true, .training = true, .question = true } };
    config.qformer.text = cases[_i].question;
    make("opt_model");
    tiny_settle(&m.opt);
    nn_check k = nn_gradcheck(store, t, run_stage2, &cases[_i], 1e-8, 8);
    ck_assert_msg(k.ok, "%s: %.1e", k.where, k.worst);
    /* the last layer's text feed-forward: nobody reads it */
    ck_assert_int_eq(k.idle, cases[_i].question ? 6 : 0);
}
END_TEST

START_TEST(the_gradient_of_language_modelling_is_the_slope)
{
    stage2_case alone = { .training = true };
    config.qformer.queries = 0;
    make(NULL);
    tiny_settle(&m.opt);
    nn_check k = nn_gradcheck(store, t, run_stage2, &alone, 1e-8, 8);
    ck_assert_msg(k.ok, "%s: %.1e", k.where, k.worst);
}
END_TEST
#endif

/* ---- the loss ------------------------------------------------------------------------------------------ */

static blip2_stage2_out stage2(long prompt, const real *weight, bool keep)
{
    blip2_stage2_out out;
    blip2_stage2(&m, t, &(blip2_stage2_in){ .features = features(), .text = text(), .prompt_tokens = prompt,
                                            .loss_weight = weight }, keep, &out);
    return out;
}

START_TEST(a_frozen_language_model_gets_no_gradient_and_passes_it_on)
{
    make("opt_model");
    blip2_stage2_out out = stage2(0, NULL, false);
    ag_backward(t, out.loss);
    for (long i = 0; i < store->count; i++) {
        const tensor *x = store->entries[i].value;
        bool frozen = !strncmp(store->entries[i].name, "opt_model", 9);
        ck_assert_msg(frozen == !x->grad && frozen == !x->needs_grad, "%s", store->entries[i].name);
        ck_assert_msg(frozen || !x->grad_fresh, "%s has no gradient", store->entries[i].name);
    }
}
END_TEST

typedef struct learnt { double loss; real grad[W * 12]; } learnt;      /* of opt_proj.weight */

static learnt learn(const char *frozen, long prompt, bool keep)
{
    learnt l;
    make(frozen);
    blip2_stage2_out out = stage2(prompt, NULL, keep);
    ck_assert_int_eq(out.logits != NULL, keep);
    l.loss = (double)ag_value(out.loss);
    ag_backward(t, out.loss);
    ck_assert_int_eq(m.llm_proj.weight->size, W * 12);
    memcpy(l.grad, m.llm_proj.weight->grad, sizeof l.grad);
    return l;
}

START_TEST(freezing_changes_no_other_gradient)
{
    learnt with = learn("opt_model", 0, false), without = learn(NULL, 0, false);
    ck_assert(!memcmp(with.grad, without.grad, sizeof with.grad));
}
END_TEST

START_TEST(the_loss_needs_no_logits)
{
    for (long prompt = 0; prompt <= PROMPT; prompt += PROMPT) {
        learnt with = learn("opt_model", prompt, true), without = learn("opt_model", prompt, false);
        ck_assert_double_eq_tol(with.loss, without.loss, TINY_ROUNDING);
        for (int i = 0; i < W * 12; i++)
            ck_assert_double_eq_tol((double)with.grad[i], (double)without.grad[i], TINY_ROUNDING);
    }
}
END_TEST

/* -sum w log p / sum w over the targets, from the logits, counted by hand. */
static double loss_by_hand(const blip2_stage2_out *out, long prompt, const real *weight)
{
    double sum = 0, count = 0;
    for (long b = 0; b < B; b++)
        for (long i = prompt; i < T; i++)
            if (mask[b * T + i]) {
                const real *z = out->logits->data + (b * (Q + T) + Q + i - 1) * V;
                double total = 0, w = weight ? (double)weight[b * T + i] : 1;
                for (long v = 0; v < V; v++)
                    total += exp((double)z[v]);
                sum += w * (log(total) - (double)z[ids[b * T + i]]);
                count += w;
            }
    return sum / count;
}

START_TEST(the_loss_is_its_equation)
{
    const real weight[B * T] = { 1, (real)0.5, 2, 0, 1, 3, 1, 1, (real)0.25, 2, 9, 9, 1, 2, 3, 4, 5, 9 };
    make("opt_model");
    for (long prompt = 0; prompt <= PROMPT; prompt++)
        for (int weighted = 0; weighted < 2; weighted++) {
            blip2_stage2_out out = stage2(prompt, weighted ? weight : NULL, true);
            double expected = loss_by_hand(&out, prompt, weighted ? weight : NULL);
            ck_assert_double_eq_tol((double)ag_value(out.loss), expected, TINY_ROUNDING * expected);
        }
}
END_TEST

START_TEST(queries_padding_and_prompt_carry_no_loss)
{
    make("opt_model");
    blip2_stage2_out out = stage2(PROMPT, NULL, false);
    for (long b = 0; b < B; b++)
        for (long i = 0; i < Q + T; i++) {
            bool counts = i >= Q + PROMPT && mask[b * T + i - Q];
            ck_assert_int_eq(out.labels[b * (Q + T) + i], counts ? ids[b * T + i - Q] : -100);
            ck_assert_int_eq(out.mask[b * (Q + T) + i], i < Q || mask[b * T + i - Q]);
        }
}
END_TEST

START_TEST(without_a_picture_it_is_language_modelling)
{
    config.qformer.queries = 0;
    make(NULL);
    blip2_stage2_out out;
    blip2_stage2(&m, t, &(blip2_stage2_in){ .text = text() }, true, &out);
    double sum = 0, count = 0;
    for (long b = 0; b < B; b++)
        for (long i = 1; i < T && mask[b * T + i]; i++, count++) {
            const real *z = out.logits->data + (b * T + i - 1) * V;
            double total = 0;
            for (long v = 0; v < V; v++)
                total += exp((double)z[v]);
            sum += log(total) - (double)z[ids[b * T + i]];
        }
    ck_assert_double_eq_tol((double)ag_value(out.loss), sum / count, TINY_ROUNDING * sum);
    ck_assert_ptr_null(out.query_output);
}
END_TEST

static void learn_nothing(void *ctx) { *(blip2_stage2_out *)ctx = stage2(T, NULL, false); }

START_TEST(a_text_that_is_all_prompt_is_refused)
{
    error e;
    blip2_stage2_out out;
    make("opt_model");
    ck_assert(!ag_try(t, learn_nothing, &out, &e));
    ck_assert_str_eq(e.text,
                     "stage2: a text of 6 tokens, the first 6 of which are given: nothing is left to learn");
}
END_TEST

Suite *suite_stage2(void)
{
    Suite *s = suite_create("stage2");
    TCase *c = tcase_create("stage2");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, TEST_SECONDS);
#if REAL == 64
    tcase_add_loop_test(c, the_gradient_of_stage_2_is_the_slope, 0, 4);
    tcase_add_test(c, the_gradient_of_language_modelling_is_the_slope);
#endif
    tcase_add_test(c, a_frozen_language_model_gets_no_gradient_and_passes_it_on);
    tcase_add_test(c, freezing_changes_no_other_gradient);
    tcase_add_test(c, the_loss_needs_no_logits);
    tcase_add_test(c, the_loss_is_its_equation);
    tcase_add_test(c, queries_padding_and_prompt_carry_no_loss);
    tcase_add_test(c, without_a_picture_it_is_language_modelling);
    tcase_add_test(c, a_text_that_is_all_prompt_is_refused);
    suite_add_tcase(s, c);
    return s;
}
