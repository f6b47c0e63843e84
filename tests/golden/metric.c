/* metric.c - expected_*.json and retrieval.json: the metrics against the reference scorers' figures, through
 * the functions that `blip2 score` calls. Scores at 1e-9, tokens and ranks exactly; METEOR stands in the
 * files for information alone. Beside expected_ptb.json, ptb_lines.json: hard lines for the tokenizer. */
#include "tests/golden/golden.h"
#include "data/json.h"
#include "eval/metrics.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PATH = 4096 };
typedef struct sums { long values, wrong; double worst; } sums;

static const char *beside(const golden *g, const char *name, char to[PATH])
{
    const char *file = golden_file(g), *slash = strrchr(file, '/');
    snprintf(to, PATH, "%.*s%s", slash ? (int)(slash - file + 1) : 0, file, name);
    return to;
}

static json_t *loaded(const char *path)
{
    error e;
    json_t *all = data_json_file(path, &e);
    if (!all)
        ag_fail("golden", "%s", e.text);
    return all;
}

/* Every number under `theirs` against the one of the same key or place in `ours`. */
static void compare(golden *g, sums *s, const char *name, const json_t *ours, const json_t *theirs)
{
    const char *key;
    json_t *v;
    size_t i;
    if (json_is_number(theirs)) {
        double a = json_number_value(ours), b = json_number_value(theirs), off = fabs(a - b) / (1 + fabs(b));
        s->values++;
        if (!json_is_number(ours) || !(off <= 1e-9))
            golden_fail(g, "%s: %.17g, expected %.17g", name, json_is_number(ours) ? a : NAN, b);
        s->worst = off > s->worst ? off : s->worst;
    } else if (json_is_object(theirs)) {
        json_object_foreach((json_t *)theirs, key, v)
            if (!strstr(key, "METEOR"))
                compare(g, s, key, json_object_get(ours, key), v);
    } else if (json_is_array(theirs)) {
        if (json_array_size(ours) != json_array_size(theirs))
            golden_fail(g, "%s: %zu values, expected %zu", name, json_array_size(ours),
                        json_array_size(theirs));
        json_array_foreach(theirs, i, v)
            compare(g, s, name, json_array_get(ours, i), v);
    } else if (!json_equal(ours, theirs))
        golden_fail(g, "%s: other than expected", name);
}

static json_t *figures(char *text, const error *e)
{
    json_t *all = text ? json_loads(text, 0, NULL) : NULL;
    if (!all)
        ag_fail("golden", "%s", text ? "the figures are no JSON" : e->text);
    mem_free(text);
    return all;
}

/* ---- captions -------------------------------------------------------------------------------------- */
static void compare_tokens(golden *g, sums *s, const ptb *p, const char *text, const json_t *expected)
{
    char *found = ptb_tokens(p, text);
    s->values++;
    if (!found || !json_is_string(expected) || strcmp(found, json_string_value(expected)))
        golden_fail(g, "tokens of \"%s\": \"%s\", expected \"%s\"", text, found ? found : "(none)",
                    json_is_string(expected) ? json_string_value(expected) : "(none)");
    mem_free(found);
}

static void compare_all_tokens(golden *g, const json_t *all)
{
    char path[PATH];
    error e;
    sums s = { 0 };
    ptb *p = ptb_new(&e);
    json_t *lines = loaded(beside(g, "ptb_lines.json", path)), *line, *id;
    json_t *results = loaded(beside(g, "captions_results.json", path));
    json_t *references = loaded(beside(g, "captions_refs.json", path));
    size_t i, k;
    json_array_foreach(lines, i, line) compare_tokens(
        g, &s, p, json_string_value(json_object_get(line, "raw")), json_object_get(line, "tokens"));
    json_array_foreach(json_object_get(all, "order"), i, id) {
        size_t at = 0;
        json_array_foreach(results, k, line)
            if (json_equal(json_object_get(line, "image_id"), id))
                compare_tokens(g, &s, p, json_string_value(json_object_get(line, "caption")),
                               json_array_get(json_object_get(all, "tokens_results"), i));
        json_array_foreach(json_object_get(references, "annotations"), k, line)
            if (json_equal(json_object_get(line, "image_id"), id))
                compare_tokens(g, &s, p, json_string_value(json_object_get(line, "caption")),
                    json_array_get(json_array_get(json_object_get(all, "tokens_refs"), i), at++));
    }
    golden_result(g, "tokens", s.values, 0, 0);
    json_decref(lines);
    json_decref(results);
    json_decref(references);
    ptb_free(p);
}

static void captions(golden *g, const json_t *all, bool whitespace)
{
    char results[PATH], references[PATH];
    error e;
    sums s = { 0 };
    score_options o = { .whitespace = whitespace, .per_item = true };
    json_t *ours = figures(score_caption_files(beside(g, "captions_results.json", results),
                                               beside(g, "captions_refs.json", references), &o, &e), &e);
    compare(g, &s, "scores", ours, json_object_get(all, "scores"));
    compare(g, &s, "order", json_object_get(ours, "order"), json_object_get(all, "order"));
    golden_result(g, "scores", s.values, s.worst, 1e-9);
    json_decref(ours);
    if (!whitespace)
        compare_all_tokens(g, all);
}

/* ---- answers --------------------------------------------------------------------------------------- */
static void answers(golden *g, const json_t *all)
{
    static const char *const rules[] = { "official", "lavis" };
    char results[PATH], questions[PATH], annotations[PATH];
    error e;
    sums s = { 0 };
    size_t i;
    json_t *one;
    for (int r = 0; r < 2; r++) {
        score_options o = { .per_item = true, .rule = r ? SCORE_VQA_LAVIS : SCORE_VQA_OFFICIAL };
        json_t *ours = figures(score_vqa_files(beside(g, "vqa_results.json", results),
                                               beside(g, "vqa_questions.json", questions),
                                               beside(g, "vqa_annotations.json", annotations), &o, &e),
                               &e);
        compare(g, &s, rules[r], ours, json_object_get(all, rules[r]));
        json_decref(ours);
    }
    json_array_foreach(json_object_get(all, "normalise"), i, one) {
        const char *raw = json_string_value(json_object_get(one, "raw"));
        const char *expected = json_string_value(json_object_get(one, "normalised"));
        char *found = raw ? score_vqa_normalise(raw) : NULL;
        s.values++;
        if (!found || !expected || strcmp(found, expected))
            golden_fail(g, "normal form of \"%s\": \"%s\", expected \"%s\"", raw, found ? found : "(none)",
                        expected);
        mem_free(found);
    }
    golden_result(g, "accuracy", s.values, s.worst, 1e-9);
}

/* ---- retrieval ------------------------------------------------------------------------------------- */
static void retrieval(golden *g, const json_t *all)
{
    error e;
    sums s = { 0 };
    size_t i;
    json_t *one,
        *ours = figures(score_retrieval_file(golden_file(g), &(score_options){ .per_item = true }, &e), &e);
    json_array_foreach(json_object_get(all, "cases"), i, one) {
        json_t *mine = json_array_get(json_object_get(ours, "cases"), i);
        compare(g, &s, "expected", mine, json_object_get(one, "expected"));
        compare(g, &s, "ranks_i2t", json_object_get(mine, "ranks_i2t"), json_object_get(one, "ranks_i2t"));
        compare(g, &s, "ranks_t2i", json_object_get(mine, "ranks_t2i"), json_object_get(one, "ranks_t2i"));
    }
    golden_result(g, "recall and ranks", s.values, s.worst, 1e-9);
    json_decref(ours);
}

void golden_metric(golden *g, tape *t)
{
    const char *file = golden_file(g), *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    json_t *all = loaded(file);
    (void)t;
    if (json_object_get(all, "cases"))
        retrieval(g, all);
    else if (json_object_get(all, "official"))
        answers(g, all);
    else if (json_object_get(all, "scores"))
        captions(g, all, !json_object_get(all, "tokens_results"));
    else
        golden_fail(g, "%s: expected cases, official or scores in it", name);
    json_decref(all);
}
