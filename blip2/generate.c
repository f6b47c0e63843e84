/* generate.c - captions and answers, token by token, by the language model or by the Q-Former's own head.
 *
 *   OPT     [projected queries; prompt] <new tokens>       lavis blip2_opt.py, generate
 *   ITG     queries, then [DEC] <new tokens>               lavis blip2_qformer.py, generate
 * Keys and values of what went before are kept. The prefix (picture, prompt) is computed once a picture; its
 * beams then get a copy each, and a beam that goes on from another takes over only what was said since.    */
#include "blip2/internal.h"
#include <string.h>

typedef struct writer writer;
struct writer {
    const blip2_model *m;
    tensor *features;                  /* (B,N,E) or NULL */
    blip2_text question, prompt;
    long B, beams, layers, prefix;     /* prefix: positions that all beams of a text share */
    ag_cache *cache;                   /* (layers) */
    unsigned char *mask;               /* OPT: (B,prefix) real tokens */
    tensor *(*say)(writer *w, tape *t, const int *ids, long rows);     /* a token a row -> logits (rows,V) */
};

static void advance(writer *w, long T)
{
    for (long i = 0; i < w->layers; i++)
        w->cache[i].length += T;
}

static void pick(writer *w, tape *t, const int *source, long from)
{
    for (long i = 0; i < w->layers; i++)
        ag_cache_pick(t, &w->cache[i], w->B * w->beams, source, from);
}

/* What the prefix left in rows 0 .. B-1 is copied to the rows of each text's beams. */
static void spread(writer *w, tape *t)
{
    int *source = ag_alloc(t, w->B * w->beams * (long)sizeof *source);
    for (long r = 0; r < w->B * w->beams; r++)
        source[r] = (int)(r / w->beams);
    pick(w, t, source, 0);
}

static tensor *next(void *context, tape *t, const int *parent, const int *ids)
{
    writer *w = context;
    pick(w, t, parent, w->prefix);
    return w->say(w, t, ag_ids(t, ids, w->B * w->beams), w->B * w->beams);
}

/* Makes the caches, for `prefix` shared positions of each text and what is said behind them, and searches. */
static void write_texts(writer *w, tape *t, long width, const decoder *d, const blip2_generate *o,
                        blip2_sequence *out)
{
    bool recording = ag_record_on(t, false), training = ag_training(t, false);
    generate_room(t, w->B, o, out);
    ag_mark here = ag_here(t);
    w->beams = o->beams;
    w->mask = ag_alloc(t, w->B * w->prefix);
    w->cache = ag_alloc(t, w->layers * (long)sizeof *w->cache);
    for (long i = 0; i < w->layers; i++) {
        w->cache[i] = ag_cache_new(t, w->B * w->beams, w->prefix + generate_limit(o), width);
        w->cache[i].rows = w->B;                           /* until `spread` */
    }
    generate_search(d, t, w->B, o, out);
    ag_rewind(t, here);
    ag_record_on(t, recording);
    ag_training(t, training);
}

/* ---- by the language model ----------------------------------------------------------------------------- */

/* Logits (rows,V) at the last of the positions of `embeddings`, which are put behind what the caches hold. */
static tensor *opt_last_logits(writer *w, tape *t, tensor *embeddings, const unsigned char *mask)
{
    long rows = embeddings->dim[0], T = embeddings->dim[1], L = embeddings->dim[2];
    tensor *hidden = blip2_opt_forward(&w->m->opt, t, embeddings, mask, w->cache);     /* (rows,T,L) */
    advance(w, T);
    tensor *last = ag_slice(t, hidden, 1, T - 1, 1);                       /* (rows,1,L) */
    return blip2_opt_logits(&w->m->opt, t, ag_reshape(t, last, DIMS(rows, L)));
}

static tensor *opt_first(void *context, tape *t)
{
    writer *w = context;
    blip2_stage2_out side = { 0 };
    tensor *inputs = language_input(w->m, t, w->features, w->question, w->prompt, &side);  /* (B,prefix,L) */
    memcpy(w->mask, side.mask, (size_t)(w->B * w->prefix));
    tensor *logits = opt_last_logits(w, t, inputs, w->mask);
    spread(w, t);
    return logits;
}

static tensor *opt_say(writer *w, tape *t, const int *ids, long rows)
{
    long S = w->cache->length + 1;
    unsigned char *mask = ag_alloc(t, rows * S);
    for (long r = 0; r < rows; r++) {
        memset(mask + r * S, 1, (size_t)S);
        memcpy(mask + r * S, w->mask + r / w->beams * w->prefix, (size_t)w->prefix);
    }
    tensor *words = blip2_opt_embed(&w->m->opt, t, ids, rows, 1);          /* (rows,1,L) */
    return opt_last_logits(w, t, words, mask);
}

void blip2_opt_generate(const blip2_model *m, tape *t, tensor *features, blip2_text question,
                        blip2_text prompt, const blip2_generate *o, blip2_sequence *out)
{
    const blip2_opt_config *c = &m->config.opt;
    writer w = { .m = m, .features = features, .question = question, .prompt = prompt,
                 .B = features ? features->dim[0] : prompt.B, .layers = c->layers,
                 .prefix = (features ? m->config.qformer.queries : 0) + prompt.T, .say = opt_say };
    if (m->config.llm != BLIP2_LLM_OPT || w.prefix < 1 || (prompt.T && prompt.B != w.B))
        ag_fail("generate", "features %s, a prompt (%ld,%ld): expected a language model, and pictures or a "
                "prompt for each", SHAPE(features), prompt.B, prompt.T);
    if (w.prefix + generate_limit(o) - 2 > c->positions)   /* neither start nor the last token is ever read */
        ag_fail("generate", "%ld tokens before and up to %d new ones: the language model has %ld positions",
                w.prefix, generate_limit(o) - 1, c->positions);
    write_texts(&w, t, c->width, &(decoder){ (int)c->bos, (int)c->eos, &w, opt_first, next }, o, out);
}

/* ---- by the Q-Former ----------------------------------------------------------------------------------- */

static tensor *itg_say(writer *w, tape *t, const int *ids, long rows)
{
    const blip2_qformer *q = &w->m->qformer;
    tensor *hidden = blip2_qformer_forward(q, t, &(blip2_pass){
        .ids = ids, .B = rows, .T = 1, .first_position = w->cache->length - q->config.queries,
        .cache = w->cache, .pass = PASS_CAPTION });                        /* (rows,1,D) */
    advance(w, 1);
    tensor *logits = blip2_qformer_logits(q, t, hidden);                   /* (rows,1,V) */
    return ag_reshape(t, logits, DIMS(rows, q->config.vocab));
}

static tensor *itg_first(void *context, tape *t)
{
    writer *w = context;
    const blip2_model *m = w->m;
    nn_kv *memory = layer_room(m, t);
    tensor *image = nn_layer_norm_forward(&m->ln_vision, t, w->features);  /* (B,N,E) */
    blip2_qformer_memory(&m->qformer, t, image, memory);
    tensor *queries = ag_repeat(t, m->query_tokens, w->B);                 /* (B,Q,D) */
    blip2_qformer_forward(&m->qformer, t, &(blip2_pass){
        .queries = queries, .memory = memory, .cache = w->cache, .pass = PASS_IMAGE });
    advance(w, queries->dim[1]);
    int *ids = ag_alloc(t, w->B * (long)sizeof *ids);
    for (long b = 0; b < w->B; b++)
        ids[b] = (int)m->config.dec;
    tensor *logits = itg_say(w, t, ag_ids(t, ids, w->B), w->B);            /* (B,V) */
    spread(w, t);
    return logits;
}

void blip2_itg_generate(const blip2_model *m, tape *t, tensor *features, const blip2_generate *o,
                        blip2_sequence *out)
{
    const blip2_qformer_config *c = &m->config.qformer;
    if (!c->head || !features)
        ag_fail("generate", "features %s, LM head %d: expected pictures and a Q-Former with its head",
                SHAPE(features), c->head);
    writer w = { .m = m, .features = features, .B = features->dim[0], .layers = c->layers,
                 .prefix = c->queries + 1, .say = itg_say };               /* the queries and [DEC] */
    if (generate_limit(o) - 1 > c->positions)
        ag_fail("generate", "up to %d tokens: the Q-Former has %ld positions", generate_limit(o) - 1,
                c->positions);
    write_texts(&w, t, c->width, &(decoder){ (int)m->config.dec, (int)m->config.sep, &w, itg_first, next }, o,
                out);
}
