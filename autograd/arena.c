/* arena.c - where what is on a tape lives (arena.h): chunks from which memory is cut one piece behind the
 * other, and free lists by size class for gradients. */
#include "autograd/arena.h"
#include <string.h>

enum { FIRST_CHUNK = 1 << 20, LARGEST_STEP = 64 << 20 };

/* ---- arena ------------------------------------------------------------------------------------------ */
static void arena_grow(arena *a, long bytes)
{
    if (a->count == a->room) {
        long room = a->room ? 2 * a->room : 16;
        chunk *more = mem_grow(a->chunks, (size_t)a->room * sizeof(chunk), (size_t)room * sizeof(chunk));
        if (!more)
            ag_fail("tape", "out of memory for a list of %ld chunks", room);
        a->chunks = more;
        a->room = room;
    }
    long last = a->count ? a->chunks[a->count - 1].size : FIRST_CHUNK / 2;
    long size = 2 * last < LARGEST_STEP ? 2 * last : LARGEST_STEP;
    if (size < bytes)
        size = (bytes + FIRST_CHUNK - 1) / FIRST_CHUNK * FIRST_CHUNK;
    char *base = a->counts ? NULL : mem_new((size_t)size);
    if (!base && !a->counts) {
        double held = 0;
        for (long i = 0; i < a->count; i++)
            held += (double)a->chunks[i].size;
        ag_fail("tape",
                "out of memory: asked for %.1f MiB, %.1f MiB are in use; a smaller batch, fewer or smaller "
                "pictures, or recomputation need less",
                (double)size / (1 << 20), held / (1 << 20));
    }
    a->chunks[a->count++] = (chunk){ base, size };
}

void *arena_take(arena *a, long bytes)
{
    if (bytes < 0)
        ag_fail("tape", "asked for %ld bytes", bytes);
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    while (a->at >= a->count || a->used + bytes > a->chunks[a->at].size) {
        if (a->at >= a->count)
            arena_grow(a, bytes);
        else {
            a->at++;
            a->used = 0;
        }
    }
    char *base = a->chunks[a->at].base;
    void *p = base ? base + a->used : NULL;
    a->used += bytes;
    return p;
}

void arena_free(arena *a)
{
    for (long i = 0; i < a->count; i++)
        mem_free(a->chunks[i].base);
    mem_free(a->chunks);
}

long arena_bytes(const arena *a)
{
    long sum = 0;
    for (long i = 0; i < a->count; i++)
        sum += a->chunks[i].size;
    return sum;
}

/* ---- gradient pool: size classes in steps of an eighth of a power of two ---------------------------- */
static int size_class(long bytes, long *whole)
{
    long blocks = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN, step = 1;
    int shift = 0;
    while (blocks > 16 * step) {
        step *= 2;
        shift++;
    }
    long units = (blocks + step - 1) / step;       /* 1..16, above 8 once shift > 0 */
    units += units == 0;                           /* a gradient of nothing has a place of its own */
    *whole = units * step * ARENA_ALIGN;
    return shift * 8 + (int)units;
}

real *pool_take(pool *p, long n)
{
    long whole;
    int class = size_class(n * (long)sizeof(real), &whole);
    if (p->measure) {
        if (!p->free_count[class])
            arena_take(&p->memory, whole);
        else
            p->free_count[class]--;
        return ag_measure_window(p->measure, whole);
    }
    released *r = p->free_list[class];
    if (!r)
        return arena_take(&p->memory, whole);
    p->free_list[class] = r->next;
    return (real *)r;
}

void pool_give(pool *p, real *x, long n)
{
    long whole;
    int class = size_class(n * (long)sizeof(real), &whole);
    if (p->measure) {
        p->free_count[class]++;
        return;
    }
    released *r = (released *)x;
    r->next = p->free_list[class];
    p->free_list[class] = r;
}

bool pool_measures(pool *p, ag_measure *m)
{
    p->free_count = mem_new(POOL_CLASSES * sizeof *p->free_count);
    p->measure = p->free_count ? m : NULL;
    return p->memory.counts = p->measure != NULL;
}

void pool_reset(pool *p)
{
    p->memory.at = p->memory.used = 0;
    memset(p->free_list, 0, sizeof p->free_list);
    if (p->free_count)
        memset(p->free_count, 0, POOL_CLASSES * sizeof *p->free_count);
}

void pool_free(pool *p)
{
    arena_free(&p->memory);
    mem_free(p->free_count);
}
