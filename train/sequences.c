/* sequences.c - texts as token ids with a loss weight each, made once when a run opens: a step only copies
 * them, so it calls no tokenizer and no allocator.
 *
 * What a language model is trained on are pieces `</s> given said \n` in a row. A piece is a caption behind
 * its prompt, or a question and its answer; LAVIS's form of stage 2 is one caption piece.                  */
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

bool sequences_piece(sequences *s, const tokenizer *words, const blip2_opt_config *o, const char *text,
                     long given, long bytes, double context, error *e)
{
    const tokenizer_options plain = { .bare = true, .literal = true };
    put(s, (int)o->bos, context);
    bool ok = sequences_text(s, words, &plain, text, given, context, e)
              && sequences_text(s, words, &plain, text + given, bytes - given, 1, e);
    put(s, (int)o->eos, bytes > given ? 1 : context);
    return ok;
}

bool sequences_document(sequences *s, const tokenizer *words, const blip2_opt_config *o, const char *line,
                        double context, error *e)
{
    static const char mark[] = "answer:";
    bool ok = true;
    for (const char *piece = line; ok; piece++) {
        size_t n = strcspn(piece, "\t");
        const char *answer = memmem(piece, n, mark, strlen(mark));
        size_t given = answer ? (size_t)(answer - piece) + strlen(mark) : piece == line ? n : 0;
        ok = sequences_piece(s, words, o, piece, (long)given, (long)n, context, e);
        piece += n;
        if (!*piece)
            break;
    }
    return ok;
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

/* The tokens of a row; none for -1. */
static long row_of(const sequences *s, long row, const weighted_token **tokens)
{
    *tokens = row < 0 ? NULL : s->tokens + s->first[row];
    return row < 0 ? 0 : s->first[row + 1] - s->first[row];
}

static long longest(const sequences *s, long B, long each, const long *rows)
{
    long T = 1;
    for (long b = 0; b < B; b++) {
        const weighted_token *tokens;
        long n = 0;
        for (long k = 0; k < each; k++)
            n += row_of(s, rows[b*each + k], &tokens);
        T = n > T ? n : T;
    }
    return T;
}

blip2_text sequences_batch(const sequences *s, tape *t, long B, long each, const long *rows, long most,
                           long pad, const real **weight)
{
    long T = longest(s, B, each, rows);
    T = T < most ? T : most;
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * T);
    real *weights = ag_alloc_real(t, B * T);
    for (long b = 0; b < B; b++) {
        const weighted_token *tokens;
        long used = 0;
        for (long k = 0; k < each; k++) {
            long n = row_of(s, rows[b*each + k], &tokens);
            for (long i = 0; i < n && used < T; i++, used++) {
                ids[b*T + used] = tokens[i].id;
                weights[b*T + used] = tokens[i].weight;
            }
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
