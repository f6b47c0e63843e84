/* arena.h - memory of a tape (tape.c), which grows to what a step needs and is then used again and again. */
#ifndef AUTOGRAD_ARENA_H
#define AUTOGRAD_ARENA_H
#include "autograd/internal.h"

enum { ARENA_ALIGN = 64, POOL_CLASSES = 8 * 48 };          /* bytes */

/* Chunks that never move: taking memory moves the mark (at, used), setting it back frees what lies above. */
typedef struct chunk { char *base; long size; } chunk;
typedef struct arena {
    chunk *chunks;
    long count, room, at, used;        /* at: the chunk in use */
    bool counts;                       /* that is all it does, no chunk has memory (measure.c) */
} arena;
void *arena_take(arena *a, long bytes);            /* fails through ag_fail */
void arena_free(arena *a);
long arena_bytes(const arena *a);                  /* of all chunks */

/* Room for gradients, taken and given back in any order. */
typedef struct released { struct released *next; } released;
typedef struct pool {
    arena memory;
    released *free_list[POOL_CLASSES]; /* by size class */
    ag_measure *measure;               /* NULL: memory is memory. Else free_count takes free_list's place */
    long *free_count;
} pool;
real *pool_take(pool *p, long n);                  /* n numbers */
void pool_give(pool *p, real *x, long n);
bool pool_measures(pool *p, ag_measure *m);        /* false: memory is out */
void pool_reset(pool *p);                          /* all is given back */
void pool_free(pool *p);
#endif
