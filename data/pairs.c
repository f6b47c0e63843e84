/* pairs.c - a number for a pair of ids: an open hash table that doubles when it is half full. */
#include "data/internal.h"

static long slot_of(const pairs *p, int left, int right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key = (key ^ key >> 32) * 0x9E3779B97F4A7C15u;
    long i = (long)((key ^ key >> 29) & (uint64_t)(p->slots - 1));
    while (p->slot[i].value && (p->slot[i].left != left || p->slot[i].right != right))
        i = (i + 1) & (p->slots - 1);
    return i;
}

int pairs_find(const pairs *p, int left, int right)
{
    return p->slots ? p->slot[slot_of(p, left, right)].value - 1 : -1;
}

static bool more_slots(pairs *p)
{
    pairs more = { .n = p->n, .slots = p->slots ? 2 * p->slots : 256 };
    more.slot = mem_new((size_t)more.slots * sizeof *more.slot);
    if (!more.slot)
        return false;
    for (long i = 0; i < p->slots; i++)
        if (p->slot[i].value)
            more.slot[slot_of(&more, p->slot[i].left, p->slot[i].right)] = p->slot[i];
    mem_free(p->slot);
    *p = more;
    return true;
}

bool pairs_add(pairs *p, int left, int right, int value)
{
    if (2 * (p->n + 1) > p->slots && !more_slots(p))
        return false;
    p->slot[slot_of(p, left, right)] = (struct pair_slot){ left, right, value + 1 };
    p->n++;
    return true;
}

void pairs_free(pairs *p)
{
    mem_free(p->slot);
    *p = (pairs){ 0 };
}
