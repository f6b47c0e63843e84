/* test_ops.c - every operation of ops.def through all properties of probe.c (slope, adding, freezing,
 * threads). */
#include "autograd/internal.h"
#include "tests/tests.h"
#include <string.h>

START_TEST(gradient_is_the_slope_and_properties_hold)
{
    int count;
    const ag_op *op = ag_ops(&count)[_i];
    for (uint64_t seed = 1; seed <= 2; seed++) {
        ag_check c = ag_gradcheck_op(op, seed);
        ck_assert_msg(c.ok, "%s, seed %d: error %.1e at %s, tolerance %.0e. %s", c.what, (int)seed, c.worst,
                      c.where, c.tolerance, c.trouble);
    }
}
END_TEST

/* Weights of four operations may be kept in low precision (a checkpoint's example has a linear in it); every
 * other input of every operation is refused, by name. */
static bool may_be_low(const char *op, const char *input)
{
    static const char *const weights[][2] = {
        { "linear", "weight" }, { "embedding", "table" }, { "patch_embed", "weight" },
        { "linear_cross_entropy", "weight" }, { "checkpoint", "weight" },
    };
    for (int i = 0; i < 5; i++)
        if (!strcmp(op, weights[i][0]) && !strcmp(input, weights[i][1]))
            return true;
    return false;
}

/* "OP: ...", where OP is one of the table: an example may have another operation in front of its own. */
static bool names_an_op(const char *text)
{
    int count;
    const ag_op *const *ops = ag_ops(&count);
    for (int i = 0; i < count; i++)
        if (!strncmp(text, ops[i]->name, strlen(ops[i]->name)) && text[strlen(ops[i]->name)] == ':')
            return true;
    return false;
}

START_TEST(low_precision_is_taken_as_a_weight_and_refused_elsewhere)
{
    enum { INPUTS = 8 };
    int count;
    char name[24];
    error e;
    const ag_op *op = ag_ops(&count)[_i];
    for (int v = 0; v < op->variants; v++)
        for (int i = 0; i < INPUTS; i++) {
            ag_answer a = ag_probe_frozen(op, v, i, name, &e);
            bool may = a != AG_NO_INPUT && may_be_low(op->name, name);
            bool said = a == AG_REFUSES && names_an_op(e.text)
                        && strstr(e.text, ") is kept in bf16; only the weight");
            ck_assert_msg(a == AG_NO_INPUT || (may ? a == AG_TAKES : said), "%s, variant %d, %s: %s",
                          op->name, v, name, a == AG_TAKES ? "taken" : e.text);
        }
}
END_TEST

/* A case for each op, named after it: CK_RUN_CASE=softmax runs it alone. */
Suite *suite_ops(void)
{
    int count;
    const ag_op *const *ops = ag_ops(&count);
    Suite *s = suite_create("ops");
    for (int i = 0; i < count; i++) {
        TCase *c = tcase_create(ops[i]->name);
        tcase_set_timeout(c, TEST_SECONDS);
        tcase_add_loop_test(c, gradient_is_the_slope_and_properties_hold, i, i + 1);
        tcase_add_loop_test(c, low_precision_is_taken_as_a_weight_and_refused_elsewhere, i, i + 1);
        suite_add_tcase(s, c);
    }
    return s;
}
