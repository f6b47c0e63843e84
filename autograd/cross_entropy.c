/* cross_entropy.c - the loss of logits z (R,V) against one target distribution q a row:
 *   l_r = lse_r sum_v q_v - sum_v q_v z_v,   lse_r = log sum_v exp z_v,   loss = sum_r share_r l_r,
 * q given (soft), or (1-s) [v = id] + s/V from ids with smoothing s (Szegedy et al. 2016, section 7).
 * share_r is the row's weight w_r over the sum of weights for the mean, w_r alone per row, 0 for an ignored
 * row: nothing of such a row is looked at. Weights that sum to 0 (all ignored) give the loss 0.
 *   dz_v = dloss share_r (exp(z_v - lse_r) sum_v q_v - q_v).
 * Backward computes the exponentials again from the logits and lse (R): no second (R,V) is kept.        */
#include "autograd/internal.h"
#include <math.h>

enum { BLOCK = 1024 };                                     /* exponentials in one go */

struct saved { ag_ce_rows rows; bool per_row; };

/* What the logits of a row are summed with: exp(z - largest), 1, and the soft target. */
struct sums { double exps, logits, mass, dot; };

static real largest(long V, const real *z)
{
    enum { LANES = 32 };                                   /* maxima that go side by side */
    real m[LANES];
    long v = 0;
    for (int i = 0; i < LANES; i++)
        m[i] = z[0];
    for (; v + LANES <= V; v += LANES)
        for (int i = 0; i < LANES; i++)
            m[i] = z[v + i] > m[i] ? z[v + i] : m[i];
    for (; v < V; v++)
        m[0] = z[v] > m[0] ? z[v] : m[0];
    for (int i = 1; i < LANES; i++)
        m[0] = m[i] > m[0] ? m[i] : m[0];
    return m[0];
}

static double sum_of(long n, const real *x)
{
    double sum = 0;
    #pragma omp simd reduction(+:sum)
    for (long i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static struct sums row_sums(long V, const real *z, real m, const real *soft, bool smooth)
{
    struct sums s = { 0 };
    real e[BLOCK];
    for (long first = 0; first < V; first += BLOCK) {
        long n = V - first < BLOCK ? V - first : BLOCK;
        for (long i = 0; i < n; i++)
            e[i] = z[first + i] - m;
        ag_vexp(n, e, e);
        s.exps += sum_of(n, e);
        if (smooth)
            s.logits += sum_of(n, z + first);
        for (long i = 0; soft && i < n; i++) {             /* a target of 0 may meet a logit of -inf */
            double q = soft[first + i];
            s.mass += q;
            s.dot += q != 0 ? q * z[first + i] : 0;
        }
    }
    return s;
}

void ce_forward_cpu(const ag_ce_rows *c, const real *z, double *loss)
{
    long R = c->R, V = c->V;
    double smooth = c->smoothing;
    #pragma omp parallel for if (R * V > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++) {
        loss[r] = 0;
        if (c->share[r] == 0)
            continue;
        const real *zr = z + r*V, m = largest(V, zr);
        struct sums s = row_sums(V, zr, m, c->soft ? c->soft + r*V : NULL, smooth != 0);
        double lse = c->lse[r] = m + log(s.exps);
        if (c->soft)
            loss[r] = c->share[r] * (lse * s.mass - s.dot);
        else if (smooth == 0)
            loss[r] = c->share[r] * (lse - zr[c->ids[r]]);
        else
            loss[r] = c->share[r] * (lse - (1 - smooth) * zr[c->ids[r]] - smooth / (double)V * s.logits);
    }
}

/* dz = beta dz + g (mass exp(z - lse) - q) for q = soft or the constant `even`. dz may be z. */
static void row_gradient(long V, const real *z, double lse, double g, double mass, const real *soft,
                         double even, real beta, real *dz)
{
    real e[BLOCK], ge = (real)(g * mass), gq = (real)(g * even);
    real high = (real)lse, low = (real)(lse - high);       /* z - lse, exact enough without going to double */
    for (long first = 0; first < V; first += BLOCK) {
        long n = V - first < BLOCK ? V - first : BLOCK;
        real *d = dz + first;
        for (long i = 0; i < n; i++)
            e[i] = z[first + i] - high - low;
        ag_vexp(n, e, e);
        if (soft)
            for (long i = 0; i < n; i++)
                e[i] = ge * e[i] - (real)g * soft[first + i];
        else
            for (long i = 0; i < n; i++)
                e[i] = ge * e[i] - gq;
        if (beta == 0)
            for (long i = 0; i < n; i++)
                d[i] = e[i];
        else
            for (long i = 0; i < n; i++)
                d[i] += e[i];
    }
}

void ce_backward_cpu(const ag_ce_rows *c, const real *z, const double *g, real beta, real *dz)
{
    long R = c->R, V = c->V;
    #pragma omp parallel for if (R * V > AG_PARALLEL_MIN)
    for (long r = 0; r < R; r++) {
        const real *soft = c->soft ? c->soft + r*V : NULL;
        real *d = dz + r*V;
        if (c->share[r] == 0) {
            for (long v = 0; beta == 0 && v < V; v++)
                d[v] = 0;
            continue;
        }
        double mass = soft ? sum_of(V, soft) : 1, even = c->smoothing / (double)V;
        row_gradient(V, z + r*V, c->lse[r], g[r], mass, soft, even, beta, d);
        if (!soft)
            d[c->ids[r]] -= (real)(g[r] * (1 - c->smoothing));
    }
}

static bool ignored(const ag_ce *o, long r)
{
    return o->ids && o->ignore != 0 && o->ids[r] == o->ignore;
}

void ag_ce_check(const char *op, const tensor *x, long R, long V, const ag_ce *o)
{
    if (!o->ids == !o->soft)
        ag_fail(op, "either ids or soft targets for x %s, got %s", SHAPE(x), o->ids ? "both" : "neither");
    if (!(o->smoothing >= 0 && o->smoothing <= 1) || (o->soft && o->smoothing != 0))
        ag_fail(op, "smoothing is from 0 to 1, and 0 with soft targets; got %g", o->smoothing);
    for (long r = 0; r < R; r++) {
        double weight = o->weight ? o->weight[r] : 1;
        if (!(weight >= 0) || isinf(weight))
            ag_fail(op, "the weight of row %ld is %g; expected a number from 0 up", r, weight);
        if (o->ids && !ignored(o, r) && (o->ids[r] < 0 || o->ids[r] >= V))
            ag_fail(op, "id %d of row %ld is outside the %ld classes of x %s", o->ids[r], r, V, SHAPE(x));
    }
}

double *ag_ce_shares(tape *t, long R, const ag_ce *o)
{
    double sum = 0, *share = ag_alloc(t, R * (long)sizeof *share);
    for (long r = 0; r < R; r++)
        sum += share[r] = ignored(o, r) ? 0 : o->weight ? o->weight[r] : 1;
    for (long r = 0; !o->per_row && sum > 0 && r < R; r++)
        share[r] /= sum;
    return share;
}

static void backward(const ag_node *n)
{
    tensor *z = n->in[0];
    const struct saved *s = n->saved;
    const real *dy = n->out->grad;
    real beta, *dz = ag_grad_beta(z, &beta);
    ag_mark mark = ag_here(n->tape);
    double *g = ag_alloc(n->tape, s->rows.R * (long)sizeof *g);
    for (long r = 0; r < s->rows.R; r++)
        g[r] = s->rows.share[r] * dy[s->per_row ? r : 0];
    AG_CALL(n->tape, ce_backward)(&s->rows, z->data, g, beta, dz);
    ag_rewind(n->tape, mark);
}

/* Random soft targets, each row with a sum of its own, a quarter of them 0. */
static const real *pick_soft(ag_probe *p, long R, long V)
{
    real *soft = ag_alloc_real(ag_probe_tape(p), R * V);
    for (long i = 0; i < R * V; i++)
        soft[i] = ag_pick(p, 4) ? (real)(1 + ag_pick(p, 50)) / 128 : 0;
    return soft;
}

/* Random classes; every third row may be ignored. */
static const int *pick_targets(ag_probe *p, long R, long V, bool ignore)
{
    int *ids = ag_alloc(ag_probe_tape(p), R * (long)sizeof *ids);
    for (long r = 0; r < R; r++)
        ids[r] = ignore && r % 3 == 1 ? -100 : (int)ag_pick(p, V);
    return ids;
}

static const real *pick_weights(ag_probe *p, long R)
{
    real *weight = ag_alloc_real(ag_probe_tape(p), R);
    for (long r = 0; r < R; r++)
        weight[r] = (real)(1 + ag_pick(p, 9)) / 4;
    return weight;
}

static tensor *example(ag_probe *p, int variant)
{
    enum { SOFT = 1, IGNORE = 2, WEIGHT = 4, PER_ROW = 8 };
    static const struct { int ndim; long dim[3]; double smoothing; int with; } cases[] = {
        { 2, { 3, 5 }, 0, 0 },             { 2, { 4, 7 }, 0.1, 0 },
        { 2, { 6, 4 }, 0.1, IGNORE },      { 2, { 6, 4 }, 0, IGNORE | WEIGHT | PER_ROW },
        { 2, { 3, 6 }, 0, SOFT },          { 3, { 2, 3, 5 }, 0, SOFT | WEIGHT | PER_ROW },
        { 2, { 1, 2 }, 0, 0 },             { 1, { 9 }, 0.3, PER_ROW },
        { 2, { 5, 3 }, 0, WEIGHT },        { 3, { 2, 4, 3 }, 1, IGNORE | WEIGHT },
        { 2, { 200, 130 }, 0, PER_ROW },   { 2, { 40, 1100 }, 0.1, IGNORE | WEIGHT },
        { 2, { 3, 9000 }, 0, SOFT | WEIGHT },
        { 2, { 0, 5 }, 0, PER_ROW },
    };
    int with = cases[variant].with;
    tensor *z = ag_input(p, "logits", cases[variant].ndim, cases[variant].dim);
    long V = ag_columns(z), R = ag_rows(z);
    ag_ce o = { .ignore = -100, .smoothing = cases[variant].smoothing, .per_row = with & PER_ROW };
    if (with & SOFT)
        o.soft = pick_soft(p, R, V);
    else
        o.ids = pick_targets(p, R, V, with & IGNORE);
    if (with & WEIGHT)
        o.weight = pick_weights(p, R);
    return ag_cross_entropy(ag_probe_tape(p), z, &o);
}

const ag_op ag_op_cross_entropy = { "cross_entropy", backward, example, .variants = 14 };

tensor *ag_cross_entropy(tape *t, tensor *logits, const ag_ce *options)
{
    AG_NO_FROZEN("cross_entropy", logits);
    long V = ag_columns(logits), R = ag_rows(logits);
    if (logits->ndim < 1 || V < 1)
        ag_fail("cross_entropy", "logits (...,V) with at least one class, got %s", SHAPE(logits));
    ag_ce_check("cross_entropy", logits, R, V, options);
    tensor *y = options->per_row ? ag_new(t, DIMS(R)) : ag_new(t, 0, NULL);
    struct saved *s = ag_alloc(t, sizeof *s);
    double *lse = ag_alloc(t, R * (long)sizeof *lse), *loss = ag_alloc(t, R * (long)sizeof *loss), sum = 0;
    const int *ids = options->ids ? ag_ids(t, options->ids, R) : NULL;
    double *share = ag_ce_shares(t, R, options);
    *s = (struct saved){ { R, V, ids, options->soft, options->smoothing, share, lse }, options->per_row };
    AG_CALL(t, ce_forward)(&s->rows, logits->data, loss);
    for (long r = 0; r < R; r++) {
        sum += loss[r];
        if (options->per_row)
            y->data[r] = (real)loss[r];
    }
    if (!options->per_row)
        y->data[0] = (real)sum;
    return AG_RECORD(t, &ag_op_cross_entropy, y, s, logits);
}
