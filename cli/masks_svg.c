/* masks_svg.c - the three masks as a picture (masks.h): a square a pair, coloured by who looks at whom.
 *
 * Panels stand side by side, each with its name above, rows that look on the left, columns that are looked
 * at on top, and what it says in words below; a legend closes the picture. Sizes are in pixels at 100 %.   */
#include "cli/masks.h"

enum { MARGIN = 24, NAMES = 46, TITLE = 50, WORDS = 60, LEGEND = 40, PANEL = 248, GAP = 3, SPLIT = 7 };
enum { LABELLED = 13 };                            /* squares at least this large have names on them */
enum { QUERY_QUERY, QUERY_TEXT, TEXT_QUERY, TEXT_TEXT, HIDDEN, PADDING, KINDS };
static const struct { const char *fill, *says; int width; } kinds[KINDS] = {
    { "#2f6db5", "query at query", 118 }, { "#7fb2e5", "query at text", 108 },
    { "#f0a35b", "text at query", 108 }, { "#d9622b", "text at text", 100 },
    { "#e9ecf0", "may not look: probability 0", 180 }, { "url(#hatch)", "padding: seen by nobody", 0 },
};

typedef struct drawing {
    file_out *file;
    const mask_figure *f;
    double cell;                                   /* side of a square with its gap */
    bool labelled;
} drawing;

/* Where row or column i begins: text stands a little apart from the queries. */
static double place(const drawing *d, long i)
{
    return (double)i * d->cell + (i >= d->f->Q ? SPLIT : 0);
}

static int kind_of(const mask_figure *f, const mask_panel *p, long i, long j)
{
    if (mask_may(p, i, j))
        return (i < f->Q ? QUERY_QUERY : TEXT_QUERY) + (j >= f->Q);
    return j >= f->Q + f->T - f->pad ? PADDING : HIDDEN;
}

static void bar(const drawing *d, double x, double y, double width, double height, int kind, bool faint)
{
    file_print(d->file, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" %s fill=\"%s\"%s/>\n",
               x, y, width, height, height > 8 ? "rx=\"2.5\"" : "shape-rendering=\"crispEdges\"",
               kinds[kind].fill, faint ? " opacity=\".35\"" : "");
}

/* Row i: a square a column, or where squares would be too small a bar over columns that are alike. */
static void row(const drawing *d, const mask_panel *p, long i, double x, double y)
{
    const mask_figure *f = d->f;
    long S = f->Q + f->T;
    double gap = d->labelled ? GAP : 0;
    for (long j = 0, from; j < S; ) {
        int kind = kind_of(f, p, i, j);
        for (from = j++; !d->labelled && j < S && j != f->Q && kind_of(f, p, i, j) == kind; j++)
            ;
        bar(d, x + place(d, from), y + place(d, i), place(d, j - 1) - place(d, from) + d->cell - gap,
            d->cell - gap, kind, i >= S - f->pad);
    }
}

/* Names on the left of rows and, turned, on top of columns. */
static void names(const drawing *d, const mask_panel *p, double x, double y)
{
    for (long i = 0; i < d->f->Q + d->f->T; i++) {
        char label[MASK_LABEL];
        double middle = place(d, i) + (d->cell - GAP) / 2;
        bool padding = i >= d->f->Q + d->f->T - d->f->pad;
        const char *colour = i < d->f->Q ? "#2f6db5" : padding ? "#8a929c" : "#b84c17";
        mask_label(d->f, p, i, label);
        file_print(d->file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" fill=\"%s\">%s</text>\n", x - 6,
                   y + middle + 4, colour, label);
        file_print(d->file, "<text transform=\"translate(%.1f %.1f) rotate(-55)\" fill=\"%s\">%s</text>\n",
                   x + middle + 2, y - 5, colour, label);
    }
}

/* In place of names: how many there are. */
static void counts(const drawing *d, double x, double y)
{
    const mask_figure *f = d->f;
    double middle[2] = { (double)f->Q * d->cell / 2, place(d, f->Q) + (double)f->T * d->cell / 2 };
    for (int k = 0; k < 2; k++) {
        const char *what = k ? f->T > 1 ? "tokens" : "token" : f->Q > 1 ? "queries" : "query";
        const char *colour = k ? "#b84c17" : "#2f6db5";
        long n = k ? f->T : f->Q;
        file_print(d->file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" fill=\"%s\">%ld %s</text>\n",
                   x + middle[k], y - 6, colour, n, what);
        file_print(d->file, "<text transform=\"translate(%.1f %.1f) rotate(-90)\" text-anchor=\"middle\" "
                   "fill=\"%s\">%ld %s</text>\n", x - 7, y + middle[k], colour, n, what);
    }
}

static void panel(const drawing *d, const mask_panel *p, double x, double y)
{
    const mask_figure *f = d->f;
    long S = f->Q + f->T;
    file_print(d->file, "<text x=\"%.1f\" y=\"%.1f\" class=\"name\">%s</text>\n", x, y - TITLE - 22, p->name);
    file_print(d->file, "<text x=\"%.1f\" y=\"%.1f\" class=\"task\">%s: %s</text>\n", x, y - TITLE - 5,
               p->objective, p->task);
    if (d->labelled)
        names(d, p, x, y);
    else
        counts(d, x, y);
    for (long i = 0; i < S; i++)
        row(d, p, i, x, y);
    for (int line = 0; line < 2; line++)
        file_print(d->file, "<text x=\"%.1f\" y=\"%.1f\" class=\"says\">%s</text>\n", x,
                   y + place(d, S) + 18 + 16 * line, p->says[line]);
    file_print(d->file, "<text x=\"%.1f\" y=\"%.1f\" class=\"code\">%s</text>\n", x, y + place(d, S) + 53,
               p->function);
}

static void legend(const drawing *d, double x, double y)
{
    file_print(d->file, "<text x=\"%.1f\" y=\"%.1f\">A row looks at columns:</text>\n", x, y);
    x += 142;
    for (int k = 0; k < KINDS; k++) {
        if (k == PADDING && !d->f->pad)
            continue;
        bar(d, x, y - 11, 13, 13, k, false);
        file_print(d->file, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 19, y, kinds[k].says);
        x += kinds[k].width;
    }
}

static void head(file_out *f, double width, double height)
{
    file_print(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
               "height=\"%.0f\" font-family=\"Helvetica, Arial, 'Liberation Sans', sans-serif\" "
               "font-size=\"12\" fill=\"#3a424c\">\n", width, height, width, height);
    file_print(f, "<title>Attention masks of the Q-Former: rows look at columns</title>\n"
               "<style>.name{font-size:17px;font-weight:bold;fill:#1d232b}.task{font-size:13px}"
               ".says{font-size:12.5px}.code{font-family:monospace;font-size:11.5px;fill:#77808b}</style>\n"
               "<defs><pattern id=\"hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
               "patternTransform=\"rotate(45)\"><rect width=\"5\" height=\"5\" fill=\"#f6f7f9\"/>"
               "<rect width=\"1.4\" height=\"5\" fill=\"#b7bfc9\"/></pattern></defs>\n"
               "<rect width=\"%.0f\" height=\"%.0f\" rx=\"8\" fill=\"#fff\"/>\n", width, height);
}

bool masks_svg(const mask_figure *f, const char *path, error *e)
{
    drawing d = { .f = f, .cell = (double)PANEL / (double)(f->Q + f->T) };
    if (d.cell > 26)
        d.cell = 26;
    d.labelled = d.cell >= LABELLED;
    d.file = file_create(path, e);
    if (!d.file)
        return false;
    double side = place(&d, f->Q + f->T), step = (side > 190 ? side : 190) + NAMES + MARGIN;
    double width = MASK_PANELS * step + MARGIN, top = MARGIN + TITLE + 30;
    double height = top + side + WORDS + LEGEND + MARGIN / 2;
    head(d.file, width > 960 ? width : 960, height);
    for (int k = 0; k < MASK_PANELS; k++)
        panel(&d, &f->panel[k], MARGIN / 2 + NAMES + k * step, top);
    legend(&d, MARGIN, height - MARGIN);
    file_print(d.file, "</svg>\n");
    return file_finish(d.file, e);
}
