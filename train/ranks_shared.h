/* ranks_shared.h - ranks that talk through memory which all of them see, threads or processes. */
#ifndef TRAIN_RANKS_SHARED_H
#define TRAIN_RANKS_SHARED_H
#include "train/ranks.h"
#include <stdatomic.h>

enum { WINDOW = 1 << 20 };             /* bytes of a rank in one of the two halves of its window */

typedef struct ranks_block {           /* zeroed memory, followed by the windows */
    _Atomic uint32_t turn, arrived;    /* of the barrier: how often it has opened; who has come since */
    _Atomic uint32_t failed;           /* once set, no exchange succeeds any more */
    _Atomic uint32_t told;             /* 1: someone is writing the error, 2: it is there */
    _Atomic uint32_t waiting[RANKS_MOST];          /* 1: for the other ranks; 2: for someone else */
    _Atomic int halt;
    error first;
    int world;
    long bytes;                        /* of the whole mapping */
} ranks_block;

/* with `more` bytes behind it, *extra */
ranks_block *ranks_block_new(int world, long more, void **extra, error *e);
void ranks_block_free(ranks_block *b);
void ranks_fail(ranks_block *b, const error *e);   /* the first error stays; wakes all who wait */

typedef struct ranks_link { ranks_block *block; long half; } ranks_link;
/* body, with what fails inside (ag_fail) as its error; an error becomes the one of all. */
bool ranks_call(ranks_body body, const ag_ranks *r, void *context, error *e);
void ranks_join(ag_ranks *r, ranks_link *link, ranks_block *b, int rank);
#endif
