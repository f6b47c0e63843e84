/* test_generate.c - greedy and beam search: over a made-up language whose best sentence is known, over OPT,
 * and over the Q-Former's own head. */
#include "blip2/internal.h"
#include "tests/tests.h"
#include <math.h>
#include <string.h>

enum { MOST = 16 };                                        /* ids of a sequence here */

static tape *t;
static blip2_generate options;

static void setup(void)
{
    t = ag_tape_new();
    options = (blip2_generate){ .beams = 1, .max_length = 8, .min_length = 1, .returns = 1,
                                .length_penalty = 1, .repetition_penalty = 1 };
}

static void teardown(void) { ag_tape_free(t); }

static bool same(const blip2_sequence *a, const blip2_sequence *b)
{
    return a->length == b->length && !memcmp(a->ids, b->ids, (size_t)a->length * sizeof *a->ids);
}

/* ---- a made-up language: the logits are drawn anew for every beginning of a sentence ------------------- */
enum { WORDS = 5, START = 7, EOS = 4 };

typedef struct speaker {
    long B, beams, wasted;             /* wasted: numbers allocated in each step, to be given back */
    uint64_t language;
    int *said, length;                 /* (B x beams, MOST) */
    real last_logit;                   /* put in place of the last word's first logit, if not 0 */
} speaker;

static void logits_after(uint64_t language, long text, const int *ids, int n, real *z)
{
    uint64_t key = ag_mix(language, (uint64_t)text);
    for (int i = 0; i < n; i++)
        key = ag_mix(key, (uint64_t)ids[i]);
    for (int v = 0; v < WORDS; v++)
        z[v] = (real)(1.5 * ag_normal(key, (uint64_t)v));
}

static tensor *speak(speaker *s, tape *on, long rows)
{
    tensor *z = ag_new(on, DIMS(rows, WORDS));
    for (long r = 0; r < rows; r++)
        logits_after(s->language, r * s->B / rows, s->said + r * MOST, s->length, z->data + r * WORDS);
    if (s->last_logit != 0)
        z->data[0] = s->last_logit;
    return z;
}

static tensor *speak_first(void *context, tape *on)
{
    speaker *s = context;
    s->length = 0;
    return speak(s, on, s->B);
}

static tensor *speak_next(void *context, tape *on, const int *parent, const int *ids)
{
    speaker *s = context;
    long rows = s->B * s->beams;
    int *before = ag_alloc(on, rows * MOST * (long)sizeof *before);
    memcpy(before, s->said, (size_t)(rows * MOST) * sizeof *before);
    for (long r = 0; r < rows; r++) {
        memcpy(s->said + r * MOST, before + parent[r] * MOST, MOST * sizeof *before);
        s->said[r * MOST + s->length] = ids[r];
    }
    s->length++;
    if (s->wasted)
        ag_alloc_real(on, s->wasted);
    return speak(s, on, rows);
}

static blip2_sequence *search(speaker *s)
{
    s->beams = options.beams;
    s->said = ag_alloc(t, s->B * s->beams * MOST * (long)sizeof *s->said);
    memset(s->said, 0, (size_t)(s->B * s->beams * MOST) * sizeof *s->said);
    blip2_sequence *out = ag_alloc(t, s->B * options.returns * (long)sizeof *out);
    generate_room(t, s->B, &options, out);
    generate_search(&(decoder){ START, EOS, s, speak_first, speak_next }, t, s->B, &options, out);
    return out;
}

/* log p of a sentence; `ids` ends with EOS or has as many ids as there is room for. */
static double log_probability(const speaker *s, long text, const int *ids, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        real z[WORDS];
        double total = 0;
        logits_after(s->language, text, ids, i, z);
        for (int v = 0; v < WORDS; v++)
            total += exp((double)z[v]);
        sum += (double)z[ids[i]] - log(total);
    }
    return sum;
}

/* The best of all sentences that begin with the n given ids, by the value that hypotheses have. */
static double best_of_all(const speaker *s, long text, int *ids, int n, int *best, int *length)
{
    int new_ids = options.max_length - 1;
    bool ended = n && ids[n - 1] == EOS;
    if (ended || n == new_ids) {
        memcpy(best, ids, (size_t)n * sizeof *ids);
        *length = n;
        return log_probability(s, text, ids, n) / pow(1 + n - ended, options.length_penalty);
    }
    double highest = -INFINITY;
    for (int v = 0; v < WORDS; v++) {
        int found[MOST], found_length = 0;
        ids[n] = v;
        double value = best_of_all(s, text, ids, n + 1, found, &found_length);
        if (value > highest) {
            highest = value;
            *length = found_length;
            memcpy(best, found, (size_t)found_length * sizeof *found);
        }
    }
    return highest;
}

START_TEST(a_wide_beam_finds_the_best_of_all_sentences)
{
    speaker s = { .B = 3, .language = (uint64_t)_i };
    options.beams = 64;                                    /* all live sentences of 3 words */
    options.max_length = 5;
    options.length_penalty = (const double[]){ 0, 1, -1, 0.5 }[_i % 4];
    blip2_sequence *out = search(&s);
    for (long b = 0; b < s.B; b++) {
        int ids[MOST], best[MOST], length = 0;
        double value = best_of_all(&s, b, ids, 0, best, &length);
        ck_assert(same(&out[b], &(blip2_sequence){ best, length, 0 }));
        ck_assert_double_eq_tol(out[b].score, value, TINY_ROUNDING);
    }
}
END_TEST

START_TEST(greedy_search_takes_the_most_likely_word)
{
    speaker s = { .B = 4, .language = (uint64_t)(100 + _i) };
    blip2_sequence *out = search(&s);
    for (long b = 0; b < s.B; b++) {
        int ids[MOST], n = 0;
        do {
            real z[WORDS];
            logits_after(s.language, b, ids, n, z);
            ids[n] = 0;
            for (int v = 1; v < WORDS; v++)
                if (z[v] > z[ids[n]])
                    ids[n] = v;
        } while (ids[n++] != EOS && n < options.max_length - 1);
        ck_assert(same(&out[b], &(blip2_sequence){ ids, n, 0 }));
    }
}
END_TEST

START_TEST(several_results_come_best_first)
{
    speaker s = { .B = 2, .language = 11 };
    options.beams = options.returns = 5;
    blip2_sequence *out = search(&s);
    for (int i = 0; i < 10; i++) {
        ck_assert(i % 5 == 0 || out[i].score <= out[i - 1].score);
        for (int j = i / 5 * 5; j < i; j++)
            ck_assert(!same(&out[i], &out[j]));
        bool ended = out[i].ids[out[i].length - 1] == EOS;
        double sum = log_probability(&s, i / 5, out[i].ids, out[i].length);
        ck_assert_double_eq_tol(out[i].score, sum / (1 + out[i].length - ended), TINY_ROUNDING);
    }
}
END_TEST

START_TEST(no_sentence_ends_before_its_least_length)
{
    speaker s = { .B = 6, .language = 3 };
    options.beams = _i ? 3 : 1;
    bool short_before = false;
    blip2_sequence *out = search(&s);
    for (long b = 0; b < s.B; b++)
        short_before |= out[b].length < 5;
    ck_assert(short_before);
    options.min_length = 6;                                /* the start, five words */
    out = search(&s);
    for (long b = 0; b < s.B; b++)
        ck_assert_int_ge(out[b].length, 5);
}
END_TEST

START_TEST(lengths_count_the_start)
{
    speaker s = { .B = 1, .language = 5 };
    options.min_length = options.max_length = 8;
    ck_assert_int_eq(search(&s)->length, 7);
    options.max_new_tokens = 3;
    ck_assert_int_eq(search(&s)->length, 3);
}
END_TEST

/* With a penalty beyond all bounds no word is said twice, as long as there is another. */
START_TEST(a_repetition_penalty_forbids_words_said_before)
{
    speaker s = { .B = 5, .language = 8 };
    options.beams = _i ? 3 : 1;
    options.max_length = 5;
    options.min_length = 5;                                /* no eos: four words are left for four places */
    options.repetition_penalty = _i ? 1e4 : 1e9;
    blip2_sequence *out = search(&s);
    for (long b = 0; b < s.B; b++)
        for (int i = 0; i < out[b].length; i++)
            for (int j = 0; j < i; j++)
                ck_assert(_i ? out[b].ids[i] != out[b].ids[j] : out[b].ids[i] != out[b].ids[j] || i == 3);
}
END_TEST

START_TEST(a_step_leaves_no_memory_behind)
{
    speaker s = { .B = 2, .language = 1, .wasted = 1 << 20 };
    options.beams = 3;
    options.max_length = options.min_length = 3;
    search(&s);
    long few = ag_bytes(t);
    options.max_length = options.min_length = MOST;
    search(&s);
    ck_assert_int_eq(ag_bytes(t), few);
}
END_TEST

static void search_in(void *ctx) { search(ctx); }

START_TEST(logits_that_are_no_numbers_are_refused)
{
    error e;
    speaker s = { .B = 2, .language = 1, .last_logit = NAN };
    ck_assert(!ag_try(t, search_in, &s, &e));
    ck_assert_str_eq(e.text, "generate: the logits of text 0 are not finite");
}
END_TEST

START_TEST(more_results_than_beams_are_refused)
{
    error e;
    speaker s = { .B = 1 };
    options.returns = 2;
    ck_assert(!ag_try(t, search_in, &s, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "generate: 1 beams, 2 returned"));
}
END_TEST

/* ---- models -------------------------------------------------------------------------------------------- */
enum { B = 3, N = 5, V = 23 };

static blip2_model m;
static tensor *features;

static void setup_model(void)
{
    setup();
    error e;
    blip2_config c = tiny_config();
    c.llm = BLIP2_LLM_OPT;
    c.opt = (blip2_opt_config){ .vocab = V, .width = 16, .layers = 2, .heads = 4, .hidden = 24,
                                .positions = 24, .dropout = 0.1, .init_std = 0.5, .bos = 2, .eos = 4,
                                .pad = 1 };
    blip2_model_init(&m, nn_store_new(21), &c);
    ck_assert_msg(nn_build(m.store, false, &e), "%s", e.text);
    features = tiny_normal(t, 6, DIMS(B, N, c.qformer.memory_width));
}

static void teardown_model(void)
{
    nn_store_free(m.store);
    teardown();
}

static const int prompt_ids[B * 3] = { 2, 9, 11, 2, 9, 11, 2, 9, 11 };
static const unsigned char ones[B * 3] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };
static const blip2_text prompt = { B, 3, prompt_ids, ones };

static blip2_sequence *write_by(bool opt, tensor *of, blip2_text text)
{
    blip2_sequence *out = ag_alloc(t, of->dim[0] * options.returns * (long)sizeof *out);
    if (opt)
        blip2_opt_generate(&m, t, of, (blip2_text){ 0 }, text, &options, out);
    else
        blip2_itg_generate(&m, t, of, &options, out);
    return out;
}

static tensor *picture(long b) { return ag_slice(t, features, 0, b, 1); }

/* The logits of the word after `ids`, from the whole sequence at once, without a cache. */
static const real *logits_uncached(bool opt, long b, const int *ids, long n)
{
    long Q = m.config.qformer.queries;
    const unsigned char all[2 * MOST] = { [0 ... 2 * MOST - 1] = 1 };
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
    int ids[2 * MOST], n = opt ? 3 : 1;
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
    blip2_opt_generate(&m, t, NULL, (blip2_text){ 0 }, prompt, &options, out);
    ck_assert(same(&out[0], &out[2]));
}
END_TEST

START_TEST(the_tape_is_left_as_it_was)
{
    blip2_sequence out[B];
    options.beams = 3;
    ag_training(t, true);
    long before = ag_here(t).used, nodes = ag_node_count(t);
    blip2_opt_generate(&m, t, features, (blip2_text){ 0 }, prompt, &options, out);
    ck_assert(ag_is_training(t));
    ck_assert(ag_record_on(t, true));
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

static void add_searches(TCase *c)
{
    tcase_add_loop_test(c, a_wide_beam_finds_the_best_of_all_sentences, 0, 8);
    tcase_add_loop_test(c, greedy_search_takes_the_most_likely_word, 0, 4);
    tcase_add_test(c, several_results_come_best_first);
    tcase_add_loop_test(c, no_sentence_ends_before_its_least_length, 0, 2);
    tcase_add_test(c, lengths_count_the_start);
    tcase_add_loop_test(c, a_repetition_penalty_forbids_words_said_before, 0, 2);
    tcase_add_test(c, a_step_leaves_no_memory_behind);
    tcase_add_test(c, logits_that_are_no_numbers_are_refused);
    tcase_add_test(c, more_results_than_beams_are_refused);
}

static void add_models(TCase *c)
{
    tcase_add_loop_test(c, cached_decoding_is_uncached_decoding, 0, 4);
    tcase_add_loop_test(c, one_beam_is_greedy, 0, 2);
    tcase_add_loop_test(c, pictures_are_captioned_alone, 0, 4);
    tcase_add_loop_test(c, padding_on_the_left_of_a_prompt_is_not_read, 0, 2);
    tcase_add_test(c, no_prompt_or_no_picture_will_do);
    tcase_add_test(c, the_tape_is_left_as_it_was);
    tcase_add_test(c, more_tokens_than_positions_are_refused);
}

Suite *suite_generate(void)
{
    Suite *s = suite_create("generate");
    TCase *searches = tcase_create("search"), *models = tcase_create("models");
    tcase_add_checked_fixture(searches, setup, teardown);
    tcase_add_checked_fixture(models, setup_model, teardown_model);
    tcase_set_timeout(searches, TEST_SECONDS);
    tcase_set_timeout(models, TEST_SECONDS);
    add_searches(searches);
    add_models(models);
    suite_add_tcase(s, searches);
    suite_add_tcase(s, models);
    return s;
}
