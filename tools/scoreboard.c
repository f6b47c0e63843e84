/* scoreboard.c - `make scoreboard`: the figures of tests/faults.h, every case of them, a few lines each.
 *
 *     bin/scoreboard [STEPS] [SEED] [ID...]     STEPS 0: as each figure has it
 *
 * Check runs them, as the makers of files in tests/ report through it.                                     */
#include "tests/faults.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORT "short"
static fault_scale scale = { .full = true, .seed = 1 };

START_TEST(every_case_ends_as_it_should)
{
    figure g = { .id = fault_entries[_i].id, .what = fault_entries[_i].what };
    double from = clock_seconds();
    fault_entries[_i].measure(&g, &scale);
    figure_detail(&g, "%.0f s", clock_seconds() - from);
    figure_print(&g);
    ck_assert_msg(figure_ok(&g), SHORT);
}
END_TEST

static bool wanted(const char *id, int argc, char **argv)
{
    for (int i = 3; i < argc; i++)
        if (!strcmp(argv[i], id))
            return true;
    return argc < 4;
}

int main(int argc, char **argv)
{
    Suite *s = suite_create("scoreboard");
    TCase *c = tcase_create("figures");
    scale.steps = argc > 1 ? atol(argv[1]) : 0;
    scale.seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    tcase_set_timeout(c, 0);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    for (int i = 0; i < fault_entry_count; i++)
        if (wanted(fault_entries[i].id, argc, argv))
            tcase_add_loop_test(c, every_case_ends_as_it_should, i, i + 1);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_SILENT);
    int failed = srunner_ntests_failed(r);
    TestResult **broken = srunner_failures(r);
    for (int i = 0; i < failed; i++) /* a figure that could not be measured has no line */
        if (!strstr(tr_msg(broken[i]), SHORT))
            printf("one figure was not measured: %s:%d: %s\n", tr_lfile(broken[i]), tr_lno(broken[i]),
                   tr_msg(broken[i]));
    free(broken);
    srunner_free(r);
    return failed > 0;
}
