/* format.c - a file of weights under formats/: good ones against expected.h5 (groups safetensors and torch, a
 * dataset a tensor with attributes name and dtype), those under bad/ must be refused. Where the formats' own
 * readers take a bad file (a name twice, a packed entry) both are right. */
#include "convert/weights.h"
#include "tests/golden/golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = 4096 };

static void compare(golden *g, const weights *w, h5 *f, const char *dataset, long *values, double *worst)
{
    error e;
    h5_shape shape;
    char *name = h5_text(f, dataset, "name", &e), *dtype = name ? h5_text(f, dataset, "dtype", &e) : NULL;
    const weights_entry *x = name ? weights_find(w, name) : NULL;
    if (!dtype || !h5_find(f, dataset, &shape, &e))
        golden_fail(g, "%s", e.text);
    else if (!x)
        golden_fail(g, "%s: is not in the file", name);
    else if (x->ndim != shape.ndim || memcmp(x->dim, shape.dim, (size_t)x->ndim * sizeof *x->dim))
        golden_fail(g, "%s: another shape", name);
    else if (strcmp(weights_type_name(x->type), dtype))
        golden_fail(g, "%s: %s, expected %s", name, weights_type_name(x->type), dtype);
    else {
        size_t n = (size_t)x->size + 1;
        int64_t *a = mem_new(n * sizeof *a), *b = mem_new(n * sizeof *b);
        real *c = mem_new(n * sizeof *c), *d = mem_new(n * sizeof *d);
        bool whole = x->type >= W_I64;
        if (!(whole
                  ? weights_read_longs(w, x, a, &e) && h5_read(f, dataset, H5_LONGS, x->ndim, x->dim, b, &e)
                  : weights_read_reals(w, x, c, &e) && h5_read(f, dataset, H5_REALS, x->ndim, x->dim, d, &e)))
            golden_fail(g, "%s", e.text);
        for (long i = 0; i < x->size; i++) {
            bool same = whole ? a[i] == b[i] : c[i] == d[i] || (isnan(c[i]) && isnan(d[i]));
            *worst += !same;
        }
        *values += x->size + 1;
        mem_free(a);
        mem_free(b);
        mem_free(c);
        mem_free(d);
    }
    mem_free(name);
    mem_free(dtype);
}

static void good(golden *g, const weights *w, const char *expected, const char *group)
{
    error e;
    long n = 0, values = 0;
    double wrong = 0;
    h5 *f = h5_open(expected, &e);
    char **list = f ? h5_list(f, group, &n, &e) : NULL;
    if (!list)
        golden_fail(g, "%s", e.text);
    for (long i = 0; i < n; i++) {
        char name[PATH];
        snprintf(name, sizeof name, "%s%s%s", strchr(list[i], '/') ? "" : group,
                 strchr(list[i], '/') ? "" : "/", list[i]);
        compare(g, w, f, name, &values, &wrong);
    }
    golden_result(g, "elements", values, wrong, 0);
    h5_list_free(list, n);
    h5_close(f);
}

void golden_format(golden *g, tape *t)
{
    static const char *const either[] = { "duplicate_key.safetensors", "deflated.pth", "legacy_nonzip.pth",
                                          "byteorder_big.pth", "pickle_os_system.pth" };
    const char *path = golden_file(g), *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    error e;
    (void)t;
    weights *w = weights_open(path, &e);
    if (strstr(path, "/bad/")) {
        bool may = false;
        for (size_t i = 0; i < sizeof either / sizeof *either; i++)
            may |= !strcmp(name, either[i]);
        golden_result(g, "refused", 1, w && !may, 0);
    } else if (!w)
        golden_fail(g, "%s", e.text);
    else {
        char expected[PATH];
        snprintf(expected, sizeof expected, "%.*sexpected.h5", (int)(name - path), path);
        good(g, w, expected, strstr(name, ".safetensors") ? "safetensors" : "torch");
    }
    weights_close(w);
}
