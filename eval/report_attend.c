/* report_attend.c - what each query looks at: a picture lit by the probabilities of the last layer with
 * cross-attention, means over its heads. The brightest patch of each is as bright as the picture. */
#include "eval/report.h"
#include <stdio.h>
#include <string.h>

enum { PICTURES = 6, QUERIES = 32, SIDE = 96, MAPS = 96 }; /* MAPS: of all pictures, for the file's size */

typedef struct attending {
    report *r;
    eval_session *s;
    const char *path;                  /* of the picture */
    const real *features;              /* (N,E) */
    picture shown;                     /* (SIDE,SIDE) */
} attending;

/* w (N - 1) of the patches, row by row */
static bool light(const picture *from, const double *w, long grid, picture *to, error *e)
{
    double most = 1e-30;
    for (long k = 0; k < grid * grid; k++)
        most = w[k] > most ? w[k] : most;
    if (!picture_new(to, from->width, from->height, e))
        return false;
    for (long y = 0; y < to->height; y++)
        for (long x = 0; x < to->width; x++)
            for (long c = 0; c < 3; c++) {
                long at = 3 * (y * to->width + x) + c,
                     patch = y * grid / to->height * grid + x * grid / to->width;
                to->rgb[at] = (uint8_t)(from->rgb[at] * (0.12 + 0.88 * w[patch] / most) + 0.5);
            }
    return true;
}

static void put_query(const attending *a, const tensor *p, long grid, long q)
{
    long H = p->dim[1], Q = p->dim[2], N = p->dim[3];
    double *w = mem_new((size_t)(N + 1) * sizeof *w), on_class = 0;
    char name[32];
    picture lit = { 0 };
    error e;
    for (long h = 0; w && h < H; h++)
        for (long k = 0; k < N; k++) {
            double share = (double)p->data[(h * Q + q) * N + k] / (double)H;
            if (k)
                w[k - 1] += share;
            else
                on_class += share;
        }
    snprintf(name, sizeof name, "query %ld", q);
    if (w && light(&a->shown, w, grid, &lit, &e)) {
        file_print(a->r->to, "<div>");
        report_picture(a->r, &lit, name, SIDE);
        file_print(a->r->to, "q%ld &middot; class %.2f</div>\n", q, on_class);
    }
    picture_free(&lit);
    mem_free(w);
}

static void attend(void *context)
{
    const attending *a = context;
    const blip2_config *c = &a->s->model.config;
    eval_attention seen = eval_attend(&a->s->model, a->s->t, a->features, eval_tokens(c), (blip2_text){ 0 });
    const tensor *last = NULL;
    for (long i = 0; i < seen.layers; i++)
        last = seen.cross[i] ? seen.cross[i] : last;
    if (!last)
        return;
    file_print(a->r->to, "<div class=\"looks\">\n<div>");
    report_picture(a->r, &a->shown, a->path, SIDE);
    file_print(a->r->to, "the picture</div>\n");
    for (long q = 0; q < seen.Q && q < QUERIES; q++)
        put_query(a, last, c->vision.image_size / c->vision.patch, q);
    file_print(a->r->to, "</div>\n");
}

static bool look(report *r, eval_session *s, const char *path, error *e)
{
    const blip2_config *c = &s->model.config;
    attending a = { .r = r, .s = s, .path = path };
    picture whole = { 0 };
    real *x = mem_new((size_t)(eval_tokens(c) * c->vision.width) * sizeof *x);
    bool ok = x || error_set(e, "out of memory");
    ok = ok && eval_features(s, &path, 1, x, e) && picture_read(&whole, path, e)
         && picture_resize(&a.shown, &whole, SIDE, SIDE, e);
    a.features = x;
    ag_mark mark = ag_here(s->t);
    ok = ok && ag_try(s->t, attend, &a, e);
    ag_rewind(s->t, mark);
    picture_free(&whole);
    picture_free(&a.shown);
    mem_free(x);
    return ok;
}

/* Pictures of the first results that name some. */
static int pictures_of(const report *r, char *to[PICTURES])
{
    int n = 0;
    for (int i = 0; i < r->count && !n; i++) {
        const report_results *f = &r->results[i];
        const json_t *list = f->captions ? f->captions : f->vqa;
        const json_t *images = json_object_get(f->retrieval, "images");
        const char *root = json_string_value(json_object_get(f->metrics, "images"));
        size_t many = json_array_size(list ? list : images), drawn = many < PICTURES ? many : PICTURES;
        for (size_t k = 0; root && k < drawn; k++) {
            size_t at = (2*k + 1) * many / (2*drawn);
            const char *name = json_string_value(list ? json_object_get(json_array_get(list, at), "image")
                                                      : json_array_get(images, at));
            if (name && (to[n] = mem_text("%s/%s", root, name))) {
                bool met = false;                          /* questions that are neighbours ask of one */
                for (int j = 0; j < n; j++)
                    met |= !strcmp(to[j], to[n]);
                if (met)
                    mem_free(to[n]);
                n += !met;
            }
        }
    }
    return n;
}

/* Fewer pictures where there are many queries, of which QUERIES are shown at most. */
static long shown_of(long n, long queries)
{
    long maps = queries < 1 ? 1 : queries < QUERIES ? queries : QUERIES, most = MAPS / maps;
    return n < most ? n : most;
}

void report_attention(report *r)
{
    char *paths[PICTURES], *model = mem_text("%s/model.h5", r->run);
    int n = pictures_of(r, paths);
    eval_session s;
    error e;
    if (!model || !r->has_model)
        report_left_out(r, "what the queries look at: %s has no model.h5", QUOTE(r->run));
    else if (!n)
        report_left_out(r, "what the queries look at: no results name a picture");
    else if (!eval_open(&s, model, &e))
        report_left_out(r, "what the queries look at: %s", e.text);
    else {
        if (!eval_can_attend(&s, model, &e))
            report_left_out(r, "what the queries look at: %s", e.text);
        else {
            report_section(r, "attention", "What each query looks at",
                           "Cross-attention of the last layer that looks at the picture, means over heads: "
                           "bright is looked at, relative to the query's brightest patch. Class: the share "
                           "on the class token. <code>blip2 attention</code> shows all layers and heads.");
            long shown = shown_of(n, s.model.config.qformer.queries);
            for (long k = 0; k < shown; k++)
                if (!look(r, &s, paths[(2*k + 1) * n / (2*shown)], &e))
                    report_left_out(r, "what the queries look at: %s", e.text);
            report_section_end(r);
        }
        eval_close(&s);
    }
    for (int i = 0; i < n; i++)
        mem_free(paths[i]);
    mem_free(model);
}
