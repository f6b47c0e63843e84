/* beam_hf.c - beam search by the rules of transformers 5 (generation/utils.py, _beam_search). What differs
 * from beam.c, whose names it uses: lengths count new tokens alone, L of them after this step;
 *
 *   walk    a candidate is finished if it is eos or has reached the longest length. Of the first `beams`
 *           candidates those that are finished become hypotheses, of value s / L^penalty, until the text is
 *           settled; the `beams` best that are not finished go on
 *   settled for good, once the best live sum over L^penalty (never, with a penalty above 0: over the longest
 *           L) is not above the worst of `beams` hypotheses; or, with early stopping, once there are `beams`
 *   end     when all texts are settled, or every candidate of this step was finished                       */
#include "blip2/search.h"
#include <math.h>

static bool is_finished(const search *s, choice c)
{
    return c.id == s->eos || s->length + 1 >= s->limit;
}

/* A finished candidate, with the token that finished it. */
static void keep(search *s, long b, choice c)
{
    int *ids = s->ids + c.row * s->limit;
    if (c.id == s->eos) {
        search_keep(s, b, ids, c.sum, true);
        return;
    }
    ids[s->length++] = c.id;                               /* one longer, but ranked by the same L */
    double root = s->o->length_penalty;
    search_keep(s, b, ids, c.sum * pow((double)s->length / (s->length - 1), root), false);
    s->length--;
}

void hf_beam_step(search *s, long b)
{
    pool *p = &s->pools[b];
    long beams = s->o->beams, filled = 0;
    bool full = p->count == beams && s->o->until == BLIP2_UNTIL_FULL;
    search_choose(s, b);
    for (long rank = 0; rank < beams && !full; rank++)
        if (is_finished(s, s->best[rank]))
            keep(s, b, s->best[rank]);
    for (int round = 0; round < 2; round++) /* the finished go on only where others are missing */
        for (long rank = 0; rank < 2 * beams && filled < beams; rank++) {
            choice c = s->best[rank];
            if (is_finished(s, c) != (round == 1))
                continue;
            long r = b * beams + filled++;
            s->parent[r] = c.row;
            s->last[r] = c.id;
            s->sum[r] = round ? c.sum - 1e9 : c.sum;
        }
}

/* After the step: s->length - 1 tokens are new in every live sequence. */
bool hf_is_over(search *s)
{
    long beams = s->o->beams;
    bool all = true, none_left = true;
    double penalty = s->o->length_penalty;
    for (long b = 0; b < s->B; b++) {
        pool *p = &s->pools[b];
        int L = s->o->until == BLIP2_UNTIL_CERTAIN && penalty > 0 ? s->limit - 1 : s->length - 1;
        double attainable = s->sum[b * beams] / pow(L, penalty);
        bool full = p->count == beams;
        p->done |= (full && (attainable <= p->worst || s->o->until == BLIP2_UNTIL_FULL));
        all &= p->done;
        none_left &= s->sum[b * beams] < -5e8;
    }
    return all || none_left;
}
