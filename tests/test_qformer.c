/* test_qformer.c - the Q-Former: who sees whom in each mode, and equal ways to the same rows. */
#include "tests/tests.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { B = 3, Q = 4, T = 5, N = 6 };                       /* samples, queries, text tokens, image tokens */

static tape *t;
static nn_store *store;
static blip2_config config;
static blip2_qformer q;
static blip2_text text;

static void setup(void)
{
    t = ag_tape_new();
    store = nn_store_new(3);
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
}

/* A Q-Former, and a text whose first caption is empty. */
static void make(void)
{
    blip2_qformer_init(&q, nn_sub(nn_root(store), "Qformer"), &config.qformer);
    build();
    text = tiny_text(t, &config, B, T, 0, 2, 5);
}

static tensor *image(uint64_t seed) { return tiny_normal(t, seed, DIMS(B, N, 10)); }
static tensor *queries(void) { return tiny_normal(t, 50, DIMS(B, Q, 12)); }

static nn_kv *memory_of(tensor *picture)
{
    nn_kv *memory = ag_alloc(t, config.qformer.layers * (long)sizeof *memory);
    blip2_qformer_memory(&q, t, picture, memory);
    return memory;
}

/* ---- who sees whom ------------------------------------------------------------------------------------- */

static tensor *run(tensor *picture, const ag_mask *mask)
{
    return blip2_qformer_forward(&q, t, &(blip2_pass){ .queries = queries(), .memory = memory_of(picture),
        .ids = text.ids, .B = B, .T = T, .mask = mask });
}

static tensor *image_pass(tensor *picture, nn_kv *present, ag_cache *cache)
{
    return blip2_qformer_forward(&q, t, &(blip2_pass){ .queries = queries(), .memory = memory_of(picture),
        .present = present, .cache = cache });
}

static tensor *query_rows(tensor *y) { return ag_slice(t, y, 1, 0, Q); }
static tensor *text_rows(tensor *y) { return ag_slice(t, y, 1, Q, T); }

START_TEST(unimodal_text_never_sees_the_picture_and_queries_never_see_the_text)
{
    make();
    const ag_mask *m = blip2_mask_unimodal(t, B, Q, T, text.mask);
    tensor *one = run(image(1), m), *two = run(image(2), m);
    ck_assert(tiny_distance(text_rows(one), text_rows(two)) == 0);
    ck_assert(tiny_distance(query_rows(one), query_rows(two)) > 0.01);
    text = tiny_text(t, &config, B, T, 1, 3, 77);
    ck_assert(tiny_distance(query_rows(run(image(1), m)), query_rows(one)) == 0);
}
END_TEST

START_TEST(the_unimodal_pass_is_the_image_pass_beside_the_text_pass)
{
    make();
    tensor *both = run(image(1), blip2_mask_unimodal(t, B, Q, T, text.mask));
    tensor *alone = image_pass(image(1), NULL, NULL);
    tensor *words = blip2_qformer_forward(&q, t, &(blip2_pass){ .ids = text.ids, .B = B, .T = T,
        .mask = blip2_mask_bidirectional(t, B, 0, T, text.mask) });
    ck_assert_double_le(tiny_distance(query_rows(both), alone), TINY_ROUNDING);
    ck_assert_double_le(tiny_distance(text_rows(both), words), TINY_ROUNDING);
}
END_TEST

START_TEST(multimodal_text_sees_the_picture_through_the_queries)
{
    make();
    const ag_mask *m = blip2_mask_bidirectional(t, B, Q, T, text.mask);
    ck_assert(tiny_distance(text_rows(run(image(1), m)), text_rows(run(image(2), m))) > 0.01);
}
END_TEST

START_TEST(causal_rows_do_not_see_what_comes_later)
{
    make();
    const ag_mask *m = blip2_mask_causal(t, B, Q, T, NULL);
    tensor *before = run(image(1), m);
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    memcpy(ids, text.ids, B * T * sizeof *ids);
    for (int b = 0; b < B; b++)
        ids[b * T + 3] = 20;
    text.ids = ids;
    tensor *after = run(image(1), m);
    for (long i = 0; i < Q + T; i++) {
        double moved = tiny_distance(ag_slice(t, before, 1, i, 1), ag_slice(t, after, 1, i, 1));
        ck_assert_msg(i < Q + 3 ? moved == 0 : moved > 1e-3, "row %ld moved by %g", i, moved);
    }
}
END_TEST

START_TEST(text_behind_cached_queries_equals_one_causal_pass)
{
    make();
    nn_kv *past = memory_of(image(1));
    tensor *whole = run(image(1), blip2_mask_causal(t, B, Q, T, text.mask));
    image_pass(image(1), past, NULL);
    tensor *cached = blip2_qformer_forward(&q, t, &(blip2_pass){ .ids = text.ids, .B = B, .T = T,
        .past = past, .mask = blip2_mask_causal_cached(t, B, Q, T, text.mask) });
    ck_assert_double_le(tiny_distance(text_rows(whole), cached), TINY_ROUNDING);
}
END_TEST

START_TEST(word_by_word_with_a_cache_equals_one_causal_pass)
{
    make();
    ag_record_on(t, false);
    tensor *whole = text_rows(run(image(1), blip2_mask_causal(t, B, Q, T, NULL)));
    ag_cache cache[3];
    for (int i = 0; i < 3; i++)
        cache[i] = (ag_cache){ ag_alloc_real(t, B * (Q + T) * 12), ag_alloc_real(t, B * (Q + T) * 12),
                               .rows = B, .capacity = Q + T, .width = 12 };
    image_pass(image(1), NULL, cache);
    for (int i = 0; i < 3; i++)
        cache[i].length += Q;
    for (long w = 0; w < T; w++) {
        int next[B];
        for (int b = 0; b < B; b++)
            next[b] = text.ids[b * T + w];
        tensor *y = blip2_qformer_forward(&q, t, &(blip2_pass){ .ids = next, .B = B, .T = 1,
            .first_position = w, .cache = cache });
        for (int i = 0; i < 3; i++)
            cache[i].length++;
        ck_assert_double_le(tiny_distance(y, ag_slice(t, whole, 1, w, 1)), TINY_ROUNDING);
    }
}
END_TEST

START_TEST(padding_changes_nothing)
{
    make();
    tensor *wide = run(image(1), blip2_mask_bidirectional(t, B, Q, T, text.mask));
    int *ids = ag_alloc(t, B * 4 * (long)sizeof *ids);     /* the longest caption has 4 tokens */
    unsigned char *mask = ag_alloc(t, B * 4);
    for (long i = 0; i < B * 4; i++) {
        ids[i] = text.ids[i / 4 * T + i % 4];
        mask[i] = text.mask[i / 4 * T + i % 4];
    }
    tensor *narrow = blip2_qformer_forward(&q, t, &(blip2_pass){ .queries = queries(),
        .memory = memory_of(image(1)), .ids = ids, .B = B, .T = 4,
        .mask = blip2_mask_bidirectional(t, B, Q, 4, mask) });
    ck_assert_double_le(tiny_distance(ag_slice(t, wide, 1, 0, Q + 4), narrow), TINY_ROUNDING);
}
END_TEST

START_TEST(rows_that_share_a_picture_equal_a_repeated_picture)
{
    make();
    static const int row[B] = { 2, 0, 2 };
    tensor *pictures = image(1), *naive = ag_gather(t, pictures, row, B);
    tensor *shared = blip2_qformer_forward(&q, t, &(blip2_pass){ .queries = queries(),
        .memory = memory_of(pictures), .memory_row = row });
    ck_assert_double_le(tiny_distance(shared, image_pass(naive, NULL, NULL)), TINY_ROUNDING);
}
END_TEST

START_TEST(the_masks_are_those_of_the_paper)
{
    static const unsigned char word[] = { 1, 1, 0 };       /* Q 2, T 3, the last token padding */
    static const unsigned char both[] = { 1, 1, 1, 1, 0 };
    static const unsigned char causal[] = { 1, 1, 0, 0, 0,  1, 1, 0, 0, 0,
                                            1, 1, 1, 0, 0,  1, 1, 1, 1, 0,  1, 1, 1, 1, 0 };
    static const unsigned char apart[] = { 1, 1, 0, 0, 0,  1, 1, 0, 0, 0,
                                           0, 0, 1, 1, 0,  0, 0, 1, 1, 0,  0, 0, 1, 1, 0 };
    ck_assert_mem_eq(blip2_mask_bidirectional(t, 1, 2, 3, word)->may, both, sizeof both);
    ck_assert_mem_eq(blip2_mask_causal(t, 1, 2, 3, word)->may, causal, sizeof causal);
    ck_assert_mem_eq(blip2_mask_causal_cached(t, 1, 2, 3, word)->may, causal + 10, 15);
    ck_assert_mem_eq(blip2_mask_unimodal(t, 1, 2, 3, word)->may, apart, sizeof apart);
}
END_TEST

/* ---- the rest ------------------------------------------------------------------------------------------ */

START_TEST(dropout_follows_seed_and_pass)
{
    make();
    ag_training(t, true);
    tensor *y[4];
    for (uint32_t i = 0; i < 4; i++) {
        ag_seed(t, (ag_random){ .seed = i == 3 ? 9 : 8 });
        y[i] = blip2_qformer_forward(&q, t, &(blip2_pass){
            .queries = queries(), .memory = memory_of(image(1)), .pass = i == 1 });
        ck_assert_int_eq(ag_random_now(t).pass, 0);
    }
    ck_assert(tiny_distance(y[0], y[2]) == 0);
    ck_assert(tiny_distance(y[0], y[1]) > 0.01);
    ck_assert(tiny_distance(y[0], y[3]) > 0.01);
}
END_TEST

START_TEST(query_feed_forwards_start_as_copies_of_the_text_ones)
{
    make();
    const blip2_bert_layer *l = &q.layers[1];
    ck_assert(tiny_distance(l->query_in.weight, l->text_in.weight) == 0);
    ck_assert(tiny_distance(l->query_out.weight, l->text_out.weight) == 0);
    ck_assert(tiny_distance(l->query_in.weight, q.layers[0].query_in.weight) > 0);
}
END_TEST

START_TEST(without_text_there_are_no_text_parameters)
{
    config.qformer.text = config.qformer.head = false;
    blip2_qformer_init(&q, nn_sub(nn_root(store), "Qformer"), &config.qformer);
    build();
    for (long i = 0; i < store->count; i++) {
        const char *name = store->entries[i].name;
        ck_assert_msg(!strstr(name, "word") && !strstr(name, "position") && !strstr(name, "cls")
                      && !strstr(name, ".intermediate.") && !strstr(name, "0.output."), "%s", name);
    }
    ck_assert_ptr_nonnull(nn_find(store, "Qformer.bert.encoder.layer.0.output_query.dense.weight"));
    ck_assert(isfinite(image_pass(image(1), NULL, NULL)->data[0]));
}
END_TEST

START_TEST(every_second_layer_owns_a_cross_attention)
{
    make();
    for (int i = 0; i < 3; i++) {
        char name[100];
        snprintf(name, sizeof name, "Qformer.bert.encoder.layer.%d.crossattention.self.key.weight", i);
        ck_assert_int_eq(nn_find(store, name) != NULL, i % 2 == 0);
    }
}
END_TEST

START_TEST(the_head_is_tied_to_the_table_of_words)
{
    make();
    ck_assert_ptr_eq(nn_find(store, "Qformer.cls.predictions.decoder.weight"), q.words.weight);
    ck_assert_ptr_eq(nn_find(store, "Qformer.cls.predictions.decoder.bias"), q.head_bias);
}
END_TEST

START_TEST(query_cosine_tells_equal_from_apart)
{
    tensor *same = ag_copy_in(t, DIMS(2, 2, 2), (real[]){ 1, 2, 2, 4,  -1, 0, -3, 0 });
    tensor *apart = ag_copy_in(t, DIMS(2, 2, 2), (real[]){ 1, 2, -2, 1,  0, 5, 3, 0 });
    tensor *mixed = ag_copy_in(t, DIMS(1, 3, 2), (real[]){ 1, 0, 0, 1, 1, 1 });
    ck_assert_double_eq_tol(blip2_query_cosine(same), 1, 1e-12);
    ck_assert_double_eq_tol(blip2_query_cosine(apart), 0, 1e-12);
    ck_assert_double_eq_tol(blip2_query_cosine(mixed), sqrt(2) / 3, 1e-12);
}
END_TEST

static void no_picture(void *unused)
{
    (void)unused;
    blip2_qformer_forward(&q, t, &(blip2_pass){ .queries = queries() });
}

static void long_text(void *unused)
{
    (void)unused;
    blip2_qformer_forward(&q, t, &(blip2_pass){ .ids = text.ids, .B = B, .T = T, .first_position = 12 });
}

static void nothing(void *unused)
{
    (void)unused;
    blip2_qformer_forward(&q, t, &(blip2_pass){ 0 });
}

START_TEST(what_cannot_be_run_is_told)
{
    error e;
    make();
    ck_assert(!ag_try(t, no_picture, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "have no image to look at"));
    ck_assert(!ag_try(t, long_text, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "5 tokens from position 12 on; there are 16 positions"));
    ck_assert(!ag_try(t, nothing, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "neither queries nor text"));
}
END_TEST

Suite *suite_qformer(void)
{
    Suite *s = suite_create("qformer");
    TCase *c = tcase_create("qformer");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, unimodal_text_never_sees_the_picture_and_queries_never_see_the_text);
    tcase_add_test(c, the_unimodal_pass_is_the_image_pass_beside_the_text_pass);
    tcase_add_test(c, multimodal_text_sees_the_picture_through_the_queries);
    tcase_add_test(c, causal_rows_do_not_see_what_comes_later);
    tcase_add_test(c, text_behind_cached_queries_equals_one_causal_pass);
    tcase_add_test(c, word_by_word_with_a_cache_equals_one_causal_pass);
    tcase_add_test(c, padding_changes_nothing);
    tcase_add_test(c, rows_that_share_a_picture_equal_a_repeated_picture);
    tcase_add_test(c, the_masks_are_those_of_the_paper);
    tcase_add_test(c, dropout_follows_seed_and_pass);
    tcase_add_test(c, query_feed_forwards_start_as_copies_of_the_text_ones);
    tcase_add_test(c, without_text_there_are_no_text_parameters);
    tcase_add_test(c, every_second_layer_owns_a_cross_attention);
    tcase_add_test(c, the_head_is_tied_to_the_table_of_words);
    tcase_add_test(c, query_cosine_tells_equal_from_apart);
    tcase_add_test(c, what_cannot_be_run_is_told);
    suite_add_tcase(s, c);
    return s;
}
