/* sequences.c - texts as token ids with a loss weight each, made once when a run opens: a step only copies
 * them, so it calls no tokenizer and no allocator.
 *
 * What a language model is trained on are pieces: what is given, and what is to be said. A piece is a caption
 * behind its prompt, or a question and its answer. OPT reads them in a row, `</s> given said \n`, so that a
 * text is one sequence; for T5, whose encoder reads the one part and whose decoder says the other, each piece
 * is two sequences, and `</s>` is put behind them when a batch is made. LAVIS's form of stage 2 is one
 * caption piece. */
#define _GNU_SOURCE
#include "train/internal.h"
#include <string.h>

static bool room_for(void **at, long *room, long n, size_t size)
{
    if (n <= *room)
        return true;
    void *grown = mem_grow(*at, (size_t)*room * size, (size_t)(2 * n + 1024) * size);
    if (!grown)
        return false;
    *at = grown;
    *room = 2 * n + 1024;
    return true;
}

static void put(sequences *s, int id, double weight)
{
    void *at = s->tokens;
    s->failed = s->failed || !room_for(&at, &s->room, s->used + 1, sizeof *s->tokens);
    s->tokens = at;
    if (!s->failed)
        s->tokens[s->used++] = (weighted_token){ id, (real)weight };
}

bool sequences_text(sequences *s, const tokenizer *words, const tokenizer_options *o, const char *text,
                    long bytes, double weight, error *e)
{
    if (!tokenizer_encode(words, text, bytes, o, &s->scratch, e))
        return false;
    for (long i = 0; i < s->scratch.n; i++)
        put(s, s->scratch.ids[i], weight);
    return true;
}

bool sequences_piece(sequences *s, const tokenizer *words, const blip2_llm *llm, const char *text, long given,
                     long bytes, double context, error *e)
{
    const tokenizer_options plain = { .bare = true, .literal = true };
    if (!llm->encodes)
        put(s, (int)llm->start, context);
    bool ok = sequences_text(s, words, &plain, text, given, context, e)
              && (!llm->encodes || sequences_end(s, e))
              && sequences_text(s, words, &plain, text + given, bytes - given, 1, e);
    if (!llm->encodes)
        put(s, (int)llm->eos, bytes > given ? 1 : context);
    return ok;
}

bool sequences_document(sequences *s, const tokenizer *words, const blip2_llm *llm, const char *line,
                        double context, error *e)
{
    static const char mark[] = "answer:";
    bool ok = true;
    for (const char *piece = line; ok; piece++) {
        size_t n = strcspn(piece, "\t");
        const char *answer = memmem(piece, n, mark, strlen(mark));
        size_t given = answer ? (size_t)(answer - piece) + strlen(mark) : piece == line ? n : 0;
        ok = sequences_piece(s, words, llm, piece, (long)given, (long)n, context, e);
        piece += n;
        if (!*piece)
            break;
        ok = ok && (!llm->encodes || sequences_end(s, e));
    }
    return ok;
}

void sequences_cut(sequences *s, long most)
{
    long first = s->first ? s->first[s->count] : 0;
    s->used = s->used - first > most ? first + most : s->used;
}

bool sequences_end(sequences *s, error *e)
{
    void *first = s->first;
    s->failed = s->failed || !room_for(&first, &s->rows, s->count + 2, sizeof *s->first);
    s->first = first;
    if (s->failed)
        return error_set(e, "out of memory for %ld texts", s->count + 1);
    s->first[++s->count] = s->used;                        /* first[0] is 0 */
    return true;
}

void sequences_free(sequences *s)
{
    mem_free(s->tokens);
    mem_free(s->first);
    mem_free(s->scratch.ids);
    *s = (sequences){ 0 };
}

token_run sequences_run(const sequences *s, long row)
{
    return row < 0 ? (token_run){ 0, 0 } : (token_run){ s->first[row], s->first[row + 1] - s->first[row] };
}

long sequences_key(const sequences *s, long row)
{
    token_run of = sequences_run(s, row);
    uint64_t key = (uint64_t)of.count;
    for (long i = 0; i < of.count; i++)
        key = ag_mix(key, (uint64_t)s->tokens[of.first + i].id);
    return (long)(key >> 1);
}

/* Tokens in the longest of B rows of `each` runs. */
static long longest(long B, long each, const token_run *runs)
{
    long T = 0;
    for (long b = 0; b < B; b++) {
        long n = 0;
        for (long k = 0; k < each; k++)
            n += runs[b*each + k].count;
        T = n > T ? n : T;
    }
    return T;
}

blip2_text sequences_rows(const sequences *s, tape *t, long B, long each, const token_run *runs, long most,
                          long end, long pad, const real **weight)
{
    long T = longest(B, each, runs) + (end >= 0);
    T = T < 1 ? 1 : T < most ? T : most;
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * T);
    real *weights = ag_alloc(t, B * T * (long)sizeof *weights);   /* bytes: losses look at them (measure.c) */
    for (long b = 0; b < B; b++) {
        long used = 0;
        for (long k = 0; k < each; k++) {
            const weighted_token *tokens = s->tokens + runs[b*each + k].first;
            for (long i = 0; i < runs[b*each + k].count && used < T - (end >= 0); i++, used++) {
                ids[b*T + used] = tokens[i].id;
                weights[b*T + used] = tokens[i].weight;
            }
        }
        if (end >= 0) {
            ids[b*T + used] = (int)end;
            weights[b*T + used++] = 1;
        }
        for (long i = 0; i < T; i++)
            mask[b*T + i] = i < used;
        for (; used < T; used++) {
            ids[b*T + used] = (int)pad;
            weights[b*T + used] = 0;
        }
    }
    if (weight)
        *weight = weights;
    return (blip2_text){ B, T, ids, mask };
}

blip2_text sequences_batch(const sequences *s, tape *t, long B, long each, const long *rows, long most,
                           long pad, const real **weight)
{
    token_run *runs = ag_alloc(t, B * each * (long)sizeof *runs);
    for (long i = 0; i < B * each; i++)
        runs[i] = sequences_run(s, rows[i]);
    return sequences_rows(s, t, B, each, runs, most, -1, pad, weight);
}
