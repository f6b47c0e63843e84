/* bench_weights.c - what `bench vision`, `bench stage2` and `bench generate` share: published sizes,
 * random weights made in place (no file is read), and how fast this machine reads memory. */
#include "cli/bench.h"
#include <math.h>
#include <string.h>

bool bench_dtype(const char *text, ag_dtype *to)
{
    static const struct { const char *name; ag_dtype type; } known[] = {
        { "f32", AG_REAL }, { "f16", AG_F16 }, { "bf16", AG_BF16 }, { "int8", AG_INT8 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(text, known[i].name)) {
            *to = known[i].type;
            return true;
        }
    return false;
}

bool bench_llm(const char *name, long layers, blip2_config *c)
{
    bool opt = !strcmp(name, "opt-2.7b");
    if (!opt && strcmp(name, "flan-t5-xl"))
        return false;
    c->llm = opt ? BLIP2_LLM_OPT : BLIP2_LLM_T5;           /* the defaults are these sizes */
    if (layers)
        c->opt.layers = c->t5.layers = c->t5.decoder_layers = layers;
    return true;
}

bool bench_tower(const char *name, long layers, blip2_vit_config *c)
{
    if (!strcmp(name, "clip_l"))
        *c = (blip2_vit_config){ BLIP2_VIT_CLIP, .image_size = 224, .patch = 14, .width = 1024, .depth = 23,
                                 .heads = 16, .hidden = 4096, .init_std = 0.02, .position_std = 0.02 };
    else if (strcmp(name, "eva_g"))
        return false;
    else
        *c = blip2_config_default().vision;
    c->depth = layers ? layers : c->depth;
    return true;
}

/* ---- random numbers ------------------------------------------------------------------------------------ */
/* A thousand numbers of the right spread, spread over the whole by a hash: drawing billions would take
 * minutes. */
enum { TABLE = 1024 };
static long place(long i) { return (long)((uint64_t)i * 0x9E3779B97F4A7C15u >> 54); }

static void fill(const nn_entry *p)
{
    const ag_frozen *w = p->value->frozen;
    long n = p->value->size;
    real table[TABLE], *to = p->value->data;
    uint16_t narrow[TABLE];
    float unit;
    for (long i = 0; i < TABLE; i++)
        table[i] = (real)(p->init.kind == NN_CONSTANT ? p->init.a
                                                      : p->init.a * ag_normal(p->key, (uint64_t)i));
    if (w)
        ag_quantize(w->type, 1, TABLE, table, narrow, &unit);
    #pragma omp parallel for
    for (long i = 0; i < n; i++)
        if (!w)
            to[i] = table[place(i)];
        else if (w->type == AG_INT8)
            ((int8_t *)w->data)[i] = ((const int8_t *)narrow)[place(i)];
        else
            ((uint16_t *)w->data)[i] = narrow[place(i)];
    for (long r = 0; w && w->scale && r < w->N; r++)
        ((float *)w->scale)[r] = unit;
}

void bench_fill(nn_store *s)
{
    for (long i = 0; i < s->count; i++)
        if (!s->entries[i].alias_of)
            fill(&s->entries[i]);
}

/* ---- the machine --------------------------------------------------------------------------------------- */
static const char *largest(const nn_store *s, long *bytes)
{
    const char *at = NULL;
    *bytes = 0;
    for (long i = 0; i < s->count; i++) { /* neighbours in one array: from the first to the last */
        const tensor *x = s->entries[i].value;
        if (s->entries[i].alias_of || !x->frozen != !s->low)
            continue;
        const char *data = x->frozen ? x->frozen->data : (const char *)x->data;
        long size = x->frozen ? ag_frozen_bytes(x->frozen->type, x->frozen->N, x->frozen->K)
                              : x->size * (long)sizeof(real);
        at = at ? at : data;
        if (data >= at)
            *bytes = data + size - at;
    }
    return at;
}

double bench_bandwidth(const nn_store *s)
{
    enum { WORDS = 8, PIECE = 1 << 20 };
    typedef uint64_t vec __attribute__((vector_size(32), aligned(1), may_alias));
    long bytes;
    const char *at = largest(s, &bytes);
    long pieces = bytes / PIECE;
    double best = 0;
    for (int round = 0; round < 3 && pieces; round++) {
        uint64_t sum = 0;
        double from = clock_seconds();
        #pragma omp parallel for schedule(static) reduction(^:sum)
        for (long i = 0; i < pieces; i++) {
            vec streams[4] = { 0 };                        /* four quarters of the piece side by side */
            const char *piece = at + i * PIECE;
            for (long k = 0; k < PIECE / 4; k += 32)
                for (int j = 0; j < 4; j++)
                    streams[j] ^= *(const vec *)(const void *)(piece + j * (PIECE / 4) + k);
            for (int j = 0; j < 4; j++)
                sum ^= streams[j][0] ^ streams[j][1] ^ streams[j][2] ^ streams[j][3];
        }
        volatile uint64_t keep = sum;
        (void)keep;
        best = fmax(best, 1e-9 * (double)pieces * PIECE / (clock_seconds() - from));
    }
    return best;
}

int bench_by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
