/* sample.c - tokens drawn from the model's distribution, flattened or cut (transformers,
 * TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper, in this order). Random numbers are keyed by
 * seed, text and place, the text being its number among all that one call draws: the same for any number of
 * threads. */
#include "blip2/search.h"
#include <math.h>
#include <stdlib.h>

typedef struct ranked { double value; long id; } ranked;

static int by_value(const void *a, const void *b)          /* the largest first, of equals the lower id */
{
    const ranked *x = a, *y = b;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* How many of the sorted hold top_p of what the first `n` hold together: the rest, taken from the smallest,
 * has at most 1 - top_p. */
static long nucleus(const ranked *r, long n, double top_p)
{
    double sum = 0, tail = 0;
    for (long i = 0; i < n; i++)
        sum += exp(r[i].value - r[0].value);
    while (n > 1) {
        tail += exp(r[n - 1].value - r[0].value) / sum;
        if (tail > 1 - top_p)
            break;
        n--;
    }
    return n;
}

void blip2_distribution(tape *t, const blip2_generate *o, long V, const real *logits, real *p)
{
    ag_mark here = ag_here(t);
    ranked *r = ag_alloc(t, V * (long)sizeof *r);
    double heat = o->temperature > 0 ? o->temperature : 1, sum = 0;
    long n = V;
    for (long v = 0; v < V; v++)
        r[v] = (ranked){ (double)logits[v] / heat, v };
    qsort(r, (size_t)V, sizeof *r, by_value);
    if (o->top_k > 0 && o->top_k < V)
        for (n = o->top_k; n < V && r[n].value == r[o->top_k - 1].value;) /* equals of the last stay */
            n++;
    if (o->top_p > 0 && o->top_p < 1)
        n = nucleus(r, n, o->top_p);
    for (long i = 0; i < n; i++)
        sum += exp(r[i].value - r[0].value);
    for (long v = 0; v < V; v++)
        p[v] = 0;
    for (long i = 0; i < n; i++)
        p[r[i].id] = (real)(exp(r[i].value - r[0].value) / sum);
    ag_rewind(t, here);
}

void sample_step(search *s, tape *t, long b)
{
    real *logits = s->logits + b * s->V;
    ag_mark here = ag_here(t);
    real *p = ag_alloc_real(t, s->V);
    search_adjust(s, b, logits);
    blip2_distribution(t, s->o, s->V, logits, p);
    double left = ag_uniform(ag_mix(s->o->seed, (uint64_t)b), (uint64_t)s->length);
    long drawn = 0;
    for (long v = 0; v < s->V && left >= 0; v++)
        if (p[v] > 0) {
            left -= (double)p[v];
            drawn = v;                                     /* the last possible, if rounding leaves a rest */
        }
    ag_rewind(t, here);
    s->sum[b] += (double)s->values[b * s->V + drawn];
    s->parent[b] = (int)b;
    s->last[b] = (int)drawn;
    if (drawn == s->eos) {
        search_keep(s, b, s->ids + b * s->limit, s->sum[b], true);
        s->pools[b].done = true;
    }
}
