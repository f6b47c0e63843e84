/* ranks_shared.c - all-gather, reduce-scatter and all-reduce through shared memory.
 *
 * Each rank owns a window of two halves. An exchange goes through it a piece at a time: write a piece into
 * one half, meet at the barrier, read the halves of the others; the next piece takes the other half. Who
 * writes a half again has passed a barrier that every reader of it came to after reading, so one barrier a
 * piece is enough. Sums are taken in order of ranks, in double, by one rank: the same bits on all.         */
#define _GNU_SOURCE
#include "train/ranks_shared.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- the block ----------------------------------------------------------------------------------------- */
static long header_bytes(void) { return ((long)sizeof(ranks_block) + 4095) / 4096 * 4096; }
static long window_bytes(int world) { return 2L * WINDOW * world; }

/* Rank k's half of its window. */
static char *window(ranks_block *b, long half, int k)
{
    return (char *)b + header_bytes() + (half * b->world + k) * WINDOW;
}

ranks_block *ranks_block_new(int world, long more, void **extra, error *e)
{
    long bytes = header_bytes() + window_bytes(world) + more;
    ranks_block *b = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED) {
        error_set(e, "ranks: no shared memory of %ld bytes for %d ranks; %s", bytes, world, strerror(errno));
        return NULL;
    }
    b->world = world;
    b->bytes = bytes;
    *extra = (char *)b + header_bytes() + window_bytes(world);
    return b;
}

void ranks_block_free(ranks_block *b)
{
    munmap(b, (size_t)b->bytes);
}

/* ---- the barrier --------------------------------------------------------------------------------------- */
static void wake_all(ranks_block *b)
{
    syscall(SYS_futex, (void *)&b->turn, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void ranks_fail(ranks_block *b, const error *e)
{
    uint32_t nobody = 0;
    if (atomic_compare_exchange_strong(&b->told, &nobody, 1)) {
        b->first = *e;
        b->told = 2;
    }
    b->failed = 1;
    wake_all(b);
}

/* False: a rank has failed. A wait is never longer than a tenth of a second without a look at that. */
static bool meet(const ag_ranks *r)
{
    enum { SPIN = 2000 };
    ranks_block *b = ((const ranks_link *)r->link)->block;
    uint32_t turn = b->turn;
    if (atomic_fetch_add(&b->arrived, 1) + 1 == (uint32_t)b->world) {
        b->arrived = 0;
        b->turn = turn + 1;
        wake_all(b);
        return !b->failed;
    }
    const struct timespec tenth = { .tv_nsec = 100000000 };
    b->waiting[r->rank] = 1;
    for (int i = 0; b->turn == turn && !b->failed; i++)
        if (i > SPIN)
            syscall(SYS_futex, (void *)&b->turn, FUTEX_WAIT, turn, &tenth, NULL, 0);
    b->waiting[r->rank] = 0;
    return b->turn != turn;
}

/* The half that this rank writes next. */
static long next_half(const ag_ranks *r)
{
    ranks_link *link = r->link;
    return link->half ^= 1;
}

/* ---- the exchanges ------------------------------------------------------------------------------------- */
static bool all_gather(const ag_ranks *r, const void *own, long bytes, void *all)
{
    ranks_block *b = ((const ranks_link *)r->link)->block;
    for (long at = 0; at < bytes; at += WINDOW) {
        long n = bytes - at < WINDOW ? bytes - at : WINDOW, half = next_half(r);
        memcpy(window(b, half, r->rank), (const char *)own + at, (size_t)n);
        if (!meet(r))
            return false;
        for (int k = 0; k < r->world; k++)
            memcpy((char *)all + k * bytes + at, window(b, half, k), (size_t)n);
    }
    return true;
}

/* to (n) = the sum over ranks of what stands in their half from number `from` on */
static void sum_windows(ranks_block *b, long half, long from, long n, real *to)
{
    for (long i = 0; i < n; i++) {
        double sum = 0;
        for (int k = 0; k < b->world; k++)
            sum += (double)((const real *)window(b, half, k))[from + i];
        to[i] = (real)sum;
    }
}

static bool reduce_scatter(const ag_ranks *r, const real *all, long n, real *own)
{
    ranks_block *b = ((const ranks_link *)r->link)->block;
    long most = WINDOW / (long)sizeof(real) / r->world;    /* of each slice fits in beside the others */
    for (long at = 0; at < n; at += most) {
        long now = n - at < most ? n - at : most, half = next_half(r);
        real *to = (real *)window(b, half, r->rank);
        for (int k = 0; k < r->world; k++)
            memcpy(to + k * now, all + k * n + at, (size_t)now * sizeof *to);
        if (!meet(r))
            return false;
        sum_windows(b, half, r->rank * now, now, own + at);
    }
    return true;
}

/* Each rank sums its share of a piece, then all take the shares of all. */
static bool all_reduce(const ag_ranks *r, real *x, long n)
{
    ranks_block *b = ((const ranks_link *)r->link)->block;
    const long most = WINDOW / (long)sizeof(real);
    for (long at = 0; at < n; at += most) {
        long now = n - at < most ? n - at : most, each = (now + r->world - 1) / r->world;
        long from = r->rank * each < now ? r->rank * each : now;
        long mine = now - from < each ? now - from : each;
        long given = next_half(r), summed = given ^ 1;
        memcpy(window(b, given, r->rank), x + at, (size_t)now * sizeof *x);
        if (!meet(r))
            return false;
        sum_windows(b, given, from, mine, (real *)window(b, summed, r->rank));
        next_half(r);
        if (!meet(r))
            return false;
        for (int k = 0; k < r->world; k++) {
            long first = k * each < now ? k * each : now, count = now - first < each ? now - first : each;
            memcpy(x + at + first, window(b, summed, k), (size_t)count * sizeof *x);
        }
    }
    return true;
}

void ranks_join(ag_ranks *r, ranks_link *link, ranks_block *b, int rank)
{
    *link = (ranks_link){ .block = b };
    *r = (ag_ranks){ rank, b->world, link, all_gather, reduce_scatter, all_reduce };
}

/* ---- a rank's work ------------------------------------------------------------------------------------- */
struct call { ranks_body body; const ag_ranks *r; void *context; error *e; bool ok; };

static void call(void *context)
{
    struct call *c = context;
    c->ok = c->body(c->r, c->context, c->e);
}

/* Where a rank is at fault alone, its error says which it is; what is wrong with the configuration is wrong
 * on all, and what ranks_status has spread says it already.                                                */
static void tell(const ag_ranks *r, const error *e)
{
    error told = *e;
    if (e->kind != ERROR_USAGE && strncmp(e->text, "rank ", 5))
        snprintf(told.text, sizeof told.text, "rank %d of %d: %.8000s", r->rank, r->world, e->text);
    ranks_fail(((const ranks_link *)r->link)->block, &told);
}

bool ranks_call(ranks_body body, const ag_ranks *r, void *context, error *e)
{
    struct call c = { body, r, context, e, false };
    tape *t = ag_tape_new();
    if (!t)
        error_set(e, "out of memory");
    bool ok = t && ag_try(t, call, &c, e) && c.ok;
    ag_tape_free(t);
    if (!ok)
        tell(r, e);
    return ok;
}
