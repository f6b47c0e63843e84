/* test_precision.c - every operation in float against the same in double, on the same values: result,
 * gradients.
 *
 * The double build comes as the shared library beside the programs; its names are looked up, so that they do
 * not meet ours. A difference is measured in units of 2^-23 of the tensor's largest value and may be 4
 * sqrt(n), n the length of the sums: the longest row or column of the inputs, or all their elements where
 * one number is left. linear may differ by twice that: the rounding of its sum goes on through the slope
 * of an activation, where 1 - tanh^2 cancels (10.1 units against 9.8 were seen). */
#include "tests/tests.h"

#if REAL == 32
#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <string.h>

static struct {
    const ag_op *const *(*ops)(int *count);
    bool (*sample)(const ag_op *op, int variant, uint64_t seed, ag_sample *s);
    void (*free)(ag_sample *s);
} wide;

static void *symbol(void *library, const char *name)
{
    void *p = dlsym(library, name);
    ck_assert_msg(p != NULL, "%s: %s", name, dlerror());
    return p;
}

static void open_wide(void)
{
    void *library = dlopen("lib/libblip2-f64.so", RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(library != NULL, "%s", dlerror());
    wide.ops = (const ag_op *const *(*)(int *))symbol(library, "ag_ops");
    wide.sample = (bool (*)(const ag_op *, int, uint64_t, ag_sample *))symbol(library, "ag_probe_sample");
    wide.free = (void (*)(ag_sample *))symbol(library, "ag_sample_free");
}

/* Largest difference in units of 2^-23 of the largest value. */
static double units(const double *a, const double *b, long n)
{
    double largest = 0, off = 0;
    for (long i = 0; i < n; i++) {
        largest = fmax(largest, fabs(b[i]));
        off = isfinite(a[i]) ? fmax(off, fabs(a[i] - b[i])) : INFINITY;
    }
    return off > 0 ? off / (largest * FLT_EPSILON) : 0;
}

START_TEST(float_and_double_differ_by_rounding_alone)
{
    int count;
    const ag_op *op = ag_ops(&count)[_i];
    open_wide();
    for (int v = 0; v < op->variants; v++) {
        ag_sample a, b;
        ck_assert(ag_probe_sample(op, v, 5, &a) && wide.sample(wide.ops(&count)[_i], v, 5, &b));
        ck_assert_int_eq(a.count, b.count);
        for (int i = 0; i < a.count; i++) {
            ck_assert_int_eq(a.size[i], b.size[i]);
            double off = units(a.values[i], b.values[i], a.size[i]);
            double n = (double)(a.size[i] == 1 ? a.inputs : a.longest);
            double most = (strcmp(op->name, "linear") ? 4 : 8) * sqrt(n);
            ck_assert_msg(off <= most, "%s, variant %d, %s %d: %.1f units, %.1f allowed", op->name, v,
                          i ? "gradient" : "result", i, off, most);
        }
        ag_sample_free(&a);
        wide.free(&b);
    }
}
END_TEST

Suite *suite_precision(void)
{
    int count;
    ag_ops(&count);
    Suite *s = suite_create("precision");
    TCase *c = tcase_create("precision");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_loop_test(c, float_and_double_differ_by_rounding_alone, 0, count);
    suite_add_tcase(s, c);
    return s;
}
#endif
