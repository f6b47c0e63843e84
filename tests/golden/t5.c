/* t5.c - cases of kinds t5 and t5_instruct: stage 2 with a frozen T5, forward and the gradients of all that
 * is trained; and which bucket each distance falls into.
 *
 * Also what cases with this language model share: their configuration and their texts.                     */
#include "tests/golden/golden.h"
#include <stdlib.h>
#include <string.h>

enum { EOS = 1 };

blip2_config golden_t5_config(const golden *g)
{
    return golden_opt_config(g);                           /* the file says which language model it has */
}

/* The numbers written in `words` and </s>, for each of B rows. */
blip2_text golden_t5_prompt(tape *t, const char *words, long B)
{
    long n = 0, most = (long)strlen(words) + 1;
    int *one = ag_alloc(t, most * (long)sizeof *one);
    char *end;
    for (const char *p = words; n < most - 1; p = end) {
        long id = strtol(p, &end, 10);
        if (end == p)
            break;
        one[n++] = (int)id;
    }
    one[n++] = EOS;
    int *ids = ag_alloc(t, B * n * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * n);
    memset(mask, 1, (size_t)(B * n));
    for (long b = 0; b < B; b++)
        memcpy(ids + b * n, one, (size_t)n * sizeof *ids);
    return (blip2_text){ B, n, ids, mask };
}

/* Rows of ids, -1 behind the last, as ids and </s>; cut to `most` with </s> kept, padded to the longest. */
blip2_text golden_t5_text(golden *g, tape *t, const char *name, long most)
{
    long dim[8] = { 0 }, n;
    golden_dims(g, name, dim);
    const int *raw = golden_ints(g, t, name, &n);
    blip2_t5_config c = golden_t5_config(g).t5;
    return blip2_t5_rows(&c, t, raw, dim[0], dim[1], most);
}

/* out/rel_bucket_{enc,dec}[_32_128]: of distances -200 .. 200, or as many as there are. */
static void compare_buckets(golden *g, tape *t, const blip2_t5_config *own)
{
    static const struct { const char *name; bool decodes, published; } sets[] = {
        { "out/rel_bucket_enc", false, false }, { "out/rel_bucket_dec", true, false },
        { "out/rel_bucket_enc_32_128", false, true }, { "out/rel_bucket_dec_32_128", true, true } };
    for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
        long dim[8] = { 0 };
        blip2_t5_config c = *own;
        if (!golden_has(g, sets[k].name))
            continue;
        if (sets[k].published) {
            c.buckets = 32;
            c.max_distance = 128;
        }
        golden_dims(g, sets[k].name, dim);
        int *buckets = ag_alloc(t, dim[0] * (long)sizeof *buckets);
        for (long i = 0; i < dim[0]; i++)
            buckets[i] = blip2_t5_bucket(&c, sets[k].decodes, i - dim[0] / 2);
        golden_compare_ints(g, sets[k].name, buckets, dim[0]);
    }
}

void golden_t5(golden *g, tape *t)
{
    blip2_config c = golden_t5_config(g);
    blip2_model m;
    blip2_model_init(&m, nn_store_new(1), &c);
    nn_freeze(m.store, "t5_model");
    golden_store(g, m.store);
    golden_trace(g, t, &m, BLIP2_TASK_STAGE2, true);
    compare_buckets(g, t, &c.t5);
    nn_store_free(m.store);
}

void golden_t5_instruct(golden *g, tape *t) { golden_t5(g, t); }
