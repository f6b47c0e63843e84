/* test_search.c - greedy and beam search over a made-up language, whose best sentence is known. */
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

/* The logits are drawn anew for every beginning of a sentence. */
enum { WORDS = 5, START = 3, EOS = 4 };

typedef struct speaker {
    long B, beams, wasted;             /* wasted: numbers allocated in each step, to be given back */
    uint64_t language;
    const double (*script)[WORDS];     /* instead of a language: probabilities by place, the last ones stay */
    int places;
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
    for (long i = 0; s->script && i < z->size; i++)
        z->data[i] = (real)log(s->script[s->length < s->places ? s->length : s->places - 1][i % WORDS]);
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

/* Words said before, the start among them, are penalised once, however often they were said. */
START_TEST(greedy_search_takes_the_most_likely_word)
{
    speaker s = { .B = 4, .language = (uint64_t)(100 + _i) };
    options.repetition_penalty = _i % 2 ? 1.3 : 1;
    blip2_sequence *out = search(&s);
    for (long b = 0; b < s.B; b++) {
        int ids[MOST], n = 0;
        bool said[WORDS] = { [START] = true };
        do {
            real z[WORDS];
            logits_after(s.language, b, ids, n, z);
            for (int v = 0; v < WORDS; v++)
                z[v] = (real)(!said[v] ? z[v] : z[v] < 0 ? z[v] * options.repetition_penalty
                                                         : z[v] / options.repetition_penalty);
            ids[n] = 0;
            for (int v = 1; v < WORDS; v++)
                if (z[v] > z[ids[n]])
                    ids[n] = v;
            said[ids[n]] = true;
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
    options.length_penalty = -1;                           /* short ones are liked */
    bool as_short = false, short_before = false;
    blip2_sequence *out = search(&s);
    for (long b = 0; b < s.B; b++)
        short_before |= out[b].length < 4;
    ck_assert(short_before);
    options.min_length = 4;                                /* the start, three words; then it may end */
    out = search(&s);
    for (long b = 0; b < s.B; b++) {
        ck_assert_int_ge(out[b].length, 4);
        as_short |= out[b].length == 4;
    }
    ck_assert(as_short);
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

/* Log-probabilities are negative: a penalty beyond all bounds forbids what was said, the start included. */
START_TEST(a_repetition_penalty_forbids_words_said_before)
{
    speaker s = { .B = 5, .language = 8 };
    options.beams = 3;
    options.max_length = options.min_length = 4;           /* three places; but eos and start, three words */
    options.repetition_penalty = 1e4;
    blip2_sequence *out = search(&s);
    for (long b = 0; b < s.B; b++)
        for (int i = 0; i < 3; i++) {
            ck_assert_int_lt(out[b].ids[i], START);
            for (int j = 0; j < i; j++)
                ck_assert_int_ne(out[b].ids[i], out[b].ids[j]);
        }
}
END_TEST

/* Two beams. At the second place [0 eos] comes first, [0 0] second, [1 eos] third and is dropped, though
 * nothing that follows is as likely.                                                                       */
START_TEST(an_end_below_the_beams_is_no_hypothesis)
{
    static const double script[][WORDS] = { { 0.7, 0.25, 0.03, 0.01, 0.01 }, { 0.4, 0.04, 0.03, 0.03, 0.5 },
                                            { 0.25, 0.25, 0.245, 0.245, 0.01 } };
    speaker s = { .B = 1, .script = script, .places = 3 };
    options.length_penalty = 0;
    options.beams = options.returns = 2;
    blip2_sequence *out = search(&s);
    ck_assert(same(&out[0], &(blip2_sequence){ (int[]){ 0, EOS }, 2, 0 }));
    ck_assert_int_gt(out[1].length, 2);
}
END_TEST

/* Two beams. Behind the second place [eos] and [0 eos] are known, worth -0.69 and -0.58. The best live sum of
 * the third place is -2.35: over the 4 ids that it would have, -0.59, it may still be better than the worst,
 * and [0 0 0 eos] is: -0.60. Behind the fifth place nothing can be, and the search ends. */
START_TEST(a_search_ends_when_nothing_better_can_come)
{
    static const double script[][WORDS] = {
        { 0.45, 0.02, 0.02, 0.01, 0.5 }, { 0.25, 0.02, 0.02, 0.01, 0.7 }, { 0.85, 0.02, 0.02, 0.01, 0.1 },
        { 0.03, 0.01, 0.005, 0.005, 0.95 }, { 0.6, 0.1, 0.1, 0.1, 0.1 } };
    speaker s = { .B = 1, .script = script, .places = 5 };
    options.beams = options.returns = 2;
    options.max_length = 12;
    blip2_sequence *out = search(&s);
    ck_assert(same(&out[0], &(blip2_sequence){ (int[]){ 0, EOS }, 2, 0 }));
    ck_assert(same(&out[1], &(blip2_sequence){ (int[]){ 0, 0, 0, EOS }, 4, 0 }));
    ck_assert_int_eq(s.length, 4);                         /* words asked for after the first */
}
END_TEST

START_TEST(the_longest_length_divides_a_sum_as_the_reference_counts)
{
    static const double script[][WORDS] = { { 0.6, 0.1, 0.1, 0.1, 0.1 } };
    for (int beams = 1; beams <= 2; beams++)
        for (int hf = 0; hf <= 1; hf++) {
            speaker s = { .B = 1, .script = script, .places = 1 };
            options.beams = beams;
            options.max_new_tokens = 3;
            options.reference = hf ? BLIP2_HF : BLIP2_LAVIS;
            blip2_sequence *out = search(&s);
            ck_assert(same(&out[0], &(blip2_sequence){ (int[]){ 0, 0, 0 }, 3, 0 }));
            ck_assert_double_eq_tol(out[0].score, 3 * log(0.6) / (hf ? 3 : 4), 1e-6);
        }
}
END_TEST

/* Lower ids come first as a sentence grows; of equal hypotheses the one that came last is returned first. */
START_TEST(equals_have_an_order)
{
    static const double script[][WORDS] = { { 0.2, 0.2, 0.2, 0.2, 0.2 } };
    speaker s = { .B = 1, .script = script, .places = 1 };
    options.beams = options.returns = 3;
    options.max_length = 3;
    blip2_sequence *out = search(&s);
    for (int i = 0; i < 3; i++)
        ck_assert(same(&out[i], &(blip2_sequence){ (int[]){ 0, 2 - i }, 2, 0 }));
}
END_TEST

START_TEST(rows_of_a_cache_become_other_rows)
{
    enum { ROWS = 4, ROOM = 3, WIDTH = 2, FILLED = 2, FROM = 1 };
    ag_cache c = ag_cache_new(t, ROWS, ROOM, WIDTH);
    for (int i = 0; i < ROWS * ROOM * WIDTH; i++)
        c.v[i] = -(c.k[i] = (real)i);
    c.length = FILLED;
    static const int source[ROWS] = { 1, 0, 3, 3 };
    long used = ag_here(t).used;
    ag_cache_pick(t, &c, ROWS, source, FROM);
    ck_assert_int_eq(ag_here(t).used, used);
    for (int i = 0; i < ROWS * ROOM * WIDTH; i++) {
        int row = i / (ROOM * WIDTH), place = i / WIDTH % ROOM;
        int from = place >= FROM && place < FILLED ? source[row] : row;
        ck_assert(c.k[i] == from * ROOM * WIDTH + i % (ROOM * WIDTH) && c.v[i] == -c.k[i]);
    }
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

Suite *suite_search(void)
{
    Suite *s = suite_create("search");
    TCase *c = tcase_create("search");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_loop_test(c, a_wide_beam_finds_the_best_of_all_sentences, 0, 8);
    tcase_add_loop_test(c, greedy_search_takes_the_most_likely_word, 0, 4);
    tcase_add_test(c, several_results_come_best_first);
    tcase_add_loop_test(c, no_sentence_ends_before_its_least_length, 0, 2);
    tcase_add_test(c, lengths_count_the_start);
    tcase_add_test(c, a_repetition_penalty_forbids_words_said_before);
    tcase_add_test(c, an_end_below_the_beams_is_no_hypothesis);
    tcase_add_test(c, a_search_ends_when_nothing_better_can_come);
    tcase_add_test(c, the_longest_length_divides_a_sum_as_the_reference_counts);
    tcase_add_test(c, equals_have_an_order);
    tcase_add_test(c, rows_of_a_cache_become_other_rows);
    tcase_add_test(c, a_step_leaves_no_memory_behind);
    tcase_add_test(c, logits_that_are_no_numbers_are_refused);
    tcase_add_test(c, more_results_than_beams_are_refused);
    suite_add_tcase(s, c);
    return s;
}
