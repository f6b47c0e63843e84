/* session.c - a model file opened for use: pictures in, words out (eval.h). */
#include "eval/internal.h"
#include <stdio.h>
#include <string.h>

static tokenizer *embedded(h5 *f, const char *group, error *e)
{
    blip2_part parts[BLIP2_PARTS];
    tokenizer_file files[BLIP2_PARTS];
    int n = blip2_read_parts(f, group, parts, e);
    if (n <= 0)
        return NULL;
    for (int i = 0; i < n; i++)
        files[i] = (tokenizer_file){ parts[i].name, parts[i].bytes, parts[i].size };
    tokenizer *t = tokenizer_load(h5_path(f), files, n, e);
    blip2_free_parts(parts, n);
    return t;
}

bool eval_tokenizers(const char *path, tokenizer **bert, tokenizer **llm, error *e)
{
    h5 *f = h5_open(path, e);
    if (!f)
        return false;
    e->text[0] = 0;
    *bert = embedded(f, "bert", e);
    if (!e->text[0])
        *llm = embedded(f, "llm", e);
    h5_close(f);
    return !e->text[0];
}

bool eval_open(eval_session *s, const char *path, error *e) { return eval_open_told(s, path, NULL, e); }

bool eval_open_told(eval_session *s, const char *path, const nn_watch *watch, error *e)
{
    *s = (eval_session){ 0 };
    if (!blip2_open_told(&s->model, path, &s->sealed, watch, e))
        return false;
    bool ok = eval_tokenizers(path, &s->bert, &s->llm, e);
    if (ok && !(s->t = ag_tape_new()))
        ok = error_set(e, "%s: out of memory", QUOTE(path));
    if (ok)
        ag_record_on(s->t, false);
    else
        eval_close(s);
    return ok;
}

void eval_close(eval_session *s)
{
    tokenizer_free(s->bert);
    tokenizer_free(s->llm);
    mem_free(s->line.ids);
    token_batch_free(&s->lines);
    ag_tape_free(s->t);
    blip2_close(&s->model);
    *s = (eval_session){ 0 };
}

bool eval_can_caption(const eval_session *s, const char *path, error *e)
{
    const blip2_config *c = &s->model.config;
    bool itg = c->llm == BLIP2_LLM_NONE && c->qformer.head && c->qformer.text;
    const char *lack = c->vision.kind == BLIP2_VIT_NONE ? "vision tower" : !blip2_bridged(c) ? "Q-Former"
                     : itg ? (s->bert ? NULL : "tokenizer of the Q-Former")
                     : c->llm == BLIP2_LLM_NONE ? "language model (stage 2 adds one)"
                     : !s->llm ? "tokenizer of the language model" : NULL;
    if (lack)
        return error_set(e, "%s: cannot write text: it has no %s", QUOTE(path), lack);
    return true;
}

bool eval_can_answer(const eval_session *s, const char *path, error *e)
{
    if (s->model.config.llm == BLIP2_LLM_NONE && eval_can_caption(s, path, e))
        return error_set(e, "%s: cannot answer: it has no language model (stage 2 adds one)", QUOTE(path));
    return eval_can_caption(s, path, e);
}

bool eval_can_retrieve(const eval_session *s, const char *path, error *e)
{
    const blip2_config *c = &s->model.config;
    const char *lack = !c->stage1 ? "stage-1 heads; expected a model of stage 1"
                     : c->vision.kind == BLIP2_VIT_NONE ? "vision tower"
                     : !s->bert ? "tokenizer of the Q-Former" : NULL;
    return !lack || error_set(e, "%s: cannot compare pictures with texts: it has no %s", QUOTE(path), lack);
}

long eval_tokens(const blip2_config *c)
{
    long side = c->vision.patch ? c->vision.image_size / c->vision.patch : 0;
    return side * side + 1;
}

typedef struct looking {
    eval_session *s;
    const char *const *paths;
    long n;
    real *to;
    error *e;
    bool ok;
} looking;

/* (3,size,size), normalised */
static bool square(const picture *p, blip2_reference reference, long size, real *to, error *e)
{
    picture small;
    if (!picture_resize(&small, p, size, size, e))
        return false;
    picture_normalise_as(reference == BLIP2_HF ? PICTURE_HF : PICTURE_LAVIS, small.rgb, size, to);
    picture_free(&small);
    return true;
}

/* Pictures read side by side; then the tower. */
static void look(void *context)
{
    looking *l = context;
    tape *t = l->s->t;
    long S = l->s->model.config.vision.image_size;
    tensor *x = ag_new(t, DIMS(l->n, 3, S, S));            /* (n,3,S,S) */
    bool failed = false;
    #pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < l->n; i++) {
        picture p = { 0 };
        error mine;
        if (!picture_read_as(&p, l->s->reference == BLIP2_HF ? PICTURE_HF : PICTURE_LAVIS, l->paths[i], &mine)
            || !square(&p, l->s->reference, S, x->data + i * 3 * S * S, &mine)) {
            #pragma omp critical
            {
                if (!failed)
                    *l->e = mine;
                failed = true;
            }
        }
        picture_free(&p);
    }
    l->ok = !failed;
    if (l->ok) {
        tensor *y = blip2_vision_features(&l->s->model, t, x);                     /* (n,N,E) */
        memcpy(l->to, y->data, (size_t)y->size * sizeof *l->to);
    }
}

bool eval_features(eval_session *s, const char *const *paths, long n, real *to, error *e)
{
    ag_mark mark = ag_here(s->t);
    looking l = { s, paths, n, to, e, false };
    bool ok = ag_try(s->t, look, &l, e);
    ag_rewind(s->t, mark);
    return ok && l.ok;
}

/* The prompts as the language model takes them: `</s>` and the tokens, padded on the left to the longest, or
 * for an encoder the tokens and `</s>`, padded on the right. */
static blip2_text prompts_of(eval_session *s, long n, const char *const *prompts)
{
    const blip2_llm llm = blip2_llm_of(&s->model.config);
    struct { const int *ids; long n; } *lists = ag_alloc(s->t, n * (long)sizeof *lists);
    long T = 1;
    error e;
    for (long i = 0; i < n; i++) {
        const char *text = prompts && prompts[i] ? prompts[i] : "";
        if (!tokenizer_encode(s->llm, text, (long)strlen(text),
                              &(tokenizer_options){ .bare = true, .literal = true }, &s->line, &e))
            ag_fail("generate", "%s", e.text);
        lists[i].ids = ag_ids(s->t, s->line.ids, s->line.n);
        lists[i].n = s->line.n;
        T = lists[i].n + 1 > T ? lists[i].n + 1 : T;
    }
    int *ids = ag_alloc(s->t, n * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(s->t, n * T);
    for (long i = 0; i < n; i++) {
        long words = lists[i].n, first = llm.encodes ? 0 : T - words, mark = llm.encodes ? words : first - 1;
        for (long k = 0; k < T; k++) {
            bool word = k >= first && k < first + words;
            ids[i*T + k] = (int)(word ? lists[i].ids[k - first] : k != mark ? llm.pad
                                 : llm.encodes ? llm.eos : llm.start);
            mask[i*T + k] = word || k == mark;
        }
    }
    return (blip2_text){ n, T, ids, mask };
}

static bool is_special(const blip2_llm *llm, int id) { return id == llm->eos || id == llm->pad; }

/* What writes: the language model, or in stage 1 the Q-Former from [DEC] to [SEP]. */
static blip2_llm writes(const blip2_config *c)
{
    return c->llm != BLIP2_LLM_NONE ? blip2_llm_of(c)
                                    : (blip2_llm){ .start = c->dec, .eos = c->sep, .pad = c->text_pad };
}

/* Bytes of the white space that Python's strip() removes at p, before `end`; 0: none. */
static long space_at(const char *p, const char *end)
{
    const unsigned char *c = (const unsigned char *)p;
    long n = end - p;
    if (n > 0 && ((*c >= 9 && *c <= 13) || (*c >= 28 && *c <= 32)))
        return 1;
    if (n > 1 && c[0] == 0xc2 && (c[1] == 0x85 || c[1] == 0xa0))
        return 2;
    if (n < 3 || c[0] < 0xe1 || c[0] > 0xe3)
        return 0;
    int point = (c[0] & 15) << 12 | (c[1] & 63) << 6 | (c[2] & 63);
    return point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 || point == 0x2029
                   || point == 0x202f || point == 0x205f || point == 0x3000 ? 3 : 0;
}

/* Without white space at both ends; a byte of 0 inside becomes C0 80, which no other text has, so that a C
 * string holds it. mem_free it. */
static char *stripped(const char *text, long bytes)
{
    const char *end = text + bytes;
    for (long n; (n = space_at(text, end)); )
        text += n;
    for (long n = 1; n && end > text; end -= n)
        for (n = 3; n && !(end - text >= n && space_at(end - n, end) == n); n--)
            ;
    char *to = mem_new(2 * (size_t)(end - text) + 1), *at = to;
    for (; to && text < end; text++) {
        if (!*text)
            *at++ = (char)0xc0;
        *at++ = *text ? *text : (char)0x80;
    }
    return to;
}

void eval_plain(eval_text *texts, long n)
{
    for (long i = 0; i < n; i++) {
        if (texts[i].own) {
            mem_free(texts[i].text);
            texts[i].text = texts[i].own;
            texts[i].own = NULL;
        }
        for (char *p = texts[i].text; (p = strstr(p, "\xc0\x80")); )
            memcpy(p, "\\0", 2);
    }
}

/* What was written, without the mark of its end and the white space around it; ids (n). */
static char *words_of(const eval_session *s, const int *ids, long n)
{
    const blip2_llm llm = writes(&s->model.config);
    long bytes;
    while (n > 0 && is_special(&llm, ids[n-1]))
        n--;
    char *text = tokenizer_decode(s->model.config.llm == BLIP2_LLM_NONE ? s->bert : s->llm, ids, n, false,
                                  &bytes);
    if (!text)
        ag_fail("generate", "out of memory");
    char *words = stripped(text, bytes);
    mem_free(text);
    if (!words)
        ag_fail("generate", "out of memory");
    return words;
}

/* By Hugging Face's rules OPT's ids begin with the image tokens and the prompt, which penalties count:
 * (n,*count). */
static const int *given_ids(eval_session *s, const blip2_text *prompt, bool pictures, long *count)
{
    long Q = pictures ? blip2_prompts(&s->model.config, NULL) : 0;
    int image = tokenizer_id(s->llm, "<image>"), *ids;
    *count = Q + prompt->T;
    ids = ag_alloc(s->t, prompt->B * *count * (long)sizeof *ids);
    for (long b = 0; b < prompt->B; b++)
        for (long i = 0; i < *count; i++)
            ids[b * *count + i] = i < Q ? image : prompt->ids[b * prompt->T + i - Q];
    return ids;
}

/* Text and ids of a sequence behind what stands before it (n): nothing, unless Hugging Face says so. */
static void keep_text(const eval_session *s, const blip2_sequence *q, const int *before, long n,
                      eval_text *to)
{
    to->length = n + q->length;
    to->score = q->score;
    to->ids = mem_new((size_t)(to->length + 1) * sizeof *to->ids);
    if (!to->ids)
        ag_fail("generate", "out of memory");
    if (n)
        memcpy(to->ids, before, (size_t)n * sizeof *to->ids);
    memcpy(to->ids + n, q->ids, (size_t)q->length * sizeof *to->ids);
    long from = 0;
    while (from < n && to->ids[from] < 0)                  /* a tokenizer without <image> */
        from++;
    to->text = words_of(s, to->ids + from, to->length - from);
    if (n > 1)
        to->own = words_of(s, to->ids + n, q->length);
}

/* What the Q-Former reads beside the queries; T 0 where it reads nothing. */
static blip2_text questions_of(eval_session *s, long n, const char *const *questions)
{
    token_batch *batch = &s->lines;
    const tokenizer_options words = { .max = s->model.config.max_text, .literal = true };
    error e;
    if (!questions || !s->model.config.question_in_qformer || !s->bert)
        return (blip2_text){ 0 };
    if (!tokenizer_batch(s->bert, n, questions, &words, batch, &e))
        ag_fail("generate", "%s", e.text);
    unsigned char *mask = ag_alloc(s->t, n * batch->T);
    memcpy(mask, batch->mask, (size_t)(n * batch->T));
    return (blip2_text){ n, batch->T, ag_ids(s->t, batch->ids, n * batch->T), mask };
}

typedef struct writing {
    eval_session *s;
    const real *features;
    long n;
    const char *const *prompts, *const *questions;
    const blip2_generate *o;
    eval_text *to;
} writing;

static int returns(const blip2_generate *o)
{
    return o->returns > 1 ? o->returns : 1;
}

static void write_texts(void *context)
{
    const writing *w = context;
    eval_session *s = w->s;
    const blip2_config *c = &s->model.config;
    long n = w->n * returns(w->o);
    const real *seen = w->features;
    tensor *x = seen ? ag_copy_in(s->t, DIMS(w->n, eval_tokens(c), c->vision.width), seen) : NULL;
    const bool itg = c->llm == BLIP2_LLM_NONE;             /* takes no prompt */
    blip2_text prompt = itg ? (blip2_text){ 0 } : prompts_of(s, w->n, w->prompts);
    blip2_sequence *out = ag_alloc(s->t, n * (long)sizeof *out);
    blip2_text question = w->features ? questions_of(s, w->n, w->questions) : (blip2_text){ 0 };
    blip2_generate o = *w->o;
    const blip2_llm llm = writes(c);
    long count = 0;
    const int start = (int)llm.start, *given = NULL;
    if (o.reference == BLIP2_HF && !llm.encodes && !itg) {
        o.given = given = given_ids(s, &prompt, x != NULL, &count);
        o.given_count = count;
    }
    if (itg)
        blip2_itg_generate(&s->model, s->t, x, &o, out);
    else
        blip2_llm_generate(&s->model, s->t, x, question, prompt, &o, out);
    for (long i = 0; i < n; i++)
        keep_text(s, &out[i], given ? given + i / returns(&o) * count : &start,
                  given ? count : o.reference == BLIP2_HF, &w->to[i]);
}

bool eval_write(eval_session *s, const real *features, long n, const char *const *prompts,
                const char *const *questions, const blip2_generate *o, eval_text *to, error *e)
{
    ag_mark mark = ag_here(s->t);
    writing w = { s, features, n, prompts, questions, o, to };
    memset(to, 0, (size_t)(n * returns(o)) * sizeof *to);
    bool ok = ag_try(s->t, write_texts, &w, e);
    if (!ok)
        eval_text_free(to, n * returns(o));
    ag_rewind(s->t, mark);
    return ok;
}

void eval_text_free(eval_text *texts, long n)
{
    for (long i = 0; i < n; i++) {
        mem_free(texts[i].text);
        mem_free(texts[i].own);
        mem_free(texts[i].ids);
    }
}
