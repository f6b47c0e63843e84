/* test_opt.c - OPT: gradients, padding, caches, the edges. */
#include "tests/tests.h"
#include <math.h>
#include <string.h>

enum { B = 3, T = 6, V = 23, W = 16 };                     /* V, W: as in tiny_opt_config */

static tape *t;
static nn_store *store;
static blip2_opt m;
static blip2_opt_config config;
static int ids[B * T];
static unsigned char mask[B * T];      /* 6, 4 and 5 real tokens, right-padded */

static void setup(void)
{
    t = ag_tape_new();
    store = NULL;
    config = tiny_opt_config();
    tiny_opt_text(B, T, ids, mask);
}

static void teardown(void)
{
    nn_store_free(store);
    ag_tape_free(t);
}

static void make(bool frozen)
{
    error e;
    ag_reset(t);                                           /* its nodes would remember the store before */
    nn_store_free(store);
    store = nn_store_new(5);
    blip2_opt_init(&m, nn_sub(nn_root(store), "opt_model"), &config);
    if (frozen)
        nn_freeze(store, "opt_model");
    ck_assert_msg(nn_build(store, true, &e), "%s", e.text);
}

static tensor *hidden_of(tape *on, const int *tokens, const unsigned char *is_real, long rows, long length)
{
    tensor *words = blip2_opt_embed(&m, on, tokens, rows, length);
    return blip2_opt_forward(&m, on, words, is_real, NULL);
}

#if REAL == 64
static tensor *run_logits(tape *on, void *ctx)
{
    (void)ctx;
    return blip2_opt_logits(&m, on, hidden_of(on, ids, mask, B, T));
}

START_TEST(the_gradient_of_the_language_model_is_the_slope)
{
    config.layers = 1 + _i;
    make(false);
    tiny_settle(&m);
    nn_check k = nn_gradcheck(store, t, run_logits, NULL, 1e-8, 7);
    ck_assert_msg(k.ok, "%s: %.1e", k.where, k.worst);
    ck_assert_int_eq(k.idle, 0);
}
END_TEST
#endif

START_TEST(padding_left_or_right_changes_nothing)
{
    enum { REAL_TOKENS = 4, PAD = 2, ALL = REAL_TOKENS + PAD };
    make(false);
    int padded[ALL];
    unsigned char is_real[ALL];
    for (int i = 0; i < ALL; i++) {
        int at = _i ? i - PAD : i;
        is_real[i] = at >= 0 && at < REAL_TOKENS;
        padded[i] = is_real[i] ? ids[at] : config.pad;
    }
    tensor *plain = hidden_of(t, ids, NULL, 1, REAL_TOKENS);
    tensor *with = hidden_of(t, padded, is_real, 1, ALL);
    ck_assert(tiny_distance(plain, ag_slice(t, with, 1, _i ? PAD : 0, REAL_TOKENS)) <= TINY_ROUNDING);
}
END_TEST

START_TEST(rows_of_a_batch_do_not_meet)
{
    make(false);
    tensor *together = hidden_of(t, ids, mask, B, T);
    for (long b = 0; b < B; b++) {
        tensor *alone = hidden_of(t, ids + b * T, mask + b * T, 1, T);
        ck_assert(tiny_distance(alone, ag_slice(t, together, 0, b, 1)) <= TINY_ROUNDING);
    }
}
END_TEST

START_TEST(a_token_sees_nothing_that_comes_later)
{
    int changed[T];
    make(false);
    memcpy(changed, ids, sizeof changed);
    changed[4] = ids[4] == 7 ? 8 : 7;
    tensor *a = hidden_of(t, ids, NULL, 1, T), *b = hidden_of(t, changed, NULL, 1, T);
    ck_assert(tiny_distance(ag_slice(t, a, 1, 0, 4), ag_slice(t, b, 1, 0, 4)) <= TINY_ROUNDING);
    ck_assert(tiny_distance(ag_slice(t, a, 1, 5, 1), ag_slice(t, b, 1, 5, 1)) > 1e-3);
}
END_TEST

/* In pieces of 1, 3 or 6 tokens behind a cache, left-padded rows among them. */
START_TEST(with_a_cache_it_says_the_same)
{
    long piece = (const long[]){ 1, 3, 6 }[_i];
    int turned[B * T];
    unsigned char left[B * T];
    make(false);
    for (int i = 0; i < B * T; i++) {                      /* read backwards, so that padding stands left */
        turned[i] = ids[i / T * T + T - 1 - i % T];
        left[i] = mask[i / T * T + T - 1 - i % T];
    }
    tensor *whole = hidden_of(t, turned, left, B, T);
    ag_record_on(t, false);
    ag_cache cache[2] = { ag_cache_new(t, B, T, W), ag_cache_new(t, B, T, W) };
    for (long at = 0; at < T; at += piece) {
        int tokens[B * T];
        unsigned char until[B * T];
        for (long b = 0; b < B; b++) {
            memcpy(tokens + b * piece, turned + b * T + at, (size_t)piece * sizeof *tokens);
            memcpy(until + b * (at + piece), left + b * T, (size_t)(at + piece));
        }
        tensor *words = blip2_opt_embed(&m, t, tokens, B, piece);
        tensor *y = blip2_opt_forward(&m, t, words, until, cache);
        ck_assert(tiny_distance(y, ag_slice(t, whole, 1, at, piece)) <= TINY_ROUNDING);
        cache[0].length += piece;
        cache[1].length += piece;
    }
}
END_TEST

START_TEST(one_token_is_a_text)
{
    make(false);
    tensor *y = blip2_opt_logits(&m, t, hidden_of(t, ids, NULL, 1, 1));
    ck_assert_int_eq(y->size, V);
    ck_assert(isfinite(y->data[0]));
}
END_TEST

static void read_too_much(void *ctx)
{
    (void)ctx;
    static const int many[25];
    hidden_of(t, many, NULL, 1, 25);
}

START_TEST(more_tokens_than_positions_are_refused)
{
    error e;
    make(false);
    ck_assert(!ag_try(t, read_too_much, NULL, &e));
    ck_assert_str_eq(e.text, "opt: 25 tokens, there are 24 positions");
}
END_TEST

START_TEST(a_frozen_language_model_needs_one_layers_memory)
{
    long used[2];
    for (int i = 0; i < 2; i++) {
        config.layers = 1 + 5 * i;
        make(true);
        hidden_of(t, ids, mask, B, T);
        used[i] = ag_here(t).used;
    }
    ck_assert_int_eq(used[0], used[1]);
}
END_TEST

/* With nothing to add but ones, dropped at two places, 0, 1 or 2 of them arrive: three levels, not two. */
START_TEST(a_layer_drops_different_numbers_at_its_two_places)
{
    config.layers = 1;
    config.dropout = 0.5;
    make(false);
    blip2_opt_layer *l = m.layers;
    tensor *zero[] = { m.tokens.weight, m.positions.weight, l->self.out.weight, l->fc2.weight };
    for (int i = 0; i < 4; i++)
        memset(zero[i]->data, 0, (size_t)zero[i]->size * sizeof(real));
    for (int i = 0; i < W; i++)
        l->self.out.bias->data[i] = l->fc2.bias->data[i] = 1;
    ag_training(t, true);
    const real *y = hidden_of(t, ids, NULL, 1, 1)->data;
    int levels = 0;
    for (int i = 0; i < W; i++) {
        bool met = false;
        for (int j = 0; j < i; j++)
            met |= fabs((double)(y[i] - y[j])) < 1e-6;
        levels += !met;
    }
    ck_assert_int_eq(levels, 3);
}
END_TEST

START_TEST(the_head_is_the_table_of_tokens)
{
    make(false);
    ck_assert_ptr_nonnull(nn_find(store, "opt_model.lm_head.weight"));
    ck_assert_ptr_eq(nn_find(store, "opt_model.lm_head.weight"),
                     nn_find(store, "opt_model.model.decoder.embed_tokens.weight"));
    ck_assert_int_eq(nn_find(store, "opt_model.model.decoder.embed_positions.weight")->dim[0], 26);
}
END_TEST

Suite *suite_opt(void)
{
    Suite *s = suite_create("opt");
    TCase *c = tcase_create("opt");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, TEST_SECONDS);
#if REAL == 64
    tcase_add_loop_test(c, the_gradient_of_the_language_model_is_the_slope, 0, 2);
#endif
    tcase_add_loop_test(c, padding_left_or_right_changes_nothing, 0, 2);
    tcase_add_test(c, rows_of_a_batch_do_not_meet);
    tcase_add_test(c, a_token_sees_nothing_that_comes_later);
    tcase_add_loop_test(c, with_a_cache_it_says_the_same, 0, 3);
    tcase_add_test(c, one_token_is_a_text);
    tcase_add_test(c, more_tokens_than_positions_are_refused);
    tcase_add_test(c, a_frozen_language_model_needs_one_layers_memory);
    tcase_add_test(c, a_layer_drops_different_numbers_at_its_two_places);
    tcase_add_test(c, the_head_is_the_table_of_tokens);
    suite_add_tcase(s, c);
    return s;
}
