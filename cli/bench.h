/* bench.h - what the files of `blip2 bench` share. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H
#include "blip2/blip2.h"
#include "cli/cli.h"

int bench_ops(int argc, char **argv);              /* bench ops [OP] [--repeats N] */
int bench_stage2(int argc, char **argv);
int bench_vision(int argc, char **argv);
int bench_generate(int argc, char **argv);

/* bench_weights.c: models of random numbers, made in place. */
bool bench_dtype(const char *text, ag_dtype *to);  /* "f32", "f16", "bf16", "int8"; false: none of them */
/* layers 0: as published. false: an unknown name */
bool bench_llm(const char *name, long layers, blip2_config *c);            /* opt-2.7b, flan-t5-xl */
bool bench_tower(const char *name, long layers, blip2_vit_config *c);      /* eva_g, clip_l */
void bench_fill(nn_store *s); /* of a store that was built blank: what it would start with */
double bench_bandwidth(const nn_store *s); /* GB/s of reading its largest array, all threads; best of 3 */
int bench_by_size(const void *a, const void *b);   /* doubles, for qsort */
#endif
