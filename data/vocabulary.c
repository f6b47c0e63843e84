/* vocabulary.c - tokens by id, and ids by token: an open hash table beside one text that holds them all. */
#include "data/internal.h"
#include <string.h>
#include <xxhash.h>

const char *vocabulary_text(const vocabulary *v, int id)
{
    return v->text.text + v->start[id];
}

long vocabulary_bytes(const vocabulary *v, int id)
{
    long end = id + 1 < v->n ? v->start[id + 1] : v->text.used;
    return end - v->start[id] - 1;
}

/* The slot of a text: its own, or the free one where it would go. */
static long slot_of(const vocabulary *v, const char *text, long n)
{
    long i = (long)(XXH3_64bits(text, (size_t)n) & (XXH64_hash_t)(v->slots - 1));
    while (v->slot[i]) {
        int id = v->slot[i] - 1;
        if (vocabulary_bytes(v, id) == n && !memcmp(vocabulary_text(v, id), text, (size_t)n))
            break;
        i = (i + 1) & (v->slots - 1);
    }
    return i;
}

int vocabulary_find(const vocabulary *v, const char *text, long n)
{
    return v->slots && n <= v->longest ? v->slot[slot_of(v, text, n)] - 1 : -1;
}

static bool more_slots(vocabulary *v)
{
    long slots = v->slots ? 2 * v->slots : 256;
    int *slot = mem_new((size_t)slots * sizeof *slot);
    if (!slot)
        return false;
    mem_free(v->slot);
    v->slot = slot;
    v->slots = slots;
    for (int id = 0; id < v->n; id++)
        v->slot[slot_of(v, vocabulary_text(v, id), vocabulary_bytes(v, id))] = id + 1;
    return true;
}

int vocabulary_add(vocabulary *v, const char *text, long n)
{
    void *start = v->start;
    bool room = data_room(&start, &v->room, v->n + 1, sizeof *v->start);
    v->start = start;
    if (!room || (2 * (v->n + 1L) > v->slots && !more_slots(v)))
        return -1;
    long at = v->text.used, free = slot_of(v, text, n);
    data_append(&v->text, text, n);
    data_append(&v->text, "", 1);
    if (v->text.failed)
        return -1;
    v->start[v->n] = at;
    v->slot[free] = v->n + 1;
    v->longest = n > v->longest ? (int)n : v->longest;
    return v->n++;
}

void vocabulary_free(vocabulary *v)
{
    mem_free(v->start);
    mem_free(v->slot);
    data_buffer_free(&v->text);
    *v = (vocabulary){ 0 };
}
