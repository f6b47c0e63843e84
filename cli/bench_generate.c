/* bench_generate.c - `blip2 bench generate`: a language model of the published size with random weights
 * reads a prompt and writes tokens. Decoding is reading memory: beside the time stands how many bytes of
 * weights a token needs, how fast they were read, and how fast this machine reads memory at all, measured
 * in the same run. */
#include "cli/bench.h"
#include "cli/model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_REPEATS = 64 };
typedef struct sizes { const char *llm, *dtype; long prompt, tokens, beams, layers, repeats, seed;
                       cli_use use; } sizes;
typedef struct figures { double first, token, token_min, bytes, bandwidth; long parameters; } figures;

/* Of one decoding step: all of OPT but the table of positions; T5's decoder and head, the projections of
 * what was encoded apart, which are made once. */
static double bytes_a_token(const nn_store *s)
{
    double sum = 0;
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        const tensor *x = p->value;
        bool once = strstr(p->name, "embed_positions") || strstr(p->name, "EncDecAttention.k")
            || strstr(p->name, "EncDecAttention.v") || nn_has_prefix(p->name, "t5_model.encoder")
            || !strcmp(p->name, "t5_model.shared.weight");
        if (!p->alias_of && !once)
            sum += x->frozen ? (double)ag_frozen_bytes(x->frozen->type, x->frozen->N, x->frozen->K)
                             : (double)x->size * sizeof(real);
    }
    return sum;
}

static blip2_text prompt_of(tape *t, const blip2_model *m, long n, uint64_t key)
{
    const blip2_llm llm = blip2_llm_of(&m->config);
    int *ids = ag_alloc(t, n * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, n);
    memset(mask, 1, (size_t)n);
    for (long i = 0; i < n; i++)
        ids[i] = 4 + (int)(ag_uniform(key, (uint64_t)i) * (double)(llm.vocab - 4));
    return (blip2_text){ 1, n, ids, mask };
}

typedef struct writing { const sizes *s; blip2_model m; tape *t; blip2_times times[MOST_REPEATS]; } writing;

static void write_all(void *context)
{
    writing *w = context;
    const sizes *s = w->s;
    blip2_times times;
    blip2_text prompt = prompt_of(w->t, &w->m, s->prompt, ag_mix((uint64_t)s->seed, 1));
    blip2_generate o = { .beams = (int)s->beams, .returns = 1, .max_new_tokens = (int)s->tokens,
                         .min_new_tokens = (int)s->tokens, .length_penalty = 1, .repetition_penalty = 1,
                         .times = &times };
    for (long k = -1; k < s->repeats; k++) {               /* -1: the warm-up */
        blip2_sequence out;
        ag_mark mark = ag_here(w->t);
        blip2_llm_generate(&w->m, w->t, NULL, (blip2_text){ 0 }, prompt, &o, &out);
        if (out.length != s->tokens)
            ag_fail("bench", "%d tokens instead of %ld", out.length, s->tokens);
        if (k >= 0)
            w->times[k] = times;
        ag_rewind(w->t, mark);
    }
}

static figures figures_of(const writing *w)
{
    double first[MOST_REPEATS], token[MOST_REPEATS];
    long n = w->s->repeats;
    for (long k = 0; k < n; k++) {
        first[k] = w->times[k].first;
        token[k] = w->times[k].rest / (double)(w->times[k].steps ? w->times[k].steps : 1);
    }
    qsort(first, (size_t)n, sizeof *first, bench_by_size);
    qsort(token, (size_t)n, sizeof *token, bench_by_size);
    return (figures){ first[n / 2], token[n / 2], token[0], bytes_a_token(w->m.store),
                      bench_bandwidth(w->m.store), w->m.store->frozen };
}

static void print_figures(const sizes *s, const figures *f)
{
    double rate = 1e-9 * f->bytes / f->token_min;
    printf("{\"case\":\"generate\",\"llm\":\"%s\",\"dtype\":\"%s\",\"compute\":\"%s\",\"prompt_tokens\":%ld,"
           "\"new_tokens\":%ld,"
           "\"beams\":%ld,\"layers\":%ld,\"parameters\":%ld,\"threads\":%d,\"prefill_seconds\":%.4f,"
           "\"seconds\":%.5f,"
           "\"seconds_min\":%.5f,\"tokens_per_second\":%.3f,\"bytes_per_token\":%.0f,\"gb_per_second\":%.2f,"
           "\"bandwidth_gb_per_second\":%.2f,\"share\":%.3f,\"gflops\":%.2f,\"peak_rss_mb\":%.0f}\n",
           s->llm, s->dtype, s->use.compute, s->prompt, s->tokens, s->beams, s->layers, f->parameters,
           ag_threads_now(),
           f->first, f->token, f->token_min, 1 / f->token_min, f->bytes, rate, f->bandwidth,
           rate / f->bandwidth,
           2e-9 * (double)s->beams * (double)f->parameters / f->token_min,
           (double)mem_peak_bytes() / (1 << 20));
}

static bool measure(const sizes *s, const blip2_config *c, ag_dtype type, ag_precision products,
                    error *e)
{
    writing w = { .s = s, .t = ag_tape_new() };
    nn_store *store = nn_store_new((uint64_t)s->seed);
    bool ok = (store && w.t) || error_set(e, "out of memory");
    if (ok) {
        blip2_model_init(&w.m, store, c);
        nn_freeze(store, "");
        if (type != AG_REAL)
            nn_keep_as(store, "", type);
        store->blank = true;
        ok = nn_build(store, false, e);
    }
    if (ok) {
        bench_fill(store);
        ag_compute(w.t, products);
        ok = ag_try(w.t, write_all, &w, e);
    }
    if (ok) {
        const figures f = figures_of(&w);
        print_figures(s, &f);
    }
    ag_tape_free(w.t);
    nn_store_free(store);
    return ok;
}

int bench_generate(int argc, char **argv)
{
    sizes s = { .llm = "opt-2.7b", .dtype = "bf16", .prompt = 40, .tokens = 16, .beams = 1, .repeats = 1,
                .use.compute = "f32" };
    cli_common common = { .seed = 1 };
    const cli_option options[] = {
        { "llm", "opt-2.7b|flan-t5-xl", CLI_TEXT, &s.llm, 0, 0, "the language model (default opt-2.7b)" },
        { "dtype", "f32|f16|bf16|int8", CLI_TEXT, &s.dtype, 0, 0,
          "what its matrices are kept in (default bf16)" },
        { "prompt-tokens", "N", CLI_INT, &s.prompt, 1, 1024, "tokens that are read first" },
        { "new-tokens", "N", CLI_INT, &s.tokens, 2, 1024, "tokens that are written" },
        { "beams", "N", CLI_INT, &s.beams, 1, 64, "beams; 1: greedy" },
        { "layers", "N", CLI_INT, &s.layers, 0, 128, "fewer layers than published; 0: all" },
        { "repeats", "N", CLI_INT, &s.repeats, 1, MOST_REPEATS, "timed runs; the median is printed" },
        CLI_COMPUTE_OPTION(s.use),
    };
    int code;
    error e;
    ag_dtype type;
    ag_precision products;
    blip2_config c = blip2_config_default();
    if (!cli_parse(&argc, argv, options, sizeof options / sizeof *options, &common, &code))
        return code;
    s.seed = common.seed;
    c.vision.kind = BLIP2_VIT_NONE;
    c.qformer.queries = 0;
    c.stage1 = false;
    if (argc != 2 || !bench_llm(s.llm, s.layers, &c) || !bench_dtype(s.dtype, &type)
        || !cli_precision(s.use.compute, &products))
        return cli_usage("bench",
                         "generate: expected --llm opt-2.7b|flan-t5-xl --dtype f32|f16|bf16|int8 --compute "
                         "f32|bf16|bf16-fast");
    return measure(&s, &c, type, products, &e) ? 0 : cli_fail(&e);
}
