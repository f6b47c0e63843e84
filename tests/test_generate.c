/* test_generate.c - texts written by OPT and by the Q-Former's own head. */
#include "blip2/internal.h"
#include "tests/tests.h"
#include <math.h>
#include <string.h>

enum { B = 3, N = 5, V = 23, MOST = 32 };                  /* V: as in tiny_opt_config; MOST: ids of a text */

static tape *t;
static blip2_generate options;
static blip2_model m;
static tensor *features;

static void setup(void)
{
    error e;
    t = ag_tape_new();
    options = (blip2_generate){ .beams = 1, .max_length = 8, .min_length = 1, .returns = 1,
                                .length_penalty = 1, .repetition_penalty = 1 };
    blip2_config c = tiny_config();
    c.llm = BLIP2_LLM_OPT;
    c.opt = tiny_opt_config();
    c.opt.init_std = 0.5;
    blip2_model_init(&m, nn_store_new(21), &c);
    ck_assert_msg(nn_build(m.store, false, &e), "%s", e.text);
    features = tiny_normal(t, 6, DIMS(B, N, c.qformer.memory_width));
}

static void teardown(void)
{
    nn_store_free(m.store);
    ag_tape_free(t);
}

static bool same(const blip2_sequence *a, const blip2_sequence *b)
{
    return a->length == b->length && !memcmp(a->ids, b->ids, (size_t)a->length * sizeof *a->ids);
}

static const int prompt_ids[B * 3] = { 2, 9, 11, 2, 9, 11, 2, 9, 11 };
static const unsigned char ones[B * 3] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };
static const blip2_text prompt = { B, 3, prompt_ids, ones };

static blip2_sequence *write_by(bool opt, tensor *of, blip2_text text)
{
    blip2_sequence *out = ag_alloc(t, of->dim[0] * options.returns * (long)sizeof *out);
    if (opt)
        blip2_llm_generate(&m, t, of, (blip2_text){ 0 }, text, &options, out);
    else
        blip2_itg_generate(&m, t, of, &options, out);
    return out;
}

static tensor *picture(long b) { return ag_slice(t, features, 0, b, 1); }

/* The logits of the word after `ids`, from the whole sequence at once, without a cache. */
static const real *logits_uncached(bool opt, long b, const int *ids, long n)
{
    long Q = m.config.qformer.queries;
    const unsigned char all[MOST] = { [0 ... MOST - 1] = 1 };
    if (opt) {
        blip2_stage2_out out;
        blip2_stage2(&m, t, &(blip2_stage2_in){ .features = picture(b), .text = { 1, n, ids, all } }, true,
                     &out);
        return out.logits->data + (Q + n - 1) * V;
    }
    nn_kv *memory = layer_room(&m, t);
    tensor *image = nn_layer_norm_forward(&m.ln_vision, t, picture(b));
    blip2_qformer_memory(&m.qformer, t, image, memory);
    tensor *y = blip2_qformer_forward(&m.qformer, t, &(blip2_pass){
        .queries = m.query_tokens, .memory = memory, .ids = ids, .B = 1, .T = n,
        .mask = blip2_mask_causal(t, 1, Q, n, NULL) });
    return blip2_qformer_logits(&m.qformer, t, y)->data + (Q + n - 1) * m.config.qformer.vocab;
}

/* What p says of the sequence `s`: the sum of log-probabilities; *greedy: is each the most likely of all? */
static double sum_uncached(bool opt, long b, const blip2_sequence *s, bool *greedy)
{
    int ids[MOST], n = opt ? 3 : 1;
    long words = opt ? V : m.config.qformer.vocab;
    double sum = 0;
    for (int i = 0; i < n; i++)
        ids[i] = opt ? prompt_ids[i] : (int)m.config.dec;
    *greedy = true;
    for (int i = 0; i < s->length; i++) {
        const real *z = logits_uncached(opt, b, ids, n);
        double total = 0;
        for (long v = 0; v < words; v++) {
            total += exp((double)z[v]);
            *greedy &= z[v] <= z[s->ids[i]];
        }
        sum += (double)z[s->ids[i]] - log(total);
        ids[n++] = s->ids[i];
    }
    return sum;
}

START_TEST(cached_decoding_is_uncached_decoding)
{
    bool opt = _i % 2, greedy;
    options.beams = _i < 2 ? 1 : 4;
    options.max_length = 10;
    options.min_length = 6;
    blip2_sequence *out = write_by(opt, features, prompt);
    for (long b = 0; b < B; b++) {
        bool ended = out[b].ids[out[b].length - 1] == (opt ? m.config.opt.eos : m.config.sep);
        double sum = sum_uncached(opt, b, &out[b], &greedy);
        ck_assert_double_eq_tol(out[b].score, sum / (1 + out[b].length - ended), TINY_ROUNDING);
    }
}
END_TEST

/* The most likely token alone is what greedy search takes, in each of several texts. */
START_TEST(every_sampled_text_begins_from_its_own_logits)
{
    blip2_sequence *one = write_by(_i, features, prompt);
    options.sample = true;
    options.top_k = 1;
    options.returns = 3;
    blip2_sequence *many = write_by(_i, features, prompt);
    for (long i = 0; i < B * options.returns; i++)
        ck_assert(same(&many[i], &one[i / options.returns]));
}
END_TEST

START_TEST(one_beam_is_greedy)
{
    bool opt = _i, greedy;
    blip2_sequence *out = write_by(opt, features, prompt);
    for (long b = 0; b < B; b++) {
        sum_uncached(opt, b, &out[b], &greedy);
        ck_assert(greedy);
        ck_assert(out[b].length == options.max_length - 1
                  || out[b].ids[out[b].length - 1] == (opt ? m.config.opt.eos : m.config.sep));
    }
}
END_TEST

START_TEST(pictures_are_captioned_alone)
{
    bool opt = _i % 2;
    options.beams = options.returns = _i < 2 ? 1 : 3;
    blip2_sequence *all = write_by(opt, features, prompt);
    for (long b = 0; b < B; b++) {
        blip2_sequence *alone = write_by(opt, picture(b), (blip2_text){ 1, 3, prompt_ids, ones });
        for (int i = 0; i < options.returns; i++) {
            ck_assert(same(&all[b * options.returns + i], &alone[i]));
            ck_assert_double_eq_tol(all[b * options.returns + i].score, alone[i].score, TINY_ROUNDING);
        }
    }
    ck_assert(!same(&all[0], &all[options.returns]) || !same(&all[0], &all[2 * options.returns]));
}
END_TEST

START_TEST(padding_on_the_left_of_a_prompt_is_not_read)
{
    static const int padded[B * 3] = { 1, 1, 2, 1, 2, 9, 2, 9, 11 };
    static const unsigned char is_real[B * 3] = { 0, 0, 1, 0, 1, 1, 1, 1, 1 };
    options.beams = _i ? 3 : 1;
    blip2_sequence *all = write_by(true, features, (blip2_text){ B, 3, padded, is_real });
    for (long b = 0; b < B; b++) {
        blip2_sequence *alone = write_by(true, picture(b), (blip2_text){ 1, b + 1, prompt_ids, ones });
        ck_assert(same(&all[b], alone));
        ck_assert_double_eq_tol(all[b].score, alone->score, TINY_ROUNDING);
    }
}
END_TEST

START_TEST(no_prompt_or_no_picture_will_do)
{
    blip2_sequence *out = write_by(true, features, (blip2_text){ 0, 0, NULL, NULL });
    ck_assert_int_gt(out[B - 1].length, 0);
    blip2_llm_generate(&m, t, NULL, (blip2_text){ 0 }, prompt, &options, out);
    ck_assert(same(&out[0], &out[2]));
}
END_TEST

START_TEST(the_tape_is_left_as_it_was)
{
    options.beams = 3;
    blip2_sequence *calm = write_by(true, features, prompt), out[B];
    ag_training(t, true);                                  /* dropout, elsewhere */
    long before = ag_here(t).used, nodes = ag_node_count(t);
    blip2_llm_generate(&m, t, features, (blip2_text){ 0 }, prompt, &options, out);
    ck_assert(ag_is_training(t));
    ck_assert(ag_record_on(t, true));
    for (int b = 0; b < B; b++)
        ck_assert(out[b].score == calm[b].score);
    ck_assert_int_eq(ag_node_count(t), nodes);
    ck_assert_int_le(ag_here(t).used - before, B * 64);    /* the ids */
}
END_TEST

static void write_in(void *ctx)
{
    (void)ctx;
    write_by(true, features, prompt);
}

START_TEST(more_tokens_than_positions_are_refused)
{
    error e;
    options.max_length = 19;                               /* 4 queries, 3 of the prompt, 17 of 18 new ones */
    write_by(true, features, prompt);
    options.max_length = 20;
    ck_assert(!ag_try(t, write_in, NULL, &e));
    ck_assert_str_eq(e.text,
                     "generate: 7 tokens before and up to 19 new ones: the language model has 24 positions");
}
END_TEST

Suite *suite_generate(void)
{
    Suite *s = suite_create("generate");
    TCase *c = tcase_create("generate");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_loop_test(c, cached_decoding_is_uncached_decoding, 0, 4);
    tcase_add_loop_test(c, every_sampled_text_begins_from_its_own_logits, 0, 2);
    tcase_add_loop_test(c, one_beam_is_greedy, 0, 2);
    tcase_add_loop_test(c, pictures_are_captioned_alone, 0, 4);
    tcase_add_loop_test(c, padding_on_the_left_of_a_prompt_is_not_read, 0, 2);
    tcase_add_test(c, no_prompt_or_no_picture_will_do);
    tcase_add_test(c, the_tape_is_left_as_it_was);
    tcase_add_test(c, more_tokens_than_positions_are_refused);
    suite_add_tcase(s, c);
    return s;
}
