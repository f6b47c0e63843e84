/* weigh.c - how much ITM's word should count beside ITC's: the two weights under which the right one of the
 * candidates that were read is most likely, by the conditional logit (McFadden 1974):
 *
 *     P(j | row) = exp(s_j) / sum of exp(s) over the candidates,   s = a cosine / temperature + b log odds
 *
 * A row is a picture with the texts it reads, or a text with its pictures. Training's own rule is a = b = 1
 * (retrieve.c, EVAL_PRODUCT), which is where a normal prior of variance 1 pulls: it counts as much as a row
 * or two. Newton's method; the likelihood is concave. The interval of b allows for the rows of one picture
 * going together (Huber 1967, sums of the score by picture). */
#include "eval/internal.h"
#include <math.h>

typedef struct choice { double x[2]; bool right; } choice;         /* cosine / temperature, log odds */
typedef struct choices {
    long rows, *end, *picture;         /* (rows) where the row's candidates end; the picture it is about */
    choice *all;
} choices;
typedef struct slope { double value, g[2], h[3], spread[3]; } slope;   /* h: -(aa, ab, bb) of the Hessian */

static bool listed(const long *list, long j)
{
    while (*list >= 0 && *list != j)
        list++;
    return *list >= 0;
}

/* Row w of one way: what it read, if a right candidate and a wrong one are among it. */
static void gather(choices *to, const eval_retrieval *r, const eval_pairing *p, bool by_text, long w,
                   double temperature)
{
    long at = to->rows ? to->end[to->rows - 1] : 0, start = at, right = 0;
    for (long j = 0; j < (by_text ? p->n : p->m); j++) {
        long pair = by_text ? j * p->m + w : w * p->m + j;
        if ((by_text ? r->t2i[w * p->n + j] : r->i2t[pair]) < (real)-99)
            continue;
        bool own = listed(by_text ? p->of_text[w] : p->of_picture[w], j);
        to->all[at++] = (choice){ { (double)r->itc[pair] / temperature, (double)r->odds[pair] }, own };
        right += own;
    }
    if (!right || right == at - start)
        return;
    to->end[to->rows] = at;
    to->picture[to->rows++] = by_text ? p->text[w].picture : w;
}

/* Adds a row's log likelihood and its derivatives; the right ones among its candidates share the say. */
static void add_row(const choice *c, long n, const double theta[2], slope *to, double g[2])
{
    double most = -INFINITY, sum = 0, mean[2] = { 0 }, square[3] = { 0 }, own[2] = { 0 };
    long right = 0;
    for (long j = 0; j < n; j++)
        most = fmax(most, theta[0] * c[j].x[0] + theta[1] * c[j].x[1]);
    for (long j = 0; j < n; j++) {
        const double *x = c[j].x;
        double share = exp(theta[0] * x[0] + theta[1] * x[1] - most);
        sum += share;
        for (int d = 0; d < 2; d++) {
            mean[d] += share * x[d];
            own[d] += c[j].right ? x[d] : 0;
        }
        square[0] += share * x[0] * x[0];
        square[1] += share * x[0] * x[1];
        square[2] += share * x[1] * x[1];
        right += c[j].right;
    }
    for (int d = 0; d < 2; d++) {
        mean[d] /= sum;
        own[d] /= (double)right;
        g[d] += own[d] - mean[d];
        to->g[d] += own[d] - mean[d];
    }
    to->value += theta[0] * own[0] + theta[1] * own[1] - most - log(sum);
    for (int d = 0; d < 3; d++)
        to->h[d] += square[d] / sum - mean[d > 1] * mean[d > 0];
}

static slope slope_at(const choices *c, const double theta[2], long pictures, double *by_picture)
{
    slope s = { .h = { 1, 0, 1 } };                        /* the prior's */
    for (long i = 0; i < 2 * pictures; i++)
        by_picture[i] = 0;
    for (long r = 0; r < c->rows; r++) {
        long start = r ? c->end[r - 1] : 0;
        add_row(c->all + start, c->end[r] - start, theta, &s, by_picture + 2 * c->picture[r]);
    }
    for (int d = 0; d < 2; d++) {
        s.value -= (theta[d] - 1) * (theta[d] - 1) / 2;
        s.g[d] -= theta[d] - 1;
    }
    for (long i = 0; i < pictures; i++) {
        const double *g = by_picture + 2 * i;
        s.spread[0] += g[0] * g[0];
        s.spread[1] += g[0] * g[1];
        s.spread[2] += g[1] * g[1];
    }
    return s;
}

static void climb(const choices *c, double theta[2], long pictures, double *by_picture, slope *s)
{
    *s = slope_at(c, theta, pictures, by_picture);
    for (int step = 0; step < 100; step++) {
        double det = s->h[0] * s->h[2] - s->h[1] * s->h[1];
        double by[2] = { (s->h[2] * s->g[0] - s->h[1] * s->g[1]) / det,
                         (s->h[0] * s->g[1] - s->h[1] * s->g[0]) / det };
        if (!(by[0] * s->g[0] + by[1] * s->g[1] > 1e-12))
            return;
        slope next;
        double length = 1, to[2];
        do {
            for (int d = 0; d < 2; d++)
                to[d] = theta[d] + length * by[d];
            next = slope_at(c, to, pictures, by_picture);
            length /= 2;
        } while (!(next.value >= s->value) && length > 1e-6);
        if (!(next.value > s->value))
            return;
        theta[0] = to[0];
        theta[1] = to[1];
        *s = next;
    }
}

eval_weight eval_weigh(tape *t, const eval_retrieval *r, const eval_pairing *p, double temperature, long k)
{
    ag_mark here = ag_here(t);
    long rows = p->n + p->m;
    choices c = { 0 };
    c.end = ag_alloc(t, rows * (long)sizeof *c.end);
    c.picture = ag_alloc(t, rows * (long)sizeof *c.picture);
    c.all = ag_alloc(t, (rows + 1) * k * (long)sizeof *c.all);
    double *by_picture = ag_alloc(t, 2 * p->n * (long)sizeof *by_picture);
    for (long i = 0; i < p->n; i++)
        gather(&c, r, p, false, i, temperature);
    for (long j = 0; j < p->m; j++)
        gather(&c, r, p, true, j, temperature);
    double theta[2] = { 1, 1 };
    slope s;
    climb(&c, theta, p->n, by_picture, &s);
    /* H^-1 spread H^-1, its entry of b */
    double det = s.h[0] * s.h[2] - s.h[1] * s.h[1], v[2] = { -s.h[1] / det, s.h[0] / det };
    double half = 1.96 * sqrt(v[0] * v[0] * s.spread[0] + 2 * v[0] * v[1] * s.spread[1]
                              + v[1] * v[1] * s.spread[2]);
    ag_rewind(t, here);
    return (eval_weight){ .rows = c.rows, .cosine = theta[0], .odds = theta[1], .low = theta[1] - half,
                          .high = theta[1] + half,
                          .weight = theta[0] > 0 ? fmax(theta[1], 0) / theta[0] : NAN };
}
