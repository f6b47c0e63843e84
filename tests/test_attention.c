/* test_attention.c - softmax and attention: what the slopes of suite ops do not show. Attention against the
 * plain formula in double, exact zeros, cache, shared memory, dropout of probabilities, wrong calls. */
#include "tests/tests.h"
#include <math.h>
#include <string.h>

static const double rounding = REAL == 64 ? 1e-13 : 1e-5;

static void assert_near(const tensor *a, const tensor *b)
{
    ck_assert_int_eq(a->size, b->size);
    ck_assert_double_le(tiny_distance(a, b), rounding);
}

static void assert_same(const tensor *a, const tensor *b)
{
    ck_assert_int_eq(a->size, b->size);
    ck_assert_mem_eq(a->data, b->data, (size_t)a->size * sizeof(real));
}

static tape *training(uint64_t seed, uint32_t step, uint32_t pass, const int *sample)
{
    tape *t = ag_tape_new();
    ag_training(t, true);
    ag_seed(t, (ag_random){ .seed = seed, .step = step, .pass = pass, .sample = sample });
    return t;
}

/* ---- softmax ------------------------------------------------------------------------------------------- */
START_TEST(softmax_neither_overflows_nor_hides_a_nan)
{
    tape *t = ag_tape_new();
    real big = (real)3e30, inf = INFINITY;
    real rows[][3] = { { big, big, -big }, { -inf, 0, -inf }, { 1, NAN, 2 }, { NAN, NAN, NAN } };
    tensor *x = ag_copy_in(t, DIMS(4, 3), rows[0]);
    const real *y = ag_softmax(t, x)->data, *z = ag_log_softmax(t, x)->data;
    ck_assert(y[0] == (real)0.5 && y[1] == (real)0.5 && y[2] == 0);
    ck_assert(y[3] == 0 && y[4] == 1 && y[5] == 0);
    for (int i = 6; i < 12; i++)
        ck_assert(isnan(y[i]) && isnan(z[i]));
    ag_tape_free(t);
}
END_TEST

START_TEST(softmax_finds_the_largest_wherever_it_stands)
{
    enum { C = 37 };
    tape *t = ag_tape_new();
    real *x = ag_alloc_real(t, C * C);
    for (long i = 0; i < C * C; i++)
        x[i] = i / C == i % C ? 2000 : (real)(i % 7);
    const real *y = ag_softmax(t, ag_copy_in(t, DIMS(C, C), x))->data;
    for (long i = 0; i < C * C; i++)
        ck_assert(y[i] == (i / C == i % C));
    ag_tape_free(t);
}
END_TEST

START_TEST(log_softmax_is_the_logarithm_of_softmax)
{
    tape *t = ag_tape_new();
    tensor *x = tiny_normal(t, 1, DIMS(7, 53)), *y = ag_softmax(t, x), *z = ag_log_softmax(t, x);
    for (long i = 0; i < y->size; i++)
        ck_assert_double_eq_tol(log((double)y->data[i]), (double)z->data[i], rounding);
    ag_tape_free(t);
}
END_TEST

/* ---- attention ----------------------------------------------------------------------------------------- */
/* The plain formula, one number at a time, in double. keys, values (M,S,D). */
static tensor *plain(tape *t, const tensor *q, const tensor *keys, const tensor *values, const ag_attn *o)
{
    long B = q->dim[0], Tq = q->dim[1], D = q->dim[2], S = keys->dim[1], H = o->heads, d = D / H;
    tensor *y = ag_new_like(t, q);
    double scale = o->scale != 0 ? o->scale : 1 / sqrt((double)d), P[64];
    for (long n = 0; n < B * H * Tq; n++) {
        long b = n / Tq / H, h = n / Tq % H, i = n % Tq, m = o->memory_row ? o->memory_row[b] : b;
        const real *x = q->data + (b*Tq + i)*D + h*d;
        double sum = 0;
        for (long j = 0; j < S; j++) {
            double score = o->bias ? (double)o->bias->data[(h*Tq + i)*S + j] : 0;
            for (long c = 0; c < d; c++)
                score += scale * (double)x[c] * (double)keys->data[(m*S + j)*D + h*d + c];
            long mb = o->mask && o->mask->B > 1 ? b : 0, mi = o->mask && o->mask->Tq > 1 ? i : 0;
            bool masked = o->mask && !o->mask->may[(mb * o->mask->Tq + mi)*S + j];
            sum += P[j] = masked || (o->causal && j > i + S - Tq) ? 0 : exp(score);
        }
        for (long c = 0; c < d; c++) {
            double out = 0;
            for (long j = 0; j < S && sum > 0; j++)
                out += P[j] / sum * (double)values->data[(m*S + j)*D + h*d + c];
            y->data[(b*Tq + i)*D + h*d + c] = (real)out;
        }
    }
    return y;
}

typedef struct fixture { tape *t; tensor *q, *k, *v, *past_k, *past_v, *bias, *keys, *values; } fixture;

static fixture make(long B, long M, long Tq, long Tk, long Tp)
{
    fixture f = { .t = ag_tape_new() };
    f.q = tiny_normal(f.t, 1, DIMS(B, Tq, 12));
    f.k = tiny_normal(f.t, 2, DIMS(M, Tk, 12));
    f.v = tiny_normal(f.t, 3, DIMS(M, Tk, 12));
    f.past_k = tiny_normal(f.t, 4, DIMS(M, Tp, 12));
    f.past_v = tiny_normal(f.t, 5, DIMS(M, Tp, 12));
    f.bias = tiny_normal(f.t, 6, DIMS(3, Tq, Tp + Tk));
    f.keys = ag_concat(f.t, 2, (tensor *[]){ f.past_k, f.k }, 1);
    f.values = ag_concat(f.t, 2, (tensor *[]){ f.past_v, f.v }, 1);
    return f;
}

/* Bits of _i: mask, causal, bias, past, memory_row, scale. */
START_TEST(attention_is_the_plain_formula_under_every_option)
{
    static const int row[] = { 1, 0, 1, 1 };
    bool past = _i & 8;
    fixture f = make(4, _i & 16 ? 2 : 4, 5, 7, past ? 3 : 0);
    ag_attn o = { .heads = 3, .causal = _i & 2, .bias = _i & 4 ? f.bias : NULL, .scale = _i & 32 ? 0.3 : 0,
                  .past_k = past ? f.past_k : NULL, .past_v = past ? f.past_v : NULL,
                  .memory_row = _i & 16 ? row : NULL };
    ag_mask *m = ag_mask_new(f.t, _i & 2 ? 1 : 4, _i & 4 ? 1 : 5, f.keys->dim[1]);
    for (long i = 0; i < m->B * m->Tq * m->Tk; i++)
        m->may[i] = ag_uniform(9, (uint64_t)i) < 0.6;
    o.mask = _i & 1 ? m : NULL;
    assert_near(ag_attention(f.t, f.q, f.k, f.v, &o), plain(f.t, f.q, f.keys, f.values, &o));
    ag_tape_free(f.t);
}
END_TEST

START_TEST(what_may_not_be_seen_has_probability_exactly_0)
{
    fixture f = make(2, 2, 4, 6, 0);
    tensor *probs;
    ag_mask *m = ag_mask_new(f.t, 2, 4, 6);
    memset(m->may + 6, 0, 6);                              /* row 1 of the first may look at nothing */
    m->may[2*6 + 1] = 0;
    const tensor *y = ag_attention(f.t, f.q, f.k, f.v, &(ag_attn){ .heads = 3, .mask = m, .causal = true,
                                                                   .probs = &probs });
    for (long n = 0; n < 2 * 3 * 4; n++) {
        long b = n / 12, i = n % 4;
        double sum = 0;
        for (long j = 0; j < 6; j++) {
            real p = probs->data[n*6 + j];
            ck_assert_int_eq(p != 0, m->may[(b*4 + i)*6 + j] && j <= i + 2);
            sum += (double)p;
        }
        ck_assert_double_eq_tol(sum, b == 0 && i == 1 ? 0 : 1, rounding);
    }
    for (long c = 0; c < 12; c++)
        ck_assert(y->data[12 + c] == 0);
    ag_tape_free(f.t);
}
END_TEST

START_TEST(a_cache_filled_token_by_token_gives_the_causal_pass)
{
    fixture f = make(2, 2, 6, 6, 0);
    const tensor *whole = ag_attention(f.t, f.q, f.k, f.v, &(ag_attn){ .heads = 3, .causal = true });
    real k[2 * 9 * 12], v[2 * 9 * 12];
    ag_cache cache = { .k = k, .v = v, .rows = 2, .capacity = 9, .width = 12 };
    for (long at = 0, n; at < 6; at += n) {
        n = at ? 1 : 2;                                    /* a prompt of two, then one by one */
        tensor *x[3] = { f.q, f.k, f.v };
        for (int i = 0; i < 3; i++)
            x[i] = ag_slice(f.t, x[i], 1, at, n);
        const ag_attn o = { .heads = 3, .causal = true, .cache = &cache };
        const tensor *y = ag_attention(f.t, x[0], x[1], x[2], &o);
        cache.length += n;
        assert_near(y, ag_slice(f.t, (tensor *)whole, 1, at, n));
    }
    ag_tape_free(f.t);
}
END_TEST

/* Kept for backward, asked for, or neither: the same bits. */
START_TEST(recording_and_probabilities_change_no_bit)
{
    fixture f = make(3, 3, 5, 7, 2);
    tensor *probs, *y[3];
    ag_attn o = { .heads = 3, .drop = { 0.2, 1 }, .past_k = f.past_k, .past_v = f.past_v };
    ag_training(f.t, true);
    y[0] = ag_attention(f.t, f.q, f.k, f.v, &o);
    f.q->needs_grad = true;
    y[1] = ag_attention(f.t, f.q, f.k, f.v, &o);
    o.probs = &probs;
    y[2] = ag_attention(f.t, f.q, f.k, f.v, &o);
    ck_assert(!y[0]->needs_grad && y[1]->needs_grad);
    assert_same(y[0], y[1]);
    assert_same(y[1], y[2]);
    ag_tape_free(f.t);
}
END_TEST

/* v is the identity in both heads, so y is P~, and P~ / P is 0 or 1 / q. */
START_TEST(dropout_of_probabilities_drops_and_scales_each_head_apart)
{
    enum { S = 40, D = 2 * S };
    tape *t = training(3, 1, 0, NULL);
    tensor *q = tiny_normal(t, 1, DIMS(2, 33, D)), *k = tiny_normal(t, 2, DIMS(2, S, D));
    tensor *v = ag_new(t, DIMS(2, S, D)), *probs;
    memset(v->data, 0, (size_t)v->size * sizeof(real));
    for (long j = 0; j < 2 * S; j++)
        v->data[j*D + j % S] = v->data[j*D + S + j % S] = 1;
    const tensor *y = ag_attention(t, q, k, v, &(ag_attn){ .heads = 2, .drop = { 0.5, 1 }, .probs = &probs });
    long kept = 0, odd = 0, alike = 0;
    for (long i = 0; i < 2 * 33 * D; i++) {
        long b = i / (33*D), row = i / D % 33, h = i / S % 2, j = i % S;
        double p = (double)probs->data[((b*2 + h)*33 + row)*S + j], dropped = (double)y->data[i];
        kept += dropped != 0;
        odd += dropped != 0 && fabs(dropped - 2 * p) > rounding;
        alike += h == 0 && (dropped != 0) == (y->data[i + S] != 0);
    }
    ck_assert_int_eq(odd, 0);
    ck_assert_double_eq_tol((double)kept / (double)y->size, 0.5, 0.03);
    ck_assert_double_eq_tol(2 * (double)alike / (double)y->size, 0.5, 0.04);
    ag_tape_free(t);
}
END_TEST

/* One sample alone, with fewer queries and with masked keys cut off: the same numbers as in the batch. */
START_TEST(attention_under_dropout_depends_on_no_length_and_no_neighbour)
{
    static const int all[] = { 21, 22, 23 }, one[] = { 22 };
    tape *t = training(3, 1, 0, all), *u = training(3, 1, 0, one);
    tensor *q = tiny_normal(t, 1, DIMS(3, 20, 12)), *k = tiny_normal(t, 2, DIMS(3, 30, 12));
    tensor *v = tiny_normal(t, 3, DIMS(3, 30, 12));
    ag_mask *m = ag_mask_new(t, 1, 1, 30);
    memset(m->may + 19, 0, 11);
    tensor *y = ag_attention(t, q, k, v, &(ag_attn){ .heads = 3, .mask = m, .drop = { 0.4, 1 } });
    tensor *q1 = ag_copy_in(u, DIMS(1, 9, 12), q->data + 20*12);
    tensor *k1 = ag_copy_in(u, DIMS(1, 19, 12), k->data + 30*12);
    tensor *v1 = ag_copy_in(u, DIMS(1, 19, 12), v->data + 30*12);
    const tensor *z = ag_attention(u, q1, k1, v1, &(ag_attn){ .heads = 3, .drop = { 0.4, 1 } });
    assert_near(z, ag_copy_in(u, DIMS(1, 9, 12), y->data + 20*12));
    ag_tape_free(t);
    ag_tape_free(u);
}
END_TEST

/* Rows that share memory get what copies of it would give, and their gradients sum. */
START_TEST(shared_memory_is_copied_memory)
{
    static const int row[] = { 2, 0, 2, 0 };
    fixture f = make(4, 3, 5, 7, 0);
    real *cotangent = tiny_normal(f.t, 8, DIMS(4, 5, 12))->data, *got[2][2];
    for (int copied = 0; copied < 2; copied++) {
        tensor *k = ag_leaf(f.t, DIMS(3, 7, 12), f.k->data), *v = ag_leaf(f.t, DIMS(3, 7, 12), f.v->data), *y;
        if (copied) {
            tensor *kk = ag_gather(f.t, k, row, 4), *vv = ag_gather(f.t, v, row, 4);
            y = ag_attention(f.t, f.q, kk, vv, &(ag_attn){ .heads = 3 });
        } else
            y = ag_attention(f.t, f.q, k, v, &(ag_attn){ .heads = 3, .memory_row = row });
        ag_backward_from(f.t, 1, &y, (const real *const[]){ cotangent });
        got[copied][0] = ag_grad(k);
        got[copied][1] = ag_grad(v);
    }
    for (int i = 0; i < 2; i++)
        for (long j = 0; j < 3 * 7 * 12; j++) {
            ck_assert_double_eq_tol((double)got[0][i][j], (double)got[1][i][j], rounding);
            ck_assert(j / (7*12) != 1 || got[0][i][j] == 0);               /* nobody reads row 1 */
        }
    ag_tape_free(f.t);
}
END_TEST

/* ---- wrong calls --------------------------------------------------------------------------------------- */
struct call { fixture f; int which; };

static void wrong(void *context)
{
    static const int far[] = { 0, 3 };
    struct call *c = context;
    fixture *f = &c->f;
    ag_attn o = { .heads = 3 };
    tensor *k = f->k, *x = tiny_normal(f->t, 7, DIMS(2, 5, 9));
    real room[2 * 3 * 12];
    ag_cache cache = { room, room, 2, 3, 12, 0 };
    switch (c->which) {
    case 0: k = x; break;
    case 1: o.heads = 5; break;
    case 2: o.mask = ag_mask_new(f->t, 2, 4, 9); break;
    case 3: o.bias = f->bias; break;
    case 4: o.past_k = f->past_k; break;
    case 5: o.past_k = x, o.past_v = x; break;
    case 6: o.memory_row = far; break;
    case 7: o.cache = &cache; break;
    case 8: o.cache = &cache, cache.capacity = 7, f->q->needs_grad = true; break;
    case 9: ag_training(f->t, true), o.drop.p = -0.1; break;
    case 10: k = ag_scalar(f->t, 1); break;
    case 11: ag_softmax(f->t, ag_scalar(f->t, 1)); break;
    case 12: ag_activation(f->t, k, (ag_act)77); break;
    }
    ag_attention(f->t, f->q, k, f->v, &o);
}

START_TEST(a_wrong_call_names_the_shapes)
{
    static const char *const texts[] = {
        "attention: q (B,Tq,D) needs k and v (M,Tk,D), got (2,4,12), (2,5,9) and (2,5,12)",
        "attention: 5 heads do not divide a width of 12",
        "attention: q (2,4,12) over 5 keys needs a mask (2 or 1,4 or 1,5), got (2,4,9)",
        "attention: q (2,4,12) over 5 keys needs a bias (3,4,5), got (3,4,7)",
        "attention: past_k and past_v go together, and not with a cache",
        "attention: k (2,5,12) needs past_k and past_v (2,Tp,12), got (2,5,9) and (2,5,9)",
        "attention: row 1 of q (2,4,12) reads row 3 of k (2,5,12)",
        "attention: a cache (2,3,12) with 0 filled cannot take k (2,5,12)",
        "attention: a cache has no gradient: turn recording off",
        "attention: a probability of dropout is in [0,1], got -0.1",
        "attention: q (B,Tq,D) needs k and v (M,Tk,D), got (2,4,12), () and (2,5,12)",
        "softmax: x has no last axis: shape ()",
        "activation: no activation has number 77",
    };
    struct call c = { make(2, 2, 4, 5, 2), _i };
    error e = { 0 };
    ck_assert(!ag_try(c.f.t, wrong, &c, &e));
    ck_assert_str_eq(e.text, texts[_i]);
    ag_tape_free(c.f.t);
}
END_TEST

Suite *suite_attention(void)
{
    Suite *s = suite_create("attention");
    TCase *c = tcase_create("attention");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_test(c, softmax_neither_overflows_nor_hides_a_nan);
    tcase_add_test(c, softmax_finds_the_largest_wherever_it_stands);
    tcase_add_test(c, log_softmax_is_the_logarithm_of_softmax);
    tcase_add_loop_test(c, attention_is_the_plain_formula_under_every_option, 0, 64);
    tcase_add_test(c, what_may_not_be_seen_has_probability_exactly_0);
    tcase_add_test(c, a_cache_filled_token_by_token_gives_the_causal_pass);
    tcase_add_test(c, recording_and_probabilities_change_no_bit);
    tcase_add_test(c, dropout_of_probabilities_drops_and_scales_each_head_apart);
    tcase_add_test(c, attention_under_dropout_depends_on_no_length_and_no_neighbour);
    tcase_add_test(c, shared_memory_is_copied_memory);
    tcase_add_loop_test(c, a_wrong_call_names_the_shapes, 0, 13);
    suite_add_tcase(s, c);
    return s;
}
