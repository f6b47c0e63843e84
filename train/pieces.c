/* pieces.c - what a language model is trained on: pieces `</s> words \n` in a row, each token with its loss weight. A piece is
 * a caption, or "question: ... answer: ..."; LAVIS's form of stage 2 is one caption piece.                          */
#include "train/internal.h"
#include <string.h>

static void put(pieces *p, int id, double weight)
{
    if (p->n == p->room) {
        long room = p->room ? 2 * p->room : 256;
        int *ids = mem_grow(p->ids, (size_t)p->room * sizeof *ids, (size_t)room * sizeof *ids);
        p->ids = ids ? ids : p->ids;
        real *weights = mem_grow(p->weight, (size_t)p->room * sizeof *weights, (size_t)room * sizeof *weights);
        p->weight = weights ? weights : p->weight;
        if (!ids || !weights) {
            p->failed = true;
            return;
        }
        p->room = room;
    }
    p->ids[p->n] = id;
    p->weight[p->n++] = (real)weight;
}

static void words_of(pieces *p, const tokenizer *words, const char *text, double weight)
{
    token_list list = { 0 };
    error e;
    if (!tokenizer_encode(words, text, (long)strlen(text), &(tokenizer_options){ .bare = true, .literal = true }, &list, &e))
        p->failed = true;
    for (long i = 0; i < list.n; i++)
        put(p, list.ids[i], weight);
    mem_free(list.ids);
}

void pieces_add(pieces *p, const tokenizer *words, const blip2_opt_config *o, const char *given, const char *said, double context)
{
    put(p, (int)o->bos, context);
    words_of(p, words, given, context);
    words_of(p, words, said, 1);
    put(p, (int)o->eos, *said ? 1 : context);
}

blip2_text pieces_batch(tape *t, long B, pieces *rows, long most, long pad, const real **weight)
{
    long T = 1;
    for (long b = 0; b < B; b++) {
        if (rows[b].failed)
            ag_fail("train", "out of memory for the tokens of a batch");
        rows[b].n = rows[b].n < most ? rows[b].n : most;
        T = rows[b].n > T ? rows[b].n : T;
    }
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * T);
    real *w = ag_alloc_real(t, B * T);
    for (long b = 0; b < B; b++) {
        for (long i = 0; i < T; i++) {
            bool in = i < rows[b].n;
            ids[b*T + i] = in ? rows[b].ids[i] : (int)pad;
            mask[b*T + i] = in;
            w[b*T + i] = in ? rows[b].weight[i] : 0;
        }
        mem_free(rows[b].ids);
        mem_free(rows[b].weight);
    }
    *weight = w;
    return (blip2_text){ B, T, ids, mask };
}
