/* score_retrieval.c - retrieval scored from matrices of scores: recall under LAVIS's names (txt: from
 * pictures to texts, img: from texts to pictures). */
#include "eval/metrics.h"
#include "data/json.h"
#include <math.h>
#include <stdlib.h>

enum { WAYS = 2 };
/* own (rows): the picture that a row is drawn with */
typedef struct way { long rows, columns; double *scores; long **right, *rank, *own; } way;

static void free_way(way *w)
{
    for (long r = 0; w->right && r < w->rows; r++)
        mem_free(w->right[r]);
    mem_free(w->right);
    mem_free(w->scores);
    mem_free(w->rank);
    mem_free(w->own);
}

/* Row r of the scores, a list of numbers. */
static bool read_row(const char *path, const char *key, const json_t *row, long r, way *w, error *e)
{
    if ((long)json_array_size(row) != w->columns)
        return error_set(e, "%s: %s: row %ld has %zu scores; expected %ld, as in row 0", QUOTE(path), key, r,
                         json_array_size(row), w->columns);
    for (long c = 0; c < w->columns; c++) {
        const json_t *x = json_array_get(row, (size_t)c);
        if (!json_is_number(x))
            return error_set(e, "%s: %s: row %ld, column %ld: expected a number", QUOTE(path), key, r, c);
        w->scores[r * w->columns + c] = json_number_value(x);
    }
    return true;
}

/* The right columns of row r: a number or a list of numbers. */
static bool read_right(const char *path, const char *key, const json_t *right, long r, way *w, error *e)
{
    size_t n = json_is_array(right) ? json_array_size(right) : 1;
    if (!(w->right[r] = mem_new((n + 1) * sizeof **w->right)))
        return error_set(e, "%s: out of memory", QUOTE(path));
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_is_array(right) ? json_array_get(right, i) : right;
        if (!json_is_integer(c) || json_integer_value(c) < 0 || json_integer_value(c) >= w->columns)
            return error_set(e, "%s: %s: row %ld: expected column numbers from 0 to %ld", QUOTE(path), key, r,
                             w->columns - 1);
        w->right[r][i] = (long)json_integer_value(c);
    }
    w->right[r][n] = -1;
    return n > 0 || error_set(e, "%s: %s: row %ld has no right column", QUOTE(path), key, r);
}

static bool read_way(const char *path, const json_t *o, const char *scores, const char *right, way *w,
                     error *e)
{
    const json_t *rows = json_object_get(o, scores), *own = json_object_get(o, right);
    *w = (way){ .rows = (long)json_array_size(rows),
                .columns = (long)json_array_size(json_array_get(rows, 0)) };
    if (!w->rows || !w->columns || (long)json_array_size(own) != w->rows)
        return error_set(e, "%s: expected %s, a list of rows of scores, and %s, as long a list", QUOTE(path),
                         scores, right);
    w->scores = mem_new((size_t)(w->rows * w->columns) * sizeof *w->scores);
    w->right = mem_new((size_t)w->rows * sizeof *w->right);
    w->rank = mem_new((size_t)w->rows * sizeof *w->rank);
    w->own = mem_new((size_t)w->rows * sizeof *w->own);
    if (!w->scores || !w->right || !w->rank || !w->own)
        return error_set(e, "%s: out of memory for %ld x %ld scores", QUOTE(path), w->rows, w->columns);
    for (long r = 0; r < w->rows; r++)
        if (!read_row(path, scores, json_array_get(rows, (size_t)r), r, w, e)
            || !read_right(path, right, json_array_get(own, (size_t)r), r, w, e))
            return false;
    score_ranks(w->rows, w->columns, w->scores, (const long *const *)w->right, w->rank);
    return true;
}

static json_t *ranks_of(const way *w)
{
    json_t *to = json_array();
    for (long r = 0; r < w->rows; r++)
        json_array_append_new(to, json_integer((json_int_t)w->rank[r]));
    return to;
}

/* Which picture each row is drawn with: itself, or the one that a text is of: own_image, where the file has
 * it, else the first that is right. */
static bool read_own(const char *path, const json_t *o, way w[WAYS], error *e)
{
    const json_t *list = json_object_get(o, "own_image");
    if (list && (long)json_array_size(list) != w[1].rows)
        return error_set(e, "%s: own_image: expected a list of %ld pictures, one of each text", QUOTE(path),
                         w[1].rows);
    for (long r = 0; r < w[0].rows; r++)
        w[0].own[r] = r;
    for (long r = 0; r < w[1].rows; r++) {
        const json_t *own = json_array_get(list, (size_t)r);
        if (list && (!json_is_integer(own) || json_integer_value(own) < 0
                     || json_integer_value(own) >= w[0].rows))
            return error_set(e, "%s: own_image: entry %ld: expected the number of a picture from 0 to %ld",
                             QUOTE(path), r, w[0].rows - 1);
        w[1].own[r] = list ? (long)json_integer_value(own) : w[1].right[r][0];
    }
    return true;
}

/* Of the share of rows whose rank is below k, in percent, over pictures: a picture's texts are drawn with
 * it. */
static json_t *interval_of(const way *w, long pictures, long k, const score_options *o)
{
    double *found = mem_new((size_t)w->rows * sizeof *found);
    score_interval i = { NAN, NAN };
    for (long r = 0; found && r < w->rows; r++)
        found[r] = w->rank[r] < k;
    if (found)
        i = score_bootstrap_clusters(w->rows, found, w->own, pictures, 0.95, SCORE_TIMES, o->seed);
    mem_free(found);
    return isfinite(i.low) ? json_pack("[f,f]", 100 * i.low, 100 * i.high) : json_null();
}

static json_t *figures_of(const way w[WAYS], const score_options *o)
{
    static const char *const names[WAYS][4] = { { "txt_r1", "txt_r5", "txt_r10", "txt_r_mean" },
                                                { "img_r1", "img_r5", "img_r10", "img_r_mean" } };
    static const long k[] = { 1, 5, 10 };
    json_t *all = json_pack("{s:I, s:I}", "images", (json_int_t)w[0].rows, "texts", (json_int_t)w[1].rows);
    json_t *intervals = json_object();
    double mean[WAYS] = { 0 }, mrr = 0;
    for (int i = 0; i < WAYS; i++) {
        for (int j = 0; j < 3; j++) {
            double recall = score_recall(w[i].rows, w[i].rank, k[j]);
            json_object_set_new(all, names[i][j], json_real(recall));
            json_object_set_new(intervals, names[i][j], interval_of(&w[i], w[0].rows, k[j], o));
            mean[i] += recall;
        }
        json_object_set_new(all, names[i][3], json_real(mean[i] / 3));
        mrr += score_mrr(w[i].rows, w[i].rank) / WAYS;
    }
    json_object_set_new(all, "r_mean", json_real((mean[0] / 3 + mean[1] / 3) / 2));
    json_object_set_new(all, "mrr", json_real(mrr));
    json_object_set_new(all, "interval_95", intervals);
    if (o->per_item) {
        json_object_set_new(all, "ranks_i2t", ranks_of(&w[0]));
        json_object_set_new(all, "ranks_t2i", ranks_of(&w[1]));
    }
    return all;
}

static json_t *score_case(const char *path, const json_t *o, const score_options *options, error *e)
{
    way w[WAYS] = { 0 };
    json_t *figures = NULL;
    if (read_way(path, o, "scores_i2t", "img2txt", &w[0], e)
        && read_way(path, o, "scores_t2i", "txt2img", &w[1], e)) {
        if (w[0].columns == w[1].rows && w[1].columns == w[0].rows)
            figures = read_own(path, o, w, e) ? figures_of(w, options) : NULL;
        else
            error_set(
                e,
                "%s: scores_i2t is %ld x %ld and scores_t2i %ld x %ld; expected one to turn into the other",
                QUOTE(path), w[0].rows, w[0].columns, w[1].rows, w[1].columns);
    }
    free_way(&w[0]);
    free_way(&w[1]);
    return figures;
}

char *score_retrieval_file(const char *path, const score_options *o, error *e)
{
    json_t *file = data_json_file(path, e), *figures = NULL;
    const json_t *cases = json_object_get(file, "cases");
    if (file && !cases)
        figures = score_case(path, file, o, e);
    else if (file) {
        json_t *list = json_array();
        bool ok = json_array_size(cases) > 0 || error_set(e, "%s: cases: expected a list", QUOTE(path));
        for (size_t i = 0; ok && i < json_array_size(cases); i++) {
            json_t *one = score_case(path, json_array_get(cases, i), o, e);
            ok = one && !json_array_append_new(list, one);
        }
        if (ok)
            figures = json_pack("{s:O}", "cases", list);
        json_decref(list);
    }
    json_decref(file);
    char *dump = figures ? json_dumps(figures, JSON_REAL_PRECISION(17)) : NULL,
         *text = dump ? mem_text("%s", dump) : NULL;
    if (figures && !text)
        error_set(e, "%s: out of memory for its figures", QUOTE(path));
    free(dump);
    json_decref(figures);
    return text;
}
