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
 * eos. Newer transformers count generated ids alone, which ranks differently.                              */
#include "blip2/internal.h"
#include <math.h>
#include <string.h>

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
    real *values, *logits;             /* (B x beams, V) log-probabilities; greedy: logits besides */
    choice *best;                      /* (2 x beams) */
    pool *pools;                       /* (B) */
    int *parent, *last;                /* (B x beams) */
} search;

int generate_limit(const blip2_generate *o)
{
    return o->max_new_tokens > 0 ? o->max_new_tokens + 1 : o->max_length;
}

void generate_room(tape *t, long B, const blip2_generate *o, blip2_sequence *out)
{
    int limit = generate_limit(o);
    if (o->beams < 1 || o->returns < 1 || o->returns > o->beams || limit < 2 || !(o->repetition_penalty > 0))
        ag_fail("generate", "%d beams, %d returned, %d ids, repetition penalty %g: expected 1 <= returned <= "
                "beams, room for a token behind the start, and a penalty above 0", o->beams, o->returns,
                limit, o->repetition_penalty);
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

static void pool_add(const search *s, pool *p, const int *ids, double sum, bool ended)
{
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

static bool seen_before(const int *ids, int i)
{
    for (int j = 0; j < i; j++)
        if (ids[j] == ids[i])
            return true;
    return false;
}

/* Repetition penalty and min_length, on the values (V) that the next token of `ids` is chosen by. */
static void adjust(const search *s, const int *ids, real *values)
{
    double r = s->o->repetition_penalty;
    for (int i = 0; r != 1 && i < s->length; i++)
        if (ids[i] >= 0 && ids[i] < s->V && !seen_before(ids, i))
            values[ids[i]] = (real)(values[ids[i]] < 0 ? values[ids[i]] * r : values[ids[i]] / r);
    if (s->length < s->o->min_length)
        values[s->eos] = -INFINITY;
}

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
    for (long r = rows - 1; each > 1 && r > 0; r--)
        memmove(s->values + r * s->V, s->values + r / each * s->V, (size_t)s->V * sizeof(real));
    if (s->logits)
        ag_read(logits, s->logits);
}

static void insert(choice *best, long *count, long most, choice c)
{
    long at = *count < most ? (*count)++ : most - 1;
    for (; at > 0 && best[at - 1].sum < c.sum; at--)
        best[at] = best[at - 1];
    best[at] = c;
}

/* The 2 x beams largest of text b, sorted; of equals the one with the lower row and id first. */
static void choose(search *s, long b)
{
    long beams = s->o->beams, count = 0, most = 2 * beams;
    for (long r = b * beams; r < (b + 1) * beams; r++) {
        real *values = s->values + r * s->V;
        adjust(s, s->ids + r * s->limit, values);
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
    choose(s, b);
    for (long rank = 0; rank < 2 * beams && filled < beams; rank++) {
        choice c = s->best[rank];
        if (c.id != s->eos) {
            long r = b * beams + filled++;
            s->parent[r] = c.row;
            s->last[r] = c.id;
            s->sum[r] = c.sum;
        } else if (rank < beams)
            pool_add(s, p, s->ids + c.row * s->limit, c.sum, true);
    }
    double attainable = s->best[0].sum / pow(s->length + 1, s->o->length_penalty);
    p->done = p->count == beams && p->worst >= attainable;
}

static void greedy_step(search *s, long b)
{
    real *logits = s->logits + b * s->V;
    const int *ids = s->ids + b * s->limit;
    adjust(s, ids, logits);
    long best = 0;
    for (long v = 1; v < s->V; v++)
        if (logits[v] > logits[best])
            best = v;
    s->sum[b] += (double)s->values[b * s->V + best];
    s->parent[b] = (int)b;
    s->last[b] = (int)best;
    if (best == s->eos) {
        pool_add(s, &s->pools[b], ids, s->sum[b], true);
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
        else if (s->o->beams == 1)
            greedy_step(s, b);
        else
            beam_step(s, b);
        all = all && s->pools[b].done;
    }
    grow(s);
    return all;
}

/* ---- the search ---------------------------------------------------------------------------------------- */

static search begin(const decoder *d, tape *t, long B, long V, const blip2_generate *o)
{
    long rows = B * o->beams, limit = generate_limit(o);
    search s = { .o = o, .start = d->start, .eos = d->eos, .limit = (int)limit, .length = 1, .B = B, .V = V };
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
    for (long b = 0; b < B; b++)
        pool_init(t, &s, &s.pools[b]);
    for (long r = 0; r < rows; r++) {
        s.ids[r * limit] = s.start;
        s.sum[r] = r % o->beams ? -1e9 : 0;                /* all beams begin alike: one of them speaks */
    }
    return s;
}

static void finish(search *s, blip2_sequence *out)
{
    for (long b = 0; b < s->B; b++) {
        pool *p = &s->pools[b];
        for (long r = b * s->o->beams; !p->done && r < (b + 1) * s->o->beams; r++)
            pool_add(s, p, s->ids + r * s->limit, s->sum[r], false);
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

void generate_search(const decoder *d, tape *t, long B, const blip2_generate *o, blip2_sequence *out)
{
    ag_mark start = ag_here(t);
    tensor *logits = d->first(d->context, t);              /* (B,V) */
    logits = ag_rewind_keep(t, start, logits);
    search s = begin(d, t, B, logits->dim[1], o);
    ag_mark before = ag_here(t);
    while (!step(&s, t, logits) && s.length < s.limit) {
        ag_rewind(t, before);
        logits = d->next(d->context, t, s.parent, s.last); /* (B x beams,V) */
    }
    finish(&s, out);
    ag_rewind(t, start);
}
