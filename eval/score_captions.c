/* score_captions.c - BLEU, ROUGE-L and CIDEr-D of captions given as tokens, number for number as
 * pycocoevalcap counts them. Words are numbered, n-grams are up to four numbers, and counting is sorting.
 *
 * BLEU-k   exp(1 - r/c) where c < r, times (prod_{n<=k} correct_n / guessed_n)^(1/k); counts are clipped by
 * the
 *          largest of any reference; r is the length of the closest reference, of two equally close the
 *          shorter. Of the corpus: from counts summed over pictures.
 * ROUGE-L  (1 + b^2) P R / (R + b^2 P), b = 1.2; P and R are the longest common subsequence over the length
 *          of the caption and of the reference, each the best of all references by itself.
 * CIDEr-D  10 mean_n mean_refs exp(-d^2 / 2 6^2) sum min(h, r) r / (|h| |r|), with h, r the n-grams' counts
 *          times ln(pictures / pictures whose references have it), and d the difference of the number of
 *          bigrams.                                                                                       */
#include "eval/metrics.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ORDERS = SCORE_BLEU };
typedef struct gram { uint32_t word[ORDERS]; int order; long count; } gram;    /* order words, then zeros */
typedef struct grams {
    gram *g;
    long n, words, most[ORDERS];
} grams; /* sorted; most: how many in all */
typedef struct word { const char *text; size_t size; uint32_t id; } word;
typedef struct vocabulary { word *slot; size_t room, count; } vocabulary;      /* open addressing */

/* ---- words as numbers, from 1 ---------------------------------------------------------------------- */
static word *find(vocabulary *v, const char *text, size_t size)
{
    uint64_t hash = 14695981039346656037u;                 /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    size_t at = hash & (v->room - 1);
    while (v->slot[at].text && (v->slot[at].size != size || memcmp(v->slot[at].text, text, size)))
        at = (at + 1) & (v->room - 1);
    return &v->slot[at];
}

static bool widen(vocabulary *v)
{
    vocabulary more = { .room = v->room ? 2 * v->room : 1024, .count = v->count };
    if (!(more.slot = mem_new(more.room * sizeof *more.slot)))
        return false;
    for (size_t i = 0; i < v->room; i++)
        if (v->slot[i].text)
            *find(&more, v->slot[i].text, v->slot[i].size) = v->slot[i];
    mem_free(v->slot);
    *v = more;
    return true;
}

static uint32_t number(vocabulary *v, const char *text, size_t size)       /* 0: memory is out */
{
    if (2 * v->count >= v->room && !widen(v))
        return 0;
    word *w = find(v, text, size);
    if (!w->text)
        *w = (word){ text, size, (uint32_t)++v->count };
    return w->id;
}

/* The next word from *text on: its size; 0: none. spaces_bind: a no-break space is part of a word. */
static size_t next_word(const char **text, bool spaces_bind)
{
    const char *s = *text;
    bool inside = false;
    size_t size = 0;
    while (*s) {
        size_t gap = *s == ' ' ? 1 : !spaces_bind && !memcmp(s, "\xC2\xA0", 2) ? 2 : 0;
        if (gap && inside)
            break;
        if (!gap && !inside) {
            *text = s;
            inside = true;
        }
        size += !gap;
        s += gap ? gap : 1;
    }
    return size;
}

/* Numbers of the words of a text; to has room for all of its characters. -1: memory is out. */
static long words_of(vocabulary *v, const char *text, bool spaces_bind, uint32_t *to)
{
    long n = 0;
    for (size_t size; (size = next_word(&text, spaces_bind)); text += size)
        if (!(to[n++] = number(v, text, size)))
            return -1;
    return n;
}

/* ---- n-grams --------------------------------------------------------------------------------------- */
static int by_words(const void *a, const void *b)
{
    const gram *x = a, *y = b;
    for (int i = 0; i < ORDERS; i++)
        if (x->word[i] != y->word[i])
            return x->word[i] < y->word[i] ? -1 : 1;
    return x->order - y->order;
}

/* Sorted, with equal ones made one: how many are left. */
static long fold(gram *g, long n)
{
    long kept = 0;
    qsort(g, (size_t)n, sizeof *g, by_words);
    for (long i = 0; i < n; i++)
        if (kept && !by_words(&g[kept - 1], &g[i]))
            g[kept - 1].count += g[i].count;
        else
            g[kept++] = g[i];
    return kept;
}

static bool count_grams(vocabulary *v, const char *text, grams *to)
{
    size_t room = strlen(text) + 1;
    uint32_t *ids = mem_new(room * sizeof *ids);
    long n = ids ? words_of(v, text, false, ids) : -1;
    *to = (grams){ .words = n };
    to->g = n < 0 ? NULL : mem_new((size_t)(n * ORDERS + 1) * sizeof *to->g);
    for (long i = 0; to->g && i < n; i++) {
        gram g = { .count = 1 };
        for (int k = 0; k < ORDERS && i + k < n; k++) {
            g.word[k] = ids[i + k];
            g.order = k + 1;
            to->g[to->n++] = g;
            to->most[k]++;
        }
    }
    mem_free(ids);
    if (to->g)
        to->n = fold(to->g, to->n);
    return to->g != NULL;
}

static const gram *look_up(const gram *g, long n, const gram *what)
{
    return bsearch(what, g, (size_t)n, sizeof *g, by_words);
}

/* ---- a picture: its caption and references, counted ------------------------------------------------ */
typedef struct counted { grams result, *references; int count; } counted;

static void free_counted(counted *c, long n)
{
    for (long i = 0; c && i < n; i++) {
        for (int k = 0; c[i].references && k < c[i].count; k++)
            mem_free(c[i].references[k].g);
        mem_free(c[i].references);
        mem_free(c[i].result.g);
    }
    mem_free(c);
}

static counted *count_all(vocabulary *v, long n, const score_item *items)
{
    counted *c = mem_new((size_t)n * sizeof *c);
    bool ok = c != NULL;
    for (long i = 0; ok && i < n; i++) {
        c[i].references = mem_new((size_t)items[i].count * sizeof *c[i].references);
        c[i].count = items[i].count;
        ok = c[i].references && count_grams(v, items[i].result, &c[i].result);
        for (int k = 0; ok && k < items[i].count; k++)
            ok = count_grams(v, items[i].references[k], &c[i].references[k]);
    }
    if (!ok) {
        free_counted(c, n);
        c = NULL;
    }
    return c;
}

/* ---- BLEU ------------------------------------------------------------------------------------------ */
void score_bleu_value(const score_bleu *b, double to[ORDERS])
{
    const double tiny = 1e-15, small = 1e-9;               /* the reference's guards against 0/0 */
    double product = 1, ratio = ((double)b->test + tiny) / ((double)b->reference + small);
    for (int k = 0; k < ORDERS; k++) {
        product *= ((double)b->correct[k] + tiny) / ((double)b->guess[k] + small);
        to[k] = pow(product, 1.0 / (k + 1)) * (ratio < 1 ? exp(1 - 1 / ratio) : 1);
    }
}

static score_bleu bleu_counts(const counted *c)
{
    score_bleu b = { .test = c->result.words, .reference = c->references[0].words };
    for (int k = 1; k < c->count; k++) {
        long length = c->references[k].words, far = labs(length - b.test), best = labs(b.reference - b.test);
        if (far < best || (far == best && length < b.reference))
            b.reference = length;
    }
    for (int k = 0; k < ORDERS; k++)
        b.guess[k] = c->result.most[k];
    for (long i = 0; i < c->result.n; i++) {
        const gram *g = &c->result.g[i];
        long most = 0;
        for (int k = 0; k < c->count; k++) {
            const gram *r = look_up(c->references[k].g, c->references[k].n, g);
            if (r && r->count > most)
                most = r->count;
        }
        b.correct[g->order - 1] += g->count < most ? g->count : most;
    }
    return b;
}

static void all_bleu(long n, const counted *c, score_captions *to)
{
    score_bleu all = { 0 };
    for (long i = 0; i < n; i++) {
        double value[ORDERS];
        to->counts[i] = bleu_counts(&c[i]);
        score_bleu_add(&all, &to->counts[i]);
        score_bleu_value(&to->counts[i], value);
        for (int k = 0; k < ORDERS; k++)
            to->per_bleu[k][i] = value[k];
    }
    score_bleu_value(&all, to->bleu);
}

/* ---- ROUGE-L --------------------------------------------------------------------------------------- */
/* x (m), y (n), row (n + 1) is scratch. */
static long common_subsequence(const uint32_t *x, long m, const uint32_t *y, long n, long *row)
{
    memset(row, 0, (size_t)(n + 1) * sizeof *row);
    for (long i = 0; i < m; i++)
        for (long j = 0, corner = 0; j < n; j++) {
            long above = row[j + 1];
            row[j + 1] = x[i] == y[j] ? corner + 1 : above > row[j] ? above : row[j];
            corner = above;
        }
    return row[n];
}

/* An empty text is one empty word, as splitting at one space makes it. */
static long line_of(vocabulary *v, const char *text, uint32_t *to)
{
    if (*text)
        return words_of(v, text, true, to);
    return (to[0] = number(v, "", 0)) ? 1 : -1;
}

static double rouge_of(vocabulary *v, const score_item *item)                  /* -1: memory is out */
{
    const double beta2 = 1.2 * 1.2;
    double precision = 0, recall = 0;
    size_t room = strlen(item->result) + 1;
    for (int k = 0; k < item->count; k++)
        room = room > strlen(item->references[k]) ? room : strlen(item->references[k]) + 1;
    uint32_t *x = mem_new(room * sizeof *x), *y = mem_new(room * sizeof *y);
    long *row = mem_new((room + 1) * sizeof *row), m = x ? line_of(v, item->result, x) : -1;
    bool ok = m >= 0 && y && row;
    for (int k = 0; ok && k < item->count; k++) {
        long n = line_of(v, item->references[k], y);
        if (!(ok = n >= 0))
            break;
        double common = (double)common_subsequence(x, m, y, n, row);
        precision = fmax(precision, common / (double)m);
        recall = fmax(recall, common / (double)n);
    }
    mem_free(x);
    mem_free(y);
    mem_free(row);
    if (!ok)
        return -1;
    return precision && recall ? (1 + beta2) * precision * recall / (recall + beta2 * precision) : 0;
}

/* ---- CIDEr-D --------------------------------------------------------------------------------------- */
/* For each n-gram in how many pictures' references it stands. NULL: memory is out. */
static gram *document_counts(long n, const counted *c, long *count)
{
    long room = 0, used = 0, mine;
    for (long i = 0; i < n; i++)
        for (int k = 0; k < c[i].count; k++)
            room += c[i].references[k].n;
    gram *all = mem_new((size_t)(room + 1) * sizeof *all);
    for (long i = 0; all && i < n; i++, used += mine) {
        mine = 0;
        for (int k = 0; k < c[i].count; k++) {
            memcpy(all + used + mine, c[i].references[k].g, (size_t)c[i].references[k].n * sizeof *all);
            mine += c[i].references[k].n;
        }
        mine = fold(all + used, mine);
        for (long j = 0; j < mine; j++)
            all[used + j].count = 1;
    }
    *count = all ? fold(all, used) : 0;
    return all;
}

typedef struct weights { double *w, norm2[ORDERS]; } weights;                  /* w beside the grams */

static bool weigh(const grams *g, const gram *documents, long count, double log_n, weights *to)
{
    *to = (weights){ .w = mem_new((size_t)(g->n + 1) * sizeof *to->w) };
    for (long i = 0; to->w && i < g->n; i++) {
        const gram *d = look_up(documents, count, &g->g[i]);
        double w = (double)g->g[i].count * (log_n - (d ? log((double)d->count) : 0));
        to->w[i] = w;
        to->norm2[g->g[i].order - 1] += w * w;
    }
    return to->w != NULL;
}

static double cider_pair(const grams *h, const weights *wh, const grams *r, const weights *wr)
{
    double sum[ORDERS] = { 0 }, mean = 0, d = (double)(h->most[1] - r->most[1]);
    for (long i = 0; i < h->n; i++) {
        const gram *same = look_up(r->g, r->n, &h->g[i]);
        double b = same ? wr->w[same - r->g] : 0;
        sum[h->g[i].order - 1] += fmin(wh->w[i], b) * b;
    }
    for (int k = 0; k < ORDERS; k++) {
        double norms = sqrt(wh->norm2[k]) * sqrt(wr->norm2[k]);
        mean += (norms != 0 ? sum[k] / norms : sum[k]) * exp(-d * d / (2 * 6.0 * 6.0));
    }
    return mean / ORDERS;
}

static double cider_of(const counted *c, const gram *documents, long count,
                       double log_n) /* -1: memory is out */
{
    weights result;
    double sum = 0;
    bool ok = weigh(&c->result, documents, count, log_n, &result);
    for (int k = 0; ok && k < c->count; k++) {
        weights reference;
        ok = weigh(&c->references[k], documents, count, log_n, &reference);
        if (ok)
            sum += cider_pair(&c->result, &result, &c->references[k], &reference);
        mem_free(reference.w);
    }
    mem_free(result.w);
    return ok ? 10 * sum / c->count : -1;
}

/* ---- all ------------------------------------------------------------------------------------------- */
void score_captions_free(score_captions *s)
{
    for (int k = 0; k < ORDERS; k++)
        mem_free(s->per_bleu[k]);
    mem_free(s->counts);
    mem_free(s->per_rouge);
    mem_free(s->per_cider);
    *s = (score_captions){ 0 };
}

static bool room_for(long n, score_captions *to)
{
    size_t bytes = (size_t)n * sizeof(double);
    *to = (score_captions){ .n = n, .per_rouge = mem_new(bytes), .per_cider = mem_new(bytes) };
    to->counts = mem_new((size_t)n * sizeof *to->counts);
    bool ok = to->per_rouge && to->per_cider && to->counts;
    for (int k = 0; k < ORDERS; k++)
        ok &= (to->per_bleu[k] = mem_new(bytes)) != NULL;
    return ok;
}

static double mean_of(long n, const double *x)
{
    double sum = 0;
    for (long i = 0; i < n; i++)
        sum += x[i];
    return n ? sum / (double)n : 0;
}

bool score_captions_run(long n, const score_item *items, score_captions *to, error *e)
{
    vocabulary v = { 0 };
    long count = 0;
    bool ok = room_for(n, to);
    counted *c = ok ? count_all(&v, n, items) : NULL;
    gram *documents = c ? document_counts(n, c, &count) : NULL;
    ok = documents != NULL;
    if (ok)
        all_bleu(n, c, to);
    for (long i = 0; ok && i < n; i++) {
        to->per_rouge[i] = rouge_of(&v, &items[i]);
        to->per_cider[i] = cider_of(&c[i], documents, count, log((double)n));
        ok = to->per_rouge[i] >= 0 && to->per_cider[i] >= 0;
    }
    to->rouge = ok ? mean_of(n, to->per_rouge) : 0;
    to->cider = ok ? mean_of(n, to->per_cider) : 0;
    mem_free(documents);
    free_counted(c, n);
    mem_free(v.slot);
    if (!ok) {
        score_captions_free(to);
        error_set(e, "scores of %ld captions: out of memory", n);
    }
    return ok;
}
