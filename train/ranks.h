/* ranks.h - ways to have several ranks (autograd.h), and what a training step says through any of them.
 *
 * A backend is a file that fills in the three functions of ag_ranks. Here are two for one machine, processes
 * and threads, which talk through the same shared memory; MPI or NCCL would be files beside them.         */
#ifndef TRAIN_RANKS_H
#define TRAIN_RANKS_H
#include "train/train.h"
#pragma GCC visibility push(default)

enum { RANKS_MOST = 64 };

/* What each rank does; false: it failed, and e says why. All others then end too. */
typedef bool (*ranks_body)(const ag_ranks *r, void *context, error *e);

/* n processes run body and this one watches over them: whatever happens to one of them (an error, a signal,
 * standing still), all have ended soon after, and e holds the first error. `context` (bytes) is memory that
 * all of them share while body runs: what rank 0 leaves there is there afterwards. Call it before the first
 * parallel region of the process: OpenMP does not survive a fork. Each rank gets its share of the threads.
 * halt: NULL, or what ends body early; a change of it here is seen through ranks_halt in all of them.      */
bool ranks_processes(int n, ranks_body body, void *context, long bytes, const volatile int *halt, error *e);
int ranks_halt(const ag_ranks *r);                 /* what *halt is in the process that watches */
void ranks_outside(const ag_ranks *r, bool on);    /* on: it waits for a terminal or a disk from here */

/* The same by threads of this process, which share `context`. One that hangs cannot be ended. */
bool ranks_threads(int n, ranks_body body, void *context, error *e);

/* ---- what ranks tell each other; r NULL: alone. False, and e: another rank has failed ------------------ */
bool ranks_largest(const ag_ranks *r, long *x, error *e);      /* *x: the largest of what the ranks gave */
bool ranks_sum(const ag_ranks *r, real *x, long n, error *e);  /* x (n): the sum over ranks */
/* Did it go well everywhere? If not, *why becomes the error of the first rank where it did not, on all. Else
 * the losses become their means.                                                                          */
bool ranks_status(const ag_ranks *r, bool ok, train_losses *l, error *why);
bool ranks_same(const ag_ranks *r, const nn_store *s, error *e);   /* parameters and moments, by a digest */
#pragma GCC visibility pop
#endif
