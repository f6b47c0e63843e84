/* report_results.c - the figures of metrics.json: tiles for those that are looked for first, tables of
 * all, and VQA by type as bars with its controls and intervals. */
#include "eval/report.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) && isfinite(json_number_value(v)) ? json_number_value(v) : NAN;
}

/* The bounds of a figure's interval; false: it has none. `score vqa` has one interval, of `overall`. */
static bool bounds(const json_t *o, const char *key, double to[2])
{
    const json_t *i = json_object_get(o, "interval_95");
    if (!json_is_array(i) || strcmp(key, "overall"))
        i = json_object_get(i, key);
    for (size_t k = 0; k < 2; k++) {
        to[k] = json_number_value(json_array_get(i, k));
        if (!json_is_number(json_array_get(i, k)) || !isfinite(to[k]))
            return false;
    }
    return true;
}

/* ---- tiles ------------------------------------------------------------------------------------------- */
typedef struct tile { const char *label, *key, *unit; double factor; int digits; } tile;

static void put_tile(report *r, const tile *t, const json_t *o, const char *note)
{
    double value = number(o, t->key), b[2];
    if (isnan(value))
        return;
    file_print(r->to, "<div class=\"tile\"><span>%s</span><b>%.*f%s</b>", t->label, t->digits,
               t->factor * value, t->unit);
    if (bounds(o, t->key, b))
        file_print(r->to, "<span>95 %%: %.*f to %.*f</span>", t->digits, t->factor * b[0], t->digits,
                   t->factor * b[1]);
    if (note)
        file_print(r->to, "<span>%s</span>", note);
    file_print(r->to, "</div>\n");
}

static const char *note_of(char to[96], const char *what, double value, const char *unit)
{
    snprintf(to, 96, "%s %.1f%s", what, value, unit);
    return isnan(value) ? NULL : to;
}

/* The row of the rule that was asked for. */
static const json_t *ranked(const json_t *retrieval)
{
    const char *by = json_string_value(json_object_get(json_object_get(retrieval, "settings"), "rerank"));
    const json_t *row = by ? json_object_get(retrieval, by) : NULL;
    return row ? row : json_object_get(retrieval, "itc");
}

/* Is the challenge's accuracy there, and can it reach 100 %? It leaves each of the people out in turn and
 * asks for three others: with fewer than four answers to a question it cannot.                             */
static bool by_challenge(const json_t *vqa)
{
    return !isnan(number(json_object_get(vqa, "model_official"), "overall"))
        && !(number(json_object_get(vqa, "settings"), "answers_at_least") < 4);
}

static void put_tiles(report *r, const json_t *metrics)
{
    static const tile captions[] = { { "CIDEr-D of captions", "CIDEr", "", 1, 2 },
        { "BLEU-4", "Bleu_4", "", 100, 1 }, { "ROUGE-L", "ROUGE_L", "", 100, 1 },
        { "All objects named", "objects", " %", 100, 1 }, { "METEOR", "METEOR", "", 100, 1 },
        { "SPICE", "SPICE", "", 100, 1 } };
    static const tile perplexity = { "Perplexity of true captions", "perplexity", "", 1, 2 };
    static const tile answers = { "Questions answered right", "all", " %", 100, 1 };
    static const tile official = { "VQA accuracy", "overall", " %", 1, 1 };
    static const tile recall[] = { { "R@1, texts of a picture", "txt_r1", " %", 1, 1 },
                                   { "R@1, pictures of a text", "img_r1", " %", 1, 1 } };
    static const tile matching = { "Matching: right or not", "accuracy", " %", 1, 1 };
    const json_t *c = json_object_get(metrics, "captions"), *v = json_object_get(metrics, "vqa");
    const json_t *f = json_object_get(metrics, "retrieval"), *chance = json_object_get(f, "chance");
    char note[96];
    if (by_challenge(v))
        put_tile(r, &official, json_object_get(v, "model_official"), "by the challenge's rule");
    put_tile(r, &answers, json_object_get(v, "model"),
             note_of(note, "without the picture", 100 * number(json_object_get(v, "blind"), "all"), " %"));
    for (size_t i = 0; i < sizeof captions / sizeof *captions; i++)
        put_tile(r, &captions[i], c, NULL);
    put_tile(r, &perplexity, c, note_of(note, "behind other pictures", number(c, "perplexity_shuffled"), ""));
    for (int i = 0; i < 2; i++)
        put_tile(r, &recall[i], ranked(f), note_of(note, "by chance", number(chance, recall[i].key), " %"));
    put_tile(r, &matching, json_object_get(f, "itm_accuracy"), "by guessing 50.0 %");
}

/* ---- tables ------------------------------------------------------------------------------------------ */
static void put_cell(report *r, const json_t *o, const char *key, double value)
{
    double b[2];
    file_print(r->to, "<td>%.*f", value == floor(value) && fabs(value) < 1e9 && value > 100 ? 0 : 3, value);
    if (bounds(o, key, b))
        file_print(r->to, " <span class=\"soft\">[%.3f, %.3f]</span>", b[0], b[1]);
    file_print(r->to, "</td>");
}

static void put_figures(report *r, const json_t *o)
{
    const char *key;
    json_t *v;
    file_print(r->to,
               "<div class=\"scroll\"><table><tr><th>figure</th><th>value [95 %% interval]</th></tr>\n");
    json_object_foreach((json_t *)o, key, v)
        if (!isnan(number(o, key))) {
            file_print(r->to, "<tr><td>");
            report_text(r, key);
            file_print(r->to, "</td>");
            put_cell(r, o, key, number(o, key));
            file_print(r->to, "</tr>\n");
        }
    file_print(r->to, "</table></div>\n");
}

static void put_recalls(report *r, const json_t *retrieval)
{
    static const char *const rows[][2] = { { "itc", "cosine alone (ITC)" }, { "itm", "best again by ITM" },
        { "sum", "best again by the sum" }, { "product", "best again by ITC times ITM" },
        { "chance", "chance" } };
    static const char *const keys[] = { "txt_r1", "txt_r5", "txt_r10", "img_r1", "img_r5", "img_r10",
                                        "r_mean", "mrr" };
    file_print(r->to, "<div class=\"scroll\"><table><tr><th>percent [95 %% interval]</th>");
    for (int k = 0; k < 8; k++)
        file_print(r->to, "<th>%s</th>", keys[k]);
    file_print(r->to, "</tr>\n");
    for (int i = 0; i < 5; i++) {
        const json_t *o = json_object_get(retrieval, rows[i][0]);
        double b[2];
        if (!o)
            continue;
        file_print(r->to, "<tr><td>%s</td>", rows[i][1]);
        for (int k = 0; k < 8; k++) {
            file_print(r->to, isnan(number(o, keys[k])) ? "<td>" : "<td>%.1f", number(o, keys[k]));
            if (bounds(o, keys[k], b))
                file_print(r->to, " <span class=\"soft\">[%.1f, %.1f]</span>", b[0], b[1]);
            file_print(r->to, "</td>");
        }
        file_print(r->to, "</tr>\n");
    }
    file_print(r->to, "</table></div>\n");
}

void report_headline(report *r)
{
    if (!r->count) {
        report_left_out(r,
                        "figures: no metrics.json in %s, beside it or below it; `blip2 evaluate` writes one",
                        QUOTE(r->run));
        return;
    }
    report_section(r, "figures", "Figures", "Intervals are 95 % of resamples of pictures or questions.");
    for (int i = 0; i < r->count; i++) {
        const char *model = json_string_value(json_object_get(r->results[i].metrics, "model"));
        if (r->count > 1) {                                /* they may be of different models */
            file_print(r->to, "<h3>");
            report_text(r, model ? model : r->results[i].folder);
            file_print(r->to, "</h3>\n");
        }
        file_print(r->to, "<div class=\"tiles\">\n");
        put_tiles(r, r->results[i].metrics);
        file_print(r->to, "</div>\n");
    }
    for (int i = 0; i < r->count; i++) {
        const json_t *c = json_object_get(r->results[i].metrics, "captions");
        const json_t *f = json_object_get(r->results[i].metrics, "retrieval");
        if (f) {
            file_print(r->to, "<h3>Retrieval</h3>\n");
            put_recalls(r, f);
        }
        if (c) {
            file_print(r->to, "<details><summary>All figures of captions</summary>\n");
            put_figures(r, c);
            file_print(r->to, "</details>\n");
        }
    }
    report_section_end(r);
}

/* ---- answers by type --------------------------------------------------------------------------------- */
enum { ROWS = 3, BAR = 13, STEP = 76 };
static const char *const rows[ROWS] = { "model", "blind", "shuffled" };

static double percent(double share)
{
    return share < 0 ? 0 : share > 1 ? 100 : 100 * share;
}

/* What a bar is of. Where several people answered, accuracy by the challenge's rule, else right letter by
 * letter: a share from 0 to 1, NAN: not there; b: its interval, *known says whether it has one. */
static double share_of(const json_t *vqa, bool official, const char *row, const char *type, double b[2],
                       bool *known)
{
    char name[32];
    snprintf(name, sizeof name, "%s%s", row, official ? "_official" : "");
    const json_t *o = json_object_get(vqa, name);
    bool all = !strcmp(type, "all");
    *known = official ? all && bounds(o, "overall", b) : bounds(o, type, b);
    if (!official)
        return number(o, type);
    b[0] /= *known ? 100 : 1;
    b[1] /= *known ? 100 : 1;
    return (all ? number(o, "overall") : number(json_object_get(o, "perAnswerType"), type)) / 100;
}

/* Bars lie across the whole width: what is written beside them keeps its size on any screen. */
static void put_type(report *r, const json_t *vqa, bool official, const char *type, int row)
{
    int top = row * STEP;
    double b[2] = { 0 };
    bool known;
    file_print(r->to, "<text x=\"0\" y=\"%d\">", top + 14);
    report_text(r, !strcmp(type, "all") ? "all questions" : type);
    file_print(r->to, "</text>");
    double value = share_of(vqa, official, "model", type, b, &known);
    if (!isnan(value))
        file_print(r->to, "<text class=\"no\" x=\"100%%\" y=\"%d\" text-anchor=\"end\">%.1f %%</text>",
                   top + 14, percent(value));
    file_print(r->to, "\n");
    for (int k = 0; k < ROWS; k++) {
        int y = top + 20 + k * (BAR + 2);
        value = share_of(vqa, official, rows[k], type, b, &known);
        if (isnan(value))
            continue;
        file_print(r->to,
                   "<rect class=\"back\" x=\"0\" y=\"%d\" width=\"100%%\" height=\"%d\"/><rect class=\"b%d\" "
                   "x=\"0\" y=\"%d\" width=\"%.2f%%\" height=\"%d\"/>", y, BAR, k, y, percent(value), BAR);
        if (known)
            file_print(r->to, "<line class=\"whisker\" x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"%d\" y2=\"%d\"/>",
                       percent(b[0]), percent(b[1]), y + BAR / 2, y + BAR / 2);
        file_print(r->to, "\n");
    }
}

static void put_types(report *r, const report_results *f, bool official)
{
    const json_t *vqa = json_object_get(f->metrics, "vqa"), *model = json_object_get(vqa, "model");
    const char *key;
    json_t *v;
    int types = 0, row = 0;
    json_object_foreach((json_t *)model, key, v)
        types += json_is_number(v) && strcmp(key, "questions") && types < 2 * EVAL_TYPES;
    file_print(r->to, "<ul class=\"key\"><li><i style=\"background:var(--blue)\"></i>with the picture</li>");
    if (json_object_get(vqa, "blind"))
        file_print(r->to, "<li><i style=\"background:var(--grey)\"></i>blind: no picture</li>");
    if (json_object_get(vqa, "shuffled"))
        file_print(r->to, "<li><i style=\"background:var(--light)\"></i>shuffled: another picture</li>");
    file_print(r->to, "<li>line: 95 %% interval%s</li></ul>\n<svg class=\"bars\" height=\"%d\" role=\"img\" "
               "aria-label=\"accuracy by type of question\">\n", official ? " of all questions" : "",
               types * STEP);
    if (json_is_number(json_object_get(model, "all")))
        put_type(r, vqa, official, "all", row++);
    json_object_foreach((json_t *)model, key, v)
        if (json_is_number(v) && strcmp(key, "questions") && strcmp(key, "all") && row < types)
            put_type(r, vqa, official, key, row++);
    file_print(r->to, "</svg>\n");
}

static const char by_people[] =
    "VQA accuracy by the challenge's rule, for several people answered each question: an answer counts a "
    "third for each other who gave it, one at most, averaged over the people. What the grey "
    "bars reach needs no seeing.";
static const char by_letter[] =
    "Right is an answer that equals the true one letter by letter. What the grey bars reach needs no seeing.";

void report_answers(report *r)
{
    for (int i = 0; i < r->count; i++) {
        char id[32];
        const json_t *vqa = json_object_get(r->results[i].metrics, "vqa");
        if (!json_is_object(json_object_get(vqa, "model")))
            continue;
        bool official = by_challenge(vqa);
        snprintf(id, sizeof id, "vqa-%d", ++r->ids);
        report_section(r, id, "Questions by type", official ? by_people : by_letter);
        put_types(r, &r->results[i], official);
        report_section_end(r);
    }
}
