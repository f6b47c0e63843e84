/* scores.c - what changes the values that the next token is chosen by, in this order (transformers,
 * generation/logits_process.py): an id that stands already is less likely (Keskar et al. 2019: s r for s < 0,
 * else s / r); an id that would complete an n-gram which stands already is forbidden; the end is, as long as
 * the text is too short.                                                                                   */
#include "blip2/search.h"
#include <math.h>
#include <string.h>

/* What stands in row r: what was given, then the start (unless something was given) and what was said. */
static long history(search *s, long r)
{
    long given = s->o->given ? s->o->given_count : 0, from = s->o->given ? 1 : 0, n = s->length - from;
    if (given)
        memcpy(s->history, s->o->given + r / s->o->beams / s->share * given,
               (size_t)given * sizeof *s->history);
    memcpy(s->history + given, s->ids + r * s->limit + from, (size_t)n * sizeof *s->history);
    return given + n;
}

static bool seen_before(const int *ids, long i)
{
    for (long j = 0; j < i; j++)
        if (ids[j] == ids[i])
            return true;
    return false;
}

/* The last n - 1 ids, wherever they stood before, may not be followed by what followed them there. */
static void forbid_repeats(const int *ids, long count, long n, long V, real *values)
{
    for (long i = 0; i + n <= count; i++)
        if (!memcmp(ids + i, ids + count - (n - 1), (size_t)(n - 1) * sizeof *ids) && ids[i + n - 1] >= 0
            && ids[i + n - 1] < V)
            values[ids[i + n - 1]] = -INFINITY;
}

void search_adjust(search *s, long r, real *values)
{
    const blip2_generate *o = s->o;
    double penalty = o->repetition_penalty;
    long n = history(s, r);
    const int *ids = s->history;
    for (long i = 0; penalty != 1 && i < n; i++)
        if (ids[i] >= 0 && ids[i] < s->V && !seen_before(ids, i))
            values[ids[i]] = (real)(values[ids[i]] < 0 ? values[ids[i]] * penalty : values[ids[i]] / penalty);
    if (o->no_repeat_ngram > 0)
        forbid_repeats(ids, n, o->no_repeat_ngram, s->V, values);
    if ((o->given ? n : s->length) < o->min_length || s->length - 1 < o->min_new_tokens)
        values[s->eos] = -INFINITY;
}
