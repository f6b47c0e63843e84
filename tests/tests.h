/* tests.h - what the suites share. One file a theme, test names that state a fact. */
#ifndef TESTS_H
#define TESTS_H
#include "blip2/blip2.h"
#include <check.h>

#define SUITES(X) \
    X(augment) X(features) X(resume) X(trace) X(windows) X(low) X(low_models) X(base) X(h5) \
    X(h5_foreign) X(config) X(config_open) X(tape) X(gemm) X(math) X(ops) X(precision) X(dropout) \
    X(attention) X(arithmetic) X(losses) X(text) X(vocabulary) X(unigram) X(lists) X(import) \
    X(import_forms) X(records_edges) X(packages) X(pack) X(image) X(photo) X(scenes) \
    X(scenes_folder) X(data) X(nn) X(qformer) X(stage1) X(stage1_edges) X(large_batch) X(recompute) \
    X(connector) X(groups) X(gradients) X(vit) X(opt) X(t5) X(stage2) X(stage2_t5) X(search) \
    X(generate) X(weigh) X(model_file) X(model_damage) X(train) X(runs) X(run_edges) X(run_ends) \
    X(need) X(runlog) X(doctor) X(ranks) X(ranks_faults) X(eval) X(eval_edges) X(eval_figures) \
    X(eval_files) X(report) X(retrieval) X(metrics) X(weights) X(convert) X(sources) X(bert) \
    X(published) X(dtypes) X(golden) X(match) X(index) X(masks) X(attend) X(cli) X(cli_edges) \
    X(faults)
#define SUITE_DECLARE(name) Suite *suite_##name(void) __attribute__((weak));
SUITES(SUITE_DECLARE)
/* A test case with a time limit that a slow, shared machine does not reach. */
#define TEST_SECONDS 240

/* Address space and memory of a process are the sanitizer's, too: no test measures or limits them then. */
#ifdef __SANITIZE_ADDRESS__
enum { MEMORY_IS_OURS = 0 };
#else
enum { MEMORY_IS_OURS = 1 };
#endif
/* A folder of its own for each test: tcase_add_checked_fixture(c, folder_begin, folder_end). Names are of
 * what is in it; a file that cannot be written or read fails the test. */
#define IN_FOLDER(name) folder_path((char[512]){ 0 }, (name))
void folder_begin(void);
void folder_end(void);
const char *folder_path(char to[512], const char *name);
int folder_count(void);                            /* entries whose names do not begin with a dot */
bool folder_has(const char *name);
void folder_write(const char *name, const char *text);
void folder_write_bytes(const char *name, const void *bytes, long n);
char *folder_load(const char *name, long *n);      /* mem_free it; n: NULL or its bytes, then comes a 0 */
bool folder_same(const char *a, const char *b);            /* two files, byte for byte */

/* tiny.c */
blip2_config tiny_config(void);        /* Q-Former of 3 layers, width 12, 4 queries; stage 1; no towers */
blip2_text tiny_text(tape *t, const blip2_config *c, long B, long T, long shortest, long longest,
                     uint64_t seed);
blip2_opt_config tiny_opt_config(void);        /* 2 layers, width 16, 23 tokens, 24 positions */
blip2_t5_config tiny_t5_config(void);          /* 2 and 3 layers, width 16, 3 heads of 5, 19 tokens */
void tiny_settle(const blip2_opt *m);          /* before a gradient check: ReLU is never at its corner */
void tiny_opt_text(long B, long T, int *ids, unsigned char *mask); /* right-padded: T, T - 2, T - 1, ... */
tensor *tiny_normal(tape *t, uint64_t seed, int ndim, const long *dim);        /* a constant, N(0,1) */
double tiny_distance(const tensor *a, const tensor *b);     /* largest difference; NaN if one is NaN */
void tiny_shake(nn_store *s);          /* what starts constant (norms, biases) is moved by a tenth */
void tiny_backward(tape *t, nn_store *s, tensor *loss);    /* all gradients of s: those of loss alone */
double tiny_largest_grad(const tensor *x);
/* Equal but for the order of sums. */
#define TINY_ROUNDING (REAL == 64 ? 1e-12 : 2e-4)
#endif
