/* internal.h - a case as the runner sees it. */
#ifndef GOLDEN_INTERNAL_H
#define GOLDEN_INTERNAL_H
#include "tests/golden/golden.h"

enum { SHOWN = 2000 };
struct golden {
    const char *path, *group;
    h5 *file;
    json_t *config;
    char **outputs;                    /* datasets that must be compared */
    bool *seen;
    long count, values;
    double worst, tolerance;  /* of the comparison that came nearest to its bound, or passed it furthest */
    int failures;
    char failed[SHOWN][400];
    bool skipped;
    char reason[200];
};

h5_shape golden_shape(golden *g, const char *name);    /* leaves the handler if it is not there */
/* The dataset of a parameter: base/prefix+name with its dots as slashes. */
const char *golden_dataset(char to[600], const char *base, const char *prefix, const char *name);
#endif
