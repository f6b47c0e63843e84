/* test_losses.c - cross entropies against values by hand, by plain loops, and against each other. What holds
 * for every operation (slope, adding, freezing, threads) is in test_ops.c.                              */
#include "tests/numbers.h"

static tape *t;

static void setup(void) { t = ag_tape_new(); }
static void teardown(void) { ag_tape_free(t); }

/* ---- cross entropy ----------------------------------------------------------------------------------- */
START_TEST(cross_entropy_by_hand)
{
    tensor *z = ag_leaf(t, DIMS(1, 2), (real[]){ 0, (real)log(3) });       /* probabilities 1/4, 3/4 */
    int id = 0;
    tensor *plain = ag_cross_entropy(t, z, &(ag_ce){ .ids = &id });
    ck_assert_double_eq_tol(ag_value(plain), log(4), close);
    tensor *smooth = ag_cross_entropy(t, z, &(ag_ce){ .ids = &id, .smoothing = 0.2 });     /* q = 0.9, 0.1 */
    ck_assert_double_eq_tol(ag_value(smooth), log(4) - 0.1 * log(3), close);
    ag_backward(t, smooth);
    ck_assert_double_eq_tol(z->grad[0], 0.25 - 0.9, close);
    ck_assert_double_eq_tol(z->grad[1], 0.75 - 0.1, close);
}
END_TEST

/* The same from the definition: -sum q log softmax(z), rows weighted; gradient share (p sum q - q). */
static void plain_cross_entropy(long R, long V, const real *z, const ag_ce *o, const real *dy, real *loss,
                                real *dz)
{
    double weights = 0;
    for (long r = 0; r < R; r++)
        if (!o->ids || o->ids[r] != o->ignore)
            weights += o->weight ? o->weight[r] : 1;
    memset(loss, 0, (size_t)(o->per_row ? R : 1) * sizeof *loss);
    memset(dz, 0, (size_t)(R * V) * sizeof *dz);
    double total = 0;
    for (long r = 0; r < R; r++) {
        double exps = 0, mass = 0, l = 0;
        if (o->ids && o->ids[r] == o->ignore)
            continue;
        double share = (o->weight ? o->weight[r] : 1) / (o->per_row ? 1 : weights);
        for (long v = 0; v < V; v++)
            exps += exp((double)z[r*V + v]);
        for (int pass = 0; pass < 2; pass++)
            for (long v = 0; v < V; v++) {
                double p = exp((double)z[r*V + v]) / exps;
                double q = o->soft ? o->soft[r*V + v]
                         : (1 - o->smoothing) * (v == o->ids[r]) + o->smoothing / (double)V;
                if (pass == 0) {
                    mass += q;
                    l -= q * log(p);
                } else {
                    dz[r*V + v] = (real)(share * dy[o->per_row ? r : 0] * (p * mass - q));
                }
            }
        total += share * l;
        if (o->per_row)
            loss[r] = (real)(share * l);
    }
    if (!o->per_row)
        loss[0] = (real)total;
}

START_TEST(cross_entropy_equals_its_definition_with_all_options)
{
    long R = 7, V = 1500;                                  /* more classes than one block of exponentials */
    int ids[7] = { 3, -100, 1499, 0, -100, 0, 700 };
    real weight[7] = { 1, 2, 0.5, 0, 3, 0.25, 4 };
    real *soft = ag_alloc_real(t, R * V), *dz = ag_alloc_real(t, R * V), loss[7];
    for (long i = 0; i < R * V; i++)
        soft[i] = i % 3 ? (real)ag_uniform(5, (uint64_t)i) : 0;
    for (int with = 0; with < 16; with++) {
        ag_ce o = { .ignore = -100, .smoothing = with & 1 ? 0.1 : 0, .weight = with & 2 ? weight : NULL,
                    .per_row = with & 4 };
        if (with & 8)
            o.soft = soft;
        else
            o.ids = ids;
        o.smoothing = with & 8 ? 0 : o.smoothing;
        tensor *z = numbers(t, 1, DIMS(R, V)), *y = ag_cross_entropy(t, z, &o);
        plain_cross_entropy(R, V, z->data, &o, cotangent(t, y), loss, dz);
        backward(t, y);
        assert_close(y->size, y->data, loss, "loss");
        assert_close(R * V, z->grad, dz, "gradient");
    }
}
END_TEST

/* lse = 1000.3: as one float it would be off by up to 3e-5, and every share of the gradient with it. */
START_TEST(large_logits_have_gradients_as_exact_as_small_ones)
{
    enum { V = 50 };
    int id = 7;
    tensor *z[2];
    for (int large = 0; large < 2; large++) {
        z[large] = numbers(t, 1, DIMS(1, V));
        for (long i = 0; i < V; i++)
            z[large]->data[i] = (real)(i % 9) / 4 + (real)(large ? 1000 : 0);      /* exact in float, too */
        backward(t, ag_cross_entropy(t, z[large], &(ag_ce){ .ids = &id }));
    }
    for (long i = 0; i < V; i++)
        ck_assert_msg(fabs((double)(z[1]->grad[i] / z[0]->grad[i]) - 1) < (REAL == 64 ? 1e-12 : 1e-6),
                      "%g instead of %g", (double)z[1]->grad[i], (double)z[0]->grad[i]);
}
END_TEST

START_TEST(class_0_counts_unless_another_id_is_ignored)
{
    tensor *z = numbers(t, 2, DIMS(2, 3));
    int ids[2] = { 0, 2 };
    tensor *all = ag_cross_entropy(t, z, &(ag_ce){ .ids = ids, .per_row = true });
    ck_assert(all->data[0] > 0 && all->data[1] > 0);
    tensor *one = ag_cross_entropy(t, z, &(ag_ce){ .ids = ids, .per_row = true, .ignore = 2 });
    ck_assert(one->data[0] == all->data[0] && one->data[1] == 0);
}
END_TEST

START_TEST(nothing_of_an_ignored_row_is_looked_at)
{
    tensor *z = ag_leaf(t, DIMS(2, 2), (real[]){ NAN, INFINITY, 0, 0 });
    int ids[2] = { -100, 1 };
    tensor *y = ag_cross_entropy(t, z, &(ag_ce){ .ids = ids, .ignore = -100 });
    ck_assert_double_eq_tol(ag_value(y), log(2), close);
    ag_backward(t, y);
    ck_assert(z->grad[0] == 0 && z->grad[1] == 0);
    tensor *x = ag_leaf(t, DIMS(2, 1), (real[]){ NAN, 0 }), *w = numbers(t, 3, DIMS(2, 1));
    y = ag_linear_cross_entropy(t, x, w, NULL, &(ag_ce){ .ids = ids, .ignore = -100 });
    ck_assert_double_eq_tol(ag_value(y), log(2), close);
    ag_backward(t, y);
    ck_assert(x->grad[0] == 0 && isfinite(w->grad[0]) && isfinite(w->grad[1]));
}
END_TEST

START_TEST(all_rows_ignored_give_0_and_no_gradient)
{
    int ids[3] = { -100, -100, -100 };
    real none[3] = { 0 };
    for (int k = 0; k < 4; k++) {
        ag_ce o = { .ids = ids, .ignore = k < 2 ? -100 : 0, .per_row = k & 1, .weight = k < 2 ? NULL : none };
        int ones[3] = { 1, 1, 1 };
        o.ids = k < 2 ? ids : ones;                        /* or all rows weigh nothing */
        tensor *z = numbers(t, 4, DIMS(3, 5)), *y = ag_cross_entropy(t, z, &o);
        tensor *x = numbers(t, 5, DIMS(3, 2)), *w = numbers(t, 6, DIMS(5, 2)), *b = numbers(t, 7, DIMS(5));
        tensor *y2 = ag_linear_cross_entropy(t, x, w, b, &o);
        tensor *const all[] = { z, x, w, b };
        for (int i = 0; i < 4; i++) {                      /* buffers that hold something older */
            memset(ag_grad(all[i]), 0x7f, (size_t)all[i]->size * sizeof(real));
            ag_clear_grad(all[i]);
        }
        backward(t, y);
        backward(t, y2);
        for (long i = 0; i < y->size; i++)
            ck_assert(y->data[i] == 0 && y2->data[i] == 0);
        for (long i = 0; i < z->size; i++)
            ck_assert(z->grad[i] == 0);
        for (long i = 0; i < w->size; i++)
            ck_assert(w->grad[i] == 0 && x->grad[i % x->size] == 0 && b->grad[i % 5] == 0);
    }
}
END_TEST

START_TEST(large_and_infinite_logits_do_not_overflow)
{
    int ids[2] = { 0, 1 };
    tensor *z = ag_leaf(t, DIMS(2, 3), (real[]){ 1e4, -1e4, 0, -1e4, 2e4, 2e4 });
    tensor *y = ag_cross_entropy(t, z, &(ag_ce){ .ids = ids, .per_row = true });
    ck_assert_double_eq_tol(y->data[0], 0, close);
    ck_assert_double_eq_tol(y->data[1], log(2), close * 2e4);
    backward(t, y);
    for (int i = 0; i < 6; i++)
        ck_assert(isfinite(z->grad[i]));
    tensor *masked = ag_leaf(t, DIMS(1, 3), (real[]){ 0, -INFINITY, 0 });
    y = ag_cross_entropy(t, masked, &(ag_ce){ .soft = (real[]){ 0.5, 0, 0.5 } });
    ck_assert_double_eq_tol(ag_value(y), log(2), close);
    tensor *bad = ag_leaf(t, DIMS(1, 3), (real[]){ 0, NAN, 0 });
    ck_assert(isnan(ag_value(ag_cross_entropy(t, bad, &(ag_ce){ .ids = ids }))));
}
END_TEST

START_TEST(one_class_costs_nothing)
{
    int ids[2] = { 0, 0 };
    tensor *z = numbers(t, 8, DIMS(2, 1));
    tensor *y = ag_cross_entropy(t, z, &(ag_ce){ .ids = ids, .smoothing = 0.1 });
    ag_backward(t, y);
    ck_assert_double_eq_tol(ag_value(y), 0, close);
    ck_assert_double_eq_tol(z->grad[0], 0, close);
}
END_TEST

/* ---- linear and cross entropy in chunks -------------------------------------------------------------- */
START_TEST(linear_cross_entropy_is_linear_then_cross_entropy)
{
    static const long chunks[] = { 0, 1, 2, 3, 4, 9, 1000 };
    long R = 9, D = 5, V = 40;
    int ids[9] = { 1, 39, -100, 0, 7, -100, 20, 20, 3 };
    real weight[9] = { 1, 2, 9, 0.5, 1, 9, 0, 3, 1 };
    for (int with = 0; with < 8; with++)
        for (int c = 0; c < 7; c++) {
            ag_ce o = { .ids = ids, .ignore = -100, .smoothing = with & 1 ? 0.1 : 0, .per_row = with & 2,
                        .weight = with & 2 ? weight : NULL, .chunk = chunks[c] };
            tensor *x[2], *w[2], *b[2] = { NULL, NULL }, *y[2];
            for (int k = 0; k < 2; k++) {
                x[k] = numbers(t, 1, DIMS(3, 3, D));
                w[k] = numbers(t, 2, DIMS(V, D));
                b[k] = with & 4 ? numbers(t, 3, DIMS(V)) : NULL;
            }
            y[0] = ag_cross_entropy(t, ag_linear(t, x[0], w[0], b[0], AG_NONE), &o);
            y[1] = ag_linear_cross_entropy(t, x[1], w[1], b[1], &o);
            backward(t, y[0]);
            backward(t, y[1]);
            assert_close(o.per_row ? R : 1, y[1]->data, y[0]->data, "loss");
            assert_close(R * D, x[1]->grad, x[0]->grad, "dx");
            assert_close(V * D, w[1]->grad, w[0]->grad, "dW");
            if (b[0])
                assert_close(V, b[1]->grad, b[0]->grad, "db");
        }
}
END_TEST

START_TEST(one_row_is_a_loss_too)
{
    int id = 2;
    ag_ce o = { .ids = &id, .smoothing = 0.1 };
    tensor *x = numbers(t, 1, DIMS(1, 4)), *w = numbers(t, 2, DIMS(3, 4));
    tensor *y = ag_linear_cross_entropy(t, x, w, NULL, &o);
    tensor *z = ag_cross_entropy(t, ag_linear(t, x, w, NULL, AG_NONE), &o);
    ck_assert_double_eq_tol(ag_value(y), ag_value(z), close);
}
END_TEST

START_TEST(all_logits_are_never_in_memory)
{
    long R = 4000, V = 4000;                               /* all logits: 61 MiB in float */
    int *ids = mem_new((size_t)R * sizeof *ids);
    tensor *x = numbers(t, 1, DIMS(R, 2)), *w = numbers(t, 2, DIMS(V, 2));
    tensor *y = ag_linear_cross_entropy(t, x, w, NULL, &(ag_ce){ .ids = ids, .chunk = 50 });
    ag_backward(t, y);
    ck_assert_msg(ag_bytes(t) < 8 << 20, "%ld bytes", ag_bytes(t));
    mem_free(ids);
}
END_TEST

START_TEST(what_is_not_recorded_leaves_no_scratch_behind)
{
    int ids[4] = { 0, 1, 2, 3 };
    tensor *x = ag_detach(t, numbers(t, 1, DIMS(4, 2))), *w = ag_detach(t, numbers(t, 2, DIMS(5, 2)));
    ag_mark before = ag_here(t);
    ag_linear_cross_entropy(t, x, w, NULL, &(ag_ce){ .ids = ids });
    ag_mark after = ag_here(t);
    ck_assert_int_eq(after.chunk, before.chunk);
    ck_assert_int_le(after.used - before.used, 512);
    ck_assert_int_eq(ag_node_count(t), 0);
}
END_TEST

/* ---- wrong calls ------------------------------------------------------------------------------------- */
#define X(...) numbers(t, 1, DIMS(__VA_ARGS__))

static int bad_id = 5;
static real bad_weight = -1;

static void call_id(void *c) { (void)c; ag_cross_entropy(t, X(1, 5), &(ag_ce){ .ids = &bad_id }); }
static void call_neither(void *c) { (void)c; ag_cross_entropy(t, X(1, 5), &(ag_ce){ .ids = NULL }); }
static void call_both(void *c)
{
    (void)c;
    ag_cross_entropy(t, X(1, 9), &(ag_ce){ .ids = &bad_id, .soft = X(1, 9)->data });
}

static void call_weight(void *c)
{
    (void)c;
    ag_cross_entropy(t, X(1, 9), &(ag_ce){ .ids = &bad_id, .weight = &bad_weight });
}

static void call_smooth(void *c)
{
    (void)c;
    ag_cross_entropy(t, X(1, 9), &(ag_ce){ .ids = &bad_id, .smoothing = 1.5 });
}

static void call_linear(void *c)
{
    (void)c;
    ag_linear_cross_entropy(t, X(1, 4), X(9, 3), NULL, &(ag_ce){ .ids = &bad_id });
}
static void call_linear_id(void *c)
{
    (void)c;
    ag_linear_cross_entropy(t, X(1, 3), X(5, 3), NULL, &(ag_ce){ .ids = &bad_id });
}

static const wrong_call wrong[] = {
    { call_id, "cross_entropy: id 5 of row 0 is outside the 5 classes of x (1,5)" },
    { call_neither, "cross_entropy: either ids or soft targets for x (1,5), got neither" },
    { call_both, "cross_entropy: either ids or soft targets for x (1,9), got both" },
    { call_weight, "cross_entropy: the weight of row 0 is -1" },
    { call_smooth, "cross_entropy: smoothing is from 0 to 1, and 0 with soft targets; got 1.5" },
    { call_linear, "linear_cross_entropy: x (1,4) needs a weight (V,4) and a bias (V), got (9,3) and none" },
    { call_linear_id, "linear_cross_entropy: id 5 of row 0 is outside the 5 classes of x (1,3)" },
};

START_TEST(a_wrong_call_names_the_operation_and_the_shapes)
{
    assert_fails(t, &wrong[_i]);
}
END_TEST

Suite *suite_losses(void)
{
    const TTest *const tests[] = {
        cross_entropy_by_hand, cross_entropy_equals_its_definition_with_all_options,
        large_logits_have_gradients_as_exact_as_small_ones,
        class_0_counts_unless_another_id_is_ignored, nothing_of_an_ignored_row_is_looked_at,
        all_rows_ignored_give_0_and_no_gradient, large_and_infinite_logits_do_not_overflow,
        one_class_costs_nothing, linear_cross_entropy_is_linear_then_cross_entropy, one_row_is_a_loss_too,
        all_logits_are_never_in_memory, what_is_not_recorded_leaves_no_scratch_behind,
    };
    Suite *s = suite_create("losses");
    TCase *c = tcase_create("losses");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, TEST_SECONDS);
    add_tests(c, sizeof tests / sizeof *tests, tests);
    tcase_add_loop_test(c, a_wrong_call_names_the_operation_and_the_shapes, 0, sizeof wrong / sizeof *wrong);
    suite_add_tcase(s, c);
    return s;
}
