/* explain_masks.c - `blip2 explain masks`: who may look at whom in the Q-Former (Li et al. 2023, Fig. 2),
 * drawn from what the functions of blip2/masks.c give to training and matching.                            */
#include "cli/commands.h"
#include "cli/masks.h"
#include <stdio.h>
#include <string.h>

enum { MOST = 128, LINE = 110, GAP = 3, LABEL = 8, TITLE = 20 };     /* characters of a line, a gap, a name */

bool mask_may(const mask_panel *p, long i, long j)
{
    const ag_mask *m = p->mask;
    return m->may[(m->Tq > 1 ? i : 0) * m->Tk + j];
}

const char *mask_label(const mask_figure *f, const mask_panel *p, long i, char to[MASK_LABEL])
{
    static const char *const words[] = { "a", "red", "fox", "asleep", "in", "fresh", "snow" };
    long at = i - f->Q, real_tokens = f->T - f->pad;
    if (at < 0)
        snprintf(to, MASK_LABEL, "q%ld", i + 1);
    else if (at >= real_tokens)
        snprintf(to, MASK_LABEL, "[PAD]");
    else if (at == 0 || at == real_tokens - 1)
        snprintf(to, MASK_LABEL, "%s", at ? "[SEP]" : p->first);
    else if (at <= (long)(sizeof words / sizeof *words))
        snprintf(to, MASK_LABEL, "%s", words[at - 1]);
    else
        snprintf(to, MASK_LABEL, "t%ld", at + 1);
    return to;
}

static mask_figure figure(tape *t, long Q, long tokens, long pad)
{
    long T = tokens + pad;
    unsigned char *stands = ag_alloc(t, T);
    for (long i = 0; i < T; i++)
        stands[i] = i < tokens;
    return (mask_figure){ Q, T, pad, {
        { "bidirectional", "ITM", "matching", "blip2_mask_bidirectional", "[CLS]",
          { "queries and text", "see each other" }, blip2_mask_bidirectional(t, 1, Q, T, stands) },
        { "multimodal causal", "ITG", "text generation", "blip2_mask_causal", "[DEC]",
          { "queries see queries; a token sees", "the queries and the text up to itself" },
          blip2_mask_causal(t, 1, Q, T, stands) },
        { "unimodal", "ITC", "contrast", "blip2_mask_unimodal", "[CLS]",
          { "queries see queries,", "text sees text" }, blip2_mask_unimodal(t, 1, Q, T, stands) } } };
}

/* ---- as text ------------------------------------------------------------------------------------------- */
static char sign(const mask_figure *f, const mask_panel *p, long i, long j)
{
    return mask_may(p, i, j) ? j < f->Q ? 'Q' : 'T' : j >= f->Q + f->T - f->pad ? 'x' : '.';
}

/* Row i of one mask, -1: the line that parts queries and text; then blanks up to `width` characters. */
static void print_row(const mask_figure *f, const mask_panel *p, long i, bool spaced, int width)
{
    char label[MASK_LABEL];
    int used = printf("%*s ", LABEL - 1, i < 0 ? "" : mask_label(f, p, i, label));
    for (long j = 0; j < f->Q + f->T; j++) {
        const char *after = !spaced ? "" : i < 0 ? "-" : " ";
        if (j == f->Q)
            used += printf("%c%s", i < 0 ? '+' : '|', after);
        used += printf("%c%s", i < 0 ? '-' : sign(f, p, i, j), after);
    }
    printf("%*s", used < width ? width - used : 0, "");
}

/* Panels from .. to - 1 side by side, each `width` characters and a gap. */
static void print_panels(const mask_figure *f, int from, int to, int width, bool spaced)
{
    for (int line = 0; line < 2; line++)
        for (int k = from; k < to; k++) {
            const mask_panel *p = &f->panel[k];
            int used = line ? printf("%*s%s: %s", LABEL, "", p->objective, p->task)
                            : printf("%*s%s", LABEL, "", p->name);
            printf("%*s", k + 1 < to ? width - used + GAP : 1, k + 1 < to ? "" : "\n");
        }
    for (long i = 0; i < f->Q + f->T; i++)
        for (int parting = i == f->Q; parting >= 0; parting--)
            for (int k = from; k < to; k++) {
                print_row(f, &f->panel[k], parting ? -1 : i, spaced, k + 1 < to ? width : 0);
                printf("%*s", k + 1 < to ? GAP : 1, k + 1 < to ? "" : "\n");
            }
    putchar('\n');
}

static void print_text(const mask_figure *f)
{
    long S = f->Q + f->T;
    bool spaced = MASK_PANELS * (LABEL + 2 * S + 2 + GAP) - GAP <= LINE;
    int width = LABEL + (int)(spaced ? 2 * S + 2 : S + 1);
    width = width < LABEL + TITLE ? LABEL + TITLE : width;
    bool beside = MASK_PANELS * (width + GAP) - GAP <= LINE;
    for (int k = 0; k < MASK_PANELS; k += beside ? MASK_PANELS : 1)
        print_panels(f, k, beside ? MASK_PANELS : k + 1, width, spaced);
    puts("A row looks at the columns: Q a query, T a token of the text; . it may not, the probability is 0;\n"
         "x padding, which nobody looks at. Columns stand in the order of the rows.\n");
    for (int k = 0; k < MASK_PANELS; k++) {
        const mask_panel *p = &f->panel[k];
        printf("  %-3s %-26s %s %s\n", p->objective, p->function, p->says[0], p->says[1]);
    }
}

/* ---- as JSON ------------------------------------------------------------------------------------------- */
static void print_json(const mask_figure *f)
{
    long S = f->Q + f->T;
    for (int k = 0; k < MASK_PANELS; k++) {
        const mask_panel *p = &f->panel[k];
        printf("{\"mask\":\"%s\",\"objective\":\"%s\",\"function\":\"%s\",\"queries\":%ld,\"text\":%ld,"
               "\"padding\":%ld,\"rows\":[", p->name, p->objective, p->function, f->Q, f->T - f->pad, f->pad);
        for (long i = 0; i < S; i++) {
            printf(i ? ",\"" : "\"");
            for (long j = 0; j < S; j++)
                putchar(mask_may(p, i, j) ? '1' : '0');
            putchar('"');
        }
        puts("]}");
    }
}

static int run(int argc, char **argv)
{
    long queries = 4, text = 5, pad = 0;
    const char *out = NULL;
    cli_common common = { 0 };
    cli_option options[] = {
        { "queries", "Q", CLI_INT, &queries, 1, MOST, "queries" },
        { "text", "T", CLI_INT, &text, 1, MOST, "tokens of the text, [CLS] or [DEC] and [SEP] included" },
        { "pad", "N", CLI_INT, &pad, 0, MOST, "tokens of padding behind them" },
        { "out", "F.svg", CLI_TEXT, &out, 0, 0, "draw them into this file; -o is the same" },
    };
    int code;
    error e;
    if (!cli_parse(&argc, argv, options, 4, &common, &code))
        return code;
    if (argc > 1)
        return cli_usage("explain masks", "takes no words, found \"%s\"", QUOTE(argv[1]));
    if (out && !cli_may_write("explain masks", out, ".svg", 0, NULL))
        return 2;
    tape *t = ag_tape_new();
    if (!t)
        return cli_fail((error_set(&e, "out of memory"), &e));
    mask_figure f = figure(t, queries, text, pad);
    bool ok = !out || masks_svg(&f, out, &e);
    if (ok && common.json)
        print_json(&f);
    else if (ok && out)
        printf("%s\n", out);
    else if (ok)
        print_text(&f);
    ag_tape_free(t);
    return ok ? 0 : cli_fail(&e);
}

const cli_command cli_explain_masks = {
    "explain masks", "", "draw the three attention masks of the Q-Former", run,
    "The masks are made by the functions of blip2/masks.c that training and matching use. Without -o they\n"
    "are printed, with -o F.svg drawn. Generation with the Q-Former keeps the queries' keys and values and\n"
    "needs the text rows of the causal mask alone; contrast computes the two blocks of the unimodal mask in\n"
    "two passes. With --json a line a mask, its rows as texts of 1 and 0."
};
