/* generate.c - captions and answers, token by token, by the language model or by the Q-Former's own head.
 *
 *   OPT     [projected queries; prompt] <new tokens>       opt_language.c; lavis blip2_opt.py, generate
 *   T5      encoder: the same;  decoder: start <new tokens>        t5_language.c; blip2_t5.py, generate
 *   ITG     queries, then [DEC] <new tokens>               lavis blip2_qformer.py, generate
 * Keys and values of what went before are kept. The prefix (picture, prompt) is computed once a picture; its
 * beams then get a copy each, and a beam that goes on from another takes over only what was said since.    */
#include "blip2/internal.h"
#include <string.h>

void writer_advance(writer *w, long T)
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

static tensor *first(void *context, tape *t)
{
    writer *w = context;
    tensor *logits = w->first(w, t);                                       /* (B,V) */
    spread(w, t);
    return logits;
}

static tensor *next(void *context, tape *t, const int *parent, const int *ids)
{
    writer *w = context;
    pick(w, t, parent, w->prefix);
    return w->say(w, t, ag_ids(t, ids, w->B * w->beams), w->B * w->beams);
}

/* Makes the caches, for `prefix` shared positions of each text and what is said behind them, and searches. */
static void write_texts(writer *w, tape *t, const blip2_generate *o, blip2_sequence *out)
{
    bool recording = ag_record_on(t, false), training = ag_training(t, false);
    double from = clock_seconds();
    generate_room(t, w->B, o, out);
    ag_mark here = ag_here(t);
    w->beams = o->sample ? o->returns : o->beams;
    w->cache = ag_alloc(t, w->layers * (long)sizeof *w->cache);
    for (long i = 0; i < w->layers; i++) {
        w->cache[i] = ag_cache_new(t, w->B * w->beams, w->prefix + generate_limit(o), w->width);
        w->cache[i].rows = w->B;                           /* until `spread` */
    }
    if (w->begin)
        w->begin(w, t);
    generate_search(&(decoder){ w->start, w->eos, w, first, next }, t, w->B, o, out);
    if (o->times)
        o->times->first = clock_seconds() - from - o->times->rest;
    ag_rewind(t, here);
    ag_record_on(t, recording);
    ag_training(t, training);
}

/* ---- by the language model ----------------------------------------------------------------------------- */

void blip2_llm_generate(const blip2_model *m, tape *t, tensor *features, blip2_text question,
                        blip2_text prompt, const blip2_generate *o, blip2_sequence *out)
{
    const language_model *llm = language_of(m);
    writer w = { .m = m, .features = features, .question = question, .prompt = prompt,
                 .B = features ? features->dim[0] : prompt.B };
    long given = (features ? blip2_prompts(&m->config, features) : 0) + prompt.T;
    if (features && !blip2_bridged(&m->config))
        ag_fail("generate", "features %s for a language model that no Q-Former or projection leads to",
                SHAPE(features));
    if (given < 1 || (prompt.T && prompt.B != w.B))
        ag_fail("generate", "features %s, a prompt (%ld,%ld): expected pictures or a prompt for each",
                SHAPE(features), prompt.B, prompt.T);
    llm->open(&w, given, o);
    write_texts(&w, t, o, out);
}

/* ---- by the Q-Former ----------------------------------------------------------------------------------- */

static tensor *itg_say(writer *w, tape *t, const int *ids, long rows)
{
    const blip2_qformer *q = &w->m->qformer;
    tensor *hidden = blip2_qformer_forward(q, t, &(blip2_pass){
        .ids = ids, .B = rows, .T = 1, .first_position = w->cache->length - q->config.queries,
        .cache = w->cache, .pass = PASS_CAPTION });                        /* (rows,1,D) */
    writer_advance(w, 1);
    tensor *logits = blip2_qformer_logits(q, t, hidden);                   /* (rows,1,V) */
    return ag_reshape(t, logits, DIMS(rows, q->config.vocab));
}

static tensor *itg_first(writer *w, tape *t)
{
    const blip2_model *m = w->m;
    nn_kv *memory = layer_room(m, t);
    tensor *image = nn_layer_norm_forward(&m->ln_vision, t, w->features);  /* (B,N,E) */
    blip2_qformer_memory(&m->qformer, t, image, memory);
    tensor *queries = ag_repeat(t, m->query_tokens, w->B);                 /* (B,Q,D) */
    blip2_qformer_forward(&m->qformer, t, &(blip2_pass){
        .queries = queries, .memory = memory, .cache = w->cache, .pass = PASS_IMAGE });
    writer_advance(w, queries->dim[1]);
    int *ids = ag_alloc(t, w->B * (long)sizeof *ids);
    for (long b = 0; b < w->B; b++)
        ids[b] = (int)m->config.dec;
    return itg_say(w, t, ag_ids(t, ids, w->B), w->B);                      /* (B,V) */
}

void blip2_itg_generate(const blip2_model *m, tape *t, tensor *features, const blip2_generate *o,
                        blip2_sequence *out)
{
    const blip2_qformer_config *c = &m->config.qformer;
    if (!c->head || !features)
        ag_fail("generate", "features %s, LM head %d: expected pictures and a Q-Former with its head",
                SHAPE(features), c->head);
    writer w = { .m = m, .features = features, .B = features->dim[0], .layers = c->layers, .width = c->width,
                 .prefix = c->queries + 1,                                 /* the queries and [DEC] */
                 .start = (int)m->config.dec, .eos = (int)m->config.sep, .first = itg_first, .say = itg_say };
    if (generate_limit(o) - 1 > c->positions)
        ag_fail("generate", "up to %d tokens: the Q-Former has %ld positions", generate_limit(o) - 1,
                c->positions);
    write_texts(&w, t, o, out);
}
