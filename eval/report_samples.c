/* report_samples.c - what was written, answered and found, evenly drawn from the results: pictures beside
 * the words about them. */
#include "eval/report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPTIONS = 12, ANSWERS = 12, QUERIES = 6, BEST = 5, SIDE = 176 };

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static void begin(report *r, const char *name, const char *title, const report_results *f, long shown,
                  long of)
{
    char id[32], what[160];
    snprintf(id, sizeof id, "%s-%d", name, ++r->ids);
    snprintf(what, sizeof what, "%ld of %ld, evenly drawn; not chosen.", shown, of);
    report_section(r, id, title, what);
    (void)f;
}

static void put_caption(report *r, const char *root, const json_t *o)
{
    const json_t *score = json_object_get(o, "CIDEr");
    file_print(r->to, "<div class=\"card\">");
    report_picture_file(r, root, text_of(o, "image"), SIDE);
    file_print(r->to, "<div><p>");
    report_text(r, text_of(o, "caption"));
    file_print(r->to, "</p><p class=\"soft\">true: ");
    report_text(r, text_of(o, "truth"));
    file_print(r->to, "</p>");
    if (json_is_number(score) && isfinite(json_number_value(score)))
        file_print(r->to, "<p class=\"soft\">CIDEr-D %.2f</p>", json_number_value(score));
    file_print(r->to, "</div></div>\n");
}

static void put_answer(report *r, const char *root, const json_t *o)
{
    bool right = !strcmp(text_of(o, "answer"), text_of(o, "truth"));
    file_print(r->to, "<div class=\"card\">");
    report_picture_file(r, root, text_of(o, "image"), SIDE);
    file_print(r->to, "<div><p class=\"soft\">");
    report_text(r, text_of(o, "question"));
    file_print(r->to, "</p><p><span class=\"%s\">%s</span> ", right ? "good" : "bad",
               right ? "&#10003;" : "&#10007;");
    report_text(r, text_of(o, "answer"));
    file_print(r->to, "</p>");
    if (!right) {
        file_print(r->to, "<p class=\"soft\">true: ");
        report_text(r, text_of(o, "truth"));
        file_print(r->to, "</p>");
    }
    file_print(r->to, "</div></div>\n");
}

static void put_list(report *r, const report_results *f, const json_t *list, const char *name,
                     const char *title, long most, void (*put)(report *, const char *, const json_t *))
{
    long n = (long)json_array_size(list), shown = n < most ? n : most;
    if (!n)
        return;
    begin(r, name, title, f, shown, n);
    file_print(r->to, "<div class=\"samples\">\n");
    for (long k = 0; k < shown; k++)
        put(r, text_of(f->metrics, "images"), json_array_get(list, (size_t)((2*k + 1) * n / (2 * shown))));
    file_print(r->to, "</div>\n");
    report_section_end(r);
}

void report_samples(report *r)
{
    for (int i = 0; i < r->count; i++) {
        const report_results *f = &r->results[i];
        put_list(r, f, f->captions, "captions", "Captions", CAPTIONS, put_caption);
        put_list(r, f, f->vqa, "answers", "Answers", ANSWERS, put_answer);
    }
}

/* ---- retrieval --------------------------------------------------------------------------------------- */
static double score_at(const json_t *row, long j)
{
    double x = json_number_value(json_array_get(row, (size_t)j));
    return isfinite(x) ? x : -1e300;
}

/* The best of a row, in order: how many. */
static long best_of(const json_t *row, long n, long to[BEST])
{
    long held = 0;
    for (long j = 0; j < n; j++) {
        long at = held;
        while (at > 0 && score_at(row, j) > score_at(row, to[at - 1]))
            at--;
        if (at == BEST)
            continue;
        held += held < BEST;
        memmove(to + at + 1, to + at, (size_t)(held - at - 1) * sizeof *to);
        to[at] = j;
    }
    return held;
}

static bool is_right(const json_t *right, long j)
{
    for (size_t k = 0; k < json_array_size(right); k++)
        if (json_integer_value(json_array_get(right, k)) == j)
            return true;
    return json_is_integer(right) && json_integer_value(right) == j;
}

/* A picture beside the texts that came first for it. */
static void put_shown(report *r, const report_results *f, long i)
{
    const json_t *row = json_array_get(json_object_get(f->retrieval, "scores_i2t"), (size_t)i);
    const json_t *texts = json_object_get(f->retrieval, "texts");
    const json_t *right = json_array_get(json_object_get(f->retrieval, "img2txt"), (size_t)i);
    long best[BEST], n = best_of(row, (long)json_array_size(texts), best);
    const char *path = json_string_value(json_array_get(json_object_get(f->retrieval, "images"), (size_t)i));
    file_print(r->to, "<div class=\"card\">");
    report_picture_file(r, text_of(f->metrics, "images"), path ? path : "", SIDE);
    file_print(r->to, "<div>");
    for (long k = 0; k < n; k++) {
        bool good = is_right(right, best[k]);
        const char *text = json_string_value(json_array_get(texts, (size_t)best[k]));
        file_print(r->to, "<p><span class=\"%s\">%s %.2f</span> ", good ? "good" : "bad",
                   good ? "&#10003;" : "&#10007;", score_at(row, best[k]));
        report_text(r, text ? text : "");
        file_print(r->to, "</p>");
    }
    file_print(r->to, "</div></div>\n");
}

/* The other way round: texts found for a picture. */
static void put_texts(report *r, const report_results *f)
{
    long n = (long)json_array_size(json_object_get(f->retrieval, "images")),
         shown = n < QUERIES ? n : QUERIES;
    if (!n || !json_array_size(json_object_get(f->retrieval, "scores_i2t")))
        return;
    begin(r, "texts", "Texts found for a picture", f, shown, n);
    file_print(r->to, "<p class=\"what\">The %d best of %zu texts, best first, with their scores.</p>\n"
                      "<div class=\"samples\">\n",
               BEST, json_array_size(json_object_get(f->retrieval, "texts")));
    for (long k = 0; k < shown; k++)
        put_shown(r, f, (2*k + 1) * n / (2 * shown));
    file_print(r->to, "</div>\n");
    report_section_end(r);
}

static void put_query(report *r, const report_results *f, long j)
{
    const json_t *row = json_array_get(json_object_get(f->retrieval, "scores_t2i"), (size_t)j);
    const json_t *images = json_object_get(f->retrieval, "images");
    const json_t *right = json_array_get(json_object_get(f->retrieval, "txt2img"), (size_t)j);
    long best[BEST], n = best_of(row, (long)json_array_size(images), best);
    const char *text = json_string_value(json_array_get(json_object_get(f->retrieval, "texts"), (size_t)j));
    file_print(r->to, "<h3>");
    report_text(r, text ? text : "");
    file_print(r->to, "</h3>\n<ul class=\"found\">");
    for (long k = 0; k < n; k++) {
        bool good = is_right(right, best[k]);
        const char *path = json_string_value(json_array_get(images, (size_t)best[k]));
        file_print(r->to, "<li class=\"%s\">", good ? "good" : "bad");
        report_picture_file(r, text_of(f->metrics, "images"), path ? path : "", SIDE);
        file_print(r->to, "<span>%s %.2f</span></li>", good ? "&#10003;" : "&#10007;",
                   score_at(row, best[k]));
    }
    file_print(r->to, "</ul>\n");
}

void report_retrieval(report *r)
{
    for (int i = 0; i < r->count; i++) {
        const report_results *f = &r->results[i];
        long n = (long)json_array_size(json_object_get(f->retrieval, "texts")),
             shown = n < QUERIES ? n : QUERIES;
        if (!n) {
            if (json_object_get(f->metrics, "retrieval"))
                report_left_out(r, "what was found: %s has no retrieval.json", QUOTE(f->folder));
            continue;
        }
        begin(r, "retrieval", "Pictures found for a text", f, shown, n);
        file_print(r->to, "<p class=\"what\">The %d best of %zu pictures, best first, with their scores; "
                          "framed: right.</p>\n",
                   BEST, json_array_size(json_object_get(f->retrieval, "images")));
        for (long k = 0; k < shown; k++)
            put_query(r, f, (2*k + 1) * n / (2 * shown));
        report_section_end(r);
        put_texts(r, f);
    }
}
