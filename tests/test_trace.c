/* test_trace.c - a trace of a case in the form of golden/lavis is the case: every value of every dataset
 * under out/. The cases here are made in the test from a small model with h5_write, and, for the small
 * golden case that stands in the project, read from it. */
#include "tests/shell.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static error e;
static const char infer[] = "tests/golden/data/c_stage1_infer.h5";

/* Its numbers, of either kind, to be freed. */
static double *all_of(h5 *f, const char *name, h5_shape *s)
{
    ck_assert_msg(h5_find(f, name, s, &e), "%s", e.text);
    bool whole = s->type != H5_REALS;
    double *x = mem_new((size_t)(s->size + 1) * sizeof *x);
    void *raw = mem_new((size_t)(s->size + 1) * sizeof *x);
    ck_assert(x && raw);
    ck_assert_msg(h5_read(f, name, whole ? H5_INTS : H5_REALS, s->ndim, s->dim, raw, &e), "%s", e.text);
    for (long i = 0; i < s->size; i++)
        x[i] = whole ? (double)((int *)raw)[i] : (double)((real *)raw)[i];
    mem_free(raw);
    return x;
}

/* Largest difference of a dataset of two files,
relative to its largest value; what is zero but for rounding (the
 * gradient of a key's bias) is compared as it is.                                                          */
static double difference(h5 *a, h5 *b, const char *name)
{
    h5_shape s, u;
    double *x = all_of(a, name, &s), *y = all_of(b, name, &u), largest = 0, off = 0;
    ck_assert_msg(s.ndim == u.ndim && !memcmp(s.dim, u.dim, (size_t)s.ndim * sizeof *s.dim), "%s: shape",
                  name);
    for (long i = 0; i < s.size; i++) {
        double d = fabs(x[i] - y[i]);
        largest = fmax(largest, fabs(x[i]));
        off = d <= off ? off : d;
    }
    mem_free(x);
    mem_free(y);
    return off / (largest > 1e-9 ? largest : 1);
}

/* Every dataset under `group` of the first stands in the second with the same numbers; how many. */
static long same(const char *first, const char *second, const char *group)
{
    h5 *a = h5_open(first, &e), *b = h5_open(second, &e);
    ck_assert_msg(a && b, "%s", e.text);
    long n;
    char **names = h5_list(a, group, &n, &e);
    for (long i = 0; i < n; i++)
        ck_assert_msg(difference(a, b, names[i]) < (REAL == 64 ? 1e-9 : 2e-4), "%s: %g", names[i],
                      difference(a, b, names[i]));
    h5_list_free(names, n);
    h5_close(a);
    h5_close(b);
    return n;
}

/* A model file of the small stage-1 model, and a batch for it without negatives. */
static void write_model(const char *path)
{
    blip2_config c = tiny_config();
    blip2_model m;
    nn_store *store = nn_store_new(7);
    blip2_model_init(&m, store, &c);
    ck_assert(nn_build(store, false, &e));
    tiny_shake(store);
    ck_assert_msg(blip2_save(&m, path, "test", NULL, 0, &e), "%s", e.text);
    nn_store_free(store);
}

enum { B = 4, N = 5, T = 6 };

static void write_batch(const char *path, bool negatives, int word)
{
    const int text[B * T] = { 5, 9, -1, -1, -1, -1,  7, 8, 3, -1, -1, -1,  11, 4, 6, 12, 13, -1,  word, -1,
                              -1, -1, -1, -1 };
    const int image[B] = { 1, 2, 3, 0 }, other[B] = { 3, 0, 1, 2 };
    long width = tiny_config().qformer.memory_width, rows = B;
    real features[B * N * 64];
    for (long i = 0; i < B * N * width; i++)
        features[i] = (real)ag_normal(5, (uint64_t)i);
    h5_out *f = h5_create(path, &e);
    ck_assert_msg(f != NULL, "%s", e.text);
    h5_write(f, "inputs/vit_out", H5_REALS, 3, (long[]){ B, N, width }, features);
    h5_write(f, "inputs/text", H5_INTS, 2, (long[]){ B, T }, text);
    if (negatives) {
        h5_write(f, "inputs/neg_image", H5_INTS, 1, &rows, image);
        h5_write(f, "inputs/neg_text", H5_INTS, 1, &rows, other);
    }
    ck_assert_msg(h5_finish(f, &e), "%s", e.text);
}

START_TEST(the_trace_of_a_golden_case_is_the_case)
{
    WORKS("trace", infer, infer, "-o", IN_FOLDER("t.h5"), "--quiet");
    ck_assert_int_eq(same(infer, IN_FOLDER("t.h5"), "out"), 15);
}
END_TEST

/* Of the reference values beside the project, every case that is one pass. */
START_TEST(the_traces_of_all_golden_passes_are_the_cases)
{
    static const char *const cases[] = { "c_stage1_f2", "c_stage1_image_id", "d_opt_noprompt", "d_opt_prompt",
                                         "f_clip_vit", "f_eva_vit" };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[300];
        snprintf(path, sizeof path, "../shared/golden/lavis/%s.h5", cases[i]);
        FILE *there = fopen(path, "r");
        if (!there) {
            fprintf(stderr, "trace: %s is not there: skipped\n", path);
            continue;
        }
        fclose(there);
        WORKS("trace", path, path, "-o", IN_FOLDER("t.h5"), "--quiet", "--grad");
        ck_assert_int_gt(same(path, IN_FOLDER("t.h5"), "out"), 40);
    }
}
END_TEST

START_TEST(a_trace_holds_what_the_library_computes)
{
    blip2_model m;
    blip2_batch b;
    blip2_stage1_out o;
    bool sealed;
    tape *t = ag_tape_new();
    write_model(IN_FOLDER("m.h5"));
    write_batch(IN_FOLDER("b.h5"), true, 5);
    WORKS("trace", IN_FOLDER("m.h5"), IN_FOLDER("b.h5"), "-o", IN_FOLDER("t.h5"), "--grad", "--task",
          "stage1");
    ck_assert(blip2_open_case(&m, IN_FOLDER("m.h5"), (const char *const[]){ NULL }, &sealed, &e) && sealed);
    h5 *f = h5_open(IN_FOLDER("b.h5"), &e), *traced = h5_open(IN_FOLDER("t.h5"), &e);
    ck_assert_msg(blip2_batch_read(f, t, &m.config, BLIP2_TASK_STAGE1, &b, &e), "%s", e.text);
    blip2_stage1(&m, t, &(blip2_stage1_in){ .features = b.features, .text = b.text,
        .negative_image = b.negative_image, .negative_text = b.negative_text }, &o);
    tiny_backward(t, m.store, o.loss);
    h5_shape s;
    double *losses = all_of(traced, "out/losses", &s), *g = all_of(traced, "out/grads/query_tokens", &s);
    ck_assert_double_le(fabs(losses[0] - (double)ag_value(o.loss)), 1e-5);
    double largest = tiny_largest_grad(m.query_tokens);
    for (long i = 0; i < s.size; i++)
        ck_assert_double_le(fabs(g[i] - (double)m.query_tokens->grad[i]),
                            (REAL == 64 ? 1e-9 : 1e-3) * largest);
    mem_free(losses);
    mem_free(g);
    h5_close(f);
    h5_close(traced);
    blip2_close(&m);
    ag_tape_free(t);
}
END_TEST

START_TEST(drawn_negatives_are_written_and_give_the_same_trace_when_given)
{
    h5_shape s;
    write_model(IN_FOLDER("m.h5"));
    write_batch(IN_FOLDER("b.h5"), false, 5);
    WORKS("trace", IN_FOLDER("m.h5"), IN_FOLDER("b.h5"), "-o", IN_FOLDER("1.h5"), "--seed", "3", "--grad");
    WORKS("trace", IN_FOLDER("m.h5"), IN_FOLDER("b.h5"), "-o", IN_FOLDER("2.h5"), "--seed", "3", "--grad");
    ck_assert_int_gt(same(IN_FOLDER("1.h5"), IN_FOLDER("2.h5"), ""), 100);
    h5 *f = h5_open(IN_FOLDER("1.h5"), &e);
    double *drawn = all_of(f, "inputs/neg_image", &s);
    for (long b = 0; b < B; b++)
        ck_assert(drawn[b] != b && drawn[b] >= 0 && drawn[b] < B);
    mem_free(drawn);
    h5_close(f);
}
END_TEST

START_TEST(whatever_is_wrong_with_a_batch_is_reported_together)
{
    write_model(IN_FOLDER("m.h5"));
    write_batch(IN_FOLDER("b.h5"), true, 400);
    FAILS(1, "inputs/text: number 18: expected -1 to 28, found 400", "trace", IN_FOLDER("m.h5"),
          IN_FOLDER("b.h5"),
          "-o", IN_FOLDER("t.h5"), "--quiet");
    long width = 3, rows = 2;
    int text[] = { 1, 2 };
    real features[24] = { 0 };
    h5_out *f = h5_create(IN_FOLDER("b.h5"), &e);
    h5_write(f, "inputs/vit_out", H5_REALS, 3, (long[]){ 2, 4, width }, features);
    h5_write(f, "inputs/text", H5_INTS, 1, &rows, text);
    ck_assert(h5_finish(f, &e));
    FAILS(1, "2 inputs of task stage1 are missing or do not fit", "trace", IN_FOLDER("m.h5"),
          IN_FOLDER("b.h5"), "-o",
          IN_FOLDER("t.h5"), "--quiet");
    FAILS(1, "inputs/vit_out: shape: expected (any,any,10), found (2,4,3)", "trace", IN_FOLDER("m.h5"),
          IN_FOLDER("b.h5"), "-o", IN_FOLDER("t.h5"), "--quiet");
    FAILS(1, "needs a model with a vision tower", "trace", IN_FOLDER("m.h5"), IN_FOLDER("b.h5"), "-o",
          IN_FOLDER("t.h5"), "--quiet", "--task", "vision");
    const long far = 1000000000000000000;                  /* eight axes of nothing: a long shape to print */
    f = h5_create(IN_FOLDER("b.h5"), &e);
    h5_write(f, "inputs/vit_out", H5_REALS, 8, (long[]){ 0, far, far, far, far, far, far, far }, features);
    h5_write(f, "inputs/text", H5_INTS, 1, &rows, text);
    ck_assert_msg(h5_finish(f, &e), "%s", e.text);
    FAILS(1, ",1000000000000000000)", "trace", IN_FOLDER("m.h5"), IN_FOLDER("b.h5"), "-o", IN_FOLDER("t.h5"),
          "--quiet");
    FAILS(2, "m.h5 is what is read", "trace", IN_FOLDER("m.h5"), IN_FOLDER("b.h5"), "-o", IN_FOLDER("m.h5"));
    ck_assert_int_eq(folder_count(), 2);  /* the model and the batch: no half-written trace */
}
END_TEST

START_TEST(mistakes_of_usage_are_named)
{
    FAILS(2, "did you mean stage1?", "trace", infer, infer, "-o", IN_FOLDER("t.h5"), "--task", "stage11");
    FAILS(2, "has no loss to go back from", "trace", infer, infer, "-o", IN_FOLDER("t.h5"), "--grad");
    FAILS(2, "a model, a batch and -o TRACE.h5 are needed", "trace", infer, infer);
    FAILS(2, "kind \"bert_layer\"", "trace", infer, "tests/golden/data/a_bert_layer.h5", "-o",
          IN_FOLDER("t.h5"));
    FAILS(1, "parameters missing or of another shape", "trace", "tests/golden/data/a_bert_layer.h5", infer,
          "-o",
          IN_FOLDER("t.h5"), "--quiet");
}
END_TEST

Suite *suite_trace(void)
{
    Suite *s = suite_create("trace");
    TCase *c = tcase_create("trace");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, the_trace_of_a_golden_case_is_the_case);
    tcase_add_test(c, the_traces_of_all_golden_passes_are_the_cases);
    tcase_add_test(c, a_trace_holds_what_the_library_computes);
    tcase_add_test(c, drawn_negatives_are_written_and_give_the_same_trace_when_given);
    tcase_add_test(c, whatever_is_wrong_with_a_batch_is_reported_together);
    tcase_add_test(c, mistakes_of_usage_are_named);
    suite_add_tcase(s, c);
    return s;
}
