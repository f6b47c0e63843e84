/* test_stage2_t5.c - stage 2 with T5 frozen: labels, loss, gradients, questions, generation, pieces. */
#include "tests/tests.h"
#include "train/internal.h"
#include <math.h>
#include <string.h>

enum { B = 3, T = 4, SAID = 6, Q = 4, N = 5, V = 19, MOST = 24 };      /* Q, V: as in tiny.c */

static tape *t;
static nn_store *store;
static blip2_model m;
static blip2_config config;
static const int given_ids[B * T] = { 7, 8, 9, 2,  5, 2, 0, 0,  11, 3, 2, 0 };
static const unsigned char given_mask[B * T] = { 1, 1, 1, 1,  1, 1, 0, 0,  1, 1, 1, 0 };
static const int said_ids[B * SAID] = { 9, 3, 4, 12, 5, 2,  5, 6, 7, 2, 0, 0,  8, 18, 11, 3, 2, 0 };
static const unsigned char said_mask[B * SAID] = { 1, 1, 1, 1, 1, 1,  1, 1, 1, 1, 0, 0,  1, 1, 1, 1, 1, 0 };
static const blip2_text given = { B, T, given_ids, given_mask }, said = { B, SAID, said_ids, said_mask };

static void setup(void)
{
    t = ag_tape_new();
    store = NULL;
    config = tiny_config();
    config.stage1 = config.qformer.text = config.qformer.head = false;
    config.llm = BLIP2_LLM_T5;
    config.t5 = tiny_t5_config();
}

static void teardown(void)
{
    nn_store_free(store);
    ag_tape_free(t);
}

static void make(const char *frozen)
{
    error e;
    ag_reset(t);
    nn_store_free(store);
    store = nn_store_new(5);
    nn_parameter(nn_root(store), "features", NN_INIT_NORMAL(1), DIMS(B, N, config.qformer.memory_width));
    blip2_model_init(&m, store, &config);
    if (frozen)
        ck_assert_int_gt(nn_freeze(store, frozen), 0);
    ck_assert_msg(nn_build(store, true, &e), "%s", e.text);
}

static tensor *features(void) { return nn_find(store, "features"); }

static blip2_stage2_out stage2(const blip2_stage2_in *in, bool keep)
{
    blip2_stage2_out out;
    blip2_stage2(&m, t, in, keep, &out);
    return out;
}

static blip2_stage2_out usual(const real *weight, bool keep)
{
    return stage2(&(blip2_stage2_in){ .features = features(), .text = given, .target = said,
                                      .loss_weight = weight }, keep);
}

/* ---- the loss ------------------------------------------------------------------------------------------ */
static double minus_log_p(const real *z, int id)
{
    double total = 0;
    for (long v = 0; v < V; v++)
        total += exp((double)z[v]);
    return log(total) - (double)z[id];
}

START_TEST(the_loss_is_its_equation)
{
    static const real weight[B * SAID] = { 1, (real)0.5, 2, 0, 1, 3, 1, 1, (real)0.25, 2, 9, 9,
                                           1, 2, 3, 4, 5, 9 };
    make("t5_model");
    for (int weighted = 0; weighted < 2; weighted++) {
        blip2_stage2_out out = usual(weighted ? weight : NULL, true);
        blip2_stage2_out quick = usual(weighted ? weight : NULL, false);
        double sum = 0, count = 0;
        for (long i = 0; i < B * SAID; i++) {
            double w = !said_mask[i] ? 0 : weighted ? (double)weight[i] : 1;
            sum += w * minus_log_p(out.logits->data + i * V, said_ids[i]);
            count += w;
        }
        ck_assert_double_eq_tol((double)ag_value(out.loss), sum / count, 5 * TINY_ROUNDING);
        ck_assert_double_eq_tol((double)ag_value(quick.loss), sum / count, 5 * TINY_ROUNDING);
        ck_assert_ptr_null(quick.logits);
    }
}
END_TEST

START_TEST(the_decoder_is_fed_the_labels_one_step_behind)
{
    static const int fed[B * SAID] = { 0, 9, 3, 4, 12, 5,  0, 5, 6, 7, 2, 0,  0, 8, 18, 11, 3, 2 };
    make("t5_model");
    blip2_stage2_out out = usual(NULL, false);
    for (long i = 0; i < B * SAID; i++) {
        ck_assert_int_eq(out.labels[i], said_mask[i] ? said_ids[i] : -100);
        ck_assert_int_eq(out.decoder_ids[i], fed[i]);
    }
    for (long b = 0; b < B; b++)
        for (long i = 0; i < Q + T; i++)
            ck_assert_int_eq(out.mask[b * (Q + T) + i], i < Q || given_mask[b * T + i - Q]);
}
END_TEST

START_TEST(padding_on_either_side_does_not_matter)
{
    make("t5_model");
    double together = 0, count = 0, all = (double)ag_value(usual(NULL, false).loss);
    for (long b = 0; b < B; b++) {
        long n = 0, k = 0;
        while (n < T && given_mask[b * T + n])
            n++;
        while (k < SAID && said_mask[b * SAID + k])
            k++;
        blip2_stage2_in in = { .features = ag_slice(t, features(), 0, b, 1),
                               .text = { 1, n, given_ids + b * T, given_mask + b * T },
                               .target = { 1, k, said_ids + b * SAID, said_mask + b * SAID } };
        together += (double)k * (double)ag_value(stage2(&in, false).loss);
        count += (double)k;
    }
    ck_assert_double_eq_tol(all, together / count, 5 * TINY_ROUNDING);
}
END_TEST

START_TEST(a_frozen_t5_gets_no_gradient_and_passes_it_on)
{
    for (int tied = 0; tied < 2; tied++) {
        config.t5.tied = tied;
        make("t5_model");
        ag_backward(t, usual(NULL, false).loss);
        for (long i = 0; i < store->count; i++) {
            const tensor *x = store->entries[i].value;
            bool frozen = !strncmp(store->entries[i].name, "t5_model", 8);
            ck_assert_msg(frozen == !x->grad && frozen == !x->needs_grad, "%s", store->entries[i].name);
            ck_assert_msg(frozen || tiny_largest_grad(x) > 0 || strstr(store->entries[i].name, "key.bias"),
                          "%s has no gradient", store->entries[i].name);
        }
    }
}
END_TEST

START_TEST(freezing_changes_no_other_gradient)
{
    real alone[16 * 12];
    make("t5_model");
    ag_backward(t, usual(NULL, false).loss);
    ck_assert_int_eq(m.llm_proj.weight->size, 16 * 12);
    memcpy(alone, m.llm_proj.weight->grad, sizeof alone);
    make(NULL);
    ag_backward(t, usual(NULL, false).loss);
    ck_assert(!memcmp(alone, m.llm_proj.weight->grad, sizeof alone));
}
END_TEST

START_TEST(the_question_reaches_the_language_model_through_the_queries)
{
    config.qformer.text = config.question_in_qformer = true;
    make("t5_model");
    blip2_stage2_in in = { .features = features(), .text = given, .target = said };
    blip2_stage2_out without = stage2(&in, true);
    in.question = tiny_text(t, &config, B, T, 1, 2, 2);
    blip2_stage2_out asked = stage2(&in, true), quick = stage2(&in, false);
    ck_assert_str_eq(SHAPE(asked.asked), "(3,8,12)");
    ck_assert_ptr_null(without.asked);
    ck_assert_double_gt(tiny_distance(asked.projected, without.projected), 1e-3);
    ck_assert_double_eq_tol((double)ag_value(asked.loss), (double)ag_value(quick.loss), 5 * TINY_ROUNDING);
}
END_TEST

static void run_in(void *ctx) { stage2(ctx, false); }

START_TEST(a_target_where_there_is_none_and_none_where_there_must_be_are_refused)
{
    error e;
    make("t5_model");
    blip2_stage2_in in = { .features = features(), .text = given };
    ck_assert(!ag_try(t, run_in, &in, &e));
    ck_assert_msg(strstr(e.text, "stage2: a target (0,0) for inputs (3,8,16)"), "%s", e.text);
    in = (blip2_stage2_in){ .features = features(), .text = given, .target = said, .prompt_tokens = 1 };
    ck_assert(!ag_try(t, run_in, &in, &e));
    config.llm = BLIP2_LLM_OPT;
    config.opt = tiny_opt_config();
    make("opt_model");
    in = (blip2_stage2_in){ .features = features(), .text = given, .target = said };
    ck_assert(!ag_try(t, run_in, &in, &e));
    ck_assert_str_eq(e.text, "stage2: a target of 6 tokens: OPT has no decoder beside the text");
}
END_TEST

/* ---- generation ---------------------------------------------------------------------------------------- */
static blip2_sequence *write_texts(const blip2_generate *o, tensor *of, blip2_text prompt)
{
    blip2_sequence *out = ag_alloc(t, (of ? of->dim[0] : prompt.B) * o->returns * (long)sizeof *out);
    blip2_llm_generate(&m, t, of, (blip2_text){ 0 }, prompt, o, out);
    return out;
}

static bool same(const blip2_sequence *a, const blip2_sequence *b)
{
    return a->length == b->length && !memcmp(a->ids, b->ids, (size_t)a->length * sizeof *a->ids);
}

/* The score is the sum of log-probabilities over length^penalty, the start counted, the end not. */
START_TEST(cached_decoding_is_uncached_decoding)
{
    static const unsigned char ones[MOST] = { [0 ... MOST - 1] = 1 };
    blip2_generate o = { .beams = _i % 2 ? 4 : 1, .max_new_tokens = 9, .min_length = 5,
                         .returns = _i % 2 ? 2 : 1, .length_penalty = _i / 2 ? -1 : 1,
                         .repetition_penalty = 1 };
    make("t5_model");
    blip2_sequence *out = write_texts(&o, features(), given);
    for (long i = 0; i < B * o.returns; i++) {
        long b = i / o.returns, n = out[i].length;
        bool ended = out[i].ids[n - 1] == config.t5.eos;
        ck_assert(n == 9 || ended);
        ck_assert_int_ge(n, 4);
        blip2_stage2_in in = { .features = ag_slice(t, features(), 0, b, 1),
                               .target = { 1, n, out[i].ids, ones },
                               .text = { 1, T, given_ids + b * T, given_mask + b * T } };
        const real *z = stage2(&in, true).logits->data;
        double sum = 0;
        for (long k = 0; k < n; k++) {
            sum -= minus_log_p(z + k * V, out[i].ids[k]);
            for (long v = 0; v < V && o.beams == 1; v++)
                ck_assert(z[k * V + v] <= z[k * V + out[i].ids[k]] || (v == config.t5.eos && k < 4));
        }
        ck_assert_double_eq_tol(out[i].score, sum / pow((double)(1 + n - ended), o.length_penalty),
                                100 * TINY_ROUNDING);
    }
}
END_TEST

START_TEST(texts_are_written_as_if_alone)
{
    blip2_generate o = { .beams = _i ? 3 : 1, .max_length = 9, .min_length = 4, .returns = 1,
                         .length_penalty = 1, .repetition_penalty = 1 };
    make("t5_model");
    blip2_sequence *all = write_texts(&o, features(), given);
    for (long b = 0; b < B; b++) {
        long n = 0;
        while (n < T && given_mask[b * T + n])
            n++;
        blip2_sequence *alone = write_texts(&o, ag_slice(t, features(), 0, b, 1),
                                            (blip2_text){ 1, n, given_ids + b * T, given_mask + b * T });
        ck_assert(same(&all[b], alone));
        ck_assert_double_eq_tol(all[b].score, alone->score, 20 * TINY_ROUNDING);
    }
    ck_assert(!same(&all[0], &all[1]) || !same(&all[0], &all[2]));
    blip2_sequence *blind = write_texts(&o, NULL, given);
    blip2_sequence *bare = write_texts(&o, features(), (blip2_text){ 0 });
    ck_assert(blind[0].length > 0 && bare[0].length > 0);
}
END_TEST

START_TEST(distances_have_no_end)
{
    blip2_generate o = { .beams = 1, .max_new_tokens = 200, .min_length = 190, .returns = 1,
                         .length_penalty = 1, .repetition_penalty = 1 };
    make("t5_model");
    ck_assert_int_ge(write_texts(&o, features(), given)[0].length, 189);
}
END_TEST

/* ---- learning ------------------------------------------------------------------------------------------ */
START_TEST(the_queries_learn_to_make_a_frozen_t5_say_it)
{
    double first = 0, loss = 0;
    config.qformer.dropout = 0;
    make("t5_model");
    for (long i = 0; i < m.t5.head->size; i++)
        m.t5.head->data[i] *= 4;                           /* one who can be sure of a word */
    train_adamw rule = { 1e-2, 0.9, 0.98, 1e-8, 0 };
    for (long step = 1; step <= 60; step++) {
        ag_reset(t);
        nn_zero_grad(store);
        tensor *y = usual(NULL, false).loss;
        loss = (double)ag_value(y);
        first = step == 1 ? loss : first;
        ag_backward(t, y);
        nn_finish_grad(store);
        train_adamw_step(store, &rule, step);
    }
    ck_assert_double_lt(loss, 0.5 * first);
}
END_TEST

/* ---- what is given and what is said: train/exchange.c -------------------------------------------------- */
/* Pieces [10 11 | 12 13 14], [ | 20 21 22 23], [30 | 31], [40 41 42 43 | ] as eight sequences. */
static sequences pieces(void)
{
    static long first[] = { 0, 2, 5, 5, 9, 10, 11, 15, 15 };
    static weighted_token tokens[] = { { 10, 1 }, { 11, 1 }, { 12, 1 }, { 13, 1 }, { 14, 1 }, { 20, 1 },
                                       { 21, 1 }, { 22, 1 }, { 23, 1 }, { 30, 1 }, { 31, 1 }, { 40, 1 },
                                       { 41, 1 }, { 42, 1 }, { 43, 1 } };
    return (sequences){ .count = 8, .first = first, .tokens = tokens, .used = 15 };
}

START_TEST(a_piece_is_read_and_said_as_it_stands)
{
    sequences s = pieces();
    exchange x[2] = { exchange_piece(&s, 0, false, 1), exchange_piece(&s, 4, false, 1) };
    blip2_stage2_in in = { 0 };
    config.t5.eos = 2;
    exchange_batch(&s, t, &config, 2, x, &in);
    static const int read[] = { 10, 11, 2, 30, 2, 0 }, written[] = { 12, 13, 14, 2, 31, 2, 0, 0 };
    static const unsigned char real_ones[] = { 1, 1, 1, 1, 1, 0 };
    ck_assert_int_eq(in.text.T, 3);
    ck_assert_int_eq(in.target.T, 4);
    ck_assert(!memcmp(in.text.ids, read, sizeof read) && !memcmp(in.text.mask, real_ones, sizeof real_ones));
    ck_assert(!memcmp(in.target.ids, written, sizeof written));
    config.max_text = 3;
    exchange_batch(&s, t, &config, 2, x, &in);             /* cut, the end kept */
    ck_assert_int_eq(in.target.T, 3);
    ck_assert_int_eq(in.target.ids[2], 2);
}
END_TEST

START_TEST(a_piece_that_is_to_be_split_or_says_nothing_is_cut_anywhere)
{
    sequences s = pieces();
    for (long row = 0; row < 8; row += 6) {
        long all = row ? 4 : 5, seen[5] = { 0 };
        for (uint64_t key = 0; key < 200; key++) {
            exchange x = exchange_piece(&s, row, row == 0, key);
            ck_assert_int_eq(x.given[0].first, row ? 11 : 0);
            ck_assert_int_eq(x.given[0].count + x.said.count, all);
            ck_assert_int_eq(x.said.first, x.given[0].first + x.given[0].count);
            ck_assert_int_ge(x.said.count, 1);
            seen[x.given[0].count]++;
        }
        for (long cut = 0; cut < all; cut++)
            ck_assert_int_gt(seen[cut], 10);
    }
    ck_assert_int_eq(exchange_piece(&s, 2, false, 1).said.count, 4);       /* a caption without a prompt */
}
END_TEST

START_TEST(of_a_document_one_piece_is_said_behind_the_first)
{
    sequences s = pieces();
    long seen[3] = { 0 };
    for (uint64_t key = 0; key < 200; key++) {
        exchange x = exchange_document(&s, 0, 6, key);
        if (x.said.first == 10) {
            ck_assert(x.given[0].first == 0 && x.given[0].count == 5);
            ck_assert(x.given[1].first == 9 && x.given[1].count == 1);
            seen[2]++;
        } else if (x.said.first >= 5) {
            ck_assert(x.given[0].first == 0 && x.given[0].count == 5 && x.given[1].first == 5);
            seen[1]++;
        } else {
            ck_assert(x.said.first == 2 && x.given[0].count == 2 && !x.given[1].count);
            seen[0]++;
        }
    }
    for (int k = 0; k < 3; k++)
        ck_assert_int_gt(seen[k], 40);
}
END_TEST

Suite *suite_stage2_t5(void)
{
    Suite *s = suite_create("stage2_t5");
    TCase *c = tcase_create("stage2_t5");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_test(c, the_loss_is_its_equation);
    tcase_add_test(c, the_decoder_is_fed_the_labels_one_step_behind);
    tcase_add_test(c, padding_on_either_side_does_not_matter);
    tcase_add_test(c, a_frozen_t5_gets_no_gradient_and_passes_it_on);
    tcase_add_test(c, freezing_changes_no_other_gradient);
    tcase_add_test(c, the_question_reaches_the_language_model_through_the_queries);
    tcase_add_test(c, a_target_where_there_is_none_and_none_where_there_must_be_are_refused);
    tcase_add_loop_test(c, cached_decoding_is_uncached_decoding, 0, 4);
    tcase_add_loop_test(c, texts_are_written_as_if_alone, 0, 2);
    tcase_add_test(c, distances_have_no_end);
    tcase_add_test(c, the_queries_learn_to_make_a_frozen_t5_say_it);
    tcase_add_test(c, a_piece_is_read_and_said_as_it_stands);
    tcase_add_test(c, a_piece_that_is_to_be_split_or_says_nothing_is_cut_anywhere);
    tcase_add_test(c, of_a_document_one_piece_is_said_behind_the_first);
    suite_add_tcase(s, c);
    return s;
}
