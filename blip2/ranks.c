/* ranks.c - what the parts of a batch on several ranks need from each other besides tensors: the texts, the
 * ids of pictures, and how many tokens a mean is taken over.                                               */
#include "blip2/internal.h"
#include <string.h>

enum { MOST = 1024 };                              /* ranks */

static void gather(const ag_ranks *r, const void *own, long bytes, void *all)
{
    if (ag_spent(0))                               /* only measured: all are like this one */
        for (int k = 0; k < r->world; k++)
            memcpy((char *)all + k * bytes, own, (size_t)bytes);
    else if (!r->all_gather(r, own, bytes, all))
        ag_fail("ranks", "rank %d of %d: another rank has ended", r->rank, r->world);
}

/* Columns that are no padding in some row. */
static long longest(blip2_text text)
{
    long most = 0;
    for (long b = 0; b < text.B; b++)
        for (long i = most; i < text.T; i++)
            if (text.mask[b * text.T + i])
                most = i + 1;
    return most;
}

/* The text with T columns: the last ones left out, or padding added. */
static blip2_text with_columns(tape *t, blip2_text text, long T, int pad)
{
    if (T == text.T)
        return text;
    long kept = T < text.T ? T : text.T;
    int *ids = ag_alloc(t, text.B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, text.B * T);
    for (long b = 0; b < text.B; b++)
        for (long i = 0; i < T; i++) {
            ids[b * T + i] = i < kept ? text.ids[b * text.T + i] : pad;
            mask[b * T + i] = i < kept && text.mask[b * text.T + i];
        }
    return (blip2_text){ text.B, T, ids, mask };
}

blip2_text blip2_trim(tape *t, const ag_ranks *ranks, blip2_text text, long pad, bool keep)
{
    struct { long rows, columns; } own = { text.B, keep ? text.T : longest(text) }, all[MOST];
    if (ag_world(ranks) == 1)
        return with_columns(t, text, own.columns, (int)pad);
    if (ranks->world > MOST)
        ag_fail("ranks", "at most %d are possible, got %d", MOST, ranks->world);
    gather(ranks, &own, sizeof own, all);
    for (int k = 0; k < ranks->world; k++) {
        if (all[k].rows != text.B)
            ag_fail("ranks", "rank %d has %ld samples, rank %d %ld: expected the same number", k, all[k].rows,
                    ranks->rank, text.B);
        own.columns = all[k].columns > own.columns ? all[k].columns : own.columns;
    }
    return with_columns(t, text, own.columns, (int)pad);
}

blip2_text blip2_gather_text(tape *t, const ag_ranks *ranks, blip2_text text)
{
    long n = text.B * text.T, W = ag_world(ranks);
    if (W == 1)
        return text;
    int *ids = ag_alloc(t, W * n * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, W * n);
    gather(ranks, text.ids, n * (long)sizeof *ids, ids);
    gather(ranks, text.mask, n, mask);
    return (blip2_text){ W * text.B, text.T, ids, mask };
}

const long *blip2_gather_ids(tape *t, const ag_ranks *ranks, const long *ids, long n)
{
    if (ag_world(ranks) == 1 || !ids)
        return ids;
    long *all = ag_alloc(t, ranks->world * n * (long)sizeof *all);
    gather(ranks, ids, n * (long)sizeof *all, all);
    return all;
}

tensor *share_mean(tape *t, const ag_ranks *ranks, tensor *mean, const ag_ce *rule, long n)
{
    double all[MOST], weight = 0, sum = 0;
    if (ag_world(ranks) == 1)
        return mean;
    for (long i = 0; i < n; i++)
        weight += rule->ids[i] == rule->ignore ? 0 : rule->weight ? (double)rule->weight[i] : 1;
    gather(ranks, &weight, sizeof weight, all);
    for (int k = 0; k < ranks->world; k++)
        sum += all[k];
    return ag_scale(t, mean, sum > 0 ? weight * ranks->world / sum : 0);
}
