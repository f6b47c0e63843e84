/* report_curves.c - log.jsonl as curves: one small chart for each number that was logged, losses first.
 * The pale line is the log itself, means of neighbours where it has more than POINTS steps; the dark one a
 * running mean over the last 2 % of the run, and named as such. */
#include "eval/report.h"
#include "data/json.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SERIES = 48, POINTS = 500, WIDTH = 360, HEIGHT = 190, LEFT = 46, RIGHT = 8, TOP = 12, BOTTOM = 26 };
static const long LOG_BYTES = 1L << 32;

typedef struct series { char name[64]; double *y; } series;        /* (n) NaN where a step has none */
typedef struct run_log { long n, room, bad; double *step; series s[SERIES]; int count; } run_log;

static void free_log(run_log *l)
{
    for (int i = 0; i < l->count; i++)
        mem_free(l->s[i].y);
    mem_free(l->step);
}

static series *series_of(run_log *l, const char *name)
{
    for (int i = 0; i < l->count; i++)
        if (!strcmp(l->s[i].name, name))
            return &l->s[i];
    if (l->count == SERIES || strlen(name) >= sizeof l->s[0].name)
        return NULL;
    series *s = &l->s[l->count];
    snprintf(s->name, sizeof s->name, "%s", name);
    if (!(s->y = mem_new((size_t)l->room * sizeof *s->y)))
        return NULL;
    for (long i = 0; i < l->room; i++)
        s->y[i] = NAN;
    l->count++;
    return s;
}

static void add_line(run_log *l, const json_t *o)
{
    const char *key;
    json_t *v;
    if (!json_is_number(json_object_get(o, "step"))) {
        l->bad++;
        return;
    }
    l->step[l->n] = json_number_value(json_object_get(o, "step"));
    json_object_foreach((json_t *)o, key, v) {
        bool wanted = json_is_number(v) && strcmp(key, "step") && strcmp(key, "epoch");
        series *s = wanted ? series_of(l, key) : NULL;
        if (s)
            s->y[l->n] = json_number_value(v);
    }
    l->n++;
}

static bool read_log(const char *path, run_log *l, error *e)
{
    long bytes;
    char *text = file_load(path, LOG_BYTES, &bytes, e);
    if (!text)
        return false;
    for (long i = 0; i < bytes; i++)
        l->room += text[i] == '\n';
    l->room++;
    l->step = mem_new((size_t)l->room * sizeof *l->step);
    bool ok = l->step || error_set(e, "%s: out of memory for %ld lines", QUOTE(path), l->room);
    for (long at = 0, line = 1; ok && at < bytes; line++) {
        const char *end = memchr(text + at, '\n', (size_t)(bytes - at));
        long n = end ? end - (text + at) : bytes - at;
        error why;
        json_t *o = n ? data_json(path, line, text + at, n, 1000, &why) : NULL;
        l->bad += n && !o;
        if (o)
            add_line(l, o);
        json_decref(o);
        at += n + 1;
    }
    mem_free(text);
    return ok;
}

/* ---- a chart ----------------------------------------------------------------------------------------- */
typedef struct range { double low, high, step; bool log; } range;       /* log: low and high are log10 */

/* Round numbers around low to high, about `many` steps apart. */
static range round_range(double low, double high, int many)
{
    double wide = high > low ? high - low : high != 0 ? fabs(high) : 1;    /* a number that never moves */
    double rough = wide / many, power = pow(10, floor(log10(rough))), lead = rough / power;
    range g = { .step = power * (lead > 5 ? 10 : lead > 2 ? 5 : lead > 1 ? 2 : 1) };
    g.low = floor(low / g.step + 1e-9) * g.step;
    g.high = ceil(high / g.step - 1e-9) * g.step;
    if (g.high <= g.low)
        g.high = g.low + g.step;
    return g;
}

static double across(const range *x, double v)
{
    return LEFT + (v - x->low) / (x->high - x->low) * (WIDTH - LEFT - RIGHT);
}

static double down(const range *y, double v)
{
    v = y->log ? log10(v) : v;
    return HEIGHT - BOTTOM - (v - y->low) / (y->high - y->low) * (HEIGHT - TOP - BOTTOM);
}

static void put_level(report *r, const range *y, double v)
{
    double at = down(y, v);
    file_print(r->to, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">"
               "%.6g</text>\n", LEFT, at, WIDTH - RIGHT, LEFT - 6, at + 4, v);
}

/* 1, 2 and 5 times each power of ten, of wide ranges the powers alone. */
static void put_levels(report *r, const range *y)
{
    bool wide = y->high - y->low > 2.5;
    for (int power = (int)floor(y->low); power <= (int)floor(y->high) && power - y->low < 12; power++)
        for (int k = 0; k < (wide ? 1 : 3); k++) {
            double v = pow(10, power) * (int[]){ 1, 2, 5 }[k];
            if (log10(v) >= y->low && log10(v) <= y->high)
                put_level(r, y, v);
        }
}

static void put_axes(report *r, const range *x, const range *y)
{
    if (y->log)
        put_levels(r, y);
    for (int k = 0; !y->log && k <= 12 && y->low + k * y->step <= y->high + y->step / 2; k++) {
        double v = y->low + k * y->step;
        put_level(r, y, fabs(v) < y->step / 1e6 ? 0 : v);
    }
    for (int k = 0; k <= 12 && x->low + k * x->step <= x->high * (1 + 1e-9); k++) {
        double v = x->low + k * x->step;
        bool last = v > x->high - x->step / 2;
        file_print(r->to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%.6g</text>\n", across(x, v),
                   HEIGHT - 8, last ? "end" : "middle", v);
    }
}

/* A line through n points; a point without a number breaks it, unless few of them have one. */
static void put_line(report *r, const char *kind, const range *x, const range *y, const double *at,
                     const double *value, long n, bool few)
{
    bool pen = false;
    file_print(r->to, "<path class=\"%s\" d=\"", kind);
    for (long i = 0; i < n; i++) {
        if (isfinite(value[i]))
            file_print(r->to, "%c%.1f %.1f", pen ? 'L' : 'M', across(x, at[i]), down(y, value[i]));
        pen = isfinite(value[i]) || (pen && few);
    }
    file_print(r->to, "\"/>\n");
}

/* What a model that knows nothing has. Too far above the curve, it would leave no room for it. */
static bool is_near(double level, double low, double high)
{
    return level >= low - 0.25 * fabs(low) && level <= high + 0.25 * fabs(high);
}

static void put_known(report *r, const range *y, const report_level *levels, int n)
{
    for (int i = 0; i < n; i++) {
        double v = levels[i].value, place = y->log ? log10(v) : v, at = down(y, v);
        if (place >= y->low && place <= y->high)
            file_print(r->to, "<path class=\"known\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" "
                       "text-anchor=\"end\">%s</text>\n", LEFT, at, WIDTH - RIGHT, WIDTH - RIGHT, at - 3,
                       levels[i].why);
    }
}

typedef struct drawn { long n; double at[POINTS], raw[POINTS], smooth[POINTS]; } drawn;

static double mean_of(const double *y, long from, long to)
{
    double sum = 0;
    long n = 0;
    for (long i = from; i < to; i++)
        if (isfinite(y[i])) {
            sum += y[i];
            n++;
        }
    return n ? sum / (double)n : NAN;
}

static void thin(const run_log *l, const double *y, long window, drawn *d)
{
    d->n = l->n < POINTS ? l->n : POINTS;
    for (long k = 0; k < d->n; k++) {
        long from = k * l->n / d->n, to = (k + 1) * l->n / d->n;
        d->at[k] = l->step[to - 1];
        d->raw[k] = mean_of(y, from, to);
        d->smooth[k] = mean_of(y, to > window ? to - window : 0, to);
    }
}

enum { RATE = 8, COSTS = 100 };
/* What a reader looks for first: losses and the like, the learning rate, and from COSTS on time and
 * memory. */
static int place_of(const char *name)
{
    static const char *const first[] = { "loss", "loss_itc", "loss_itm", "loss_lm", "itm_acc", "accuracy",
                                         "query_cosine", "grad_norm", "lr" };
    static const char *const last[] = { "data_ms", "step_ms", "samples_per_s", "rss_mb" };
    for (int i = 0; i <= RATE; i++)
        if (!strcmp(name, first[i]))
            return i;
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, last[i]))
            return COSTS + i;
    return 50;
}

static void put_chart(report *r, const run_log *l, const series *s, long window, drawn *d)
{
    const int place = place_of(s->name);
    const bool few = !strncmp(s->name, "val_", 4);         /* measured every now and then */
    double low = place >= COSTS ? 0 : INFINITY, high = -INFINITY, first = NAN, last = NAN;
    thin(l, s->y, place == RATE ? 1 : window, d);
    for (long k = 0; k < d->n; k++)
        if (isfinite(d->raw[k])) {
            low = fmin(low, d->raw[k]);
            high = fmax(high, d->raw[k]);
            first = isnan(first) ? d->smooth[k] : first;
            last = d->smooth[k];
        }
    if (!isfinite(low) || !isfinite(high))
        return;
    report_level levels[2];
    int known = report_levels(r, s->name, levels);
    for (int i = 0; i < known; i++)
        if (is_near(levels[i].value, low, high)) {
            low = fmin(low, levels[i].value);
            high = fmax(high, levels[i].value);
        }
    range x = round_range(l->step[0] > 1 ? l->step[0] : 0, l->step[l->n - 1], 4),
          y = round_range(low, high, 4);
    x.high = fmax(l->step[l->n - 1], x.low + 1);           /* the curve ends where the run does */
    if (low > 0 && high > 20 * low && place != RATE)
        y = (range){ .low = log10(low) - 0.05, .high = log10(high) + 0.05, .log = true };
    file_print(r->to, "<figure><figcaption>");
    report_text(r, s->name);
    file_print(r->to, "<span>%s%.4g to %.4g</span></figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" "
               "aria-label=\"", y.log ? "log axis; " : "", first, last, WIDTH, HEIGHT);
    report_text(r, s->name);
    file_print(r->to, " against step\">\n");
    put_axes(r, &x, &y);
    put_known(r, &y, levels, known);
    put_line(r, "raw", &x, &y, d->at, d->raw, d->n, few);
    put_line(r, "smooth", &x, &y, d->at, d->smooth, d->n, few);
    file_print(r->to, "</svg></figure>\n");
}

static void put_charts(report *r, const run_log *l)
{
    long window = l->n / 50 > 1 ? l->n / 50 : 1, kept = l->n < POINTS ? 1 : (l->n + POINTS - 1) / POINTS;
    drawn *d = mem_new(sizeof *d);
    report_section(r, "training", "Training", NULL);
    file_print(r->to,
               "<p class=\"what\">%ld steps. Pale: %s. Dark: the mean of the last %ld step%s, which begins "
               "and ends at the numbers above each chart. Across: steps.%s</p>\n<div class=\"charts\">\n",
               l->n, kept > 1 ? "means of neighbouring steps" : "each step", window, window > 1 ? "s" : "",
               r->config ? " Dashed, where it is near: a model that knows nothing." : "");
    for (int place = 0; d && place < COSTS + 4; place++)
        for (int i = 0; i < l->count; i++)
            if (place_of(l->s[i].name) == place)
                put_chart(r, l, &l->s[i], window, d);
    file_print(r->to, "</div>\n");
    report_section_end(r);
    mem_free(d);
}

bool report_curves(report *r, error *e)
{
    run_log l = { 0 };
    if (!r->has_log) {
        report_left_out(r, "the curves: %s has no log.jsonl", QUOTE(r->run));
        return true;
    }
    char *path = mem_text("%s/log.jsonl", r->run);
    bool ok = path ? read_log(path, &l, e) : error_set(e, "out of memory");
    if (ok && l.bad)
        report_left_out(r, "%ld lines of log.jsonl, which are no steps", l.bad);
    if (ok && l.n)
        put_charts(r, &l);
    else if (ok)
        report_left_out(r, "the curves: log.jsonl has no steps");
    free_log(&l);
    mem_free(path);
    return ok;
}
