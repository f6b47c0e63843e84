/* beam.c - greedy and beam search over anything that gives the next token's logits, by the rules of
 * transformers 4.33, which LAVIS used (generation/utils.py, beam_search.py). A sequence is a list of ids that
 * begins with a start id, which counts in every length below though OPT never sees it; s is the sum of the
 * log-probabilities of its ids.
 *
 *   step    p = log_softmax(logits); p of an id already there is multiplied by r (it is negative);
 *           p(eos) = -inf while the sequence is shorter than min_length; of all s + p of a text's beams the
 *           2 x beams largest
 *   walk    from the largest: eos among the first `beams` makes a hypothesis, of value s / length^penalty;
 *           eos further down is dropped; other ids become the next beams until there are enough
 *   keep    the `beams` best hypotheses of a text. It is done when there are that many and the worst is not
 *           below the largest s of the step over (length + 1)^penalty
 *   end     when all are done or max_length is reached: the live beams of those not done join the hypotheses
 *
 * beams 1 is greedy search: the largest of the logits, penalised as logits (s < 0: s r, else s / r); done at
 * eos. beam_hf.c has the rules of newer transformers, scores.c what forbids and disfavours ids.            */
#include "blip2/search.h"
#include <math.h>
#include <string.h>

int generate_limit(const blip2_generate *o)
{
    return o->max_new_tokens > 0 ? o->max_new_tokens + 1 : o->max_length;
}

void generate_room(tape *t, long B, const blip2_generate *o, blip2_sequence *out)
{
    int limit = generate_limit(o);
    if (o->beams < 1 || o->returns < 1 || (o->returns > o->beams && !o->sample) || limit < 2
        || !(o->repetition_penalty > 0))
        ag_fail("generate", "%d beams, %d returned, %d ids, repetition penalty %g: expected 1 <= returned <= "
                "beams, room for a token behind the start, and a penalty above 0", o->beams, o->returns,
                limit, o->repetition_penalty);
    if (o->sample && o->beams > 1)
        ag_fail("generate", "%d beams and sampling: expected one of the two", o->beams);
    for (long i = 0; i < B * o->returns; i++)
        out[i] = (blip2_sequence){ .ids = ag_alloc(t, limit * (long)sizeof *out[i].ids) };
}

/* ---- hypotheses ---------------------------------------------------------------------------------------- */

static int *pool_ids(tape *t, const search *s) { return ag_alloc(t, s->limit * (long)sizeof(int)); }

static void pool_init(tape *t, const search *s, pool *p)
{
    int room = s->o->beams + 1;
    *p = (pool){ .kept = ag_alloc(t, room * (long)sizeof *p->kept), .worst = INFINITY };
    for (int i = 0; i < room; i++)
        p->kept[i] = (hypothesis){ .ids = pool_ids(t, s) };
}

/* Drops the lowest, of equals the one that came first. */
static void pool_drop(pool *p)
{
    int lowest = 0;
    for (int i = 1; i < p->count; i++)
        if (p->kept[i].value < p->kept[lowest].value)
            lowest = i;
    hypothesis spare = p->kept[lowest];
    memmove(&p->kept[lowest], &p->kept[lowest + 1], (size_t)(p->count - 1 - lowest) * sizeof spare);
    p->kept[--p->count] = spare;                           /* its room for ids is used again */
}

void search_keep(search *s, long b, const int *ids, double sum, bool ended)
{
    pool *p = &s->pools[b];
    double value = sum / pow(s->length, s->o->length_penalty);
    if (p->count == s->o->beams && !(value > p->worst))
        return;
    hypothesis *h = &p->kept[p->count++];
    *h = (hypothesis){ value, s->length, ended, h->ids };
    memcpy(h->ids, ids, (size_t)s->length * sizeof *ids);
    if (p->count > s->o->beams)
        pool_drop(p);
    p->worst = INFINITY;
    for (int i = 0; i < p->count; i++)
        p->worst = fmin(p->worst, p->kept[i].value);
}

/* The n-th best, n = 0 .. ; of equals the one that came last. */
static const hypothesis *pool_take(pool *p)
{
    int best = 0;
    for (int i = 1; i < p->count; i++)
        if (p->kept[i].value >= p->kept[best].value)
            best = i;
    hypothesis taken = p->kept[best];
    memmove(&p->kept[best], &p->kept[best + 1], (size_t)(p->count - 1 - best) * sizeof taken);
    p->kept[--p->count] = taken;
    return &p->kept[p->count];
}

/* ---- one step ------------------------------------------------------------------------------------------ */

/* Reads the step's logits, one row a beam; the first step has one row a text. */
static void read_step(search *s, tape *t, tensor *logits)
{
    long rows = s->B * s->o->beams, each = rows / logits->dim[0];
    if (logits->ndim != 2 || logits->dim[0] * each != rows || logits->dim[1] != s->V)
        ag_fail("generate", "logits %s: expected (%ld,%ld)", SHAPE(logits), rows, s->V);
    tensor *p = ag_log_softmax(t, logits);
    ag_read(p, s->values);
    for (long r = 0; r < logits->dim[0]; r++)
        if (isnan(s->values[r * s->V]))
            ag_fail("generate", "the logits of text %ld are not finite", r * each / s->o->beams);
    if (s->logits)
        ag_read(logits, s->logits);
    for (long r = rows - 1; each > 1 && r > 0; r--) {      /* the searches of a text begin alike */
        memmove(s->values + r * s->V, s->values + r / each * s->V, (size_t)s->V * sizeof(real));
        if (s->logits)
            memmove(s->logits + r * s->V, s->logits + r / each * s->V, (size_t)s->V * sizeof(real));
    }
}

static void insert(choice *best, long *count, long most, choice c)
{
    long at = *count < most ? (*count)++ : most - 1;
    for (; at > 0 && best[at - 1].sum < c.sum; at--)
        best[at] = best[at - 1];
    best[at] = c;
}

void search_choose(search *s, long b)
{
    long beams = s->o->beams, count = 0, most = 2 * beams;
    for (long r = b * beams; r < (b + 1) * beams; r++) {
        real *values = s->values + r * s->V;
        search_adjust(s, r, values);
        for (long v = 0; v < s->V; v++) {
            double sum = s->sum[r] + (double)values[v];
            if (count < most || sum > s->best[most - 1].sum)
                insert(s->best, &count, most, (choice){ sum, (int)r, (int)v });
        }
    }
}

static void stand_still(search *s, long b)                 /* of a text that is done nothing is read */
{
    for (long r = b * s->o->beams; r < (b + 1) * s->o->beams; r++) {
        s->parent[r] = (int)r;
        s->last[r] = s->eos;
    }
}

static void beam_step(search *s, long b)
{
    pool *p = &s->pools[b];
    long beams = s->o->beams, filled = 0;
    search_choose(s, b);
    for (long rank = 0; rank < 2 * beams && filled < beams; rank++) {
        choice c = s->best[rank];
        if (c.id != s->eos) {
            long r = b * beams + filled++;
            s->parent[r] = c.row;
            s->last[r] = c.id;
            s->sum[r] = c.sum;
        } else if (rank < beams)
            search_keep(s, b, s->ids + c.row * s->limit, c.sum, true);
    }
    double attainable = s->best[0].sum / pow(s->length + 1, s->o->length_penalty);
    p->done = p->count == beams && p->worst >= attainable;
}

static void greedy_step(search *s, long b)
{
    real *logits = s->logits + b * s->V;
    const int *ids = s->ids + b * s->limit;
    search_adjust(s, b, logits);
    long best = 0;
    for (long v = 1; v < s->V; v++)
        if (logits[v] > logits[best])
            best = v;
    s->sum[b] += (double)s->values[b * s->V + best];
    s->parent[b] = (int)b;
    s->last[b] = (int)best;
    if (best == s->eos) {
        search_keep(s, b, ids, s->sum[b], true);
        s->pools[b].done = true;
    }
}

/* Every live sequence becomes its parent's ids and its last token. */
static void grow(search *s)
{
    for (long r = 0; r < s->B * s->o->beams; r++) {
        memcpy(s->grown + r * s->limit, s->ids + s->parent[r] * s->limit, (size_t)s->length * sizeof(int));
        s->grown[r * s->limit + s->length] = s->last[r];
    }
    int *old = s->ids;
    s->ids = s->grown;
    s->grown = old;
    s->length++;
}

/* true: all texts are done */
static bool step(search *s, tape *t, tensor *logits)
{
    bool all = true;
    read_step(s, t, logits);
    for (long b = 0; b < s->B; b++) {
        if (s->pools[b].done)
            stand_still(s, b);
        else if (s->o->sample)
            sample_step(s, t, b);
        else if (s->o->beams == 1)
            greedy_step(s, b);
        else if (s->o->reference == BLIP2_HF)
            hf_beam_step(s, b);
        else
            beam_step(s, b);
        all = all && s->pools[b].done;
    }
    grow(s);
    return s->o->reference == BLIP2_HF && s->o->beams > 1 ? hf_is_over(s) : all;
}

/* ---- the search ---------------------------------------------------------------------------------------- */

static search begin(const decoder *d, tape *t, long B, long V, const blip2_generate *o, long share)
{
    long rows = B * o->beams, limit = generate_limit(o);
    search s = { .o = o, .start = d->start, .eos = d->eos, .limit = (int)limit, .length = 1, .B = B, .V = V,
                 .share = share };
    if (d->eos < 0 || d->eos >= V || V < 2)
        ag_fail("generate", "the token %d ends a text, there are %ld tokens", d->eos, V);
    s.ids = ag_alloc(t, rows * limit * (long)sizeof *s.ids);
    s.grown = ag_alloc(t, rows * limit * (long)sizeof *s.grown);
    s.sum = ag_alloc(t, rows * (long)sizeof *s.sum);
    s.values = ag_alloc_real(t, rows * V);
    s.logits = o->beams == 1 ? ag_alloc_real(t, rows * V) : NULL;
    s.best = ag_alloc(t, 2 * o->beams * (long)sizeof *s.best);
    s.parent = ag_alloc(t, rows * (long)sizeof *s.parent);
    s.last = ag_alloc(t, rows * (long)sizeof *s.last);
    s.pools = ag_alloc(t, B * (long)sizeof *s.pools);
    s.history = ag_alloc(t, (o->given_count + limit) * (long)sizeof *s.history);
    for (long b = 0; b < B; b++)
        pool_init(t, &s, &s.pools[b]);
    for (long r = 0; r < rows; r++) {
        s.ids[r * limit] = s.start;
        s.sum[r] = r % o->beams ? -1e9 : 0;                /* all beams begin alike: one of them speaks */
    }
    return s;
}

/* Of a text that the longest length ended: by Hugging Face's rules new tokens alone divide its sum, where the
 * search divides by one more, for the start (beam_hf.c, keep).                                             */
static double cut_sum(const search *s, double sum)
{
    return s->o->reference == BLIP2_HF && s->length > 1
               ? sum * pow((double)s->length / (s->length - 1), s->o->length_penalty) : sum;
}

static void finish(search *s, blip2_sequence *out)
{
    for (long b = 0; b < s->B; b++) {
        pool *p = &s->pools[b];
        bool all_kept = p->done || (s->o->reference == BLIP2_HF && s->o->beams > 1);
        for (long r = b * s->o->beams; !all_kept && r < (b + 1) * s->o->beams; r++)
            search_keep(s, b, s->ids + r * s->limit, cut_sum(s, s->sum[r]), false);
        for (int i = 0; i < s->o->returns; i++) {
            const hypothesis *h = pool_take(p);
            blip2_sequence *to = &out[b * s->o->returns + i];
            memcpy(to->ids, h->ids + 1, (size_t)(h->length - 1) * sizeof *to->ids);
            to->length = h->length - 1;
            if (h->ended)
                to->ids[to->length++] = s->eos;
            to->score = h->value;
        }
    }
}

/* Sampling: every text that is drawn is a search of its own with one beam. */
static blip2_generate one_each(const blip2_generate *o)
{
    blip2_generate one = *o;
    one.returns = one.beams = 1;
    return one;
}

void generate_search(const decoder *d, tape *t, long B, const blip2_generate *given, blip2_sequence *out)
{
    ag_mark start = ag_here(t);
    blip2_generate o = given->sample ? one_each(given) : *given;
    long share = given->sample ? given->returns : 1;
    tensor *logits = d->first(d->context, t);              /* (B,V) */
    logits = ag_rewind_keep(t, start, logits);
    search s = begin(d, t, B * share, logits->dim[1], &o, share);
    ag_mark before = ag_here(t);
    double from = clock_seconds();
    long steps = 0;
    while (!step(&s, t, logits) && s.length < s.limit) {
        ag_rewind(t, before);
        logits = d->next(d->context, t, s.parent, s.last); /* (B x beams,V) */
        steps++;
    }
    if (o.times)
        *o.times = (blip2_times){ .rest = clock_seconds() - from, .steps = steps };
    finish(&s, out);
    ag_rewind(t, start);
}
