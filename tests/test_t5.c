/* test_t5.c - T5: beside a plain second writing of it, buckets, padding, caches, dropout, the edges. */
#include "tests/tests.h"
#include <math.h>
#include <string.h>

enum { B = 3, S = 6, T = 5 };

static tape *t;
static nn_store *store;
static blip2_t5 m;
static blip2_t5_config config;
static tensor *read;                                       /* (B,S,L) what the encoder is given */
static const int said[B * T] = { 0, 9, 3, 4, 12,  0, 5, 6, 2, 7,  0, 8, 18, 11, 3 };
static const unsigned char is_read[B * S] = { 1, 1, 1, 1, 1, 1,  1, 1, 1, 0, 0, 0,  1, 1, 1, 1, 0, 0 };

static void make(void)
{
    error e;
    ag_reset(t);
    nn_store_free(store);
    store = nn_store_new(5);
    blip2_t5_init(&m, nn_sub(nn_root(store), "t5_model"), &config);
    ck_assert_msg(nn_build(store, true, &e), "%s", e.text);
    tiny_shake(store);
    read = tiny_normal(t, 8, DIMS(B, S, config.width));
}

static void setup(void)
{
    t = ag_tape_new();
    store = NULL;
    config = tiny_t5_config();
    make();
    ag_record_on(t, false);
}

static void teardown(void)
{
    nn_store_free(store);
    ag_tape_free(t);
}

static tensor *decoded(tensor *encoded, const unsigned char *mask, const int *ids, long rows, long length)
{
    nn_kv *memory = ag_alloc(t, config.decoder_layers * (long)sizeof *memory);
    blip2_t5_memory(&m, t, encoded, memory);
    return blip2_t5_decode(&m, t, &(blip2_t5_pass){ .embeddings = blip2_t5_embed(&m, t, ids, rows, length),
        .memory = memory, .memory_mask = mask });
}

/* ---- relative positions -------------------------------------------------------------------------------- */
/* Where each bucket of the published size begins: spec of transformers, seen in its output. */
START_TEST(published_buckets_begin_where_the_reference_has_them)
{
    static const int both[] = { 8, 12, 16, 23, 32, 46, 64, 91, 10000 };
    static const int back[] = { 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113, 10000 };
    config.buckets = 32;
    config.max_distance = 128;
    for (int d = 0; d < 8; d++)
        ck_assert_int_eq(blip2_t5_bucket(&config, false, -d), d);
    for (int d = 0; d < 16; d++)
        ck_assert_int_eq(blip2_t5_bucket(&config, true, -d), d);
    for (int k = 0; k < 8; k++)
        for (int d = both[k]; d < both[k + 1]; d++) {
            ck_assert_int_eq(blip2_t5_bucket(&config, false, -d), 8 + k);
            ck_assert_int_eq(blip2_t5_bucket(&config, false, d), 16 + 8 + k);
        }
    for (int k = 0; k < 16; k++)
        for (int d = back[k]; d < back[k + 1]; d++)
            ck_assert_int_eq(blip2_t5_bucket(&config, true, -d), 16 + k);
}
END_TEST

START_TEST(what_lies_ahead_of_a_decoder_is_in_the_bucket_of_itself)
{
    for (long d = 0; d < 300; d++)
        ck_assert_int_eq(blip2_t5_bucket(&config, true, d), 0);
    for (long d = 1; d < 300; d++)
        ck_assert_int_ge(blip2_t5_bucket(&config, false, d), config.buckets / 2);
}
END_TEST

/* ---- beside a plain second writing --------------------------------------------------------------------- */
enum { WIDE = 64 };                    /* rows and widths at most */
typedef double grid[WIDE][WIDE];

static void norm(grid y, grid x, long rows, const nn_rms_norm *n)
{
    for (long i = 0; i < rows; i++) {
        double square = 0;
        for (long c = 0; c < config.width; c++)
            square += x[i][c] * x[i][c];
        for (long c = 0; c < config.width; c++)
            y[i][c] = x[i][c] / sqrt(square / (double)config.width + n->eps) * (double)n->weight->data[c];
    }
}

static void times(grid y, grid x, long rows, const tensor *weight)         /* y = x W' */
{
    for (long i = 0; i < rows; i++)
        for (long n = 0; n < weight->dim[0]; n++) {
            y[i][n] = 0;
            for (long k = 0; k < weight->dim[1]; k++)
                y[i][n] += x[i][k] * (double)weight->data[n * weight->dim[1] + k];
        }
}

/* x += out(attention(n, memory)): bias NULL in cross-attention; seen: how many of memory's rows are real. */
static void look(grid x, grid n, long rows, grid memory, long seen, const nn_attention *a, const tensor *bias,
                 bool decodes)
{
    static grid q, k, v, y, z;
    double p[WIDE];
    times(q, n, rows, a->query.weight);
    times(k, memory, seen, a->key.weight);
    times(v, memory, seen, a->value.weight);
    for (long h = 0; h < config.heads; h++)
        for (long i = 0; i < rows; i++) {
            long end = bias && decodes ? i + 1 : seen, d = config.head_width;
            double sum = 0;
            for (long j = 0; j < end; j++) {
                long bucket = blip2_t5_bucket(&config, decodes, j - i);
                double s = bias ? (double)bias->data[bucket * config.heads + h] : 0;
                for (long c = h * d; c < (h + 1) * d; c++)
                    s += q[i][c] * k[j][c];
                sum += p[j] = exp(s);
            }
            for (long c = h * d; c < (h + 1) * d; c++) {
                y[i][c] = 0;
                for (long j = 0; j < end; j++)
                    y[i][c] += p[j] / sum * v[j][c];
            }
        }
    times(z, y, rows, a->out.weight);
    for (long i = 0; i < rows; i++)
        for (long c = 0; c < config.width; c++)
            x[i][c] += z[i][c];
}

static double gelu(double x)
{
    return config.gelu == BLIP2_GELU_ERF ? x * (1 + erf(x / sqrt(2))) / 2
         : x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))) / 2;
}

static void stack(grid x, long rows, const blip2_t5_stack *k, grid memory, long seen)
{
    static grid n, gate, up;
    for (long i = 0; i < k->layers; i++) {
        const blip2_t5_block *b = &k->blocks[i];
        norm(n, x, rows, &b->self_norm);
        look(x, n, rows, n, rows, &b->self, k->bias, k->decodes);
        if (k->decodes) {
            norm(n, x, rows, &b->cross_norm);
            look(x, n, rows, memory, seen, &b->cross, NULL, true);
        }
        norm(n, x, rows, &b->norm);
        times(gate, n, rows, b->gate.weight);
        times(up, n, rows, b->up.weight);
        for (long r = 0; r < rows; r++)
            for (long c = 0; c < config.hidden; c++)
                gate[r][c] = gelu(gate[r][c]) * up[r][c];
        times(n, gate, rows, b->down.weight);
        for (long r = 0; r < rows; r++)
            for (long c = 0; c < config.width; c++)
                x[r][c] += n[r][c];
    }
    norm(n, x, rows, &k->norm);
    memcpy(x, n, sizeof n);
}

/* Both forms of the gate, an own head and a tied one; the rows of row b that are not padding. */
START_TEST(logits_are_those_of_a_plain_second_writing)
{
    static grid x, y, z;
    config.gelu = _i % 2 ? BLIP2_GELU_TANH : BLIP2_GELU_ERF;
    config.tied = _i / 2;
    config.eps = 0.1;                                      /* large enough to be missed */
    make();
    tensor *encoded = blip2_t5_encode(&m, t, read, is_read, NULL);         /* (B,S,L) */
    tensor *logits = blip2_t5_logits(&m, t, decoded(encoded, is_read, said, B, T));        /* (B,T,V) */
    for (long b = 0; b < B; b++) {
        long real_rows = 0, L = config.width;
        while (real_rows < S && is_read[b * S + real_rows])
            real_rows++;
        for (long i = 0; i < real_rows; i++)
            for (long c = 0; c < L; c++)
                x[i][c] = (double)read->data[(b * S + i) * L + c];
        for (long i = 0; i < T; i++)
            for (long c = 0; c < L; c++)
                y[i][c] = (double)m.tokens.weight->data[said[b * T + i] * L + c];
        stack(x, real_rows, &m.encoder, NULL, 0);
        stack(y, T, &m.decoder, x, real_rows);
        times(z, y, T, m.head);
        for (long i = 0; i < T; i++)
            for (long v = 0; v < config.vocab; v++)
                ck_assert_double_eq_tol((double)logits->data[(b * T + i) * config.vocab + v],
                                        z[i][v] / (config.tied ? sqrt((double)L) : 1), 50 * TINY_ROUNDING);
    }
}
END_TEST

/* ---- padding, order, caches ---------------------------------------------------------------------------- */
START_TEST(what_padding_holds_does_not_matter)
{
    tensor *one = decoded(blip2_t5_encode(&m, t, read, is_read, NULL), is_read, said, B, T);
    tensor *other = tiny_normal(t, 99, DIMS(B, S, config.width));
    for (long i = 0; i < B * S; i++)
        if (is_read[i])
            memcpy(other->data + i * config.width, read->data + i * config.width,
                   (size_t)config.width * sizeof(real));
    tensor *two = decoded(blip2_t5_encode(&m, t, other, is_read, NULL), is_read, said, B, T);
    ck_assert(tiny_distance(one, two) == 0);
    tensor *bare = decoded(blip2_t5_encode(&m, t, read, NULL, NULL), NULL, said, B, T);
    ck_assert_double_gt(tiny_distance(one, bare), 1e-3);
}
END_TEST

START_TEST(the_encoder_looks_both_ways_and_the_decoder_back)
{
    int changed[B * T];
    memcpy(changed, said, sizeof said);
    changed[T - 1] = 1;                                    /* the last word of text 0 */
    tensor *encoded = blip2_t5_encode(&m, t, read, NULL, NULL), *now = decoded(encoded, NULL, said, B, T);
    tensor *then = decoded(encoded, NULL, changed, B, T);
    long L = config.width;
    ck_assert(!memcmp(now->data, then->data, (size_t)((T - 1) * L) * sizeof(real)));
    ck_assert(memcmp(now->data + (T - 1) * L, then->data + (T - 1) * L, (size_t)L * sizeof(real)));
    read->data[(S - 1) * L] += 1;                  /* the last word that the encoder reads of text 0 */
    tensor *moved = blip2_t5_encode(&m, t, read, NULL, NULL);
    ck_assert(encoded->data[0] != moved->data[0]);
}
END_TEST

/* Token by token, beams side by side that read one row of what was encoded. */
START_TEST(a_cache_gives_what_the_whole_gives)
{
    enum { BEAMS = 2, ROWS = B * BEAMS };
    long L = config.width;
    nn_kv *memory = ag_alloc(t, config.decoder_layers * (long)sizeof *memory);
    ag_cache *cache = ag_alloc(t, config.decoder_layers * (long)sizeof *cache);
    tensor *encoded = blip2_t5_encode(&m, t, read, is_read, NULL);
    tensor *whole = decoded(encoded, is_read, said, B, T);
    int row[ROWS], ids[ROWS];
    blip2_t5_memory(&m, t, encoded, memory);
    for (long i = 0; i < config.decoder_layers; i++)
        cache[i] = ag_cache_new(t, ROWS, T, config.heads * config.head_width);
    for (long i = 0; i < T; i++) {
        for (int r = 0; r < ROWS; r++) {
            row[r] = r / BEAMS;
            ids[r] = said[row[r] * T + i];
        }
        tensor *x = blip2_t5_embed(&m, t, ids, ROWS, 1);
        tensor *y = blip2_t5_decode(&m, t, &(blip2_t5_pass){ .embeddings = x, .memory = memory,
            .memory_mask = is_read, .memory_row = row, .cache = cache });  /* (ROWS,1,L) */
        for (long k = 0; k < config.decoder_layers; k++)
            cache[k].length++;
        for (long r = 0; r < ROWS; r++)
            for (long c = 0; c < L; c++)
                ck_assert_double_eq_tol((double)y->data[r * L + c],
                                        (double)whole->data[(row[r] * T + i) * L + c], 20 * TINY_ROUNDING);
    }
}
END_TEST

START_TEST(probabilities_are_given_and_change_nothing)
{
    tensor *probs[8] = { NULL }, *of_self[8] = { NULL }, *of_cross[8] = { NULL };
    tensor *plain = blip2_t5_encode(&m, t, read, is_read, NULL);
    tensor *encoded = blip2_t5_encode(&m, t, read, is_read, probs);
    ck_assert(tiny_distance(plain, encoded) == 0);
    nn_kv *memory = ag_alloc(t, config.decoder_layers * (long)sizeof *memory);
    blip2_t5_memory(&m, t, encoded, memory);
    tensor *y = blip2_t5_decode(&m, t, &(blip2_t5_pass){ .embeddings = blip2_t5_embed(&m, t, said, B, T),
        .memory = memory, .memory_mask = is_read, .self_probs = of_self, .cross_probs = of_cross });
    ck_assert(tiny_distance(y, decoded(encoded, is_read, said, B, T)) == 0);
    for (long i = 0; i < config.decoder_layers; i++) {
        ck_assert_str_eq(SHAPE(of_self[i]), "(3,3,5,5)");
        ck_assert_str_eq(SHAPE(of_cross[i]), "(3,3,5,6)");
        ck_assert(of_self[i]->data[1] == 0 && of_cross[i]->data[of_cross[i]->size / B + 3] == 0);
    }
    for (long i = 0; i < config.layers; i++)
        ck_assert_str_eq(SHAPE(probs[i]), "(3,3,6,6)");
}
END_TEST

/* ---- parameters ---------------------------------------------------------------------------------------- */
START_TEST(no_parameter_is_a_bias_and_tables_have_all_their_names)
{
    static const char *const same[] = { "t5_model.encoder.embed_tokens.weight",
                                        "t5_model.decoder.embed_tokens.weight" };
    for (long i = 0; i < store->count; i++)
        ck_assert_msg(!strstr(store->entries[i].name, ".bias"), "%s", store->entries[i].name);
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_eq(nn_find(store, same[i]), nn_find(store, "t5_model.shared.weight"));
    ck_assert_ptr_ne(nn_find(store, "t5_model.lm_head.weight"), nn_find(store, "t5_model.shared.weight"));
    config.tied = true;
    make();
    ck_assert_ptr_eq(nn_find(store, "t5_model.lm_head.weight"), nn_find(store, "t5_model.shared.weight"));
    ck_assert_ptr_nonnull(nn_find(store, "t5_model.decoder.block.2.layer.1.EncDecAttention.q.weight"));
    ck_assert_ptr_nonnull(nn_find(store, "t5_model.decoder.block.2.layer.2.DenseReluDense.wi_1.weight"));
    ck_assert_ptr_nonnull(nn_find(store, "t5_model.encoder.block.1.layer.1.DenseReluDense.wo.weight"));
    ck_assert_ptr_null(nn_find(store, "t5_model.encoder.block.1.layer.0.SelfAttention."
                               "relative_attention_bias.weight"));
}
END_TEST

/* FLAN-T5 XL of blip2-flan-t5-xl: 2.85 G parameters, the count of its published file. */
START_TEST(the_defaults_are_flan_t5_xl)
{
    nn_store *big = nn_store_new(1);
    blip2_t5 xl;
    blip2_t5_config c = blip2_config_default().t5;
    blip2_t5_init(&xl, nn_sub(nn_root(big), "t5_model"), &c);
    long all = 0;
    for (long i = 0; i < big->count; i++)
        all += big->entries[i].alias_of ? 0 : big->entries[i].value->size;
    ck_assert_int_eq(all, 2849757184L);
    nn_store_free(big);
}
END_TEST

/* ---- dropout ------------------------------------------------------------------------------------------- */
static long dropouts(void)
{
    long n = 0;
    for (long i = 0; i < ag_node_count(t); i++)
        n += !strcmp(ag_node_at(t, i)->op->name, "dropout");
    return n;
}

START_TEST(dropout_stands_where_transformers_has_it)
{
    ag_record_on(t, true);
    ag_training(t, true);
    tensor *input = ag_leaf(t, DIMS(B, S, config.width), read->data);
    tensor *encoded = blip2_t5_encode(&m, t, input, is_read, NULL);
    ck_assert_int_eq(dropouts(), 2 + 3 * config.layers);
    tensor *y = decoded(encoded, is_read, said, B, T), *again = decoded(encoded, is_read, said, B, T);
    ck_assert_int_eq(dropouts(), 2 + 3 * config.layers + 2 * (2 + 4 * config.decoder_layers));
    ck_assert(tiny_distance(y, again) == 0);               /* keyed by place, not by what went before */
    ag_training(t, false);
    ck_assert_double_gt(tiny_distance(y, decoded(encoded, is_read, said, B, T)), 1e-3);
}
END_TEST

/* ---- the edges ----------------------------------------------------------------------------------------- */
static void make_it(void *ctx)
{
    blip2_t5 x;
    blip2_t5_init(&x, nn_root(ctx), &config);
}

static void encode_it(void *ctx)
{
    blip2_t5_encode(&m, t, ctx, NULL, NULL);
}

START_TEST(what_cannot_be_is_refused)
{
    error e;
    nn_store *other = nn_store_new(1);
    tensor *narrow = tiny_normal(t, 1, DIMS(B, S, config.width - 1));
    ck_assert(!ag_try(t, encode_it, narrow, &e));
    ck_assert_str_eq(e.text, "t5: embeddings (3,6,15): expected (B,T,16)");
    config.max_distance = 4;
    ck_assert(!ag_try(t, make_it, other, &e));
    ck_assert_str_eq(e.text, "t5: 8 buckets up to a distance of 4: expected at least 4, and a distance above "
                     "half of it");
    nn_store_free(other);
}
END_TEST

START_TEST(a_configuration_that_does_not_fit_names_its_keys)
{
    error e;
    blip2_config c = tiny_config();
    c.llm = BLIP2_LLM_T5;
    c.t5 = config;
    ck_assert_msg(blip2_config_check("x.yaml", &c, &e), "%s", e.text);
    c.t5.decoder_layers = 0;
    c.t5.max_distance = 3;
    c.t5.eos = c.t5.vocab;
    ck_assert(!blip2_config_check("x.yaml", &c, &e));
    ck_assert_msg(strstr(e.text, "t5.decoder_layers: expected at least 1, found 0"), "%s", e.text);
    ck_assert_msg(strstr(e.text, "t5.start, t5.eos, t5.pad: expected below t5.vocab (19)"), "%s", e.text);
    ck_assert_msg(strstr(e.text, "t5.max_distance: expected above half of t5.buckets (4), found 3"), "%s",
                  e.text);
}
END_TEST

Suite *suite_t5(void)
{
    Suite *s = suite_create("t5");
    TCase *c = tcase_create("t5");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, published_buckets_begin_where_the_reference_has_them);
    tcase_add_test(c, what_lies_ahead_of_a_decoder_is_in_the_bucket_of_itself);
    tcase_add_loop_test(c, logits_are_those_of_a_plain_second_writing, 0, 4);
    tcase_add_test(c, what_padding_holds_does_not_matter);
    tcase_add_test(c, the_encoder_looks_both_ways_and_the_decoder_back);
    tcase_add_test(c, a_cache_gives_what_the_whole_gives);
    tcase_add_test(c, probabilities_are_given_and_change_nothing);
    tcase_add_test(c, no_parameter_is_a_bias_and_tables_have_all_their_names);
    tcase_add_test(c, the_defaults_are_flan_t5_xl);
    tcase_add_test(c, dropout_stands_where_transformers_has_it);
    tcase_add_test(c, what_cannot_be_is_refused);
    tcase_add_test(c, a_configuration_that_does_not_fit_names_its_keys);
    suite_add_tcase(s, c);
    return s;
}
