/* retrieve.c - retrieval over a test split, both ways: recall by ITC alone and after re-ranking the best k by
 * ITM, beside chance, under LAVIS's names (txt: texts found for a picture, img: pictures for a text),
 * percent.
 *
 * Captions that read the same count as right for each other's pictures, and so do all those of one picture.
 * Beside it the accuracy of ITM: each picture with a caption of its own, and with another picture's. */
#include "eval/internal.h"
#include "eval/metrics.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double eval_chance(long n, const long *id, long k)
{
    double sum = 0;
    for (long i = 0; i < n; i++) {
        long m = 0;
        for (long j = 0; j < n; j++)
            m += id[j] == id[i];
        sum += eval_chance_of(n, m, k);
    }
    return sum / (double)n;
}

/* The mean over random orders of 1 / the place of the first right one, which is j + 1 if j missed. */
double eval_chance_mrr(long n, long right)
{
    double sum = 0, missed = 1;                            /* missed: none so far */
    for (long j = 0; right && j <= n - right; j++) {
        sum += missed * (double)right / (double)(n - j) / (double)(j + 1);
        missed *= (double)(n - right - j) / (double)(n - j);
    }
    return sum;
}

double eval_chance_of(long n, long right, long k)
{
    double miss = 1;
    for (long j = 0; j < k && j < n; j++)
        miss *= (double)(n - right - j > 0 ? n - right - j : 0) / (double)(n - j);
    return 1 - miss;
}

/* ---- figures ----------------------------------------------------------------------------------------- */
enum { WAYS = 2, CUTS = 3 };
static const long cuts[CUTS] = { 1, 5, 10 };
static const char *const ways[WAYS] = { "txt", "img" };

static void put_figure(json_t *to, const char *way, const char *what, json_t *value)
{
    char key[32];
    snprintf(key, sizeof key, "%s_%s", way, what);
    json_object_set_new(to, key, value);
}

static const char *cut_name(int k)
{
    static const char *const names[CUTS] = { "r1", "r5", "r10" };
    return names[k];
}

typedef struct rooms { double *row; const long *own; } rooms;  /* scratch, a row each; pictures of texts */

/* The interval of what is true of rows (room->row): of texts over pictures, each with all of its texts, which
 * are no independent draws. */
static json_t *interval_of(const eval_pairing *p, int way, const rooms *room, const eval_config *c)
{
    return way ? eval_interval_of(p->m, room->row, room->own, p->n, 100, c)
               : eval_interval(p->n, room->row, 100, c);
}

/* LAVIS's figures from the places of the best right column: rank[w] of each row. And the mean reciprocal rank
 * of both ways, which every place has a part in. */
static json_t *figures_of(const eval_pairing *p, long *const rank[WAYS], const rooms *room,
                          const eval_config *c)
{
    const long rows[WAYS] = { p->n, p->m };
    json_t *to = json_object(), *intervals = json_object();
    double all = 0, mrr = 0;
    for (int w = 0; w < WAYS; w++) {
        double sum = 0;
        for (int k = 0; k < CUTS; k++) {
            for (long r = 0; r < rows[w]; r++)
                room->row[r] = rank[w][r] < cuts[k];
            double recall = score_recall(rows[w], rank[w], cuts[k]);
            put_figure(to, ways[w], cut_name(k), json_real(recall));
            put_figure(intervals, ways[w], cut_name(k), interval_of(p, w, room, c));
            sum += recall;
        }
        put_figure(to, ways[w], "r_mean", json_real(sum / CUTS));
        all += sum / CUTS / WAYS;
        mrr += score_mrr(rows[w], rank[w]) / WAYS;
    }
    json_object_set_new(to, "r_mean", json_real(all));
    json_object_set_new(to, "mrr", json_real(mrr));
    json_object_set_new(to, "interval_95", intervals);
    return to;
}

/* How much more is found than by ITC alone, from each of n rows: [difference, low, high]. An interval
 * without 0 tells the two apart. Takes the interval. */
static json_t *gain_of(long n, const double *more, json_t *gain)
{
    double sum = 0;
    for (long r = 0; r < n; r++)
        sum += more[r];
    if (json_is_array(gain))
        json_array_insert_new(gain, 0, json_real(100 * sum / (double)n));
    return gain;
}

/* What a row's place is worth: the share of the cuts that it is above, or its reciprocal rank. */
static double worth_of(long place, bool mrr)
{
    double above = 0;
    for (int k = 0; k < CUTS; k++)
        above += place < cuts[k];
    return mrr ? 1 / (double)(place + 1) : above / CUTS;
}

/* How much more each picture's rows are worth than by ITC alone, both ways; all have equally many texts. */
static void more_of(const eval_pairing *p, long *const rank[WAYS], long *const itc[WAYS], bool mrr,
                    double *both)
{
    const long rows[WAYS] = { p->n, p->m };
    for (long i = 0; i < p->n; i++)
        both[i] = 0;
    for (int w = 0; w < WAYS; w++)
        for (long r = 0; r < rows[w]; r++) {
            double more = worth_of(rank[w][r], mrr) - worth_of(itc[w][r], mrr);
            both[w ? p->text[r].picture : r] += more * (double)p->n / (double)rows[w] / WAYS;
        }
}

/* both: room for a picture each. Where all pictures have equally many texts r_mean and mrr have their
 * intervals, too: over pictures, each with its texts. */
static json_t *gains_of(const eval_pairing *p, long *const rank[WAYS], long *const itc[WAYS],
                        const rooms *room, double *both, const eval_config *c)
{
    json_t *to = json_object();
    long rows[WAYS] = { p->n, p->m }, texts = p->m / p->n;
    bool even = p->m == texts * p->n;
    for (long j = 0; even && j < p->m; j++)
        even = p->text[j].picture == j / texts;
    for (int w = 0; w < WAYS; w++)
        for (int k = 0; k < CUTS; k++) {
            for (long r = 0; r < rows[w]; r++)
                room->row[r] = (rank[w][r] < cuts[k]) - (itc[w][r] < cuts[k]);
            put_figure(to, ways[w], cut_name(k), gain_of(rows[w], room->row, interval_of(p, w, room, c)));
        }
    for (int mrr = 0; even && mrr < 2; mrr++) {
        more_of(p, rank, itc, mrr, both);
        json_object_set_new(to, mrr ? "mrr" : "r_mean",
                            gain_of(p->n, both, eval_interval(p->n, both, 100, c)));
    }
    return to;
}

static long length_of(const long *list)
{
    long n = 0;
    while (list[n] >= 0)
        n++;
    return n;
}

static json_t *chance_of(const eval_pairing *p)
{
    json_t *to = json_object();
    double all = 0, mrr = 0;
    for (int w = 0; w < WAYS; w++) {
        long rows = w ? p->m : p->n, columns = w ? p->n : p->m;
        double mean = 0;
        for (long r = 0; r < rows; r++)
            mrr += 100 / (double)(rows * WAYS)
                 * eval_chance_mrr(columns, length_of(w ? p->of_text[r] : p->of_picture[r]));
        for (int k = 0; k < CUTS; k++) {
            double sum = 0;
            for (long r = 0; r < rows; r++)
                sum += eval_chance_of(columns, length_of(w ? p->of_text[r] : p->of_picture[r]), cuts[k]);
            put_figure(to, ways[w], cut_name(k), json_real(100 * sum / (double)rows));
            mean += 100 * sum / (double)rows / CUTS;
        }
        put_figure(to, ways[w], "r_mean", json_real(mean));
        all += mean / WAYS;
    }
    json_object_set_new(to, "r_mean", json_real(all));
    json_object_set_new(to, "mrr", json_real(mrr));
    return to;
}

/* ---- the protocol ------------------------------------------------------------------------------------ */
typedef struct ranking {
    eval_session *s;
    const eval_config *c;
    const eval_data *d;
    const real *features;              /* (n,N,E) of the pictures */
    const eval_pairing *p;
    blip2_text text;
    long k;
    json_t *m, *file;                  /* figures; scores in `score retrieval`'s form */
    double *right;                     /* (n) ITM's two decisions about each picture: 0, 1/2 or 1 */
    long *itc[WAYS];                   /* (n), (m) places by ITC alone */
} ranking;

/* The score of a pair by one of the rules, from its cosine, cosine + logit and log odds; what ITM did not
 * read stays behind all that it read: by index, as in LAVIS, or in ITC's order (EVAL_PRODUCT).
 *
 * EVAL_PRODUCT orders by q(j|i) odds(i,j), where q(j|i) = softmax_j(cosine / temperature). ITM's negatives
 * are drawn from q (paper, section 3.1), so the odds that it can learn at best are p(j|i)/q(j|i) times a
 * constant, as in noise-contrastive estimation with q for noise (Gutmann and Hyvarinen 2010): what ITC knows
 * already is not in them, and p(j|i) is the product. What ITM has not learned well is too sure of itself, and
 * counts for less: odds to the power run.itm_weight, which eval_weigh finds on other pictures. power:
 * temperature times that weight. */
static double score_by(eval_rerank by, double itc, double best, double odds, double power)
{
    bool read = best > -99;
    if (by == EVAL_PRODUCT)
        return read ? itc + power * odds : itc - 1e6;
    if (by == EVAL_ITC)
        return itc;
    return by == EVAL_ITM && read ? best - itc : best;
}

static json_t *matrix(const double *x, long rows, long columns)
{
    json_t *to = json_array();
    for (long r = 0; r < rows; r++) {
        json_t *row = json_array();
        for (long c = 0; c < columns; c++)
            json_array_append_new(row, json_real(x[r * columns + c]));
        json_array_append_new(to, row);
    }
    return to;
}

static json_t *lists(long **of, long rows)
{
    json_t *to = json_array();
    for (long r = 0; r < rows; r++) {
        json_t *row = json_array();
        for (const long *j = of[r]; *j >= 0; j++)
            json_array_append_new(row, json_integer(*j));
        json_array_append_new(to, row);
    }
    return to;
}

enum { FILE_SCORES = 1000000 };                            /* more are not written: metrics.json says so */

static void keep_scores(ranking *x, double *const scores[WAYS])
{
    const eval_pairing *p = x->p;
    if (p->n > FILE_SCORES / p->m)
        return;
    json_t *images = json_array(), *texts = json_array(), *own = json_array();
    for (long i = 0; i < p->n; i++)
        json_array_append_new(images, json_string(eval_first(x->d, p->rows[i])->image));
    for (long j = 0; j < p->m; j++) {
        json_array_append_new(texts, json_string(p->words[j]));
        json_array_append_new(own, json_integer(p->text[j].picture));
    }
    x->file = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "scores_i2t", matrix(scores[0], p->n, p->m),
                        "scores_t2i", matrix(scores[1], p->m, p->n), "img2txt", lists(p->of_picture, p->n),
                        "txt2img", lists(p->of_text, p->m), "own_image", own, "images", images, "texts",
                        texts);
}

/* One row of figures; the rule that was asked for also leaves its scores. */
static void rank_by(ranking *x, eval_rerank by, const eval_retrieval *r)
{
    const eval_pairing *p = x->p;
    tape *t = x->s->t;
    ag_mark here = ag_here(t);
    long size = p->n * p->m, rows[WAYS] = { p->n, p->m };
    double *scores[WAYS];
    long *rank[WAYS];
    for (int w = 0; w < WAYS; w++) {
        rank[w] = ag_alloc(t, rows[w] * (long)sizeof **rank);
        if (by == EVAL_ITC)
            x->itc[w] = rank[w];
    }
    if (by == EVAL_ITC) /* its places stay on the tape for the other rules */
        here = ag_here(t);
    for (int w = 0; w < WAYS; w++)
        scores[w] = ag_alloc(t, size * (long)sizeof **scores);
    double power = x->c->itm_weight * (double)*x->s->model.temp->data;
    long *own = ag_alloc(t, p->m * (long)sizeof *own);
    rooms room = { ag_alloc(t, (p->n > p->m ? p->n : p->m) * (long)sizeof(double)), own };
    for (long j = 0; j < p->m; j++)
        own[j] = p->text[j].picture;
    double *both = ag_alloc(t, p->n * (long)sizeof *both);
    for (long i = 0; i < p->n; i++)
        for (long j = 0; j < p->m; j++) {
            long at = i * p->m + j, turned = j * p->n + i;
            double itc = (double)r->itc[at], odds = (double)r->odds[at];
            scores[0][at] = score_by(by, itc, (double)r->i2t[at], odds, power);
            scores[1][turned] = score_by(by, itc, (double)r->t2i[turned], odds, power);
        }
    score_ranks(p->n, p->m, scores[0], (const long *const *)p->of_picture, rank[0]);
    score_ranks(p->m, p->n, scores[1], (const long *const *)p->of_text, rank[1]);
    json_t *figures = figures_of(p, rank, &room, x->c);
    if (by != EVAL_ITC)
        json_object_set_new(figures, "over_itc", gains_of(p, rank, x->itc, &room, both, x->c));
    json_object_set_new(x->m, eval_rerank_names[by], figures);
    if (by == (x->k ? (eval_rerank)x->c->rerank : EVAL_ITC))
        keep_scores(x, scores);
    ag_rewind(t, here);
}

static void put_weight(ranking *x, eval_weight w)
{
    if (w.rows)
        json_object_set_new(x->m, "itm_weight", json_pack("{s:o, s:f, s:f, s:I, s:{s:[f,f]}}", "weight",
            isfinite(w.weight) ? json_real(w.weight) : json_null(), "cosine", w.cosine, "odds", w.odds,
            "rows", (json_int_t)w.rows, "interval_95", "odds", w.low, w.high));
}

/* A text that is not right for picture i, -1: all are; the search starts half the list away. */
static long stranger(const eval_pairing *p, long i)
{
    for (long step = 0; step < p->m; step++) {
        long j = (p->of_picture[i][0] + p->m / 2 + step) % p->m;
        bool right = false;
        for (const long *own = p->of_picture[i]; *own >= 0; own++)
            right |= *own == j;
        if (!right)
            return j;
    }
    return -1;
}

/* Each picture with its own first caption and with a stranger: two decisions. */
static void match(ranking *x)
{
    const eval_pairing *p = x->p;
    const blip2_model *m = &x->s->model;
    double of[2] = { 0 };
    long pictures = 0;
    eval_progress(&x->c->watch, "matching", 0, p->n);
    for (long i = 0; i < p->n; i++) {
        long other = stranger(p, i);
        int rows[2] = { (int)p->of_picture[i][0], (int)other };
        real logits[4];
        if (other < 0) {
            eval_progress(&x->c->watch, "matching", i + 1, p->n);
            continue;
        }
        eval_itm(m, x->s->t, x->features + i * x->d->N * x->d->E, x->d->N, x->text, rows, 2, logits);
        bool own = logits[1] > logits[0], no = logits[2] >= logits[3];
        of[0] += own;
        of[1] += no;
        x->right[pictures++] = (own + no) / 2.0;
        eval_progress(&x->c->watch, "matching", i + 1, p->n);
    }
    if (!pictures)
        return;
    double n = (double)pictures;
    json_object_set_new(x->m, "itm_accuracy", json_pack("{s:f, s:f, s:f, s:I, s:{s:o}}", "accuracy",
        100 * (of[0] + of[1]) / n / 2, "matched", 100 * of[0] / n, "shuffled", 100 * of[1] / n, "pairs",
        (json_int_t)(2 * pictures), "interval_95", "accuracy", eval_interval(pictures, x->right, 100, x->c)));
}

static void rank(void *context)
{
    ranking *x = context;
    tape *t = x->s->t;
    bool recording = ag_record_on(t, false), training = ag_training(t, false);
    eval_retrieval r = eval_retrieve_told(&x->s->model, t, x->features, x->p->n, x->d->N, x->text, x->k,
                                          &x->c->watch);
    rank_by(x, EVAL_ITC, &r);
    if (x->k) {
        rank_by(x, EVAL_ITM, &r);
        rank_by(x, EVAL_SUM, &r);
        rank_by(x, EVAL_PRODUCT, &r);
        put_weight(x, eval_weigh(t, &r, x->p, (double)*x->s->model.temp->data, x->k));
    }
    match(x);
    ag_record_on(t, recording);
    ag_training(t, training);
}

static json_t *settings_of(const eval_session *s, const eval_config *c, const ranking *x)
{
    json_t *o = eval_settings(s, c, s->model.config.max_text);
    static const char *const of_writing[] = { "num_beams", "min_len", "length_penalty", "repetition_penalty",
                                              "llm" };
    for (size_t i = 0; i < sizeof of_writing / sizeof *of_writing; i++)
        json_object_del(o, of_writing[i]);
    json_object_set_new(o, "k_test", json_integer(x->k));
    json_object_set_new(o, "rerank", json_string(eval_rerank_names[x->k ? c->rerank : EVAL_ITC]));
    json_object_set_new(o, "itm_weight", json_real(c->itm_weight));
    json_object_set_new(o, "captions_per_picture", json_integer(c->retrieval_captions));
    json_object_set_new(o, "scores", x->file ? json_string("retrieval.json") : json_null());
    return o;
}

static bool run(eval_session *s, const eval_config *c, const eval_data *d, const eval_pairing *p,
                json_t *metrics, error *e)
{
    long most = p->n < p->m ? p->n : p->m;
    ranking x = { .s = s, .c = c, .d = d, .p = p,
                  .k = c->rerank == EVAL_ITC ? 0 : c->k_test < most ? c->k_test : most };
    bool beside = d->features && p->rows[p->n - 1] == p->n - 1;    /* they lie side by side already */
    real *some = beside ? NULL : d->features ? eval_rows(s, c, d, p->rows, p->n, e)
                                             : eval_look(s, c, d, p->rows, p->n, e);
    x.features = beside ? d->features : some;
    x.right = mem_new((size_t)p->n * sizeof *x.right);
    x.m = json_pack("{s:I, s:I, s:I}", "pictures", (json_int_t)p->n, "texts", (json_int_t)p->m, "k_test",
                    (json_int_t)x.k);
    bool ok = x.features && (x.right || error_set(e, "out of memory for %ld pictures", p->n));
    ok = ok && eval_captions_read(s, p->words, p->m, &x.text, e);
    ag_mark mark = ag_here(s->t);
    ok = ok && ag_try(s->t, rank, &x, e);
    ag_rewind(s->t, mark);
    json_object_set_new(x.m, "chance", chance_of(p));
    json_object_set_new(x.m, "settings", settings_of(s, c, &x));
    json_object_set(metrics, "retrieval", x.m);
    ok = ok && (!x.file || eval_save(c, "retrieval.json", x.file, e));
    json_decref(x.m);
    json_decref(x.file);
    mem_free(x.right);
    mem_free(some);
    return ok;
}

bool eval_retrieval_run(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e)
{
    eval_pairing p;
    bool ok = eval_pair(c, d, &p) || error_set(e, "out of memory for %ld captions", p.m);
    if (ok && d->without_caption)
        eval_warn(c, d, "retrieval: %ld of %ld pictures of %s have no caption and are left out",
                  d->without_caption, d->pictures, QUOTE(c->list));
    ok = ok && run(s, c, d, &p, metrics, e);
    eval_pairing_free(&p);
    return ok;
}
