/* test_arithmetic.c - arithmetic and shapes against plain loops: sums, maxima, broadcasting, products, rows.
 * What holds for every operation (slope, adding, freezing, threads) is in test_ops.c.                   */
#include "tests/numbers.h"

static tape *t;

static void setup(void) { t = ag_tape_new(); }
static void teardown(void) { ag_tape_free(t); }

/* ---- sums -------------------------------------------------------------------------------------------- */
START_TEST(long_sums_do_not_drift)
{
    long n = 3000000;
    tensor *x = ag_new(t, DIMS(n)), *table = numbers(t, 1, DIMS(2, 1));
    for (long i = 0; i < n; i++)
        x->data[i] = (real)0.1;
    double expected = (double)n * (double)(real)0.1, ulp = REAL == 64 ? 1e-11 : 6e-8;
    ck_assert_double_eq_tol(ag_value(ag_sum(t, x)), expected, expected * ulp);
    ck_assert_double_eq_tol(ag_value(ag_mean(t, x)), (double)(real)0.1, ulp);
    int *ids = mem_new((size_t)n * sizeof *ids);
    tensor *rows = ag_gather(t, table, ids, n);            /* row 0, three million times */
    ag_backward_from(t, 1, &rows, (const real *const[]){ x->data });
    ck_assert_double_eq_tol(table->grad[0], expected, expected * ulp);
    ck_assert(table->grad[1] == 0);
    mem_free(ids);
}
END_TEST

START_TEST(sums_over_an_axis_equal_plain_loops_at_every_shape)
{
    static const long shapes[][3] = { { 1, 1, 1 }, { 3, 5, 1 }, { 2, 7, 3 }, { 1, 1030, 2 }, { 1, 37, 1100 },
                                      { 1, 50000, 1 }, { 40, 3, 200 }, { 1, 7, 5000 }, { 5, 1, 9 } };
    for (int k = 0; k < 9; k++) {
        long O = shapes[k][0], n = shapes[k][1], I = shapes[k][2];
        tensor *x = numbers(t, 1, DIMS(O, n, I)), *y = ag_mean_axis(t, x, 1);
        real *expected = ag_alloc_real(t, O * I);
        for (long o = 0; o < O; o++)
            for (long i = 0; i < I; i++) {
                double sum = 0;
                for (long j = 0; j < n; j++)
                    sum += x->data[(o*n + j)*I + i];
                expected[o*I + i] = (real)(sum / (double)n);
            }
        assert_close(O * I, y->data, expected, "mean");
        ck_assert_int_eq(y->ndim, 2);
    }
}
END_TEST

START_TEST(the_gradient_of_a_tie_goes_to_the_first_maximum)
{
    tensor *x = ag_leaf(t, DIMS(2, 3), (real[]){ 1, 5, 5, 7, 7, 7 });
    ag_backward(t, ag_sum(t, ag_max_axis(t, x, 1)));
    for (int i = 0; i < 6; i++)
        ck_assert(x->grad[i] == (i == 1 || i == 3));
    tensor *y = ag_leaf(t, DIMS(2, 3), (real[]){ 1, 5, 2, 1, 4, 2 });
    tensor *m = ag_max_axis(t, y, 0);
    ag_backward(t, ag_sum(t, m));
    for (int i = 0; i < 6; i++)
        ck_assert(y->grad[i] == (i < 3));
    ck_assert(m->data[0] == 1 && m->data[1] == 5 && m->data[2] == 2);
}
END_TEST

START_TEST(a_maximum_does_not_hide_a_nan)
{
    tensor *x = ag_leaf(t, DIMS(1, 4), (real[]){ 1, NAN, 9, NAN });
    tensor *y = ag_max_axis(t, x, 1);
    ck_assert(isnan(y->data[0]));
    ag_backward(t, ag_sum(t, y));
    ck_assert(x->grad[1] == 1 && x->grad[2] == 0 && x->grad[3] == 0);
}
END_TEST

/* ---- broadcasting ------------------------------------------------------------------------------------ */
static double by_hand(int op, double a, double b)
{
    return op == 0 ? a + b : op == 1 ? a - b : op == 2 ? a * b : a / b;
}

/* Where place i of y (4 axes) is in an operand, by NumPy's rule. */
static long source(const long *y, const long *x, long i)
{
    long at = 0, step = 1;
    for (int axis = 3; axis >= 0; axis--) {
        at += x[axis] == 1 ? 0 : i % y[axis] * step;
        step *= x[axis];
        i /= y[axis];
    }
    return at;
}

START_TEST(broadcasting_follows_numpy)
{
    static const long shapes[][2][4] = {
        { { 1, 2, 3, 4 }, { 1, 2, 3, 4 } }, { { 1, 1, 5, 3 }, { 1, 1, 1, 3 } },
        { { 1, 1, 1, 3 }, { 2, 1, 5, 3 } }, { { 2, 1, 3, 1 }, { 1, 4, 1, 5 } },
        { { 2, 3, 4, 5 }, { 2, 1, 1, 5 } }, { { 1, 1, 1, 1 }, { 2, 3, 1, 2 } },
        { { 3, 1, 2, 1 }, { 3, 1, 2, 7 } }, { { 1, 3, 1, 1 }, { 1, 3, 1, 1 } },
        { { 2, 2, 1, 2 }, { 2, 2, 2, 1 } }, { { 1, 1, 9, 2000 }, { 1, 1, 9, 1 } },
    };
    tensor *(*const ops[])(tape *, tensor *, tensor *) = { ag_add, ag_sub, ag_mul, ag_div };
    for (int k = 0; k < 40; k++) {
        const long *a = shapes[k / 4][0], *b = shapes[k / 4][1];
        tensor *x = numbers(t, 1, 4, a), *w = numbers(t, 2, 4, b), *y = ops[k % 4](t, x, w);
        real *expected = ag_alloc_real(t, y->size);
        for (long i = 0; i < y->size; i++)
            expected[i] = (real)by_hand(k % 4, x->data[source(y->dim, a, i)], w->data[source(y->dim, b, i)]);
        for (int axis = 0; axis < 4; axis++)
            ck_assert_int_eq(y->dim[axis], a[axis] == 1 ? b[axis] : a[axis]);
        assert_close(y->size, y->data, expected, "broadcast");
    }
    tensor *v = numbers(t, 3, DIMS(4)), *m = numbers(t, 4, DIMS(2, 3, 4)), *s = ag_scalar(t, 2);
    ck_assert_int_eq(ag_add(t, v, m)->ndim, 3);
    ck_assert_int_eq(ag_mul(t, s, v)->ndim, 1);
    ck_assert(ag_mul(t, s, v)->data[3] == 2 * v->data[3]);
}
END_TEST

START_TEST(one_tensor_on_both_sides_gets_both_gradients)
{
    tensor *x = numbers(t, 1, DIMS(3, 3));
    real *expected = ag_alloc_real(t, 9);
    for (int i = 0; i < 9; i++)
        expected[i] = 2 * x->data[i];
    ag_backward(t, ag_sum(t, ag_mul(t, x, x)));
    assert_close(9, x->grad, expected, "x * x");
    tensor *y = numbers(t, 1, DIMS(3, 3)), *unit = ag_sum(t, ag_matmul(t, y, y, false, true));
    ag_backward(t, unit);
    for (int i = 0; i < 9; i++)                            /* d sum(x x') / dx = 2 (column sums) */
        expected[i] = 2 * (x->data[i % 3] + x->data[3 + i % 3] + x->data[6 + i % 3]);
    assert_close(9, y->grad, expected, "x x'");
    tensor *z = numbers(t, 1, DIMS(3, 3));
    ag_backward(t, ag_sum(t, ag_concat(t, 2, (tensor *[]){ z, z }, 0)));
    ck_assert(z->grad[0] == 2 && z->grad[8] == 2);
}
END_TEST

/* ---- products ---------------------------------------------------------------------------------------- */
START_TEST(matmul_equals_plain_loops)
{
    long B = 3, M = 2, N = 4, K = 5;
    for (int with = 0; with < 16; with++) {
        bool ta = with & 1, tb = with & 2, shared_a = with & 4, shared_b = with & 8;
        long a[3] = { B, ta ? K : M, ta ? M : K }, b[3] = { B, tb ? N : K, tb ? K : N };
        tensor *x = numbers(t, 1, 3 - shared_a, a + shared_a), *w = numbers(t, 2, 3 - shared_b, b + shared_b);
        tensor *y = ag_matmul(t, x, w, ta, tb);
        long batches = shared_a && shared_b ? 1 : B;
        real *expected = ag_alloc_real(t, batches * M * N);
        for (long i = 0; i < batches * M * N; i++) {
            long s = i / (M * N), m = i / N % M, n = i % N;
            const real *p = x->data + (shared_a ? 0 : s * M * K), *q = w->data + (shared_b ? 0 : s * K * N);
            double sum = 0;
            for (long k = 0; k < K; k++)
                sum += (double)p[ta ? k*M + m : m*K + k] * q[tb ? n*K + k : k*N + n];
            expected[i] = (real)sum;
        }
        ck_assert_int_eq(y->size, batches * M * N);
        ck_assert_int_eq(y->ndim, batches == 1 ? 2 : 3);
        assert_close(y->size, y->data, expected, "matmul");
    }
}
END_TEST

START_TEST(patch_embed_is_a_convolution_with_its_kernel_as_stride)
{
    long B = 2, C = 3, S = 6, p = 2, D = 4, G = 3;
    tensor *x = numbers(t, 1, DIMS(B, C, S, S)), *w = numbers(t, 2, DIMS(D, C, p, p));
    tensor *b = numbers(t, 3, DIMS(D));
    tensor *y = ag_patch_embed(t, x, w, b, p);             /* (B,G G,D) */
    real *expected = ag_alloc_real(t, B * G * G * D);
    for (long i = 0; i < B * G * G * D; i++) {
        long d = i % D, column = i / D % G, row = i / D / G % G, picture = i / D / G / G;
        double sum = b->data[d];
        for (long k = 0; k < C * p * p; k++) {
            long c = k / (p*p), line = row*p + k / p % p, pixel = column*p + k % p;
            sum += (double)w->data[d*C*p*p + k] * x->data[((picture*C + c)*S + line)*S + pixel];
        }
        expected[i] = (real)sum;
    }
    assert_close(y->size, y->data, expected, "patch_embed");
}
END_TEST

START_TEST(l2_normalize_gives_length_1_and_spares_zero_rows)
{
    tensor *x = ag_leaf(t, DIMS(2, 2), (real[]){ 3, -4, 0, 0 }), *y = ag_l2_normalize(t, x, 1e-12);
    assert_close(4, y->data, (real[]){ (real)0.6, (real)-0.8, 0, 0 }, "l2_normalize");
    backward(t, y);
    ck_assert(isfinite(x->grad[2]) && isfinite(x->grad[3]));
}
END_TEST

/* ---- shapes ------------------------------------------------------------------------------------------ */
START_TEST(slices_put_together_again_are_the_whole)
{
    static const long dim[4] = { 2, 3, 5, 4 };
    tensor *x = numbers(t, 1, 4, dim);
    for (int axis = 0; axis < 4; axis++)
        for (long cut = 0; cut <= dim[axis]; cut++) {      /* an empty part at both ends */
            tensor *a = ag_slice(t, x, axis, 0, cut), *b = ag_slice(t, x, axis, cut, dim[axis] - cut);
            tensor *y = ag_concat(t, 2, (tensor *[]){ a, b }, axis);
            ck_assert_int_eq(a->dim[axis], cut);
            ck_assert(!memcmp(y->data, x->data, (size_t)x->size * sizeof(real)));
        }
}
END_TEST

START_TEST(embedding_reads_rows_and_adds_the_gradients_of_repeated_ids)
{
    tensor *table = ag_leaf(t, DIMS(300, 2), numbers(t, 1, DIMS(300, 2))->data);
    int ids[6] = { 299, 0, 299, 256, 43, 299 };            /* 299 and 43 agree in their low byte */
    tensor *y = ag_embedding(t, table, ids, DIMS(2, 3));
    ck_assert_int_eq(y->ndim, 3);
    for (int i = 0; i < 12; i++)
        ck_assert(y->data[i] == table->data[ids[i / 2] * 2 + i % 2]);
    const real g[12] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
    ag_backward_from(t, 1, &y, (const real *const[]){ g });
    real expected[600] = { 0 };
    for (int i = 0; i < 12; i++)
        expected[ids[i / 2] * 2 + i % 2] += g[i];
    for (int i = 0; i < 600; i++)
        ck_assert(table->grad[i] == expected[i]);
}
END_TEST

START_TEST(ids_may_change_after_the_call)
{
    tensor *x = numbers(t, 1, DIMS(3, 1)), *table = numbers(t, 2, DIMS(3, 1)), *z = numbers(t, 3, DIMS(1, 3));
    int rows[2] = { 2, 2 }, id = 1;
    tensor *y = ag_gather(t, x, rows, 2);
    tensor *e = ag_embedding(t, table, &id, DIMS(1));
    tensor *loss = ag_cross_entropy(t, z, &(ag_ce){ .ids = &id });
    rows[0] = rows[1] = 0;
    id = 2;
    backward(t, y);
    backward(t, e);
    ag_backward(t, loss);
    ck_assert(x->grad[2] > 0 && x->grad[0] == 0);
    ck_assert(table->grad[1] > 0 && table->grad[2] == 0);
    ck_assert(z->grad[1] < 0 && z->grad[2] > 0);
}
END_TEST

/* ---- wrong calls ------------------------------------------------------------------------------------- */
#define X(...) numbers(t, 1, DIMS(__VA_ARGS__))

static void call_add(void *c) { (void)c; ag_add(t, X(2, 3), X(4)); }
static void call_div(void *c) { (void)c; ag_div(t, X(2, 3), X(3, 2)); }
static void call_mean(void *c) { (void)c; ag_mean(t, X(2, 0)); }
static void call_mean_axis(void *c) { (void)c; ag_mean_axis(t, X(2, 3), 2); }
static void call_max_axis(void *c) { (void)c; ag_max_axis(t, X(2, 3), -1); }
static void call_inner(void *c) { (void)c; ag_matmul(t, X(2, 3), X(2, 3), false, false); }
static void call_batch(void *c) { (void)c; ag_matmul(t, X(2, 3, 4), X(3, 4, 5), false, false); }
static void call_axes(void *c) { (void)c; ag_matmul(t, X(2), X(2, 3), true, false); }
static void call_concat(void *c) { (void)c; ag_concat(t, 2, (tensor *[]){ X(2, 3), X(2, 4) }, 0); }
static void call_concat_none(void *c) { (void)c; ag_concat(t, 0, NULL, 0); }
static void call_slice(void *c) { (void)c; ag_slice(t, X(2, 3), 1, 2, 2); }
static void call_gather(void *c) { (void)c; ag_gather(t, X(5, 2), (int[]){ 0, 5 }, 2); }
static void call_gather_below(void *c) { (void)c; ag_gather(t, X(5, 2), (int[]){ -1 }, 1); }
static void call_embedding(void *c) { (void)c; ag_embedding(t, X(5, 2), (int[]){ 5 }, DIMS(1)); }
static void call_repeat(void *c) { (void)c; ag_repeat(t, X(2, 3), 4); }
static void call_l2(void *c) { (void)c; ag_l2_normalize(t, X(2, 3), -1); }
static void call_patch(void *c) { (void)c; ag_patch_embed(t, X(1, 3, 7, 7), X(4, 3, 2, 2), NULL, 2); }

static const wrong_call wrong[] = {
    { call_add, "add: (2,3) and (4) do not broadcast: 3 against 4" },
    { call_div, "div: (2,3) and (3,2) do not broadcast: 3 against 2" },
    { call_mean, "mean: x (2,0) has no elements" },
    { call_mean_axis, "mean_axis: x (2,3) has no elements along axis 2" },
    { call_max_axis, "max_axis: x (2,3) has no elements along axis -1" },
    { call_inner, "matmul: (2,3) x (2,3)" },
    { call_batch, "matmul: (2,3,4) x (3,4,5)" },
    { call_axes, "matmul: (2)' x (2,3)" },
    { call_concat, "concat: part 1 (2,4) differs from part 0 (2,3) in another axis than 0" },
    { call_concat_none, "concat: at least one part" },
    { call_slice, "slice: 2 from place 2 of axis 1 is not inside x (2,3)" },
    { call_gather, "gather: row 5 at place 1 is outside (5,2)" },
    { call_gather_below, "gather: row -1 at place 0 is outside (5,2)" },
    { call_embedding, "embedding: row 5 at place 0 is outside (5,2)" },
    { call_repeat, "repeat: (1,...) can be repeated, got (2,3)" },
    { call_l2, "l2_normalize: x needs a last axis and eps is not negative" },
    { call_patch, "patch_embed: pictures (B,C,S,S), S a multiple of 2" },
};

START_TEST(a_wrong_call_names_the_operation_and_the_shapes)
{
    assert_fails(t, &wrong[_i]);
}
END_TEST

/* Backward of a product is two products of as many operations; counted on a tape that only measures. */
START_TEST(backward_of_a_product_counts_twice_its_forward)
{
    enum { B = 2, M = 3, N = 5, K = 7 };
    const long a[2][3] = { { B, M, K }, { B, K, M } }, b[2][3] = { { B, K, N }, { B, N, K } };
    for (int i = 0; i < 4; i++) {
        tape *counting = ag_tape_new();
        ck_assert(counting && ag_measures(counting));
        tensor *x = ag_new(counting, 3, a[i & 1]), *y = ag_new(counting, 3, b[i >> 1]);
        x->needs_grad = y->needs_grad = true;
        tensor *c = ag_matmul(counting, x, y, i & 1, i >> 1);
        ck_assert(ag_flops(counting) == 2.0 * B * M * N * K);
        ag_backward(counting, ag_sum(counting, c));
        ck_assert(ag_flops(counting) == 3 * 2.0 * B * M * N * K);
        ag_tape_free(counting);
    }
}
END_TEST

/* softmax(q k') v is two products; backward of attention makes the first again, and two for each of them. */
START_TEST(backward_of_attention_counts_five_products)
{
    enum { B = 2, TQ = 3, TK = 5, D = 4, HEADS = 2 };
    for (int which = 0; which < 4; which++) {              /* q alone; k; v; all */
        tape *counting = ag_tape_new();
        ck_assert(counting && ag_measures(counting));
        tensor *q = ag_new(counting, DIMS(B, TQ, D)), *k = ag_new(counting, DIMS(B, TK, D)),
               *v = ag_new(counting, DIMS(B, TK, D));
        q->needs_grad = which == 0 || which == 3;
        k->needs_grad = which == 1 || which == 3;
        v->needs_grad = which == 2 || which == 3;
        double product = 2.0 * B * TQ * TK * D;
        tensor *y = ag_attention(counting, q, k, v, &(ag_attn){ .heads = HEADS });
        ck_assert(ag_flops(counting) == 2 * product);
        ag_backward(counting, ag_sum(counting, y));
        ck_assert_msg(ag_flops(counting) == (2 + 1 + (which == 3 ? 3 : 1)) * product, "%d: %g products",
                      which, ag_flops(counting) / product);
        ag_tape_free(counting);
    }
}
END_TEST

Suite *suite_arithmetic(void)
{
    const TTest *const tests[] = {
        long_sums_do_not_drift, sums_over_an_axis_equal_plain_loops_at_every_shape,
        the_gradient_of_a_tie_goes_to_the_first_maximum, a_maximum_does_not_hide_a_nan,
        broadcasting_follows_numpy, one_tensor_on_both_sides_gets_both_gradients,
        matmul_equals_plain_loops, backward_of_a_product_counts_twice_its_forward,
        backward_of_attention_counts_five_products,
        patch_embed_is_a_convolution_with_its_kernel_as_stride,
        l2_normalize_gives_length_1_and_spares_zero_rows, slices_put_together_again_are_the_whole,
        embedding_reads_rows_and_adds_the_gradients_of_repeated_ids, ids_may_change_after_the_call,
    };
    Suite *s = suite_create("arithmetic");
    TCase *c = tcase_create("arithmetic");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, TEST_SECONDS);
    add_tests(c, sizeof tests / sizeof *tests, tests);
    tcase_add_loop_test(c, a_wrong_call_names_the_operation_and_the_shapes, 0, sizeof wrong / sizeof *wrong);
    suite_add_tcase(s, c);
    return s;
}
