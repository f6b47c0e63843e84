/* test_faults.c - a few cases of every figure of `make scoreboard` (faults.h). */
#include "tests/faults.h"

START_TEST(a_fault_ends_as_it_should)
{
    figure g = { .id = fault_entries[_i].id, .what = fault_entries[_i].what };
    fault_entries[_i].measure(&g, &(fault_scale){ .seed = 1 });
    ck_assert_msg(figure_ok(&g), "%s (%s): %ld of %ld; %s", g.id, g.what, g.found, g.of, g.trouble);
}
END_TEST

Suite *suite_faults(void)
{
    Suite *s = suite_create("faults");
    TCase *c = tcase_create("faults");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_loop_test(c, a_fault_ends_as_it_should, 0, fault_entry_count);
    suite_add_tcase(s, c);
    return s;
}
