/* test_ops.c - every operation of ops.def through all properties of probe.c (slope, adding, freezing, threads). */
#include "tests/tests.h"

START_TEST(gradient_is_the_slope_and_properties_hold)
{
    int count;
    const ag_op *op = ag_ops(&count)[_i];
    for (uint64_t seed = 1; seed <= 2; seed++) {
        ag_check c = ag_gradcheck_op(op, seed);
        ck_assert_msg(c.ok, "%s, seed %d: error %.1e at %s, tolerance %.0e. %s", c.what, (int)seed, c.worst, c.where,
                      c.tolerance, c.trouble);
    }
}
END_TEST

Suite *suite_ops(void)
{
    int count;
    ag_ops(&count);
    Suite *s = suite_create("ops");
    TCase *c = tcase_create("ops");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_loop_test(c, gradient_is_the_slope_and_properties_hold, 0, count);
    suite_add_tcase(s, c);
    return s;
}
