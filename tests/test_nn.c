/* test_nn.c - parameters by name, how they start, and the modules that hold them. */
#include "tests/tests.h"
#include <math.h>
#include <string.h>

static tape *t;
static nn_store *store;
static nn_scope root;

static void setup(void)
{
    t = ag_tape_new();
    store = nn_store_new(7);
    root = nn_root(store);
}

static void teardown(void)
{
    nn_store_free(store);
    ag_tape_free(t);
}

static void build(nn_store *s)
{
    error e;
    ck_assert_msg(nn_build(s, true, &e), "%s", e.text);
}

/* ---- the store ----------------------------------------------------------------------------------------- */

START_TEST(names_are_joined_with_dots_and_found)
{
    nn_linear l;
    nn_linear_init(&l, nn_sub(nn_sub(root, "encoder"), "layer.%d.dense", 3), 2, 5, NN_INIT_ONE);
    ck_assert_str_eq(l.weight->name, "encoder.layer.3.dense.weight");
    ck_assert_ptr_eq(nn_find(store, "encoder.layer.3.dense.bias"), l.bias);
    ck_assert_ptr_null(nn_find(store, "encoder.layer.3.dense"));
    ck_assert_int_eq(l.weight->dim[0], 2);
    ck_assert_int_eq(l.weight->dim[1], 5);
}
END_TEST

START_TEST(a_start_depends_on_seed_and_name_alone)
{
    nn_store *other = nn_store_new(7), *third = nn_store_new(8);
    nn_parameter(nn_root(other), "first", NN_INIT_NORMAL(3), DIMS(11));
    tensor *a = nn_parameter(nn_root(other), "x", NN_INIT_NORMAL(2), DIMS(50));
    tensor *b = nn_parameter(root, "x", NN_INIT_NORMAL(2), DIMS(50));
    tensor *c = nn_parameter(root, "y", NN_INIT_NORMAL(2), DIMS(50));
    tensor *d = nn_parameter(nn_root(third), "x", NN_INIT_NORMAL(2), DIMS(50));
    build(store), build(other), build(third);
    size_t bytes = 50 * sizeof(real);
    ck_assert_mem_eq(a->data, b->data, bytes);
    ck_assert_mem_ne(b->data, c->data, bytes);
    ck_assert_mem_ne(b->data, d->data, bytes);
    nn_store_free(other);
    nn_store_free(third);
}
END_TEST

START_TEST(a_twin_scope_starts_as_a_copy)
{
    nn_scope twin = root;
    twin.without = "_query";
    nn_linear text, query;
    nn_linear_init_torch(&text, nn_sub(root, "output.dense"), 6, 4);
    nn_linear_init_torch(&query, nn_sub(twin, "output_query.dense"), 6, 4);
    build(store);
    ck_assert_mem_eq(text.weight->data, query.weight->data, 24 * sizeof(real));
    ck_assert_mem_eq(text.bias->data, query.bias->data, 6 * sizeof(real));
    ck_assert_str_eq(query.bias->name, "output_query.dense.bias");
}
END_TEST

static void moments(const tensor *x, double *mean, double *std, double *largest)
{
    double sum = 0, square = 0;
    *largest = 0;
    for (long i = 0; i < x->size; i++) {
        sum += (double)x->data[i];
        square += (double)x->data[i] * (double)x->data[i];
        *largest = fmax(*largest, fabs((double)x->data[i]));
    }
    *mean = sum / (double)x->size;
    *std = sqrt(square / (double)x->size - *mean * *mean);
}

START_TEST(starts_have_the_distribution_they_name)
{
    enum { N = 40000 };
    static real given[N] = { 5, 6, 7 };
    nn_linear l;
    tensor *normal = nn_parameter(root, "normal", NN_INIT_NORMAL(0.5), DIMS(N));
    tensor *uniform = nn_parameter(root, "uniform", NN_INIT_UNIFORM(0.5), DIMS(N));
    tensor *cut = nn_parameter(root, "cut", (nn_init){ NN_TRUNCATED, 2, NULL }, DIMS(N));
    tensor *copied = nn_parameter(root, "copied", (nn_init){ NN_GIVEN, 0, given }, DIMS(N));
    nn_linear_init_torch(&l, nn_sub(root, "l"), 3000, 16);
    build(store);
    double mean, std, most;
    moments(normal, &mean, &std, &most);
    ck_assert_double_eq_tol(mean, 0, 0.01);
    ck_assert_double_eq_tol(std, 0.5, 0.01);
    ck_assert_double_gt(most, 1.5);
    moments(uniform, &mean, &std, &most);
    ck_assert_double_eq_tol(mean, 0, 0.01);
    ck_assert_double_eq_tol(std, 0.5 / sqrt(3), 0.01);
    ck_assert_double_le(most, 0.5);
    moments(cut, &mean, &std, &most);
    ck_assert_double_le(most, 2);
    ck_assert_double_eq_tol(std, 2 * 0.53956, 0.01);       /* of a normal cut at one deviation */
    ck_assert_mem_eq(copied->data, given, sizeof given);
    moments(l.weight, &mean, &std, &most);
    ck_assert_double_le(most, 0.25);
    ck_assert_double_gt(most, 0.249);
    moments(l.bias, &mean, &std, &most);
    ck_assert_double_gt(most, 0.2);
}
END_TEST

START_TEST(trained_values_gradients_and_moments_are_contiguous)
{
    tensor *a = nn_parameter(root, "a", NN_INIT_ONE, DIMS(3));
    tensor *b = nn_parameter(root, "b", NN_INIT_ONE, DIMS(2, 2));
    tensor *c = nn_parameter(root, "c", NN_INIT_ONE, 0, NULL);
    ck_assert_int_eq(nn_freeze(store, "b"), 1);
    build(store);
    ck_assert_int_eq(store->trainable, 4);
    ck_assert_int_eq(store->frozen, 4);
    ck_assert_ptr_eq(a->data, store->values);
    ck_assert_ptr_eq(c->data, store->values + 3);
    ck_assert_ptr_eq(c->grad, store->grads + 3);
    ck_assert_ptr_eq(store->entries[2].v, store->v + 3);
    ck_assert_ptr_eq(b->data, store->frozen_values);
    ck_assert(!b->needs_grad && !b->grad && a->needs_grad);
}
END_TEST

START_TEST(a_star_stands_for_one_whole_part_of_a_name)
{
    static const struct { const char *name, *prefix; bool is; } cases[] = {
        { "layer.1.attention.weight", "layer.*.attention", true },
        { "layer.12.attention.weight", "layer.*.attention", true },
        { "layer.1.attention.weight", "layer.*", true },
        { "layer.1.attention.weight", "*.1", true },
        { "layer.1.attention.weight", "*.*.*.weight", true },
        { "layer.1.crossattention.weight", "layer.*.attention", false },
        { "layer.1.attention_norm.weight", "layer.*.attention", false },
        { "layer.1.deep.attention.weight", "layer.*.attention", false },   /* one part, not two */
        { "layer.attention.weight", "layer.*.attention", false },          /* nor none */
        { "layer.1", "layer.*.attention", false },
        { "layer", "layer.*", false },
        { "layer.12.w", "layer.1*", false },                               /* a whole part, or no star */
        { "layer.12.w", "layer.*2", false },
        { "layer.1.w", "", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(nn_has_prefix(cases[i].name, cases[i].prefix) == cases[i].is, "%s of %s",
                      cases[i].prefix, cases[i].name);
}
END_TEST

START_TEST(freezing_takes_whole_parts_of_names)
{
    tensor *one = nn_parameter(root, "layer.1.weight", NN_INIT_ONE, DIMS(1));
    tensor *ten = nn_parameter(root, "layer.10.weight", NN_INIT_ONE, DIMS(1));
    nn_alias(root, "head.weight", ten);
    ck_assert_int_eq(nn_freeze(store, "layer.1"), 1);
    ck_assert_int_eq(nn_freeze(store, "head"), 0);         /* a second name freezes nothing */
    build(store);
    ck_assert(!one->needs_grad);
    ck_assert(ten->needs_grad);
}
END_TEST

START_TEST(an_alias_is_the_same_tensor_and_counts_once)
{
    tensor *words = nn_parameter(root, "words.weight", NN_INIT_ONE, DIMS(4, 2));
    nn_alias(nn_sub(root, "head"), "weight", words);
    build(store);
    ck_assert_ptr_eq(nn_find(store, "head.weight"), words);
    ck_assert_str_eq(store->entries[1].alias_of, "words.weight");
    ck_assert_int_eq(store->trainable, 8);
}
END_TEST

START_TEST(without_training_nothing_wants_a_gradient)
{
    error e;
    tensor *a = nn_parameter(root, "a", NN_INIT_ONE, DIMS(3));
    ck_assert(nn_build(store, false, &e));
    ck_assert(!a->needs_grad && !a->grad && !store->grads && !store->m);
}
END_TEST

START_TEST(a_missing_contribution_is_a_zero_gradient)
{
    nn_linear l;
    nn_linear_init(&l, root, 2, 2, NN_INIT_ONE);
    build(store);
    l.bias->grad[0] = 5;
    nn_zero_grad(store);
    tensor *x = ag_copy_in(t, DIMS(1, 2), (real[]){ 1, 2 });
    tensor *y = ag_linear(t, x, l.weight, NULL, AG_NONE);
    ag_backward_from(t, 1, &y, (const real *[]){ (real[]){ 1, 0 } });
    nn_finish_grad(store);
    ck_assert(l.bias->grad[0] == 0);
    ck_assert(l.weight->grad[1] == 2);
    ck_assert(l.weight->grad[3] == 0);
}
END_TEST

static void register_twice(void *scope)
{
    nn_parameter(*(nn_scope *)scope, "same", NN_INIT_ONE, DIMS(1));
    nn_parameter(*(nn_scope *)scope, "same", NN_INIT_ONE, DIMS(1));
}

static void register_long(void *scope)
{
    nn_scope s = *(nn_scope *)scope;
    for (int i = 0; i < 40; i++)
        s = nn_sub(s, "deeper");
}

static void register_empty(void *scope)
{
    nn_parameter(*(nn_scope *)scope, "empty", NN_INIT_ONE, DIMS(3, 0));
}

START_TEST(impossible_names_and_shapes_are_told)
{
    error e;
    ck_assert(!ag_try(t, register_twice, &root, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "same is registered twice"));
    ck_assert(!ag_try(t, register_long, &root, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "deeper"));
    ck_assert(!ag_try(t, register_empty, &root, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "empty has an impossible axis 1 of 0"));
}
END_TEST

START_TEST(out_of_memory_is_an_error_that_counts)
{
    error e;
    nn_parameter(root, "a", NN_INIT_ONE, DIMS(1000, 1000));
    for (long nth = 1; nth <= 5; nth++) {
        nn_store *s = nn_store_new(1);
        nn_parameter(nn_root(s), "a", NN_INIT_ONE, DIMS(1000, 1000));
        mem_fail_at(nth, false);
        ck_assert(!nn_build(s, true, &e));
        mem_fail_at(0, false);
        ck_assert_ptr_nonnull(strstr(e.text, "1000000 trained and 0 frozen"));
        nn_store_free(s);
    }
}
END_TEST

/* ---- modules ------------------------------------------------------------------------------------------- */

typedef struct modules {
    nn_embedding table; nn_layer_norm norm; nn_attention attention; nn_linear out;
    tensor *unused;
    int wrong;                         /* 1: hides a use of a parameter from the gradient; 2: all uses */
} modules;

static const nn_names names = { "q", "self.key", "v", "o" };

static void modules_init(modules *m)
{
    *m = (modules){ 0 };
    nn_embedding_init(&m->table, nn_sub(root, "table"), 9, 8, NN_INIT_NORMAL(1));
    nn_layer_norm_init(&m->norm, nn_sub(root, "norm"), 8, 1e-5);
    nn_attention_init(&m->attention, nn_sub(root, "attention"), &names, 8, 8, 2, NN_INIT_NORMAL(0.5),
                      NN_INIT_NORMAL(0.5));
    nn_linear_init_torch(&m->out, nn_sub(root, "out"), 3, 8);
    m->unused = nn_parameter(root, "unused", NN_INIT_ONE, DIMS(4));
    build(store);
}

static tensor *modules_forward(tape *on, void *ctx)
{
    const modules *m = ctx;
    static const int ids[] = { 1, 7, 3, 3, 0, 8 };
    tensor *x = nn_embedding_forward(&m->table, on, ids, DIMS(2, 3));
    tensor *normed = nn_layer_norm_forward(&m->norm, on, x);
    nn_kv memory = nn_attention_memory(&m->attention, on, normed);
    tensor *a = nn_attention_forward(&m->attention, on, normed, memory, (ag_attn){ .causal = true });
    tensor *y = nn_linear_act(&m->out, on, a, AG_GELU);
    if (m->wrong == 1)
        y = ag_linear(on, a, ag_detach(on, m->out.weight), m->out.bias, AG_GELU);
    if (m->wrong == 2)
        y = ag_add(on, y, ag_sum(on, ag_detach(on, m->unused)));
    return y;
}

#if REAL == 64
START_TEST(the_gradient_of_every_module_is_the_slope)
{
    modules m;
    modules_init(&m);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        nn_check c = nn_gradcheck(store, t, modules_forward, &m, 1e-8, seed);
        ck_assert_msg(c.ok, "%s: %.1e", c.where, c.worst);
        ck_assert_double_gt(c.worst, 0);
        ck_assert_int_eq(c.idle, 1);
    }
}
END_TEST

START_TEST(the_check_finds_uses_that_are_hidden_from_the_gradient)
{
    modules m;
    modules_init(&m);
    m.wrong = 1;
    nn_check c = nn_gradcheck(store, t, modules_forward, &m, 1e-8, 1);
    ck_assert(!c.ok);
    ck_assert_str_eq(c.where, "out.weight");
    m.wrong = 2;
    c = nn_gradcheck(store, t, modules_forward, &m, 1e-8, 1);
    ck_assert(!c.ok);
    ck_assert_str_eq(c.where, "unused");
}
END_TEST
#endif

START_TEST(the_check_leaves_values_and_tape_as_they_were)
{
    modules m;
    modules_init(&m);
    real *before = mem_new((size_t)store->trainable * sizeof *before);
    memcpy(before, store->values, (size_t)store->trainable * sizeof *before);
    ag_mark here = ag_here(t);
    nn_gradcheck(store, t, modules_forward, &m, 1e-8, 1);
    ag_mark now = ag_here(t);
    ck_assert_mem_eq(before, store->values, (size_t)store->trainable * sizeof *before);
    ck_assert_int_eq(now.used, here.used);
    ck_assert_int_eq(now.nodes, here.nodes);
    mem_free(before);
}
END_TEST

Suite *suite_nn(void)
{
    Suite *s = suite_create("nn");
    TCase *c = tcase_create("nn");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, names_are_joined_with_dots_and_found);
    tcase_add_test(c, a_start_depends_on_seed_and_name_alone);
    tcase_add_test(c, a_twin_scope_starts_as_a_copy);
    tcase_add_test(c, starts_have_the_distribution_they_name);
    tcase_add_test(c, trained_values_gradients_and_moments_are_contiguous);
    tcase_add_test(c, a_star_stands_for_one_whole_part_of_a_name);
    tcase_add_test(c, freezing_takes_whole_parts_of_names);
    tcase_add_test(c, an_alias_is_the_same_tensor_and_counts_once);
    tcase_add_test(c, without_training_nothing_wants_a_gradient);
    tcase_add_test(c, a_missing_contribution_is_a_zero_gradient);
    tcase_add_test(c, impossible_names_and_shapes_are_told);
    tcase_add_test(c, out_of_memory_is_an_error_that_counts);
#if REAL == 64
    tcase_add_test(c, the_gradient_of_every_module_is_the_slope);
    tcase_add_test(c, the_check_finds_uses_that_are_hidden_from_the_gradient);
#endif
    tcase_add_test(c, the_check_leaves_values_and_tape_as_they_were);
    suite_add_tcase(s, c);
    return s;
}
