/* test_gradients.c - every module and loss: is the gradient the slope? (blip2/examples.c; in double only) */
#include "tests/tests.h"

#if REAL == 64
START_TEST(the_gradient_of_every_module_and_loss_is_the_slope)
{
    for (uint64_t seed = 1; seed <= 2; seed++) {
        ag_check c = blip2_example_check(_i, seed);
        ck_assert_msg(c.ok, "%s: error %.1e at %s, tolerance %.0e. %s", c.what, c.worst, c.where, c.tolerance,
                      c.trouble);
        ck_assert_double_gt(c.worst, 0);
    }
}
END_TEST

Suite *suite_gradients(void)
{
    Suite *s = suite_create("gradients");
    TCase *c = tcase_create("gradients");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_loop_test(c, the_gradient_of_every_module_and_loss_is_the_slope, 0, blip2_example_count());
    suite_add_tcase(s, c);
    return s;
}
#endif
