/* opt.c - cases of kind opt: stage 2 with a frozen OPT, forward and the gradients of all that is trained.
 *
 * Also what cases with this language model share: their configuration and their texts.                     */
#include "tests/golden/golden.h"
#include <stdlib.h>
#include <string.h>

enum { BOS = 2 };

blip2_config golden_opt_config(const golden *g)
{
    blip2_config c;
    error e;
    h5 *f = h5_open(golden_file(g), &e);
    bool ok = f && blip2_case_config(f, &c, &e);
    h5_close(f);
    if (!ok)
        ag_fail("golden", "%s", e.text);
    return c;
}

/* </s> and the numbers written in `words`, for each of B rows. */
blip2_text golden_opt_prompt(tape *t, const char *words, long B)
{
    long n = 1, most = (long)strlen(words) + 1;
    int *one = ag_alloc(t, most * (long)sizeof *one);
    one[0] = BOS;
    char *end;
    for (const char *p = words; n < most; p = end) {
        long id = strtol(p, &end, 10);
        if (end == p)
            break;
        one[n++] = (int)id;
    }
    int *ids = ag_alloc(t, B * n * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * n);
    memset(mask, 1, (size_t)(B * n));
    for (long b = 0; b < B; b++)
        memcpy(ids + b * n, one, (size_t)n * sizeof *ids);
    return (blip2_text){ B, n, ids, mask };
}

/* Rows of ids, -1 behind the last, as </s>, ids, perhaps a newline; cut to `most`, padded to the longest. */
blip2_text golden_opt_text(golden *g, tape *t, const char *name, bool newline, long most, bool pad_left)
{
    long dim[8] = { 0 }, n;
    golden_dims(g, name, dim);
    const int *raw = golden_ints(g, t, name, &n);
    blip2_opt_config c = golden_opt_config(g).opt;
    return blip2_opt_rows(&c, t, raw, dim[0], dim[1], newline, most, pad_left);
}

void golden_opt(golden *g, tape *t)
{
    blip2_config c = golden_opt_config(g);
    blip2_model m;
    blip2_model_init(&m, nn_store_new(1), &c);
    nn_freeze(m.store, "opt_model");
    golden_store(g, m.store);
    golden_trace(g, t, &m, BLIP2_TASK_STAGE2, true);
    nn_store_free(m.store);
}
