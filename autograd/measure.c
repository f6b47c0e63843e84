/* measure.c - a tape that only measures: operations run as always, up to their kernels. What they allocate is
 * counted by the tape's own arena and pool, but is not there; matrix products are counted, not computed. So
 * what a step needs is known before anything of it is held, and by the code that will need it.
 *
 * Bytes (ids, masks, what an operation saves) are real memory: operations look at them. Numbers are looked at
 * by kernels alone, so large ones all have the same place, a window of addresses without memory behind them;
 * small ones are real. Numbers that decide how much is allocated next (weights of a loss) are taken as bytes.
 * Whoever reads a value outside a kernel finds 0, and whoever writes one asks ag_spent first.              */
#include "autograd/internal.h"

enum { SMALL = 16384, WINDOWS = 64 }; /* each window is at least an eighth larger than the one before */

struct ag_measure {
    double flops;
    tape *small;
    struct { void *base; long bytes; } window[WINDOWS];
    int windows;
};

static _Thread_local ag_measure *measured;         /* by the tape of this thread that measures */

bool ag_spent(double flops)
{
    if (measured)
        measured->flops += flops;
    return measured != NULL;
}

ag_measure *ag_measure_new(void)
{
    ag_measure *m = measured ? NULL : mem_new(sizeof *m);
    tape *small = m ? ag_tape_new() : NULL;
    if (!small) {
        mem_free(m);
        return NULL;
    }
    m->small = small;
    return measured = m;
}

void ag_measure_free(ag_measure *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->windows; i++)
        mem_unreserve(m->window[i].base, (size_t)m->window[i].bytes);
    ag_tape_free(m->small);
    mem_free(m);
    measured = NULL;
}

double ag_measure_flops(const ag_measure *m) { return m->flops; }
ag_mark ag_measure_here(const ag_measure *m) { return ag_here(m->small); }
void ag_measure_rewind(ag_measure *m, ag_mark to) { ag_rewind(m->small, to); }

void *ag_measure_window(ag_measure *m, long bytes)
{
    long have = m->windows ? m->window[m->windows - 1].bytes : SMALL;
    if (m->windows && bytes <= have)
        return m->window[m->windows - 1].base;
    long size = bytes > have + have / 8 ? bytes : have + have / 8;
    void *base = m->windows < WINDOWS ? mem_reserve((size_t)size) : NULL;
    if (!base)
        ag_fail("tape",
                "out of memory: not even addresses are left for a tensor of %.1f MiB; a smaller batch, fewer "
                "or smaller pictures need less", (double)bytes / (1 << 20));
    m->window[m->windows].base = base;
    m->window[m->windows++].bytes = size;
    return base;
}

void *ag_measure_place(ag_measure *m, long bytes, bool numbers)
{
    return numbers && bytes > SMALL ? ag_measure_window(m, bytes) : ag_alloc(m->small, bytes);
}
