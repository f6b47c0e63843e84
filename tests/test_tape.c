/* test_tape.c - the tape: memory, marks, backward, failing, recomputation. */
#include "tests/tests.h"
#include <math.h>
#include <string.h>

static tape *t;

static void setup(void) { t = ag_tape_new(); }
static void teardown(void) { ag_tape_free(t); }

static tensor *leaf(long n, double first)
{
    real x[64];
    for (long i = 0; i < n; i++)
        x[i] = (real)(first + 0.25 * (double)i);
    return ag_leaf(t, DIMS(n), x);
}

START_TEST(gradient_of_a_product_is_the_other_factor)
{
    tensor *a = leaf(3, 1), *b = leaf(3, 2);
    tensor *y = ag_mul(t, a, b);
    ag_backward(t, ag_sum(t, y));
    for (int i = 0; i < 3; i++) {
        ck_assert(a->grad[i] == b->data[i]);
        ck_assert(b->grad[i] == a->data[i]);
    }
}
END_TEST

START_TEST(two_uses_of_a_tensor_give_the_sum)
{
    tensor *a = leaf(3, 1);
    tensor *y = ag_mul(t, a, a);
    ag_backward(t, ag_sum(t, y));
    for (int i = 0; i < 3; i++)
        ck_assert(a->grad[i] == 2 * a->data[i]);
}
END_TEST

START_TEST(a_reshape_shares_data_and_gradient)
{
    tensor *a = leaf(6, 1), *b = ag_reshape(t, a, DIMS(2, 3)), *c = ag_reshape(t, b, DIMS(3, 2));
    ck_assert(c->data == a->data);
    tensor *y = ag_add(t, ag_reshape(t, b, DIMS(3, 2)), c);
    ag_backward(t, ag_sum(t, y));
    for (int i = 0; i < 6; i++)
        ck_assert(a->grad[i] == 2);
}
END_TEST

START_TEST(what_needs_no_gradient_is_not_recorded)
{
    tensor *x = ag_copy_in(t, DIMS(2), (real[]){ 1, 2 });
    ag_mul(t, x, x);
    ck_assert_int_eq(ag_node_count(t), 0);
    tensor *a = leaf(2, 1);
    bool was = ag_record_on(t, false);
    ag_mul(t, a, x);
    ag_record_on(t, was);
    ck_assert_int_eq(ag_node_count(t), 0);
    ag_mul(t, a, x);
    ck_assert_int_eq(ag_node_count(t), 1);
}
END_TEST

START_TEST(a_warm_step_calls_no_allocator)
{
    long made = 0;
    for (int step = 0; step < 5; step++) {
        made = mem_count();
        ag_reset(t);
        tensor *a = leaf(64, 1), *y = a;
        for (int i = 0; i < 3000; i++)
            y = ag_mul(t, y, a);
        ag_backward(t, ag_sum(t, y));
    }
    ck_assert_int_eq(mem_count(), made);
}
END_TEST

START_TEST(rewinding_gives_memory_back_and_may_keep_one_tensor)
{
    leaf(3, 1);
    ag_mark mark = ag_here(t);
    long held = 0;
    for (int i = 0; i < 1000; i++) {
        ag_new(t, DIMS(4000));
        tensor *x = ag_copy_in(t, DIMS(2, 2), (real[]){ 1, 2, 3, (real)i });
        tensor *y = ag_rewind_keep(t, mark, x);
        ck_assert_int_eq(y->ndim, 2);
        ck_assert(y->data[0] == 1 && y->data[3] == i);
        ag_rewind(t, mark);
        if (i == 1)
            held = ag_bytes(t);
    }
    ck_assert_int_eq(ag_bytes(t), held);
}
END_TEST

START_TEST(backward_from_takes_several_roots_and_cotangents)
{
    tensor *a = leaf(2, 1);
    tensor *roots[2];
    roots[0] = ag_scale(t, a, 3);
    roots[1] = ag_mul(t, a, a);
    real one[2] = { 1, 10 }, two[2] = { 100, 1000 };
    ag_backward_from(t, 2, roots, (const real *const[]){ one, two });
    ck_assert(a->grad[0] == 3 * 1 + 2 * a->data[0] * 100);
    ck_assert(a->grad[1] == 3 * 10 + 2 * a->data[1] * 1000);
}
END_TEST

static void wrong_shapes(void *context)
{
    (void)context;
    tensor *x = leaf(5, 1), *w = ag_new(t, DIMS(3, 4));
    ag_linear(t, x, w, NULL, AG_NONE);
}

START_TEST(a_wrong_call_names_the_op_and_every_shape)
{
    error e;
    ag_mark mark = ag_here(t);
    ck_assert(!ag_try(t, wrong_shapes, NULL, &e));
    ck_assert_str_eq(e.text, "linear: x (5) needs a weight (N,5) and a bias (N), got (3,4) and none");
    ag_mark after = ag_here(t);
    ck_assert_int_eq(after.used, mark.used);
}
END_TEST

static void backward_of_a_vector(void *context)
{
    (void)context;
    ag_backward(t, ag_scale(t, leaf(2, 1), 2));
}

START_TEST(backward_wants_one_number)
{
    error e;
    ck_assert(!ag_try(t, backward_of_a_vector, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "backward: the loss has one element, got shape (2)"));
}
END_TEST

static void much_memory(void *context)
{
    (void)context;
    for (int i = 0; i < 100; i++)
        ag_new(t, DIMS(1 << 20));
}

START_TEST(out_of_memory_is_an_error_that_says_how_much)
{
    for (long n = 1; n < 4; n++) {
        error e;
        mem_fail_at(n, true);
        bool ok = ag_try(t, much_memory, NULL, &e);
        mem_fail_at(0, false);
        ck_assert(!ok);
        ck_assert_ptr_nonnull(strstr(e.text, "out of memory"));
    }
    error e;
    ck_assert(ag_try(t, much_memory, NULL, &e));
}
END_TEST

static void block(tape *tt, void *ctx, tensor *const *in, tensor **out)
{
    (void)ctx;
    tensor *h = ag_linear(tt, in[0], in[1], NULL, AG_GELU);
    tensor *d = ag_dropout(tt, h, (ag_drop){ 0.5, 3 });
    out[0] = ag_linear(tt, d, in[1], NULL, AG_NONE);
}

START_TEST(recomputation_changes_no_bit)
{
    real x[12], w[16], kept[2][28];
    for (int i = 0; i < 16; i++)
        w[i] = (real)sin(i + 1);
    for (int i = 0; i < 12; i++)
        x[i] = (real)cos(i + 1);
    for (int k = 0; k < 2; k++) {
        ag_reset(t);
        ag_training(t, true);
        tensor *in[2] = { ag_leaf(t, DIMS(3, 4), x), ag_leaf(t, DIMS(4, 4), w) }, *y = in[0];
        for (int i = 0; i < 4; i++) {
            tensor *from[2] = { y, in[1] };
            if (k)
                ag_checkpoint(t, block, NULL, 2, from, 1, &y);
            else
                block(t, NULL, from, &y);
        }
        ag_training(t, false); /* backward reruns as forward ran, and leaves this alone */
        ag_random outside = ag_seed(t, (ag_random){ .seed = 99, .step = 3 });
        ag_backward(t, ag_sum(t, y));
        ck_assert(!ag_is_training(t) && ag_random_now(t).seed == 99);
        ag_seed(t, outside);
        memcpy(kept[k], in[0]->grad, sizeof x);
        memcpy(kept[k] + 12, in[1]->grad, sizeof w);
    }
    ck_assert_mem_eq(kept[0], kept[1], sizeof kept[0]);
}
END_TEST

/* A gradient of nothing has a place of its own, and gives it back as any other. */
START_TEST(empty_gradients_leave_others_alone)
{
    tensor *x = ag_leaf(t, DIMS(2, 3), (real[]){ 1, 2, 3, 4, 5, 6 });
    tensor *h = ag_scale(t, x, 2), *none = ag_scale(t, ag_slice(t, h, 0, 0, 0), 1);
    ag_backward(t, ag_sum(t, ag_concat(t, 2, (tensor *[]){ none, h }, 0)));
    for (int i = 0; i < 6; i++)
        ck_assert(x->grad[i] == 2);
}
END_TEST

static void pass_on(tape *on, void *ctx, tensor *const *in, tensor **out)
{
    (void)ctx;
    out[0] = ag_reshape(on, in[0], DIMS(2, 3));
    out[1] = in[0];
}

START_TEST(recomputing_what_only_passes_on_keeps_the_gradient)
{
    tensor *x = leaf(6, 1), *out[2];
    ag_checkpoint(t, pass_on, NULL, 1, (tensor *[]){ x }, 2, out);
    ag_backward(t, ag_add(t, ag_sum(t, out[0]), ag_scale(t, ag_sum(t, out[1]), 3)));
    for (int i = 0; i < 6; i++)
        ck_assert(x->grad[i] == 4);
}
END_TEST

/* Zero columns, or zero outputs: nothing to add, nothing to divide by. */
START_TEST(no_width_is_a_width)
{
    tensor *x = ag_leaf(t, DIMS(3, 4), (real[12]){ 1, 2 }), *w = ag_leaf(t, DIMS(0, 4), NULL);
    tensor *y = ag_linear(t, x, w, NULL, AG_NONE), *z = ag_leaf(t, DIMS(3, 0), NULL);
    tensor *gamma = ag_leaf(t, DIMS(0), NULL), *beta = ag_leaf(t, DIMS(0), NULL);
    tensor *a = ag_layer_norm(t, z, gamma, beta, 1e-5), *b = ag_rms_norm(t, z, gamma, 1e-5);
    tensor *roots[3] = { y, a, b };
    const real nothing = 0, *g[3] = { &nothing, &nothing, &nothing };
    ag_backward_from(t, 3, roots, g);
    for (int i = 0; i < 12; i++)
        ck_assert(x->grad[i] == 0);
}
END_TEST

START_TEST(a_norm_of_a_row_that_is_not_finite_is_not_finite)
{
    tensor *x = ag_copy_in(t, DIMS(2, 2), (real[]){ (real)NAN, 1, 3, 4 }), *y = ag_l2_normalize(t, x, 1e-12);
    ck_assert(isnan((double)y->data[0]) && isnan((double)y->data[1]));
    ck_assert(fabs((double)y->data[2] - 0.6) < 1e-6 && fabs((double)y->data[3] - 0.8) < 1e-6);
}
END_TEST

START_TEST(a_fence_tells_of_a_write_behind_an_allocation)
{
    static const long sizes[] = { 1, 60, 64, 65, 1000 };
    for (int i = 0; i < 5; i++)
        for (int late = 0; late < 2; late++) {
            ag_reset(t);
            ag_fences(t, true);
            ag_mark here = ag_here(t);
            unsigned char *p = ag_alloc(t, sizes[i]), *q = ag_alloc(t, 8);
            memset(p, 1, (size_t)sizes[i]);
            memset(q, 1, 8);
            p[sizes[i] + (late ? 63 : 0)] = 1; /* one byte too far, or as far as a fence reaches */
            ag_rewind(t, here);
            ck_assert_msg(!ag_fences(t, false), "%ld bytes", sizes[i]);
            ck_assert(ag_fences(t, true));
            p = ag_alloc(t, sizes[i]);
            memset(p, 1, (size_t)sizes[i]);
            ck_assert(ag_fences(t, false));
        }
}
END_TEST

Suite *suite_tape(void)
{
    Suite *s = suite_create("tape");
    TCase *c = tcase_create("tape");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_test(c, gradient_of_a_product_is_the_other_factor);
    tcase_add_test(c, two_uses_of_a_tensor_give_the_sum);
    tcase_add_test(c, empty_gradients_leave_others_alone);
    tcase_add_test(c, recomputing_what_only_passes_on_keeps_the_gradient);
    tcase_add_test(c, no_width_is_a_width);
    tcase_add_test(c, a_norm_of_a_row_that_is_not_finite_is_not_finite);
    tcase_add_test(c, a_reshape_shares_data_and_gradient);
    tcase_add_test(c, what_needs_no_gradient_is_not_recorded);
    tcase_add_test(c, a_warm_step_calls_no_allocator);
    tcase_add_test(c, rewinding_gives_memory_back_and_may_keep_one_tensor);
    tcase_add_test(c, backward_from_takes_several_roots_and_cotangents);
    tcase_add_test(c, a_wrong_call_names_the_op_and_every_shape);
    tcase_add_test(c, backward_wants_one_number);
    tcase_add_test(c, out_of_memory_is_an_error_that_says_how_much);
    tcase_add_test(c, recomputation_changes_no_bit);
    tcase_add_test(c, a_fence_tells_of_a_write_behind_an_allocation);
    suite_add_tcase(s, c);
    return s;
}
