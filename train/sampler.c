/* sampler.c - which samples a step sees: a pure function of (seed, epoch), so that a run can go on anywhere.
 * Samples of one family (near-duplicates that differ in a colour, a shape or a place) stay side by side.   */
#include "train/internal.h"
#include <string.h>

/* Fisher & Yates over 0..n-1, numbers drawn by counter. */
static void shuffle(long n, long *x, uint64_t key)
{
    for (long i = n - 1; i > 0; i--) {
        long j = (long)(ag_uniform(key, (uint64_t)i) * (double)(i + 1)), swap = x[i];
        x[i] = x[j];
        x[j] = swap;
    }
}

bool sampler_new(sampler *s, uint64_t seed, long n, const long *family, error *e)
{
    *s = (sampler){ .seed = seed, .n = n, .epoch = -1 };
    s->order = mem_new((size_t)n * sizeof *s->order);
    s->first = mem_new((size_t)(n + 1) * sizeof *s->first);
    s->groups = mem_new((size_t)n * sizeof *s->groups);
    if (!s->order || !s->first || !s->groups) {
        sampler_free(s);
        return error_set(e, "out of memory for the order of %ld samples", n);
    }
    for (long i = 0; i < n; i++)
        if (i == 0 || !family || family[i] != family[i-1])
            s->first[s->group_count++] = i;
    s->first[s->group_count] = n;
    return true;
}

void sampler_free(sampler *s)
{
    mem_free(s->order);
    mem_free(s->first);
    mem_free(s->groups);
    *s = (sampler){ 0 };
}

/* The sample at place i of an epoch. */
long sampler_at(sampler *s, long epoch, long i)
{
    if (epoch != s->epoch) {
        for (long g = 0; g < s->group_count; g++)
            s->groups[g] = g;
        shuffle(s->group_count, s->groups, ag_mix(s->seed, 0x6f72646572 + (uint64_t)epoch));
        long at = 0;
        for (long g = 0; g < s->group_count; g++)
            for (long k = s->first[s->groups[g]]; k < s->first[s->groups[g] + 1]; k++)
                s->order[at++] = k;
        s->epoch = epoch;
    }
    return s->order[i];
}
