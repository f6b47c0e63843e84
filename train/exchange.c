/* exchange.c - what an encoder reads and what a decoder is to say, from the pieces of a text.
 *
 * A piece is two sequences, given and said. Where nothing in it is said (text alone), or a caption is to be
 * split, all of it is cut at random: the front is read, the rest is said. That is prefix language modelling,
 * by which the paper trains with an encoder-decoder (section 3.3), and by which a T5 of one's own learns its
 * language (Raffel et al. 2020, section 3.2.1). The front may be empty, as it is when a caption is wanted. */
#include "train/internal.h"

/* The runs of sequences row and row + 1 as one: they lie side by side. */
static token_run whole(const sequences *s, long row)
{
    token_run given = sequences_run(s, row), said = sequences_run(s, row + 1);
    return (token_run){ given.first, given.count + said.count };
}

exchange exchange_piece(const sequences *s, long row, bool split, uint64_t key)
{
    exchange x = { .given = { sequences_run(s, row) }, .said = sequences_run(s, row + 1) };
    if (!split && x.said.count)
        return x;
    token_run all = whole(s, row);
    long front = (long)(ag_uniform(key, 0) * (double)all.count);
    x.given[0].count = front;
    x.said = (token_run){ all.first + front, all.count - front };
    return x;
}

exchange exchange_document(const sequences *s, long first, long end, uint64_t key)
{
    long pieces = (end - first) / 2, chosen = (long)(ag_uniform(key, 6) * (double)pieces);
    exchange x = exchange_piece(s, first + 2 * chosen, false, ag_mix(key, 7));
    if (chosen) {
        x.given[1] = x.given[0];
        x.given[0] = whole(s, first);
    }
    return x;
}

void exchange_batch(const sequences *s, tape *t, const blip2_config *m, long B, const exchange *x,
                    blip2_stage2_in *in)
{
    const blip2_llm llm = blip2_llm_of(m);
    token_run *given = ag_alloc(t, B * EXCHANGE_GIVEN * (long)sizeof *given);
    token_run *said = ag_alloc(t, B * (long)sizeof *said);
    for (long b = 0; b < B; b++) {
        for (int k = 0; k < EXCHANGE_GIVEN; k++)
            given[b * EXCHANGE_GIVEN + k] = x[b].given[k];
        said[b] = x[b].said;
    }
    in->text = sequences_rows(s, t, B, EXCHANGE_GIVEN, given, m->max_text, llm.eos, llm.pad, NULL);
    in->target = sequences_rows(s, t, B, 1, said, m->max_text, llm.eos, llm.pad, NULL);
}
