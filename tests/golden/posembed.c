/* posembed.c - cases of kind posembed: tables of positions on another grid, by both families' rules. */
#include "tests/golden/golden.h"
#include <stdio.h>

void golden_posembed(golden *g, tape *t)
{
    const json_t *pairs = json_object_get(golden_config(g), "pairs"), *pair;
    char name[60];
    size_t i;
    json_array_foreach(pairs, i, pair) {
        long from = (long)json_integer_value(json_array_get(pair, 0)), dim[8] = { 0 }, n;
        long to = (long)json_integer_value(json_array_get(pair, 1)), rows = 1 + to * to;
        snprintf(name, sizeof name, "inputs/pos_%ld", from);
        golden_dims(g, name, dim);
        const real *table = golden_reals(g, t, name, &n);
        real *resized = ag_alloc_real(t, rows * dim[1]);
        blip2_resize_positions(BLIP2_VIT_EVA, from, to, dim[1], table, resized);
        snprintf(name, sizeof name, "out/eva_%ld_to_%ld", from, to);
        golden_compare_reals(g, name, resized, rows * dim[1]);
        blip2_resize_positions(BLIP2_VIT_CLIP, from, to, dim[1], table, resized);
        snprintf(name, sizeof name, "out/clip_%ld_to_%ld", from, to);
        golden_compare_reals(g, name, resized, rows * dim[1]);
    }
}
