/* bench_ops.c - `blip2 bench ops`: every operation at a shape that BERT-base meets in stage 1 (batch 8, 32
 * queries, texts of 32 tokens, 257 image tokens of width 1408), both ways, beside what the machine can do.
 *
 * An operation of matrix products is measured in GFLOP/s against one large product, any other in GB/s against
 * the triad a = b + s c; both are measured in the same run. Bytes are those that must be read and written
 * once, so a share of the bandwidth above 1 means that the operands stayed in a cache.                     */
#include "cli/bench.h"
#include "autograd/autograd.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 768, HIDDEN = 3072, HEADS = 12, QUERIES = 32, TOKENS = 64, TRIPLES = 24, PICTURES = 8, IMAGE = 257,
       WIDTH = 1408, WORDS = 30523, EMBED = 256, ROWS = TRIPLES * TOKENS, PREDICTED = 8 * 31 };
enum { MOST_REPEATS = 64, TRIAD = 1 << 24 };

/* ---- the cases ----------------------------------------------------------------------------------------- */
static tensor *leaf(tape *t, uint64_t key, int ndim, const long *dim)
{
    tensor *x = ag_leaf(t, ndim, dim, ag_new(t, ndim, dim)->data);
    for (long i = 0; i < x->size; i++)  /* a cheap hash: 23 M numbers are not worth Philox */
        x->data[i] = (real)(((uint64_t)i + key) * 0x9E3779B97F4A7C15u >> 40) / (real)(1 << 24) - (real)0.5;
    return x;
}
#define LEAF(key, ...) leaf(t, (key), DIMS(__VA_ARGS__))

static const int *ids(tape *t, long n, long below)
{
    int *x = ag_alloc(t, n * (long)sizeof *x);
    for (long i = 0; i < n; i++)
        x[i] = (int)(ag_uniform(9, (uint64_t)i) * (double)below);
    return x;
}

/* Leaves are made first, the operation is the last node; `from` is when its own work began. */
typedef struct made { tensor *y; double from; } made;

static made linear(tape *t, long inputs, long outputs, ag_act act)
{
    tensor *x = LEAF(1, ROWS, inputs), *w = LEAF(2, outputs, inputs), *b = LEAF(3, outputs);
    double from = clock_seconds();
    return (made){ ag_linear(t, x, w, b, act), from };
}

static made linear_square(tape *t) { return linear(t, D, D, AG_NONE); }
static made linear_in(tape *t) { return linear(t, D, HIDDEN, AG_GELU); }
static made linear_out(tape *t) { return linear(t, HIDDEN, D, AG_NONE); }

static made attention_self(tape *t)
{
    tensor *q = LEAF(1, TRIPLES, TOKENS, D);
    tensor *k = LEAF(2, TRIPLES, TOKENS, D), *v = LEAF(3, TRIPLES, TOKENS, D);
    double from = clock_seconds();
    return (made){ ag_attention(t, q, k, v, &(ag_attn){ .heads = HEADS }), from };
}

static made attention_cross(tape *t)
{
    tensor *q = LEAF(1, TRIPLES, QUERIES, D);
    tensor *k = LEAF(2, PICTURES, IMAGE, D), *v = LEAF(3, PICTURES, IMAGE, D);
    const int *row = ids(t, TRIPLES, PICTURES);
    double from = clock_seconds();
    return (made){ ag_attention(t, q, k, v, &(ag_attn){ .heads = HEADS, .memory_row = row }), from };
}

static made matmul(tape *t)
{
    tensor *a = LEAF(1, PICTURES * QUERIES, EMBED), *b = LEAF(2, PICTURES, EMBED);
    double from = clock_seconds();
    return (made){ ag_matmul(t, a, b, false, true), from };
}

static made patch_embed(tape *t)
{
    tensor *x = LEAF(1, 2, 3, 224, 224), *w = LEAF(2, WIDTH, 3, 14, 14), *b = LEAF(3, WIDTH);
    double from = clock_seconds();
    return (made){ ag_patch_embed(t, x, w, b, 14), from };
}

static made linear_cross_entropy(tape *t)
{
    tensor *x = LEAF(1, PREDICTED, D), *w = LEAF(2, WORDS, D), *b = LEAF(3, WORDS);
    const int *right = ids(t, PREDICTED, WORDS);
    double from = clock_seconds();
    return (made){ ag_linear_cross_entropy(t, x, w, b, &(ag_ce){ .ids = right, .ignore = -100 }), from };
}

static made cross_entropy(tape *t)
{
    tensor *x = LEAF(1, PREDICTED, WORDS);
    const int *right = ids(t, PREDICTED, WORDS);
    double from = clock_seconds();
    return (made){ ag_cross_entropy(t, x, &(ag_ce){ .ids = right, .ignore = -100, .smoothing = 0.1 }), from };
}

static made layer_norm(tape *t)
{
    tensor *x = LEAF(1, ROWS, D), *gamma = LEAF(2, D), *beta = LEAF(3, D);
    double from = clock_seconds();
    return (made){ ag_layer_norm(t, x, gamma, beta, 1e-12), from };
}

static made rms_norm(tape *t)
{
    tensor *x = LEAF(1, ROWS, D), *gamma = LEAF(2, D);
    double from = clock_seconds();
    return (made){ ag_rms_norm(t, x, gamma, 1e-6), from };
}

static made embedding(tape *t)
{
    tensor *table = LEAF(1, WORDS, D);
    const int *words = ids(t, TRIPLES * 32, WORDS);
    double from = clock_seconds();
    return (made){ ag_embedding(t, table, words, DIMS(TRIPLES, 32)), from };
}

static made gather(tape *t)
{
    tensor *x = LEAF(1, ROWS, D);
    const int *rows = ids(t, ROWS, ROWS);
    double from = clock_seconds();
    return (made){ ag_gather(t, x, rows, ROWS), from };
}

static made concat(tape *t)
{
    tensor *parts[] = { LEAF(1, TRIPLES, QUERIES, D), LEAF(2, TRIPLES, 32, D) };
    double from = clock_seconds();
    return (made){ ag_concat(t, 2, parts, 1), from };
}

#define UNARY(name, call)                                                                                    \
    static made name(tape *t)                                                                                \
    {                                                                                                        \
        tensor *x = LEAF(1, TRIPLES, TOKENS, D);                                                             \
        double from = clock_seconds();                                                                       \
        return (made){ (call), from };                                                                       \
    }
#define BINARY(name, op)                                                                                     \
    static made name(tape *t)                                                                                \
    {                                                                                                        \
        tensor *x = LEAF(1, ROWS, D), *y = LEAF(2, ROWS, D);                                                 \
        for (long i = 0; i < y->size; i++)                                                                   \
            y->data[i] += 2;                                                                                 \
        double from = clock_seconds();                                                                       \
        return (made){ op(t, x, y), from };                                                                  \
    }
BINARY(add, ag_add)
BINARY(sub, ag_sub)
BINARY(mul, ag_mul)
BINARY(quotient, ag_div)
UNARY(scale, ag_scale(t, x, 0.5))
UNARY(sum, ag_sum(t, x))
UNARY(mean, ag_mean(t, x))
UNARY(mean_axis, ag_mean_axis(t, x, 1))
UNARY(max_axis, ag_max_axis(t, x, 1))
UNARY(slice, ag_slice(t, x, 1, 0, QUERIES))
UNARY(softmax, ag_softmax(t, x))
UNARY(log_softmax, ag_log_softmax(t, x))
UNARY(l2_normalize, ag_l2_normalize(t, x, 1e-12))
UNARY(activation, ag_activation(t, x, AG_GELU))
UNARY(dropout, ag_dropout(t, x, (ag_drop){ 0.1, 1 }))

static made relative_bias(tape *t)     /* FlanT5-XL's 32 buckets and 32 heads, 32 queries before a prompt */
{
    tensor *table = LEAF(1, 32, 32);
    const int *buckets = ids(t, TOKENS * TOKENS, 32);
    double from = clock_seconds();
    return (made){ ag_relative_bias(t, table, buckets, TOKENS, TOKENS), from };
}

static made repeat(tape *t)
{
    tensor *x = LEAF(1, 1, QUERIES, D);
    double from = clock_seconds();
    return (made){ ag_repeat(t, x, TRIPLES), from };
}

/* Multiply-adds forward; backward twice as many. 0: counted in bytes. */
#define RD ((double)ROWS * D)
static const struct { const char *op, *shapes; made (*make)(tape *t); double products; } cases[] = {
    { "linear", "(1536,768) (768,768)", linear_square, RD * D },
    { "linear", "(1536,768) (3072,768), GELU", linear_in, RD * HIDDEN },
    { "linear", "(1536,3072) (768,3072)", linear_out, RD * HIDDEN },
    { "attention", "(24,64,768), 12 heads", attention_self, 2.0 * TRIPLES * TOKENS * TOKENS * D },
    { "attention", "(24,32,768) over (8,257,768)", attention_cross, 2.0 * TRIPLES * QUERIES * IMAGE * D },
    { "matmul", "(256,256) (8,256)'", matmul, (double)PICTURES * QUERIES * EMBED * PICTURES },
    { "patch_embed", "(2,3,224,224) (1408,3,14,14)", patch_embed, 2.0 * 256 * 588 * WIDTH },
    { "linear_cross_entropy", "(248,768) (30523,768)", linear_cross_entropy, (double)PREDICTED * D * WORDS },
    { "cross_entropy", "(248,30523)", cross_entropy, 0 },
    { "layer_norm", "(1536,768)", layer_norm, 0 },
    { "rms_norm", "(1536,768)", rms_norm, 0 },
    { "embedding", "(30523,768), 768 ids", embedding, 0 },
    { "gather", "(1536,768)", gather, 0 },
    { "concat", "(24,32,768) (24,32,768)", concat, 0 },
    { "relative_bias", "(32,32) -> (32,64,64)", relative_bias, 0 },
    { "repeat", "(1,32,768) -> (24,32,768)", repeat, 0 },
    { "slice", "(24,64,768) -> (24,32,768)", slice, 0 },
    { "add", "(1536,768)", add, 0 }, { "sub", "(1536,768)", sub, 0 }, { "mul", "(1536,768)", mul, 0 },
    { "div", "(1536,768)", quotient, 0 }, { "scale", "(24,64,768)", scale, 0 },
    { "activation", "(24,64,768), GELU", activation, 0 }, { "dropout", "(24,64,768), 0.1", dropout, 0 },
    { "softmax", "(24,64,768)", softmax, 0 }, { "log_softmax", "(24,64,768)", log_softmax, 0 },
    { "l2_normalize", "(24,64,768)", l2_normalize, 0 }, { "sum", "(24,64,768)", sum, 0 },
    { "mean", "(24,64,768)", mean, 0 }, { "mean_axis", "(24,64,768)", mean_axis, 0 },
    { "max_axis", "(24,64,768)", max_axis, 0 },
};

/* ---- measuring ----------------------------------------------------------------------------------------- */
typedef struct timing { double forward, backward, bytes; } timing;

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* One pass; bytes: the operands and the result once (tables: the rows that are read). */
static timing once(tape *t, made (*make)(tape *t))
{
    timing r = { 0 };
    ag_reset(t);
    made m = make(t);
    r.forward = clock_seconds() - m.from;
    const ag_node *n = ag_node_at(t, ag_node_count(t) - 1);
    bool table = !strcmp(n->op->name, "embedding");
    for (int i = 0; i < n->nin; i++)
        if (n->in[i])
            r.bytes += (double)(table ? n->out->size : n->in[i]->size) * sizeof(real);
    r.bytes += (double)n->out->size * sizeof(real);
    real *g = ag_grad(n->out);
    for (long i = 0; i < n->out->size; i++)
        g[i] = (real)(i % 7) / 7;
    double from = clock_seconds();
    n->op->backward(n);
    r.backward = clock_seconds() - from;
    return r;
}

static timing median(tape *t, made (*make)(tape *t), long repeats)
{
    double forward[MOST_REPEATS], backward[MOST_REPEATS];
    timing r = once(t, make);                              /* the warm-up */
    for (long k = 0; k < repeats; k++) {
        r = once(t, make);
        forward[k] = r.forward;
        backward[k] = r.backward;
    }
    qsort(forward, (size_t)repeats, sizeof *forward, by_size);
    qsort(backward, (size_t)repeats, sizeof *backward, by_size);
    r.forward = forward[repeats / 2];
    r.backward = backward[repeats / 2];
    return r;
}

/* GFLOP/s of one large product; GB/s of a = b + s c. The best of five. */
static bool machine(double *gflops, double *gbs)
{
    enum { N = 1536 };
    real *x = mem_new(3 * (size_t)TRIAD * sizeof *x);
    if (!x)
        return false;
    *gflops = *gbs = 0;
    for (int k = 0; k < 6; k++) {
        double from = clock_seconds();
        ag_gemm(false, true, N, N, N, 1, x, N, x + N * N, N, 0, x + 2 * N * N, N);
        *gflops = fmax(*gflops, 2e-9 * N * N * N / (clock_seconds() - from));
    }
    real *a = x, *b = x + TRIAD, *c = x + 2 * (long)TRIAD;
    for (int k = 0; k < 6; k++) {
        double from = clock_seconds();
        #pragma omp parallel for schedule(static)
        for (long i = 0; i < TRIAD; i++)
            a[i] = b[i] + (real)3 * c[i];
        *gbs = fmax(*gbs, 3e-9 * TRIAD * sizeof(real) / (clock_seconds() - from));
    }
    mem_free(x);
    return true;
}

static void print_case(size_t i, const timing *r, double peak, double bandwidth, bool json)
{
    bool products = cases[i].products > 0;
    double work = products ? 2e-9 * cases[i].products : 1e-9 * r->bytes, most = products ? peak : bandwidth;
    double forward = work / r->forward, backward = (products ? 2 : 1.5) * work / r->backward;
    if (json)
        printf("{\"case\":\"ops\",\"op\":\"%s\",\"shapes\":\"%s\",\"threads\":%d,\"seconds\":%.3e,"
               "\"backward_seconds\":%.3e,\"%s\":%.5g,\"backward_%s\":%.5g,\"%s\":%.5g,\"share\":%.3f,"
               "\"backward_share\":%.3f}\n", cases[i].op, cases[i].shapes, ag_threads_now(), r->forward,
               r->backward,
               products ? "gflops" : "gbs", forward, products ? "gflops" : "gbs", backward,
               products ? "peak_gflops" : "triad_gbs", most, forward / most, backward / most);
    else
        printf("%-21s %-29s %8.3f ms %8.1f %5.0f%% %8.3f ms %8.1f %5.0f%%  %s\n", cases[i].op,
               cases[i].shapes,
               1e3 * r->forward, forward, 100 * forward / most, 1e3 * r->backward, backward,
               100 * backward / most,
               products ? "GFLOP/s" : "GB/s");
    fflush(stdout);
}

static int measure_all(const char *one, long repeats, bool json)
{
    double peak, bandwidth;
    error e;
    tape *t = ag_tape_new();
    if (!t || !machine(&peak, &bandwidth)) {
        ag_tape_free(t);
        error_set(&e, "out of memory");
        return cli_fail(&e);
    }
    ag_training(t, true);
    if (!json)
        printf("%d threads; one large product: %.0f GFLOP/s, triad: %.1f GB/s\n%-21s %-29s %11s %8s %6s %11s "
               "%8s %6s\n",
               ag_threads_now(), peak, bandwidth, "op", "shapes", "forward", "rate", "share", "backward",
               "rate",
               "share");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!one || !strcmp(one, cases[i].op)) {
            timing r = median(t, cases[i].make, repeats);
            print_case(i, &r, peak, bandwidth, json);
        }
    ag_tape_free(t);
    return 0;
}

int bench_ops(int argc, char **argv)
{
    long repeats = 9;
    bool list = false;
    cli_common common = { .seed = -1 };                    /* -1: not given */
    cli_option options[] = {
        { "repeats", "N", CLI_INT, &repeats, 1, MOST_REPEATS, "timed passes; the median is printed" },
        { "list", NULL, CLI_FLAG, &list, 0, 0, "name the cases and time nothing" } };
    int code;
    if (!cli_parse(&argc, argv, options, 2, &common, &code))
        return code;
    if (argc > 3)
        return cli_usage("bench", "expected: bench ops [OP]");
    if (common.seed >= 0)
        return cli_usage("bench", "ops: --seed: the numbers are always the same; leave it out");
    const char *one = argc > 2 ? argv[2] : NULL;
    const char *names[sizeof cases / sizeof *cases], *like;
    int met = 0, count = (int)(sizeof cases / sizeof *cases);
    for (int i = 0; i < count; i++) {
        names[i] = cases[i].op;
        met += !one || !strcmp(one, names[i]);
    }
    if (!met && (like = nearest(one, names, count)))
        return cli_usage("bench", "ops: no case of an operation \"%s\", did you mean %s?", QUOTE(one), like);
    if (!met)
        return cli_usage("bench", "ops: no case of an operation \"%s\"", QUOTE(one));
    for (int i = 0; list && i < count; i++)
        printf("%-21s %s\n", cases[i].op, cases[i].shapes);
    return list ? 0 : measure_all(one, repeats, common.json);
}
