/* bench_vision.c - `blip2 bench vision`: a vision tower of the published size, random weights, pictures
 * forward. */
#include "cli/bench.h"
#include "cli/model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_REPEATS = 64 };
typedef struct sizes { const char *tower, *dtype; long batch, layers, repeats, seed; cli_use use; } sizes;
typedef struct looking { const sizes *s; blip2_vit v; tape *t; double seconds[MOST_REPEATS]; } looking;

static void look(void *context)
{
    looking *l = context;
    long S = l->v.config.image_size, B = l->s->batch;
    tensor *pictures = ag_new(l->t, DIMS(B, 3, S, S));     /* (B,3,S,S) */
    uint64_t key = ag_mix((uint64_t)l->s->seed, 1);
    real *pixels = ag_alloc_real(l->t, B * 3 * S * S);
    for (long i = 0; i < B * 3 * S * S; i++)
        pixels[i] = (real)ag_normal(key, (uint64_t)i);
    pictures = ag_copy_in(l->t, DIMS(B, 3, S, S), pixels);
    for (long k = -1; k < l->s->repeats; k++) {            /* -1: the warm-up */
        ag_mark mark = ag_here(l->t);
        double from = clock_seconds();
        blip2_vit_forward(&l->v, l->t, pictures, NULL);
        if (k >= 0)
            l->seconds[k] = clock_seconds() - from;
        ag_rewind(l->t, mark);
    }
}

/* Multiplications and additions of a picture: projections, two MLPs, attention; patches. */
static double work(const blip2_vit_config *c)
{
    double E = (double)c->width, grid = (double)(c->image_size / c->patch), N = grid * grid + 1;
    double block = N * (4 * E * E + 2 * E * (double)c->hidden) + 2 * N * N * E;
    return 2 * ((double)c->depth * block + grid * grid * E * 3 * (double)(c->patch * c->patch));
}

static void print_figures(const looking *l, const nn_store *store)
{
    const sizes *s = l->s;
    double seconds = l->seconds[s->repeats / 2],
           rate = 1e-9 * work(&l->v.config) * (double)s->batch / seconds;
    printf("{\"case\":\"vision\",\"tower\":\"%s\",\"dtype\":\"%s\",\"compute\":\"%s\",\"batch\":%ld,"
           "\"layers\":%ld,"
           "\"parameters\":%ld,\"threads\":%d,\"seconds\":%.4f,\"seconds_min\":%.4f,\"gflops\":%.1f,"
           "\"peak_rss_mb\":%.0f}\n",
           s->tower, s->dtype, s->use.compute, s->batch, l->v.config.depth, store->frozen, ag_threads_now(),
           seconds, l->seconds[0], rate, (double)mem_peak_bytes() / (1 << 20));
}

static bool measure(const sizes *s, const blip2_vit_config *c, ag_dtype type, ag_precision products,
                    error *e)
{
    looking l = { .s = s, .t = ag_tape_new() };
    nn_store *store = nn_store_new((uint64_t)s->seed);
    bool ok = (store && l.t) || error_set(e, "out of memory");
    if (ok) {
        blip2_vit_init(&l.v, nn_sub(nn_root(store), "visual_encoder"), c);
        nn_freeze(store, "");
        if (type != AG_REAL)
            nn_keep_as(store, "", type);
        store->blank = true;
        ok = nn_build(store, false, e);
    }
    if (ok) {
        bench_fill(store);
        ag_record_on(l.t, false);
        ag_compute(l.t, products);
        ok = ag_try(l.t, look, &l, e);
    }
    if (ok) {
        qsort(l.seconds, (size_t)s->repeats, sizeof *l.seconds, bench_by_size);
        print_figures(&l, store);
    }
    ag_tape_free(l.t);
    nn_store_free(store);
    return ok;
}

int bench_vision(int argc, char **argv)
{
    sizes s = { .tower = "eva_g", .dtype = "f32", .batch = 1, .repeats = 3 };
    cli_common common = { .seed = 1 };
    const cli_option options[] = {
        { "tower", "eva_g|clip_l", CLI_TEXT, &s.tower, 0, 0, "the vision tower (default eva_g)" },
        { "dtype", "f32|f16|bf16|int8", CLI_TEXT, &s.dtype, 0, 0,
          "what its matrices are kept in (default f32); with bf16 --compute is bf16-fast unless given" },
        { "batch", "N", CLI_INT, &s.batch, 1, 1024, "pictures at a time" },
        { "layers", "N", CLI_INT, &s.layers, 0, 128, "fewer blocks than published; 0: all" },
        { "repeats", "N", CLI_INT, &s.repeats, 1, MOST_REPEATS, "timed runs; the median is printed" },
        CLI_COMPUTE_OPTION(s.use),
    };
    int code;
    error e;
    ag_dtype type;
    ag_precision products;
    blip2_vit_config c;
    if (!cli_parse(&argc, argv, options, sizeof options / sizeof *options, &common, &code))
        return code;
    s.seed = common.seed;
    if (!s.use.compute)
        s.use.compute = strcmp(s.dtype, "bf16") ? "f32" : "bf16-fast";
    if (argc != 2 || !bench_tower(s.tower, s.layers, &c) || !bench_dtype(s.dtype, &type)
        || !cli_precision(s.use.compute, &products))
        return cli_usage("bench", "vision: expected --tower eva_g|clip_l --dtype f32|f16|bf16|int8 "
                                  "--compute f32|bf16|bf16-fast");
    return measure(&s, &c, type, products, &e) ? 0 : cli_fail(&e);
}
