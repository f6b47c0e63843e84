/* main.c - runs every suite, or those named on the command line. The closing line is Check's summary. */
#include "tests/tests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return true;
    return argc < 2;
}

/* 0 of 0 checks would pass. */
static bool known(const char *name)
{
#define SUITE_IS(one) \
    if (suite_##one && !strcmp(#one, name)) return true;
    SUITES(SUITE_IS)
    fprintf(stderr, "test: no suite \"%s\"\n", name);
    return false;
}

int main(int argc, char **argv)
{
    const char *one = getenv("CK_RUN_SUITE");
    for (int i = 1; i < argc; i++)
        if (!known(argv[i]))
            return 2;
    if (one && !known(one))
        return 2;
    SRunner *runner = srunner_create(NULL);
#define SUITE_ADD(name) \
    if (suite_##name && wanted(#name, argc, argv)) srunner_add_suite(runner, suite_##name());
    SUITES(SUITE_ADD)
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
