/* masks.c - who may look at whom in the Q-Former: the three masks of Li et al. 2023, Fig. 2, right.
 *
 * Rows and columns are [Q queries; T text tokens]; a padded text token is seen by nobody.
 *   bidirectional  (ITM)  everybody sees everybody
 *   causal         (ITG)  queries see queries; text sees all queries and the text up to itself
 *   unimodal       (ITC)  queries see queries, text sees text
 * A masked key has probability exactly 0, as in the reference, whose added -10000 underflows.              */
#include "blip2/internal.h"
#include <string.h>

/* One row of a mask: what it may see of the queries (Q), then of the text up to token `last` (T). */
static void row(unsigned char *may, long Q, long T, bool queries, long last, const unsigned char *text_mask)
{
    memset(may, queries, (size_t)Q);
    for (long j = 0; j < T; j++)
        may[Q + j] = j <= last && (!text_mask || text_mask[j]);
}

static const unsigned char *of_sample(const unsigned char *text_mask, long b, long T)
{
    return text_mask ? text_mask + b * T : NULL;
}

ag_mask *blip2_mask_bidirectional(tape *t, long B, long Q, long T, const unsigned char *text_mask)
{
    ag_mask *m = ag_mask_new(t, B, 1, Q + T);              /* the same for all rows of a sample */
    for (long b = 0; b < B; b++)
        row(m->may + b * (Q + T), Q, T, true, T, of_sample(text_mask, b, T));
    return m;
}

ag_mask *blip2_mask_causal(tape *t, long B, long Q, long T, const unsigned char *text_mask)
{
    long S = Q + T;
    ag_mask *m = ag_mask_new(t, B, S, S);
    for (long b = 0; b < B; b++)
        for (long i = 0; i < S; i++)
            row(m->may + (b * S + i) * S, Q, T, true, i - Q, of_sample(text_mask, b, T));
    return m;
}

ag_mask *blip2_mask_causal_cached(tape *t, long B, long Q, long T, const unsigned char *text_mask)
{
    long S = Q + T;
    ag_mask *m = ag_mask_new(t, B, T, S);                  /* the queries are in the past: no rows */
    for (long b = 0; b < B; b++)
        for (long i = 0; i < T; i++)
            row(m->may + (b * T + i) * S, Q, T, true, i, of_sample(text_mask, b, T));
    return m;
}

ag_mask *blip2_mask_unimodal(tape *t, long B, long Q, long T, const unsigned char *text_mask)
{
    long S = Q + T;
    ag_mask *m = ag_mask_new(t, B, S, S);
    for (long b = 0; b < B; b++)
        for (long i = 0; i < S; i++)
            row(m->may + (b * S + i) * S, Q, T, i < Q, i < Q ? -1 : T, of_sample(text_mask, b, T));
    return m;
}
