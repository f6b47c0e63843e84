/* bench.h - what the files of `blip2 bench` share. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H
#include "cli/cli.h"

int bench_ops(int argc, char **argv);              /* bench ops [OP] [--repeats N] */
#endif
