/* byte_bpe.c - byte-pair encoding: bytes, joined by rank (Sennrich et al. 2016, Radford et al. 2019).
 *
 * In each piece of text the neighbours of the lowest rank are joined, the leftmost first, until no
 * neighbours have a rank. Candidates wait in a heap, so that a piece of n bytes costs n log n: a text
 * without spaces does not hang. A candidate that an earlier merge has changed is known by its ids, which no
 * longer are those of its rank. */
#include "data/internal.h"
#include <string.h>

struct symbol { int id, before, after; };      /* id -1: merged away; before, after: -1 at the ends */
struct encoding {
    const tokenizer *t;
    ints *to;
    struct symbol *symbol;                     /* of this piece, a byte each at first */
    long room, heaped, heap_room;
    uint64_t *heap;                            /* rank << 32 | place of its left symbol, least first */
};

static bool heap_push(struct encoding *e, uint64_t key)
{
    void *heap = e->heap;
    bool ok = data_room(&heap, &e->heap_room, e->heaped + 1, sizeof *e->heap);
    e->heap = heap;
    if (!ok)
        return false;
    long i = e->heaped++;
    for (; i && e->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = key;
    return true;
}

static uint64_t heap_pop(struct encoding *e)
{
    uint64_t least = e->heap[0], key = e->heap[--e->heaped];
    long i = 0;
    for (long child; (child = 2*i + 1) < e->heaped; i = child) {
        child += child + 1 < e->heaped && e->heap[child + 1] < e->heap[child];
        if (e->heap[child] >= key)
            break;
        e->heap[i] = e->heap[child];
    }
    e->heap[i] = key;
    return least;
}

static bool offer(struct encoding *e, int left)
{
    if (left < 0 || e->symbol[left].after < 0)
        return true;
    int rank = pairs_find(&e->t->ranks, e->symbol[left].id, e->symbol[e->symbol[left].after].id);
    return rank < 0 || heap_push(e, (uint64_t)rank << 32 | (uint32_t)left);
}

static bool merge(struct encoding *e, uint64_t key)
{
    const int *rule = e->t->merges.at + 3 * (long)(key >> 32);
    int left = (int)(uint32_t)key;
    struct symbol *s = e->symbol, *l = s + left;
    if (l->after < 0 || l->id != rule[0] || s[l->after].id != rule[1])
        return true;
    struct symbol *r = s + l->after;
    l->id = rule[2];
    l->after = r->after;
    r->id = -1;
    if (l->after >= 0)
        s[l->after].before = left;
    return offer(e, l->before) && offer(e, left);
}

static bool encode_piece(void *context, const char *piece, long n)
{
    struct encoding *e = context;
    void *symbol = e->symbol;
    bool ok = data_room(&symbol, &e->room, n, sizeof *e->symbol);
    e->symbol = symbol;
    if (!ok)
        return false;
    for (int i = 0; i < n; i++)
        e->symbol[i] = (struct symbol){ e->t->byte[(unsigned char)piece[i]], i - 1, i + 1 < n ? i + 1 : -1 };
    for (int i = 0; ok && i < n; i++)
        ok = offer(e, i);
    while (ok && e->heaped)
        ok = merge(e, heap_pop(e));
    for (int i = 0; i >= 0; i = e->symbol[i].after)
        data_push(e->to, e->symbol[i].id);
    return ok && !e->to->failed;
}

bool byte_bpe_encode(const tokenizer *t, const char *text, long n, ints *to)
{
    struct encoding e = { .t = t, .to = to };
    bool ok = byte_bpe_pieces(t->splitter, text, n, encode_piece, &e);
    mem_free(e.symbol);
    mem_free(e.heap);
    return ok;
}

/* A token that is not spelled in characters for bytes stands for itself. */
void byte_bpe_decode(const tokenizer *t, int id, buffer *to)
{
    const char *token = vocabulary_text(&t->tokens, id);
    long n = vocabulary_bytes(&t->tokens, id), before = to->used;
    for (long at = 0; at < n; ) {
        int c;
        at += unicode_next(token + at, n - at, &c);
        int byte = byte_of_character(c);
        if (byte < 0) {
            to->used = before;
            data_append(to, token, n);
            return;
        }
        data_append(to, &(char){ (char)byte }, 1);
    }
}
