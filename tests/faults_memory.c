/* faults_memory.c - F3 and F4: the n-th allocation, the n-th call of the system fails (faults.h). As SQLite
 * is tested: n = 1, 2, ... to the end, once and from then on.                                              */
#include "tests/faults.h"
#include <errno.h>
#include <stdio.h>

typedef struct attempt {
    const fault_target *target;
    uint64_t expected;
    long nth;
    int number;                        /* errno; 0: a call does half its work */
    bool on, must_work;
} attempt;

/* ---- allocations ------------------------------------------------------------------------------------- */
static void starve(void *context, fault_report *r)
{
    const attempt *a = context;
    ag_threads(1);
    mem_fail_at(a->nth, a->on);
    fault_judge(a->target, a->expected, false, r);
}

/* Cases up to n: all of them, or about `few`, the first ones each. */
static long next(long nth, long n, long few)
{
    return few && nth > few / 2 ? nth + 1 + 2 * n / few : nth + 1;
}

static void starve_target(figure *g, const fault_target *t, long few)
{
    fault_report plain;
    char name[100];
    if (!fault_case(g, t->name, fault_rehearse, (void *)t, &plain))
        return;
    long n = (long)plain.number[0];
    figure_detail(g, "%s %ld", t->name, n);
    for (long nth = 1; nth <= n; nth = next(nth, n, few))
        for (int on = 0; on < 2; on++) {
            attempt a = { .target = t, .expected = plain.digest, .nth = nth, .on = on };
            snprintf(name, sizeof name, "%s, allocation %ld%s", t->name, nth, on ? " and all after it" : "");
            fault_case(g, name, starve, &a, NULL);
        }
}

void figure_memory(figure *g, const fault_scale *s)
{
    figure_detail(g, "allocations of");
    if (fault_case(g, "the files to begin with", fault_prepare, NULL, NULL))
        for (int i = 0; i < fault_target_count; i++)
            starve_target(g, &fault_targets[i], s->full ? 0 : 12);
}

/* ---- calls of the system ----------------------------------------------------------------------------- */
static void disturb(void *context, fault_report *r)
{
    const attempt *a = context;
    ag_threads(1);
    file_fail_at(a->nth, a->number, a->on);
    fault_judge(a->target, a->expected, a->must_work, r);
}

static void disturb_target(figure *g, const fault_target *t, long few)
{
    static const struct { const char *what; int number; bool on, must_work; } faults[] = {
        { "EINTR", EINTR, false, true }, { "short", 0, false, true }, { "short from then on", 0, true, true },
        { "EIO", EIO, false, false }, { "EIO from then on", EIO, true, false },
        { "ENOSPC", ENOSPC, false, false }, { "ENOSPC from then on", ENOSPC, true, false } };
    fault_report plain;
    char name[100];
    if (!fault_case(g, t->name, fault_rehearse, (void *)t, &plain))
        return;
    figure_detail(g, "%s %ld", t->name, plain.calls);
    for (long nth = 1; nth <= plain.calls; nth = next(nth, plain.calls, few))
        for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) {
            attempt a = { t, plain.digest, nth, faults[k].number, faults[k].on, faults[k].must_work };
            snprintf(name, sizeof name, "%s, call %ld, %s", t->name, nth, faults[k].what);
            fault_case(g, name, disturb, &a, NULL);
        }
}

void figure_calls(figure *g, const fault_scale *s)
{
    figure_detail(g, "calls of");
    if (fault_case(g, "the files to begin with", fault_prepare, NULL, NULL))
        for (int i = 0; i < fault_target_count; i++)
            disturb_target(g, &fault_targets[i], s->full ? 0 : 4);
}
