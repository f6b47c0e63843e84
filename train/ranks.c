/* ranks.c - what ranks tell each other in a step, over any backend (ranks.h): one number, whether all is
 * well, and that their weights are the same.                                                               */
#include "train/ranks.h"
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static bool gone(const ag_ranks *r, error *e)
{
    return error_set(e, "rank %d of %d: another rank has ended", r->rank, r->world);
}

static bool alone(const ag_ranks *r)
{
    return !r || r->world == 1 || ag_spent(0);     /* what is only measured is told to nobody */
}

bool ranks_largest(const ag_ranks *r, long *x, error *e)
{
    long all[RANKS_MOST];
    if (alone(r))
        return true;
    if (!r->all_gather(r, x, sizeof *x, all))
        return gone(r, e);
    for (int k = 0; k < r->world; k++)
        *x = all[k] > *x ? all[k] : *x;
    return true;
}

bool ranks_sum(const ag_ranks *r, real *x, long n, error *e)
{
    return alone(r) || r->all_reduce(r, x, n) || gone(r, e);
}

/* The error of rank `first` becomes everyone's. Errors are long: only its bytes are looked at. */
static bool spread(const ag_ranks *r, int first, error *why)
{
    struct { error_kind kind; char text[512]; } mine, all[RANKS_MOST];
    memset(&mine, 0, sizeof mine);
    mine.kind = why->kind;
    snprintf(mine.text, sizeof mine.text, "%.511s", r->rank == first ? why->text : "");
    if (!r->all_gather(r, &mine, sizeof mine, all))
        return gone(r, why);
    error_set(why, "rank %d of %d: %s", first, r->world, all[first].text);
    why->kind = all[first].kind;
    return false;
}

bool ranks_status(const ag_ranks *r, bool ok, train_losses *l, error *why)
{
    struct { bool ok; double value[TRAIN_LOSSES]; } mine, all[RANKS_MOST];
    if (alone(r))
        return ok;
    memset(&mine, 0, sizeof mine);
    mine.ok = ok;
    memcpy(mine.value, l->value, sizeof mine.value);
    if (!r->all_gather(r, &mine, sizeof mine, all))
        return gone(r, why);
    for (int k = 0; k < r->world; k++)
        if (!all[k].ok)
            return spread(r, k, why);
    for (int i = 0; i < l->count; i++) {
        double sum = 0;
        for (int k = 0; k < r->world; k++)
            sum += all[k].value[i];
        l->value[i] = sum / r->world;
    }
    return true;
}

bool ranks_same(const ag_ranks *r, const nn_store *s, error *e)
{
    size_t bytes = (size_t)s->trainable * sizeof(real);
    struct { uint64_t values, m, v; } mine, all[RANKS_MOST];
    if (alone(r))
        return true;
    mine.values = XXH3_64bits(s->values, bytes);
    mine.m = XXH3_64bits(s->m, bytes);
    mine.v = XXH3_64bits(s->v, bytes);
    if (!r->all_gather(r, &mine, sizeof mine, all))
        return gone(r, e);
    for (int k = 1; k < r->world; k++)
        if (memcmp(&all[k], &all[0], sizeof all[0]))
            return error_set(e, "rank %d of %d: its weights or moments are not those of rank 0", k, r->world);
    return true;
}
