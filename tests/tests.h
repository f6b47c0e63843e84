/* tests.h - what the suites share. One file a theme, test names that state a fact. */
#ifndef TESTS_H
#define TESTS_H
#include "blip2/blip2.h"
#include <check.h>

#define SUITES(X) X(base) X(h5) X(config) X(tape) X(gemm) X(math) X(ops) X(losses) X(text) X(image) X(scenes) X(data) \
    X(nn) X(qformer) X(stage1) X(vit) X(opt) X(generate) X(model_file) X(train) X(golden) X(cli)
#define SUITE_DECLARE(name) Suite *suite_##name(void) __attribute__((weak));
SUITES(SUITE_DECLARE)
/* A test case with a time limit that a slow, shared machine does not reach. */
#define TEST_SECONDS 240
#endif
