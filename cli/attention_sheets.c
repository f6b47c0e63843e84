/* attention_sheets.c - heat maps of cross-attention over the picture, and of self-attention as squares
 * (attention.h).
 *
 * The picture turns grey and light, and a patch takes colour as far as it is looked at: from white for 0 to
 * red for the largest probability of the sheet. Under each map stands the share of the class token, which is
 * no place in the picture.                                                                                 */
#include "cli/attention.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MARGIN = 12, GAP = 8, HEAD = 54, CAPTION = 14, LABEL = 48, SIDE = 76, WIDE = 92, A_LINE = 8,
       FADED = 160, BAR = 90 };
static const picture_pen ink = { { 38, 44, 52 }, 1, false }, pale = { { 122, 130, 140 }, 1, false };
static const picture_pen large = { { 29, 35, 43 }, 2, false };

double attention_patch(const attention_view *v, long layer, long head, long query, long token)
{
    const eval_attention *a = &v->a;
    const real *p = a->cross[layer]->data;                                 /* (1,H,Q,N) */
    double sum = 0;
    long n = 0;
    for (long h = head < 0 ? 0 : head; h <= (head < 0 ? a->heads - 1 : head); h++)
        for (long q = query < 0 ? 0 : query; q <= (query < 0 ? a->Q - 1 : query); q++, n++)
            sum += (double)p[(h * a->Q + q) * a->N + token];
    return sum / (double)n;
}

/* ---- a page of maps ------------------------------------------------------------------------------------ */
typedef struct page {
    const attention_view *v;
    picture on;
    long side;                                     /* of a map, a whole number of pixels a patch */
    double most;                                   /* the largest probability of a patch on this page */
    int low, high;                                 /* the darkest and the brightest pixel of the picture */
} page;

static int brightness(const uint8_t rgb[3]) { return rgb[0] + rgb[1] + rgb[2]; }

static bool page_begin(page *g, const attention_view *v, long aim, long columns, long rows, const char *title,
                       error *e)
{
    *g = (page){ .v = v, .low = 3 * 255 };
    for (long i = 0; i < v->picture.width * v->picture.height; i++) {
        int here = brightness(v->picture.rgb + 3 * i);
        g->low = here < g->low ? here : g->low;
        g->high = here > g->high ? here : g->high;
    }
    g->side = v->grid * ((aim + v->grid - 1) / v->grid);
    long width = 2 * MARGIN + LABEL + columns * (g->side + GAP);
    long least = 2 * MARGIN + picture_text_width(title, large.scale);
    if (!picture_new(&g->on, width > least ? width : least,
                     2 * MARGIN + HEAD + rows * (g->side + CAPTION + GAP), e))
        return false;
    memset(g->on.rgb, 255, (size_t)(3 * g->on.width * g->on.height));
    picture_text(&g->on, MARGIN, MARGIN, large, title);
    return true;
}

static bool page_end(page *g, const char *file, error *e)
{
    char *path = mem_text("%s/%s", g->v->folder, file);
    bool ok = path ? picture_write(&g->on, path, e) : error_set(e, "%s: out of memory", QUOTE(file));
    mem_free(path);
    picture_free(&g->on);
    return ok;
}

static long left_of(const page *g, long column) { return MARGIN + LABEL + column * (g->side + GAP); }
static long top_of(const page *g, long row) { return MARGIN + HEAD + row * (g->side + CAPTION + GAP); }

static void consider(page *g, long layer, long head, long query)
{
    for (long k = 1; k < g->v->a.N; k++)
        g->most = fmax(g->most, attention_patch(g->v, layer, head, query, k));
}

/* From white over yellow and orange to red; 0 <= heat <= 1. */
static void heat_colour(double heat, double rgb[3])
{
    static const double stop[] = { 0, 0.3, 0.65, 1 };
    static const double colour[4][3] = { { 1, 1, 1 }, { 1, 0.87, 0.5 }, { 0.97, 0.5, 0.2 },
                                         { 0.72, 0.05, 0.15 } };
    int k = 0;
    while (k < 2 && heat > stop[k + 1])
        k++;
    double share = (heat - stop[k]) / (stop[k + 1] - stop[k]);
    for (int c = 0; c < 3; c++)
        rgb[c] = colour[k][c] + (colour[k + 1][c] - colour[k][c]) * share;
}

/* What the colours mean. */
static void scale_line(page *g)
{
    char line[160];
    long y = MARGIN + 24, x = MARGIN + 10;
    picture_text(&g->on, MARGIN, y, pale, "0");
    for (long i = 0; i < BAR; i++) {
        double colour[3];
        heat_colour((double)i / BAR, colour);
        picture_fill(&g->on, x + i, y - 1, 1, 9, (const uint8_t[]){
            (uint8_t)(255 * colour[0]), (uint8_t)(255 * colour[1]), (uint8_t)(255 * colour[2]) });
    }
    snprintf(line, sizeof line, "%.2f  uniform: %.3f  cls: the class token", g->most,
             1.0 / (double)g->v->a.N);
    picture_text(&g->on, x + BAR + 5, y, pale, line);
}

/* side x side pixels become grey and light, and take the colour of their heat. */
static void heat_up(page *g, long x, long y, long side, double heat)
{
    double colour[3];
    heat_colour(heat, colour);
    for (long i = 0; i < side * side; i++) {
        uint8_t *rgb = g->on.rgb + 3 * ((y + i / side) * g->on.width + x + i % side);
        double grey = FADED + (255 - FADED) * (brightness(rgb) - g->low) / (g->high - g->low + 1);
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(grey * colour[c]);
    }
}

/* The picture, each patch as hot as it is looked at; under it the share of the class token. */
static void put_map(page *g, long column, long row, long layer, long head, long query)
{
    const attention_view *v = g->v;
    long x = left_of(g, column), y = top_of(g, row), patch = g->side / v->grid;
    char line[32];
    picture_paste(&g->on, x, y, g->side, g->side, &v->picture);
    for (long k = 0; k < v->grid * v->grid; k++) {
        double heat = attention_patch(v, layer, head, query, 1 + k) / g->most;
        heat_up(g, x + k % v->grid * patch, y + k / v->grid * patch, patch, heat < 1 ? heat : 1);
    }
    snprintf(line, sizeof line, "cls %.2f", attention_patch(v, layer, head, query, 0));
    picture_text(&g->on, x, y + g->side + 3, pale, line);
}

static void label(page *g, long x, long y, const char *format, long n)
{
    char line[32];
    snprintf(line, sizeof line, format, n);
    picture_text(&g->on, x, y, ink, line);
}

bool attention_layer(const attention_view *v, long layer, const char *file, error *e)
{
    page g;
    char title[64];
    snprintf(title, sizeof title, "layer %ld: queries by heads", layer);
    if (!page_begin(&g, v, SIDE, v->a.heads + 1, v->a.Q, title, e))
        return false;
    for (long q = 0; q < v->a.Q; q++)
        for (long h = 0; h < v->a.heads; h++)
            consider(&g, layer, h, q);
    scale_line(&g);
    for (long q = 0; q < v->a.Q; q++) {
        label(&g, MARGIN, top_of(&g, q) + g.side / 2 - 4, "q%ld", q);
        for (long h = -1; h < v->a.heads; h++)
            put_map(&g, h + 1, q, layer, h, q);
    }
    picture_text(&g.on, left_of(&g, 0), top_of(&g, 0) - 11, ink, "mean");
    for (long h = 0; h < v->a.heads; h++)
        label(&g, left_of(&g, h + 1), top_of(&g, 0) - 11, "head %ld", h);
    return page_end(&g, file, e);
}

static long lines_of(const attention_view *v) { return (v->a.Q + A_LINE - 1) / A_LINE; }

/* The maps of one layer, means over heads: of all queries together, then of each. */
static void overview_layer(page *g, long layer, long row)
{
    const attention_view *v = g->v;
    label(g, MARGIN, top_of(g, row) + g->side / 2 - 4, "layer %ld", layer);
    put_map(g, 0, row, layer, -1, -1);
    for (long q = 0; q < v->a.Q; q++)
        put_map(g, 1 + q % A_LINE, row + q / A_LINE, layer, -1, q);
}

bool attention_overview(const attention_view *v, const char *file, error *e)
{
    page g;
    long layers = 0, columns = 1 + (v->a.Q < A_LINE ? v->a.Q : A_LINE), row = 1;
    for (long i = 0; i < v->a.layers; i++)
        layers += v->a.cross[i] != NULL;
    if (!page_begin(&g, v, WIDE, columns, 1 + layers * lines_of(v), "what each query looks at", e))
        return false;
    for (long i = 0; i < v->a.layers; i++)
        for (long q = 0; v->a.cross[i] && q < v->a.Q; q++)
            consider(&g, i, -1, q);
    scale_line(&g);
    picture_paste(&g.on, left_of(&g, 0), top_of(&g, 0), g.side, g.side, &v->picture);
    const char *with = v->text ? "queries and text read together:" : "the picture is read alone";
    picture_text(&g.on, left_of(&g, 1), top_of(&g, 0), ink, "means over heads, of all queries and of each;");
    picture_text(&g.on, left_of(&g, 1), top_of(&g, 0) + PICTURE_LINE + 4, ink, with);
    picture_text(&g.on, left_of(&g, 1), top_of(&g, 0) + 2*PICTURE_LINE + 8, pale, v->text ? v->text : "");
    picture_text(&g.on, left_of(&g, 0), top_of(&g, 1) - 11, ink, "all");
    for (long q = 0; q < v->a.Q && q < A_LINE; q++)
        label(&g, left_of(&g, 1 + q), top_of(&g, 1) - 11, "q%ld", q);
    for (long i = 0; i < v->a.layers; i++)
        if (v->a.cross[i]) {
            overview_layer(&g, i, row);
            row += lines_of(v);
        }
    return page_end(&g, file, e);
}

/* ---- self-attention ------------------------------------------------------------------------------------ */
static double pair_of(const eval_attention *a, long layer, long head, long i, long j)
{
    long S = a->Q + a->T;
    double sum = 0;
    for (long h = head < 0 ? 0 : head; h <= (head < 0 ? a->heads - 1 : head); h++)
        sum += (double)a->self[layer]->data[(h * S + i) * S + j];
    return head < 0 ? sum / (double)a->heads : sum;
}

/* Squares of `side` pixels; row i looks at column j, blue where that is a query, orange where it is text. */
static void put_matrix(picture *p, const attention_view *v, long layer, long head, long x, long y, long side)
{
    static const uint8_t colour[2][3] = { { 47, 109, 181 }, { 217, 98, 43 } };
    long S = v->a.Q + v->a.T;
    for (long i = 0; i < S * S; i++) {
        double deep = sqrt(pair_of(&v->a, layer, head, i / S, i % S));
        uint8_t rgb[3];
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(244 + (colour[i % S >= v->a.Q][c] - 244) * (deep < 1 ? deep : 1));
        picture_fill(p, x + i % S * side, y + i / S * side, side - 1, side - 1, rgb);
    }
}

static const char *name_of(const attention_view *v, long i, char to[24])
{
    if (i < v->a.Q)
        snprintf(to, 24, "q%ld", i);
    else
        snprintf(to, 24, "%.14s", v->tokens[i - v->a.Q]);
    return to;
}

bool attention_words(const attention_view *v, long layer, const char *file, error *e)
{
    enum { BIG = 13, SMALL = 5, NAMES = 92, ACROSS = 4 };
    long S = v->a.Q + v->a.T, step = S * SMALL + 12, rows = (v->a.heads + ACROSS - 1) / ACROSS;
    long wide = NAMES + S * BIG, across = ACROSS * step;
    page g = { .v = v };
    char title[64], name[24];
    long least = 430;                                      /* for the lines on top */
    long width = 2 * MARGIN + (wide > across ? wide : across);
    if (!picture_new(&g.on, width > least ? width : least,
                     2 * MARGIN + HEAD + NAMES + S * BIG + 20 + rows * (step + CAPTION), e))
        return false;
    memset(g.on.rgb, 255, (size_t)(3 * g.on.width * g.on.height));
    snprintf(title, sizeof title, "layer %ld: self-attention", layer);
    picture_text(&g.on, MARGIN, MARGIN, large, title);
    picture_text(&g.on, MARGIN, MARGIN + 22, pale,
                 "a row looks at columns: blue a query, orange a token of the text");
    long x = MARGIN + NAMES, y = MARGIN + HEAD + NAMES;
    for (long i = 0; i < S; i++) {
        picture_pen turned = ink;
        turned.upwards = true;
        name_of(v, i, name);
        picture_text(&g.on, x - 6 - picture_text_width(name, 1), y + i * BIG + 3, ink, name);
        picture_text(&g.on, x + i * BIG + 2, y - 6, turned, name);
    }
    put_matrix(&g.on, v, layer, -1, x, y, BIG);
    for (long h = 0; h < v->a.heads; h++) {
        long left = MARGIN + h % ACROSS * step, top = y + S * BIG + 20 + h / ACROSS * (step + CAPTION);
        label(&g, left, top, "head %ld", h);
        put_matrix(&g.on, v, layer, h, left, top + CAPTION - 2, SMALL);
    }
    return page_end(&g, file, e);
}
