/* split.c - the pictures that are measured: the list, which of its records are of one picture, and whether
 * the pictures can be decoded, all of it before a model is read.                                           */
#include "eval/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *images_of(const eval_config *c) { return *c->images ? c->images : c->root; }

const record *eval_first(const eval_data *d, long at)
{
    return &d->records.items[d->first[at]];
}

const record *eval_captioned(const eval_data *d, long at)
{
    for (long r = d->first[at]; r >= 0; r = d->next[r])
        if (d->records.items[r].caption_count)
            return &d->records.items[r];
    return NULL;
}

char *eval_picture_path(const eval_config *c, const eval_data *d, long at)
{
    return mem_text("%s/%s", images_of(c), eval_first(d, at)->image);
}

void eval_split_free(eval_data *d)
{
    record_list_free(&d->records);
    mem_free(d->first);
    mem_free(d->next);
    mem_free(d->of);
    mem_free(d->features);
    json_decref(d->warnings);
}

/* ---- records of one picture ---------------------------------------------------------------------------- */
static int by_picture(const void *a, const void *b)
{
    const record *x = *(const record *const *)a, *y = *(const record *const *)b;
    return x->image_id != y->image_id ? (x->image_id > y->image_id) - (x->image_id < y->image_id)
                                      : (x > y) - (x < y);
}

/* Pictures in the order of their first records. */
static bool group(eval_data *d)
{
    long n = d->records.count;
    const record **order = mem_new((size_t)n * sizeof *order);
    d->first = mem_new((size_t)n * sizeof *d->first);
    d->next = mem_new((size_t)n * sizeof *d->next);
    d->of = mem_new((size_t)n * sizeof *d->of);
    bool ok = order && d->first && d->next && d->of;
    for (long i = 0; ok && i < n; i++)
        order[i] = &d->records.items[i];
    if (ok)
        qsort(order, (size_t)n, sizeof *order, by_picture);
    for (long i = 0; ok && i < n; i++) {
        long at = order[i] - d->records.items, before = i ? order[i - 1] - d->records.items : -1;
        bool same = i && order[i]->image_id == order[i - 1]->image_id;
        d->next[at] = -1;
        d->of[at] = same ? d->of[before] : at;             /* its picture's first record; numbered below */
        if (same)
            d->next[before] = at;
    }
    for (long i = 0; ok && i < n; i++)
        if (d->of[i] == i) {
            d->of[i] = d->pictures;
            d->first[d->pictures++] = i;
        } else
            d->of[i] = d->of[d->of[i]];
    mem_free(order);
    return ok;
}

/* Without the pictures that are `out`. */
static void leave_out(eval_data *d, const bool *out)
{
    long kept = 0;
    for (long p = 0; p < d->pictures; p++) {
        for (long r = d->first[p]; r >= 0; r = d->next[r])
            d->of[r] = out[p] ? -1 : kept;
        if (!out[p])
            d->first[kept++] = d->first[p];
    }
    d->pictures = kept;
    d->without_caption = 0;
    for (long p = 0; p < kept; p++)
        d->without_caption += !eval_captioned(d, p);
}

static bool cut(const eval_config *c, eval_data *d)
{
    bool *out = mem_new((size_t)(d->pictures + 1) * sizeof *out);
    for (long p = 0; out && p < d->pictures; p++)
        out[p] = c->limit && p >= c->limit;
    if (out)
        leave_out(d, out);
    mem_free(out);
    return out != NULL;
}

bool eval_split_read(const eval_config *c, eval_data *d, error *e)
{
    if (!records_beside(c->list, "datasets.list", e))
        return false;
    char *path = mem_text("%s/%s", c->root, c->list);
    bool ok = path ? records_read(path, &d->records, e) : error_set(e, "out of memory");
    mem_free(path);
    if (!ok || (c->clean && !records_clean(&d->records, e)) || records_missing(images_of(c), &d->records, e))
        return false;
    if (!d->records.count)
        return error_set(e, "%s/%s: no pictures in it", QUOTE(c->root), QUOTE(c->list));
    if (!group(d) || !cut(c, d))
        return error_set(e, "out of memory for %ld records", d->records.count);
    return true;
}

/* ---- can they be decoded? ------------------------------------------------------------------------------ */
/* n pictures from `first` on, side by side; why (EVAL_BATCH): of each what is wrong, or NULL. */
static bool decode_some(const eval_config *c, const eval_data *d, long first, long n, char **why)
{
    bool whole = true;
    #pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < n; i++) {
        picture p = { 0 };
        error mine;
        char *path = eval_picture_path(c, d, first + i);
        why[i] = NULL;
        if (path && !picture_read_as(&p, c->reference == BLIP2_HF ? PICTURE_HF : PICTURE_LAVIS, path, &mine))
            why[i] = mem_text("%s", mine.text);
        if (!path || (!p.rgb && !why[i])) {
            #pragma omp critical
            whole = false;
        }
        picture_free(&p);
        mem_free(path);
    }
    return whole;
}

/* Names the broken ones, as many as are told, in their order. */
static bool decode_all(const eval_config *c, const eval_data *d, bool *out, error *e)
{
    bool ok = true;
    e->lines = 0;
    eval_progress(&c->watch, "pictures decoded", 0, d->pictures);
    for (long first = 0; ok && first < d->pictures; first += EVAL_BATCH) {
        char *why[EVAL_BATCH];
        long n = d->pictures - first < EVAL_BATCH ? d->pictures - first : EVAL_BATCH;
        ok = decode_some(c, d, first, n, why);
        for (long i = 0; i < n; i++) {
            out[first + i] = why[i] != NULL;
            if (why[i])
                error_line(e, "%s", why[i]);
            mem_free(why[i]);
        }
        eval_progress(&c->watch, "pictures decoded", first + n, d->pictures);
    }
    return ok || error_set(e, "out of memory for pictures");
}

bool eval_split_look(const eval_config *c, eval_data *d, error *e)
{
    bool *out = mem_new((size_t)(d->pictures + 1) * sizeof *out);
    if (!out)
        return error_set(e, "out of memory for %ld pictures", d->pictures);
    bool ok = decode_all(c, d, out, e);
    long broken = 0, all = d->pictures;
    for (long p = 0; p < all; p++)
        broken += out[p];
    if (ok && (double)broken > c->max_bad_fraction * (double)all)
        ok = error_head(e, ERROR_RUN, "%s: %ld of %ld pictures cannot be decoded; run.max_bad_fraction, now "
                        "%g, is the share that may be left out", QUOTE(images_of(c)), broken, all,
                        c->max_bad_fraction);
    else if (ok && broken == all)
        ok = error_head(e, ERROR_RUN, "%s: no picture can be decoded", QUOTE(images_of(c)));
    else if (ok && broken) {
        error_head(e, ERROR_RUN, "%ld of %ld pictures cannot be decoded and are left out", broken, all);
        eval_warn(c, d, "%s", e->text);
        leave_out(d, out);
    }
    mem_free(out);
    return ok;
}
