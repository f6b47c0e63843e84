/* import_case.h - small files to import, and what is expected of it, for the suites of `dataset import`. */
#ifndef TESTS_IMPORT_CASE_H
#define TESTS_IMPORT_CASE_H
#include "tests/shell.h"
#include <stdio.h>

void put_picture(const char *name, int shade);     /* 8 x 8 of one grey */
void folder(const char *name);
void put_member(FILE *f, const char *name, const void *bytes, long n);     /* of a tar archive */
void holds(const char *name, const char *expected);            /* a list that was written is exactly this */
void prints(said s, const char *part);             /* exit 0, and this on stdout; frees s */

#define IMPORT(...) BLIP2("dataset", "import", __VA_ARGS__, "-o", IN_FOLDER("out"))
#define ALL_TRAIN "--split", "1"
/* Nothing is left behind by an import that fails: `before` entries are there, and no out. */
#define REFUSES(code, says, ...) \
    do { \
        int before = folder_count(); \
        FAILS(code, says, "dataset", "import", __VA_ARGS__, "-o", IN_FOLDER("out")); \
        ck_assert_int_eq(folder_count(), before); \
    } while (0)
#endif
