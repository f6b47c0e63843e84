/* bench.c - `blip2 bench`: which case; and `bench stage1`, the training step of stage 1 at given sizes,
 * timed. The step is train_step, which `train` itself calls; weights, features and captions are random
 * from a fixed seed, and no file is read. */
#include "cli/bench.h"
#include "cli/commands.h"
#include "train/train.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sizes {
    long batch, text, shortest, longest, hidden, layers, heads, queries, tokens, width, vocab, embed, repeats;
    double dropout;
    const char *ragged;
    bool recompute;
    long parts;
} sizes;
typedef struct bench {
    const sizes *s;
    blip2_model m;
    real *features;
    int *ids;
    unsigned char *mask;
    blip2_large large;
} bench;

static tensor *features_of(const bench *b, tape *t, long part)
{
    const sizes *s = b->s;
    const real *from = b->features + part * s->batch * s->tokens * s->width;
    return ag_copy_in(t, DIMS(s->batch, s->tokens, s->width), from);
}

/* Parts that are one batch: what each shows the others. */
static void before(void *context, tape *t)
{
    bench *b = context;
    const sizes *s = b->s;
    blip2_text all = { s->parts * s->batch, s->text, b->ids, b->mask };
    b->large = blip2_large_new(&b->m, t, NULL, s->parts, all, NULL, s->tokens, false);
    for (long part = 0; part < s->parts; part++) {
        ag_mark here = ag_here(t);
        blip2_large_show(&b->m, t, NULL, &b->large, part, features_of(b, t, part));
        ag_rewind(t, here);
    }
}

static tensor *forward(void *context, tape *t, int part, train_losses *l)
{
    bench *b = context;
    const sizes *s = b->s;
    blip2_stage1_in in = { .part = part };
    if (s->parts > 1)
        in.large = &b->large;
    else {
        in.features = features_of(b, t, 0);
        in.text = (blip2_text){ s->batch, s->text, b->ids, b->mask };
    }
    blip2_stage1_out out;
    blip2_stage1(&b->m, t, &in, &out);
    train_loss(l, "loss", ag_value(out.loss));
    train_loss(l, "itc", ag_value(out.itc));
    train_loss(l, "itm", ag_value(out.itm));
    train_loss(l, "itg", ag_value(out.itg));
    return out.loss;
}

static blip2_config config_of(const sizes *s)
{
    blip2_config c = blip2_config_default();
    c.vision.kind = BLIP2_VIT_NONE;
    c.stage1 = c.qformer.text = c.qformer.head = true;
    c.qformer.width = s->hidden;
    c.qformer.layers = s->layers;
    c.qformer.heads = s->heads;
    c.qformer.hidden = 4 * s->hidden;
    c.qformer.queries = s->queries;
    c.qformer.vocab = s->vocab;
    c.qformer.memory_width = s->width;
    c.qformer.dropout = s->dropout;
    c.embed = s->embed;
    c.max_text = s->text;
    c.dec = s->vocab - 1;
    c.cls = 1;
    c.sep = 2;
    return c;
}

/* Captions of random words; their lengths are `text`, or spread over shortest..longest. */
static void fill(bench *b, uint64_t seed)
{
    const sizes *s = b->s;
    for (long i = 0; i < s->parts * s->batch * s->tokens * s->width; i++)
        b->features[i] = (real)ag_normal(ag_mix(seed, 1), (uint64_t)i);
    for (long r = 0; r < s->parts * s->batch; r++) {
        long span = s->longest - s->shortest + 1,
             n = s->shortest + (long)(ag_uniform(ag_mix(seed, 2), (uint64_t)r) * (double)span);
        for (long i = 0; i < s->text; i++) {
            double u = ag_uniform(ag_mix(seed, 3), (uint64_t)(r * s->text + i));
            b->mask[r*s->text + i] = i < n;
            b->ids[r * s->text + i] = i == 0       ? 1
                                      : i == n - 1 ? 2
                                      : i < n      ? 3 + (int)(u * (double)(s->vocab - 4))
                                                   : 0;
        }
    }
}

/* Multiplications and additions of the step's matrix products, both ways, each image projected once. */
static double work(const sizes *s)
{
    double D = (double)s->hidden, Q = (double)s->queries, N = (double)s->tokens, T = (double)s->text,
           B = (double)s->batch;
    double L = (double)s->layers, X = floor((L + 1) / 2), E = (double)s->width, V = (double)s->vocab;
    double token = L * (4 * D * D + 8 * D * D),
           query = token + X * 2 * D * D; /* weights a token or query meets */
    double image = B*Q*query + B * X * (2*N*E*D + 2*Q*N*D) + B*L*2*Q*Q*D, text = B*T*token + B*L*2*T*T*D;
    double match = 3*B*(Q*query + T*token) + 3*B*(X*2*Q*N*D + L*2*(Q + T)*(Q + T)*D);
    double write = B*T*(token + D*D + V*D) + B*L*2*T*(Q + T)*D;
    return 2
           * (3 * (image + text + match + write)
              - B * X * 2 * N * E * D); /* no gradient to the image features */
}

/* GFLOP/s that the machine can do: independent multiply-adds in registers, all threads, best of 5 rounds. */
typedef real lane __attribute__((vector_size(64)));

static double rounds(long n, lane *sink)
{
    lane x[16], a, b;
    for (size_t i = 0; i < sizeof a / sizeof a[0]; i++) {
        a[i] = (real)0.999;
        b[i] = (real)0.001;
    }
    for (int i = 0; i < 16; i++)
        x[i] = a;
    for (long k = 0; k < n; k++)
        for (int i = 0; i < 16; i++)
            x[i] = x[i] * a + b;
    for (int i = 0; i < 16; i++)
        *sink += x[i];
    return 2.0 * 16 * (double)(sizeof a / sizeof a[0]) * (double)n;
}

static double machine_peak(void)
{
    double best = 0;
    for (int round = 0; round < 5; round++) {
        double from = clock_seconds(), done = 0;
        #pragma omp parallel reduction(+:done)
        {
            lane sink = { 0 };
            done += rounds(4000000, &sink);
            volatile real keep = sink[0];
            (void)keep;
        }
        best = fmax(best, 1e-9 * done / (clock_seconds() - from));
    }
    return best;
}

static bool measure(const sizes *s, uint64_t seed, error *e)
{
    bench b = { .s = s };
    train_losses l = { 0 };
    double seconds[64];
    nn_store *store = nn_store_new(seed);
    train_stepper stepper = { .store = store, .t = ag_tape_new(), .accumulate = (int)s->parts, .seed = seed,
                              .before = s->parts > 1 ? before : NULL,
                              .adamw = { 1e-4, 0.9, 0.98, 1e-8, 0.05 } };
    b.features = mem_new((size_t)(s->parts * s->batch * s->tokens * s->width) * sizeof *b.features);
    b.ids = mem_new((size_t)(s->parts * s->batch * s->text) * sizeof *b.ids);
    b.mask = mem_new((size_t)(s->parts * s->batch * s->text));
    bool ok = (store && stepper.t && b.features && b.ids && b.mask) || error_set(e, "out of memory");
    if (ok) {
        blip2_config c = config_of(s);
        blip2_model_init(&b.m, store, &c);
        blip2_recompute(&b.m, s->recompute ? BLIP2_RECOMPUTE_ALL : BLIP2_RECOMPUTE_NONE);
        ok = nn_build(store, true, e);
    }
    if (ok)
        fill(&b, seed);
    train_losses first = { 0 };
    for (long k = -1; ok && k < s->repeats; k++) {                             /* -1: the warm-up */
        double from = clock_seconds();
        ok = train_step(&stepper, forward, &b, &l, e);
        if (k >= 0)
            seconds[k] = clock_seconds() - from;
        else
            first = l;
    }
    if (ok) {
        qsort(seconds, (size_t)s->repeats, sizeof *seconds, bench_by_size);
        double middle = seconds[s->repeats / 2], peak = machine_peak();
        double rate = 1e-9 * (double)s->parts * work(s) / middle;
        printf("{\"case\":\"stage1\",\"batch\":%ld,\"parts\":%ld,\"recompute\":%s,\"text\":%ld,"
               "\"ragged\":\"%s\","
               "\"hidden\":%ld,\"layers\":%"
               "ld,\"heads\":%ld,"
               "\"queries\":%ld,\"tokens\":%ld,\"width\":%ld,\"vocab\":%ld,\"parameters\":%ld,\"threads\":%d,"
               "\"seconds\":%.4f,"
               "\"seconds_min\":%.4f,\"gflops\":%.1f,\"peak_gflops\":%.0f,\"share\":%.3f,\"peak_rss_mb\":%."
               "0f,\"first_losses\":[%.6f,%.6f,%.6f,%.6f]}\n",
               s->batch, s->parts, s->recompute ? "true" : "false", s->text, s->ragged ? s->ragged : "",
               s->hidden, s->layers, s->heads, s->queries,
               s->tokens, s->width, s->vocab, store->trainable, ag_threads_now(), middle, seconds[0], rate,
               peak, rate / peak, (double)mem_peak_bytes() / (1 << 20), first.value[0], first.value[1],
               first.value[2], first.value[3]);
    }
    mem_free(b.features);
    mem_free(b.ids);
    mem_free(b.mask);
    nn_store_free(store);
    ag_tape_free(stepper.t);
    return ok;
}

static int run(int argc, char **argv)
{
    sizes s = { .batch = 8,
                .text = 32,
                .hidden = 768,
                .layers = 12,
                .heads = 12,
                .queries = 32,
                .tokens = 257,
                .width = 1408,
                .vocab = 30523,
                .embed = 256,
                .repeats = 5,
                .parts = 1,
                .dropout = 0.1 };
    cli_common common = { .seed = 42 };
    cli_option options[] = {
        { "batch", "N", CLI_INT, &s.batch, 1, 4096, "pictures and captions a step" },
        { "text", "N", CLI_INT, &s.text, 3, 512, "tokens of a caption, [CLS] and [SEP] included" },
        { "ragged", "A-B", CLI_TEXT, &s.ragged, 0, 0, "captions of A to B tokens in a field of --text" },
        { "hidden", "N", CLI_INT, &s.hidden, 1, 8192, "width of the Q-Former" },
        { "layers", "N", CLI_INT, &s.layers, 1, 128, "its layers" },
        { "heads", "N", CLI_INT, &s.heads, 1, 128, "its heads" },
        { "queries", "N", CLI_INT, &s.queries, 1, 1024, "its queries" },
        { "tokens", "N", CLI_INT, &s.tokens, 1, 8192, "image tokens" },
        { "width", "N", CLI_INT, &s.width, 1, 8192, "their width" },
        { "vocab", "N", CLI_INT, &s.vocab, 8, 1000000, "text tokens" },
        { "embed", "N", CLI_INT, &s.embed, 1, 8192, "width of the contrastive features" },
        { "dropout", "P", CLI_REAL, &s.dropout, 0, 0.9, "of hidden states and attention" },
        { "parts", "N", CLI_INT, &s.parts, 1, 1024,
          "parts of --batch pairs each, all one batch (run.accum_exact)" },
        { "recompute", NULL, CLI_FLAG, &s.recompute, 0, 0, "layers run again in backward: less memory" },
        { "repeats", "N", CLI_INT, &s.repeats, 1, 64, "timed steps; the median is printed" },
    };
    int code;
    error e;
    static const struct { const char *name; int (*run)(int argc, char **argv); } cases[] = {
        { "ops", bench_ops }, { "stage2", bench_stage2 }, { "vision", bench_vision },
        { "generate", bench_generate },
    };
    int at = cli_first_word(argc, argv);
    for (size_t i = 0; at && i < sizeof cases / sizeof *cases; i++)
        if (!strcmp(argv[at], cases[i].name)) {
            cli_word_to_front(argv, at);
            return cases[i].run(argc, argv);
        }
    if (!cli_parse(&argc, argv, options, 15, &common, &code))
        return code;
    if (argc != 2 || strcmp(argv[1], "stage1"))
        return cli_usage("bench", "expected: bench stage1, stage2, vision, generate or ops [OP]");
    s.shortest = s.longest = s.text;
    char rest;
    if (s.ragged && (sscanf(s.ragged, "%ld-%ld%c", &s.shortest, &s.longest, &rest) != 2 || s.shortest < 3
                     || s.longest < s.shortest || s.longest > s.text))
        return cli_usage("bench", "--ragged: expected A-B with 3 <= A <= B <= --text, found \"%s\"",
                         QUOTE(s.ragged));
    if (s.hidden % s.heads)
        return cli_usage("bench", "--hidden: expected a multiple of --heads (%ld), found %ld", s.heads,
                         s.hidden);
    return measure(&s, (uint64_t)common.seed, &e) ? 0 : cli_fail(&e);
}

const cli_command cli_bench = {
    "bench", "stage1 | stage2 | vision | generate | ops [OP]",
    "time training, towers, decoding or operations", run,
    "stage1 prints one JSON line: median and least seconds of a whole step (three losses, backward, AdamW),\n"
    "GFLOP/s of its matrix products and their share of what the machine can do, peak memory. Defaults:\n"
    "BERT-base, 257 x 1408 image features, batch 8, captions of 32 tokens.\n"
    "stage2, vision and generate take models of the published sizes, with random weights; --help after\n"
    "their names lists their options. stage2: a step through a frozen language model. vision: pictures\n"
    "through a tower. generate: seconds a token, the bytes of weights it needs, and which share of\n"
    "the bandwidth of reading memory, measured in the same run, that is.\n"
    "ops times every operation forward and backward at BERT-base's shapes, with its share of one large\n"
    "matrix product or of the bandwidth of a = b + s c, both measured in the same run (--repeats N, --list)."
};
