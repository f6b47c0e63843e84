/* test_ops.c - every operation of ops.def through all properties of probe.c (slope, adding, freezing,
 * threads). */
#include "tests/tests.h"

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
        suite_add_tcase(s, c);
    }
    return s;
}
