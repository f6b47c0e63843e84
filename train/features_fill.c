/* features_fill.c - the rows of a cache of features that are not there yet: pictures made by threads, eight
 * of them through the frozen tower at once, each row into its place (features.c).                          */
#include "train/internal.h"

/* Rows that pass the tower at once, always the same ones at the same places: what a product rounds to depends
 * on where in it a row stands, and a cache's bytes are not to depend on who stopped when, or on ranks. */
enum { TOGETHER = 8 };
typedef struct filling {
    run *r;
    h5_rows *rows, *seconds;
    long *todo, count;                             /* groups of this rank with a row that is not there */
    const uint8_t *pixels;                         /* (TOGETHER,S,S,3) of the rows in hand */
    long row, B, done;                             /* the first of them, how many; groups that were filled */
    char *bytes;                                   /* (TOGETHER, bytes of a row) */
    error *e;
    bool ok;
} filling;

static drawn drawn_of(const feed *f, long row)
{
    const feature_cache *x = &f->features;
    long k = 0, first = 0;
    while (k + 1 < f->set_count && row >= x->begin[k + 1])
        first += f->sets[k++].n;
    row -= x->begin[k];
    return (drawn){ first + row / x->views[k], row % x->views[k] };
}

static void plan_rows(void *context, long number, drawn *draws)
{
    const filling *w = context;
    long group = w->todo[number < w->count ? number : w->count - 1], last = w->r->feed.features.count - 1;
    for (long b = 0; b < TOGETHER; b++) {                  /* those behind the end are not looked at */
        long row = group * TOGETHER + b;
        draws[b] = drawn_of(&w->r->feed, row < last ? row : last);
    }
}

/* The rows in hand, through the tower and into the file. */
static void pass(void *context)
{
    filling *w = context;
    run *r = w->r;
    const feature_cache *x = &r->feed.features;
    double from = clock_seconds();
    long bytes = h5_rows_bytes(w->rows), lost = 0, each = x->tokens * x->width;
    tensor *y = blip2_vision_features(&r->model, r->t, feed_bytes(&r->feed, r->t, w->B, w->pixels));
    if (y->dim[1] != x->tokens || y->dim[2] != x->width)
        ag_fail("features", "expected (%ld,%ld) of a picture, found %s", x->tokens, x->width, SHAPE(y));
    #pragma omp parallel for reduction(+:lost)
    for (long b = 0; b < w->B; b++)
        lost += narrow_reals(x->as, each, y->data + b*each, w->bytes + b*bytes);
    float took = (float)((clock_seconds() - from) / (double)w->B);
    w->ok = !lost || error_set(w->e, "run.cache_dtype: %ld features are too large for %s; bf16 and f32 hold "
                               "them", lost, features_dtypes[r->c->cache_dtype]);
    for (long b = 0; w->ok && b < w->B; b++)
        w->ok = h5_rows_put(w->seconds, w->row + b, &took, w->e)
                && h5_rows_put(w->rows, w->row + b, w->bytes + b*bytes, w->e);
}

static void tell_progress(const filling *w, long done, double since, double *told)
{
    double now = clock_seconds(), took = now - since;
    if (now - *told < 10)
        return;
    *told = now;
    double rate = (double)done / (took > 0 ? took : 1);
    run_say(w->r, "feature cache: %ld of %ld parts%s, each of %d views, %.2f views a second, %.0f s left",
            done, w->count, ag_world(w->r->ranks) > 1 ? " of this rank" : "", TOGETHER, rate * TOGETHER,
            (double)(w->count - done) / rate);
}

static bool fill(filling *w, const volatile int *stop, error *e)
{
    run *r = w->r;
    long S = r->feed.album.size;
    double since = clock_seconds(), told = since;
    ahead *a = ahead_start((ahead_maker){ feed_show, &r->feed, 3 * S * S }, TOGETHER, 0,
                           (int)r->c->num_workers, plan_rows, w, e);
    bool ok = a != NULL;
    for (long at = 0; ok && at < w->count && !(stop && *stop) && !ranks_halt(r->ranks); at++) {
        long left = r->feed.features.count - w->todo[at] * TOGETHER;
        w->row = w->todo[at] * TOGETHER;
        w->B = left < TOGETHER ? left : TOGETHER;
        ok = (w->pixels = ahead_take(a, at, e)) && ag_try(r->t, pass, w, e) && w->ok;
        ag_reset(r->t);
        w->done += ok;
        tell_progress(w, w->done, since, &told);
    }
    ahead_stop(a);
    return ok && h5_rows_sync(w->seconds, e) && h5_rows_sync(w->rows, e);
}

static bool whole(const filling *w, long row)
{
    error ignored;
    return h5_rows_has(w->rows, row) && h5_rows_has(w->seconds, row)
           && h5_rows_get(w->rows, row, w->bytes, &ignored);
}

/* This rank's groups with a row that is not there, or not whole: w->todo. Their rows in *missing. */
static bool find_missing(filling *w, long *missing, error *e)
{
    const feature_cache *x = &w->r->feed.features;
    long groups = (x->count + TOGETHER - 1) / TOGETHER;
    w->todo = mem_new((size_t)(groups + 1) * sizeof *w->todo);
    w->bytes = mem_new((size_t)(TOGETHER * h5_rows_bytes(w->rows)));
    if (!w->todo || !w->bytes)
        return error_set(e, "out of memory for the numbers of %ld features", x->count);
    for (long g = ag_rank(w->r->ranks); g < groups; g += ag_world(w->r->ranks)) {
        long end = (g + 1) * TOGETHER, before = *missing;
        for (long i = g * TOGETHER; i < end && i < x->count; i++)
            *missing += !whole(w, i);
        if (*missing > before)
            w->todo[w->count++] = g;
    }
    return true;
}

bool features_fill(run *r, const char *part, const volatile int *stop, long *missing, error *e)
{
    filling w = { .r = r, .e = e, .rows = features_rows(r, part, true, e) };
    w.seconds = w.rows ? features_seconds(r, part, true, e) : NULL;
    long all = r->feed.features.count, lacks = 0;
    bool ok = w.seconds && find_missing(&w, &lacks, e);
    if (ok && w.count)
        run_say(r, "feature cache %s: %ld views of %ld x %ld in %s, %.1f MB; %ld to be computed",
                QUOTE(r->c->feature_cache), all, r->feed.features.tokens, r->feed.features.width,
                features_dtypes[r->c->cache_dtype], (double)all * (double)h5_rows_bytes(w.rows) / 1e6,
                lacks);
    ok = ok && (!w.count || fill(&w, stop, e));
    *missing = w.count - w.done;
    h5_rows_close(w.rows);
    h5_rows_close(w.seconds);
    mem_free(w.todo);
    mem_free(w.bytes);
    return ok;
}
