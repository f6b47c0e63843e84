/* search.h - what the rules of searching share: live sequences, finished ones, and the steps that each family
 * of rules takes (beam.c, beam_hf.c, sample.c). A sequence is a list of ids that begins with a start id. */
#ifndef BLIP2_SEARCH_H
#define BLIP2_SEARCH_H
#include "blip2/internal.h"

typedef struct hypothesis { double value; int length; bool ended; int *ids; } hypothesis;    /* without eos */
typedef struct pool {                  /* of one text */
    hypothesis *kept;                  /* (beams + 1) in order of arrival */
    int count;
    double worst;
    bool done;
} pool;
typedef struct choice { double sum; int row, id; } choice;

typedef struct search {
    const blip2_generate *o;
    int start, eos, limit, length;     /* length: ids in every live sequence */
    long B, V;
    int *ids, *grown;                  /* (B x beams, limit) the live sequences; room for the next */
    double *sum;                       /* (B x beams) */
    real *values, *logits; /* (B x beams, V) log-probabilities; greedy, sampling: logits besides */
    choice *best;                      /* (2 x beams) */
    pool *pools;                       /* (B) */
    int *parent, *last;                /* (B x beams) */
    long share;                        /* sampling: so many texts have one prompt; else 1 */
    int *history;                      /* (given_count + limit) scratch */
} search;


/* Penalties and bans on the values (V) that the next token of row r is chosen by (scores.c). */
void search_adjust(search *s, long r, real *values);
/* The 2 x beams largest of text b into best, sorted; of equals the one with the lower row and id first. */
void search_choose(search *s, long b);
/* A hypothesis of text b: the ids of a row, and their sum; the worst of too many is dropped. */
void search_keep(search *s, long b, const int *ids, double sum, bool ended);
/* One step of text b by Hugging Face's rules; and whether the search ends. */
void hf_beam_step(search *s, long b);
bool hf_is_over(search *s);
void sample_step(search *s, tape *t, long b);
#endif
