/* scenes_case.h - a synthetic world of some hundred pictures, for the suites about such worlds. */
#ifndef TESTS_SCENES_CASE_H
#define TESTS_SCENES_CASE_H
#include "tests/tests.h"
#include "data/data.h"

scenes_options small_world(void);                  /* 600 pictures for training, 40, 60 and 60 others */
void make_world(const scenes_options *o, const char *name);    /* must succeed */
#endif
