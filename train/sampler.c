/* sampler.c - which samples a step sees: the place in the run decides, so that a run can go on anywhere and
 * any rank can take its part. Place p is the (p mod step size)-th sample of step p / step size.
 *
 * Several data sets share the places evenly by their ratios. With s = ratio of the first over the sum of all,
 * the first has floor(q s + 1/2) of q places; what is left is shared in the same way among the others. So
 * each batch holds nearly exact shares. (LAVIS draws one data set at random for each whole batch.)
 * A data set is gone through again and again, in an order that seed, data set and visit decide. Samples of
 * one family (near-duplicates that differ in a colour, a shape or a place) stay side by side.              */
#include "train/internal.h"
#include <math.h>
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

static bool add_set(sampler *s, const sampler_data *d, long first, double share)
{
    sampler_set *to = &s->sets[s->count++];
    *to = (sampler_set){ .first = first, .n = d->n, .used = d->n, .share = share, .visit = { -1, -1 } };
    to->order[0] = mem_new((size_t)d->n * sizeof *to->order[0]);
    to->order[1] = mem_new((size_t)d->n * sizeof *to->order[1]);
    to->begin = mem_new((size_t)(d->n + 1) * sizeof *to->begin);
    to->groups = mem_new((size_t)d->n * sizeof *to->groups);
    if (!to->order[0] || !to->order[1] || !to->begin || !to->groups)
        return false;
    for (long i = 0; i < d->n; i++)
        if (i == 0 || !d->family || d->family[i] != d->family[i-1])
            to->begin[to->group_count++] = i;
    to->begin[to->group_count] = d->n;
    return true;
}

bool sampler_new(sampler *s, uint64_t seed, long step, int count, const sampler_data *data, error *e)
{
    double left = 0;
    long all = 0;
    *s = (sampler){ .seed = seed };
    for (int k = 0; k < count; k++)
        left += data[k].ratio;
    for (int k = 0; k < count; k++) {
        if (!add_set(s, &data[k], all, data[k].ratio / left)) {
            sampler_free(s);
            return error_set(e, "out of memory for the order of %ld samples", data[k].n);
        }
        all += data[k].n;
        left -= data[k].ratio;
    }
    s->per_epoch = all / step * step;              /* one data set leaves the rest out: LAVIS's drop_last */
    if (count == 1)
        s->sets[0].used = s->per_epoch;
    return true;
}

void sampler_free(sampler *s)
{
    for (int k = 0; k < s->count; k++) {
        mem_free(s->sets[k].order[0]);
        mem_free(s->sets[k].order[1]);
        mem_free(s->sets[k].begin);
        mem_free(s->sets[k].groups);
    }
    *s = (sampler){ 0 };
}

/* The samples of the visit-th time through a data set; the two last asked for are kept. */
static const long *order_of(sampler *s, int k, long visit)
{
    sampler_set *set = &s->sets[k];
    long *order = set->order[visit & 1], at = 0;
    if (set->visit[visit & 1] == visit)
        return order;
    uint64_t seed = k ? ag_mix(s->seed, 0x736574 + (uint64_t)k) : s->seed;
    for (long g = 0; g < set->group_count; g++)
        set->groups[g] = g;
    shuffle(set->group_count, set->groups, ag_mix(seed, 0x6f72646572 + (uint64_t)visit));
    for (long g = 0; g < set->group_count; g++)
        for (long i = set->begin[set->groups[g]]; i < set->begin[set->groups[g] + 1]; i++)
            order[at++] = set->first + i;
    set->visit[visit & 1] = visit;
    return order;
}

drawn sampler_at(sampler *s, long place)
{
    int k = 0;
    for (; k < s->count - 1; k++) {                        /* place: among those of data sets k, k + 1, ... */
        double share = s->sets[k].share;
        long before = (long)floor((double)place * share + 0.5);
        if ((long)floor((double)(place + 1) * share + 0.5) > before) {
            place = before;
            break;
        }
        place -= before;
    }
    const sampler_set *set = &s->sets[k];
    long visit = place / set->used;
    return (drawn){ order_of(s, k, visit)[place % set->used], visit };
}
