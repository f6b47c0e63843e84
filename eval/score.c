/* score.c - result files of the field scored against its annotation files: what is read and checked here, the
 * figures are made in score_captions.c, score_vqa.c and score_ranks.c.                                     */
#include "eval/internal.h"
#include "eval/metrics.h"
#include "data/json.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMES = SCORE_TIMES, CAPTION_BYTES = 1 << 16 };     /* of a caption at most */
static const double SHARE = 0.95;

static char *dumped(json_t *all, const char *path, error *e)
{
    char *dump = all ? json_dumps(all, JSON_REAL_PRECISION(17)) : NULL,
         *text = dump ? mem_text("%s", dump) : NULL;
    free(dump);
    json_decref(all);
    if (!text)
        error_set(e, "%s: out of memory for its figures", QUOTE(path));
    return text;
}

static json_t *numbers(long n, const double *x)
{
    json_t *to = json_array();
    for (long i = 0; i < n; i++)
        json_array_append_new(to, json_real(x[i]));
    return to;
}

static json_t *interval(long n, const double *x, double factor, uint64_t seed)
{
    score_interval i = score_bootstrap(n, x, SHARE, TIMES, seed);
    return isfinite(i.low) ? json_pack("[f,f]", factor * i.low, factor * i.high) : json_null();
}

/* An integer or a text, as text; NULL: neither. */
static char *id_text(const json_t *id)
{
    return json_is_integer(id) ? mem_text("%lld", (long long)json_integer_value(id))
           : json_is_string(id) ? mem_text("\"%s", json_string_value(id)) : NULL;
}

/* Element i of a list as an object with an id under `key`; NULL: it is not one. */
static char *id_of(const char *path, const json_t *list, size_t i, const char *key, error *e)
{
    char *id = id_text(json_object_get(json_array_get(list, i), key));
    if (!id)
        error_set(e, "%s: entry %zu: %s: expected a number or a text", QUOTE(path), i, key);
    return id;
}

static const char *text_of(const char *path, const json_t *list, size_t i, const char *key, error *e)
{
    const char *text = json_string_value(json_object_get(json_array_get(list, i), key));
    if (!text)
        error_set(e, "%s: entry %zu: %s: expected a text", QUOTE(path), i, key);
    return text;
}

static bool is_list(const char *path, const json_t *list, const char *what, error *e)
{
    return (json_is_array(list) && json_array_size(list))
        || error_set(e, "%s: expected %s", QUOTE(path), what);
}

/* Objects of a list by their id; each may have several (many) or one. The lists are of positions. */
static json_t *by_id(const char *path, const json_t *list, const char *key, bool many, error *e)
{
    json_t *index = json_object();
    bool ok = index != NULL || error_set(e, "%s: out of memory", QUOTE(path));
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        char *id = id_of(path, list, i, key, e);
        if (!(ok = id != NULL))
            break;
        json_t *places = json_object_get(index, id);
        if (!places)
            json_object_set_new(index, id, places = json_array());
        else if (!many)
            ok = error_set(e, "%s: entry %zu: %s %s stands there twice", QUOTE(path), i, key,
                           QUOTE(id + (*id == '"')));
        json_array_append_new(places, json_integer((json_int_t)i));
        mem_free(id);
    }
    if (!ok) {
        json_decref(index);
        index = NULL;
    }
    return index;
}

static size_t place(const json_t *places, size_t i)
{
    return (size_t)json_integer_value(json_array_get(places, i));
}

/* Positions in `index` of what entry i of a result list is about; NULL: nobody knows it. */
static const json_t *places_of(const json_t *results, size_t i, const char *key, const json_t *index)
{
    char *id = id_text(json_object_get(json_array_get(results, i), key));
    const json_t *found = id ? json_object_get(index, id) : NULL;
    mem_free(id);
    return found;
}

/* The same where it must be known. */
static const json_t *known(const char *path, const json_t *results, size_t i, const char *key,
                           const json_t *index, const char *where, error *e)
{
    const json_t *found = places_of(results, i, key, index);
    char *id = found ? NULL : id_of(path, results, i, key, e);
    if (id)
        error_set(e, "%s: entry %zu: %s %s is not in %s", QUOTE(path), i, key, QUOTE(id + (*id == '"')),
                  QUOTE(where));
    mem_free(id);
    return found;
}

/* Is there a result of each that stands in `where`? `found` of them have one. */
static bool complete(const char *path, size_t found, const json_t *index, const char *what,
                     const char *where, const score_options *o, error *e)
{
    size_t all = json_object_size(index);
    return found >= all || o->partial
           || error_set(e, "%s: %zu of the %zu %s of %s have no result; expected one of each, or --partial",
                        QUOTE(path), all - found, all, what, QUOTE(where));
}

/* Says of the figures that they are of a part. */
static void put_missing(json_t *figures, size_t found, const json_t *index)
{
    size_t all = json_object_size(index);
    if (found < all)
        json_object_set_new(figures, "missing", json_integer((json_int_t)(all - found)));
}

/* ---- captions -------------------------------------------------------------------------------------- */
static void free_items(score_item *items, long n)
{
    for (long i = 0; items && i < n; i++) {
        for (int k = 0; items[i].references && k < items[i].count; k++)
            mem_free((char *)items[i].references[k]);
        mem_free((void *)items[i].references);
        mem_free((char *)items[i].result);
    }
    mem_free(items);
}

/* What comparing two captions costs grows with the product of their lengths. */
static const char *caption_of(const char *path, const json_t *list, size_t i, error *e)
{
    const char *text = text_of(path, list, i, "caption", e);
    if (text && strlen(text) > CAPTION_BYTES) {
        error_set(e, "%s: entry %zu: caption: expected at most %d bytes, found %zu", QUOTE(path), i,
                  CAPTION_BYTES, strlen(text));
        return NULL;
    }
    return text;
}

static bool fill_item(score_item *item, const ptb *p, const char *result, const char *path,
                      const json_t *list, const json_t *places, error *e)
{
    item->count = (int)json_array_size(places);
    const char **references = mem_new((size_t)item->count * sizeof *references);
    item->references = references;
    item->result = score_tokens(p, result);
    bool ok = references && item->result;
    for (int k = 0; ok && k < item->count; k++) {
        const char *text = caption_of(path, list, place(places, (size_t)k), e);
        if (!text)
            return false;
        ok = (references[k] = score_tokens(p, text)) != NULL;
    }
    return ok || error_set(e, "%s: out of memory", QUOTE(path));
}

static json_t *caption_figures(const score_captions *s, const json_t *results, const score_options *o,
                               error *e)
{
    static const char *const bleu[] = { "Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4" };
    static const char *const per[] = { "per_Bleu_1", "per_Bleu_2", "per_Bleu_3", "per_Bleu_4" };
    score_interval sure[SCORE_BLEU];
    if (!score_bleu_bootstrap(s->n, s->counts, SHARE, TIMES, o->seed, sure)) {
        error_set(e, "out of memory for the intervals of %ld captions", s->n);
        return NULL;
    }
    json_t *all = json_pack("{s:I, s:s}", "images", (json_int_t)s->n, "tokenizer",
                            o->whitespace ? "whitespace" : "ptb");
    for (int k = 0; k < SCORE_BLEU; k++)
        json_object_set_new(all, bleu[k], json_real(s->bleu[k]));
    json_object_set_new(all, "ROUGE_L", json_real(s->rouge));
    json_object_set_new(all, "CIDEr", json_real(s->cider));
    json_t *intervals = json_object();
    for (int k = 0; k < SCORE_BLEU; k++)
        json_object_set_new(intervals, bleu[k], json_pack("[f,f]", sure[k].low, sure[k].high));
    json_object_set_new(intervals, "ROUGE_L", interval(s->n, s->per_rouge, 1, o->seed));
    json_object_set_new(intervals, "CIDEr", interval(s->n, s->per_cider, 1, o->seed));
    json_object_set_new(all, "interval_95", intervals);
    if (!o->per_item)
        return all;
    json_t *order = json_array();
    for (size_t i = 0; i < json_array_size(results); i++)
        json_array_append(order, json_object_get(json_array_get(results, i), "image_id"));
    json_object_set_new(all, "order", order);
    for (int k = 0; k < SCORE_BLEU; k++)
        json_object_set_new(all, per[k], numbers(s->n, s->per_bleu[k]));
    json_object_set_new(all, "per_ROUGE_L", numbers(s->n, s->per_rouge));
    json_object_set_new(all, "per_CIDEr", numbers(s->n, s->per_cider));
    return all;
}

/* The user's programs work in a folder of their own, which is gone afterwards. One that fails costs its own
 * figure alone. */
static bool score_by_jars(const json_t *results, const json_t *annotations, const score_options *o,
                          json_t *figures, error *e)
{
    const char *root = getenv("TMPDIR"), *jars[] = { o->meteor_jar, o->spice_jar };
    char folder[PATH_MAX];
    if (!jars[0] && !jars[1])
        return true;
    snprintf(folder, sizeof folder, "%s/blip2-score-XXXXXX", root && *root ? root : "/tmp");
    if (!mkdtemp(folder))
        return error_set(e, "%s: cannot be made: %s", QUOTE(folder), strerror(errno));
    for (int k = 0; k < 2; k++) {
        error why;
        if (jars[k] && !eval_jar_score(&(eval_jar){ jars[k], folder, k, o->whitespace }, results, annotations,
                                       figures, &why) && o->warn) {
            char *text = mem_text("%s is left out: %s", k ? "SPICE" : "METEOR", why.text);
            o->warn(text ? text : why.text);
            mem_free(text);
        }
        eval_jar_forget(folder, k);
    }
    rmdir(folder);
    return true;
}

static json_t *score_all_captions(const char *path, const json_t *results, const char *reference_path,
                                  const json_t *annotations, const score_options *o, error *e)
{
    json_t *index = by_id(reference_path, annotations, "image_id", true, e), *figures = NULL;
    json_t *once = index ? by_id(path, results, "image_id", false, e) : NULL;
    long n = (long)json_array_size(results);
    score_item *items = once ? mem_new((size_t)n * sizeof *items) : NULL;
    if (once && !items)
        error_set(e, "out of memory for %ld captions", n);
    ptb *p = items && !o->whitespace ? ptb_new(e) : NULL;
    score_captions s;
    bool ok = items && (p || o->whitespace)
              && complete(path, (size_t)n, index, "pictures", reference_path, o, e);
    for (long i = 0; ok && i < n; i++) {
        const json_t *places = known(path, results, (size_t)i, "image_id", index, reference_path, e);
        const char *text = places ? caption_of(path, results, (size_t)i, e) : NULL;
        ok = text && fill_item(&items[i], p, text, reference_path, annotations, places, e);
    }
    if (ok && score_captions_run(n, items, &s, e)) {
        figures = caption_figures(&s, results, o, e);
        score_captions_free(&s);
    }
    if (figures && !score_by_jars(results, annotations, o, figures, e)) {
        json_decref(figures);
        figures = NULL;
    }
    put_missing(figures, (size_t)n, index);
    ptb_free(p);
    free_items(items, n);
    json_decref(once);
    json_decref(index);
    return figures;
}

char *score_caption_files(const char *path, const char *reference_path, const score_options *o, error *e)
{
    if ((o->meteor_jar && !eval_jar_there(o->meteor_jar, e)) || (o->spice_jar
                                                                 && !eval_jar_there(o->spice_jar, e)))
        return NULL;
    json_t *results = data_json_file(path, e), *figures = NULL;
    json_t *references = results ? data_json_file(reference_path, e) : NULL;
    const json_t *annotations = json_object_get(references, "annotations");
    if (references && is_list(path, results, "a list of {\"image_id\", \"caption\"}", e)
        && is_list(reference_path, annotations, "annotations, a list of {\"image_id\", \"caption\"}", e))
        figures = score_all_captions(path, results, reference_path, annotations, o, e);
    json_decref(results);
    json_decref(references);
    return figures ? dumped(figures, path, e) : NULL;
}

/* ---- answers --------------------------------------------------------------------------------------- */
/* A number for each record, the same where all but the answer is. */
static bool same_rest(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *v;
    size_t n = json_object_size(a) - (json_object_get(a, "answer") != NULL);
    if (n != json_object_size(b) - (json_object_get(b, "answer") != NULL))
        return false;
    json_object_foreach((json_t *)a, key, v)
        if (strcmp(key, "answer") && !json_equal(v, json_object_get(b, key)))
            return false;
    return true;
}

static void number_records(const json_t *answers, int *same)
{
    for (size_t i = 0; i < json_array_size(answers); i++) {
        same[i] = (int)i;
        for (size_t k = 0; k < i && same[i] == (int)i; k++)
            if (same_rest(json_array_get(answers, i), json_array_get(answers, k)))
                same[i] = same[k];
    }
}

static double one_answer(const char *path, const json_t *annotation, const char *answer, score_vqa_rule rule,
                         error *e)
{
    const json_t *answers = json_object_get(annotation, "answers");
    size_t n = json_array_size(answers);
    const char **given = mem_new((n + 1) * sizeof *given);
    int *same = mem_new((n + 1) * sizeof *same);
    bool ok = (given && same) || error_set(e, "%s: out of memory", QUOTE(path));
    if (ok && !n)
        ok = error_set(e, "%s: an annotation has no answers; expected a list of {\"answer\"}", QUOTE(path));
    for (size_t i = 0; ok && i < n; i++)
        ok = (given[i] = text_of(path, answers, i, "answer", e)) != NULL;
    double share = -1;
    if (ok) {
        number_records(answers, same);
        share = score_vqa(rule, answer, (int)n, given, same);
        if (share < 0)
            error_set(e, "%s: out of memory", QUOTE(path));
    }
    mem_free((void *)given);
    mem_free(same);
    return share;
}

static double percent(double share) { return round(1e8 * share) / 1e6; }       /* six places, as printed */

/* Adds a share to the sum and count of its type. */
static void add_to_type(json_t *types, const json_t *type, double share)
{
    const char *name = json_is_string(type) ? json_string_value(type) : "other";
    json_t *old = json_object_get(types, name);
    json_object_set_new(types, name, json_pack("[f,I]", share + json_real_value(json_array_get(old, 0)),
                                               1 + json_integer_value(json_array_get(old, 1))));
}

static json_t *means_of_types(const json_t *types)
{
    const char *name;
    json_t *sum, *to = json_object();
    json_object_foreach((json_t *)types, name, sum)
        json_object_set_new(to, name, json_real(percent(json_real_value(json_array_get(sum, 0))
            / (double)json_integer_value(json_array_get(sum, 1)))));
    return to;
}

static json_t *vqa_figures(long n, const double *share, const json_t *answer_types,
                           const json_t *question_types, const score_options *o)
{
    double sum = 0;
    json_t *each = json_array();
    for (long i = 0; i < n; i++) {
        sum += share[i];
        json_array_append_new(each, json_real(percent(share[i])));
    }
    json_t *all = json_pack("{s:I, s:s, s:f, s:o, s:o, s:o}", "questions", (json_int_t)n,
        "rule", score_vqa_rules[o->rule], "overall", percent(sum / (double)n),
        "interval_95", interval(n, share, 100, o->seed), "perAnswerType", means_of_types(answer_types),
        "perQuestionType", means_of_types(question_types));
    if (o->per_item)
        json_object_set(all, "perQuestion", each);
    json_decref(each);
    return all;
}

/* asked: the results are of questions that were asked, and those that nobody annotated are passed over. */
static json_t *score_all_answers(const char *path, const json_t *results, const char *annotation_path,
                                 const json_t *annotations, bool asked, const score_options *o, error *e)
{
    json_t *index = by_id(annotation_path, annotations, "question_id", false, e), *figures = NULL;
    json_t *once = index ? by_id(path, results, "question_id", false, e) : NULL;
    json_t *answer_types = json_object(), *question_types = json_object();
    size_t all = json_array_size(results), n = 0, found = 0;
    double *share = once ? mem_new(all * sizeof *share) : NULL;
    bool ok = share || (once && error_set(e, "out of memory for %zu answers", all));
    for (size_t i = 0; i < all; i++)
        found += places_of(results, i, "question_id", index) != NULL;
    ok = ok && complete(path, asked ? found : all, index, "questions", annotation_path, o, e);
    for (size_t i = 0; ok && i < all; i++) {
        if (asked && !places_of(results, i, "question_id", index))
            continue;
        const json_t *at = known(path, results, i, "question_id", index, annotation_path, e);
        const char *answer = at ? text_of(path, results, i, "answer", e) : NULL;
        const json_t *annotation = answer ? json_array_get(annotations, place(at, 0)) : NULL;
        double x = annotation ? one_answer(annotation_path, annotation, answer, o->rule, e) : -1;
        if (!(ok = x >= 0))
            break;
        share[n++] = x;
        add_to_type(answer_types, json_object_get(annotation, "answer_type"), x);
        add_to_type(question_types, json_object_get(annotation, "question_type"), x);
    }
    ok = ok && (n || error_set(e, "%s: none of its questions is in %s", QUOTE(path), QUOTE(annotation_path)));
    if (ok)
        figures = vqa_figures((long)n, share, answer_types, question_types, o);
    put_missing(figures, n, index);
    if (n < all)
        json_object_set_new(figures, "unannotated", json_integer((json_int_t)(all - n)));
    json_decref(answer_types);
    json_decref(question_types);
    json_decref(once);
    json_decref(index);
    mem_free(share);
    return figures;
}

/* Every question that was answered is one that was asked, and the other way round. */
static bool same_questions(const char *path, const json_t *results, const char *question_path,
                           const score_options *o, error *e)
{
    json_t *file = question_path ? data_json_file(question_path, e) : NULL, *index = NULL;
    const json_t *questions = json_object_get(file, "questions");
    bool ok = !question_path
              || (file
                  && is_list(question_path, questions, "questions, a list of {\"question_id\", \"question\"}",
                             e)
                  && (index = by_id(question_path, questions, "question_id", false, e)));
    for (size_t i = 0; ok && index && i < json_array_size(results); i++)
        ok = known(path, results, i, "question_id", index, question_path, e) != NULL;
    ok = ok && (!index || complete(path, json_array_size(results), index, "questions", question_path, o, e));
    json_decref(index);
    json_decref(file);
    return ok;
}

char *score_vqa_files(const char *path, const char *question_path, const char *annotation_path,
                      const score_options *o, error *e)
{
    json_t *results = data_json_file(path, e), *figures = NULL;
    json_t *file = results ? data_json_file(annotation_path, e) : NULL;
    const json_t *annotations = json_object_get(file, "annotations");
    if (file && is_list(path, results, "a list of {\"question_id\", \"answer\"}", e)
        && is_list(annotation_path, annotations, "annotations, a list of {\"question_id\", \"answers\"}", e)
        && same_questions(path, results, question_path, o, e))
        figures = score_all_answers(path, results, annotation_path, annotations, question_path != NULL, o, e);
    json_decref(results);
    json_decref(file);
    return figures ? dumped(figures, path, e) : NULL;
}
