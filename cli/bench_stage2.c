/* bench_stage2.c - `blip2 bench stage2`: the training step of stage 2 with a frozen language model of the
 * published size: the Q-Former and its projection learn from given image features, gradients pass through
 * the language model. The step is train_step, which `train` itself calls; all weights, features and
 * captions are random. */
#include "cli/bench.h"
#include "train/train.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_REPEATS = 64, TOKENS = 257 };
typedef struct sizes { const char *llm, *dtype; long batch, text, layers, repeats, seed; } sizes;
typedef struct bench { const sizes *s; blip2_model m; real *features; int *ids; unsigned char *mask;
                       tape *counter; } bench;

static tensor *forward(void *context, tape *t, int part, train_losses *l)
{
    bench *b = context;
    const sizes *s = b->s;
    (void)part;
    blip2_text text = { s->batch, s->text, b->ids, b->mask };
    bool encodes = blip2_llm_of(&b->m.config).encodes;
    blip2_stage2_in in = { .features = ag_copy_in(t, DIMS(s->batch, TOKENS, b->m.config.qformer.memory_width),
                                                  b->features),
                           .text = encodes ? (blip2_text){ 0 } : text,
                           .target = encodes ? text : (blip2_text){ 0 } };
    blip2_stage2_out out;
    blip2_stage2(&b->m, t, &in, false, &out);
    train_loss(l, "loss", ag_value(out.loss));
    return out.loss;
}

static bool fill(bench *b, error *e)
{
    const sizes *s = b->s;
    const blip2_config *c = &b->m.config;
    long numbers = s->batch * TOKENS * c->qformer.memory_width, words = s->batch * s->text;
    b->features = mem_new((size_t)numbers * sizeof *b->features);
    b->ids = mem_new((size_t)words * sizeof *b->ids);
    b->mask = mem_new((size_t)words);
    if (!b->features || !b->ids || !b->mask)
        return error_set(e, "out of memory");
    uint64_t key = ag_mix((uint64_t)s->seed, 1), key_text = ag_mix((uint64_t)s->seed, 2);
    for (long i = 0; i < numbers; i++)
        b->features[i] = (real)ag_normal(key, (uint64_t)i);
    for (long i = 0; i < words; i++)
        b->ids[i] = 4 + (int)(ag_uniform(key_text, (uint64_t)i) * (double)(blip2_llm_of(c).vocab - 4));
    memset(b->mask, 1, (size_t)words);
    return true;
}

static bool build(bench *b, nn_store *store, const blip2_config *c, ag_dtype type, error *e)
{
    blip2_model_init(&b->m, store, c);
    const char *parameters = blip2_llm_of(c).parameters;
    nn_freeze(store, parameters);
    if (type != AG_REAL)
        nn_keep_as(store, parameters, type);
    store->blank = true;
    if (!nn_build(store, true, e))
        return false;
    bench_fill(store);
    return fill(b, e);
}

/* Operations of one step's matrix products, counted by a tape that computes nothing. */
static void count(void *context)
{
    bench *b = context;
    train_losses l = { 0 };
    ag_backward(b->counter, forward(b, b->counter, 0, &l));
}

static bool measure(const sizes *s, const blip2_config *c, ag_dtype type, error *e)
{
    bench b = { .s = s };
    train_losses l = { 0 };
    double seconds[MOST_REPEATS];
    nn_store *store = nn_store_new((uint64_t)s->seed);
    train_stepper stepper = { .store = store, .t = ag_tape_new(), .accumulate = 1,
                              .seed = (uint64_t)s->seed, .adamw = { 1e-4, 0.9, 0.98, 1e-8, 0.05 } };
    bool ok = (store && stepper.t) || error_set(e, "out of memory");
    ok = ok && build(&b, store, c, type, e);
    for (long k = -1; ok && k < s->repeats; k++) {         /* -1: the warm-up */
        double from = clock_seconds();
        ok = train_step(&stepper, forward, &b, &l, e);
        if (k >= 0)
            seconds[k] = clock_seconds() - from;
    }
    b.counter = ok ? ag_tape_new() : NULL;
    ok = ok && ((b.counter && ag_measures(b.counter)) || error_set(e, "out of memory"))
         && ag_try(b.counter, count, &b, e);
    if (ok) {
        qsort(seconds, (size_t)s->repeats, sizeof *seconds, bench_by_size);
        printf("{\"case\":\"stage2\",\"llm\":\"%s\",\"dtype\":\"%s\",\"batch\":%ld,\"text\":%ld,"
               "\"layers\":%ld,\"trained\":%ld,"
               "\"frozen\":%ld,\"threads\":%d,\"seconds\":%.4f,\"seconds_min\":%.4f,\"gflops\":%.1f,"
               "\"peak_rss_mb\":%.0f,"
               "\"loss\":%.6f}\n", s->llm, s->dtype, s->batch, s->text, s->layers, store->trainable,
               store->frozen,
               ag_threads_now(), seconds[s->repeats / 2], seconds[0],
               1e-9 * ag_flops(b.counter) / seconds[s->repeats / 2],
               (double)mem_peak_bytes() / (1 << 20), l.value[0]);
    }
    mem_free(b.features);
    mem_free(b.ids);
    mem_free(b.mask);
    nn_store_free(store);
    ag_tape_free(stepper.t);
    ag_tape_free(b.counter);
    return ok;
}

int bench_stage2(int argc, char **argv)
{
    sizes s = { .llm = "opt-2.7b", .dtype = "bf16", .batch = 4, .text = 32, .repeats = 1 };
    cli_common common = { .seed = 1 };
    const cli_option options[] = {
        { "llm", "opt-2.7b|flan-t5-xl", CLI_TEXT, &s.llm, 0, 0,
          "the frozen language model (default opt-2.7b)" },
        { "dtype", "f32|f16|bf16|int8", CLI_TEXT, &s.dtype, 0, 0,
          "what its matrices are kept in (default bf16)" },
        { "batch", "N", CLI_INT, &s.batch, 1, 4096, "pictures and captions a step" },
        { "text", "N", CLI_INT, &s.text, 2, 512, "tokens of a caption" },
        { "layers", "N", CLI_INT, &s.layers, 0, 128, "fewer layers of it than published; 0: all" },
        { "repeats", "N", CLI_INT, &s.repeats, 1, MOST_REPEATS, "timed steps; the median is printed" },
    };
    int code;
    error e;
    ag_dtype type;
    blip2_config c = blip2_config_default();
    if (!cli_parse(&argc, argv, options, sizeof options / sizeof *options, &common, &code))
        return code;
    s.seed = common.seed;
    c.vision.kind = BLIP2_VIT_NONE;
    c.stage1 = c.qformer.text = c.qformer.head = false;
    if (argc != 2 || !bench_llm(s.llm, s.layers, &c) || !bench_dtype(s.dtype, &type))
        return cli_usage("bench", "stage2: expected --llm opt-2.7b|flan-t5-xl --dtype f32|f16|bf16|int8");
    return measure(&s, &c, type, &e) ? 0 : cli_fail(&e);
}
