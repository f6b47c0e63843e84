/* vqa.c - questions: the decoded string must equal the answer, letter by letter; there is no list of answers
 * to choose from. Beside the model stand two controls: blind (the language model without any picture) and
 * shuffled (another picture's soft prompt). What they reach is what needs no seeing.                       */
#include "eval/internal.h"
#include "eval/metrics.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct asked { long record, id; const record_question *q; } asked;

void eval_tally_add(eval_tally *t, const char *type, bool right)
{
    int i = 0;
    if (!*type)
        type = "other";
    while (i < t->count && strcmp(t->row[i].type, type))
        i++;
    if (i == EVAL_TYPES) {                                 /* more types than rows: further ones share one */
        for (i = 0; i < EVAL_TYPES - 1 && strcmp(t->row[i].type, "other"); i++)
            ;
        t->row[i].type = "other";
    }
    if (i == t->count)
        t->row[t->count++].type = type;
    t->row[i].asked++;
    t->row[i].right += right;
    t->asked++;
    t->right += right;
}

json_t *eval_tally_shares(const eval_tally *t)
{
    json_t *to = json_object();
    for (int i = 0; i < t->count; i++)
        json_object_set_new(to, t->row[i].type, json_real((double)t->row[i].right / (double)t->row[i].asked));
    json_object_set_new(to, "all", json_real(t->asked ? (double)t->right / (double)t->asked : 0));
    json_object_set_new(to, "questions", json_integer(t->asked));
    return to;
}

/* ---- which questions ----------------------------------------------------------------------------------- */
static bool is_known(const record_question *q) { return *q->answer; }

static int by_number(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

/* Each with its question_id, or, where one has none or two have the same, with its place in the list. */
static bool number(const eval_config *c, const eval_data *d, asked *list, long n)
{
    long *ids = mem_new((size_t)(n + 1) * sizeof *ids);
    bool own = true;
    for (long i = 0; ids && i < n; i++)
        ids[i] = list[i].q->id;
    if (ids)
        qsort(ids, (size_t)n, sizeof *ids, by_number);
    for (long i = 1; ids && own && ids[0] >= 0 && i < n; i++)
        if (ids[i] == ids[i - 1]) {
            eval_warn(c, d, "vqa: %s: question_id %ld stands there twice: questions are numbered from 0 on, "
                      "in the order in which they are asked", QUOTE(c->list), ids[i]);
            own = false;
        }
    own = own && ids && n && ids[0] >= 0;
    for (long i = 0; i < n; i++)
        list[i].id = own ? list[i].q->id : i;
    mem_free(ids);
    return ids != NULL;
}

/* Those with an answer, *known of them, then those without: a test's, whose answers others keep. */
static asked *collect(const eval_config *c, const eval_data *d, long *n, long *known)
{
    *n = *known = 0;
    for (long i = 0; i < d->records.count; i++)
        for (long k = 0; d->of[i] >= 0 && k < d->records.items[i].question_count; k++) {
            *known += is_known(&d->records.items[i].questions[k]);
            ++*n;
        }
    asked *list = mem_new((size_t)(*n + 1) * sizeof *list);
    long at = 0, behind = *known;
    for (long i = 0; list && i < d->records.count; i++)
        for (long k = 0; d->of[i] >= 0 && k < d->records.items[i].question_count; k++) {
            const record_question *q = &d->records.items[i].questions[k];
            list[is_known(q) ? at++ : behind++] = (asked){ .record = i, .q = q };
        }
    if (list && !number(c, d, list, *n)) {
        mem_free(list);
        list = NULL;
    }
    return list;
}

/* ---- one row of the table ------------------------------------------------------------------------------ */
/* What stands before the language model: the picture that is asked about, none, or one half the list away. */
typedef enum { OWN, BLIND, SHUFFLED } seen;

long eval_other(long n, long i) { return (i + n / 2) % n; }

static bool ask(eval_session *s, const eval_config *c, const eval_data *d, seen which, const asked *list,
                long n, eval_text *to, error *e)
{
    const char *prompts[EVAL_BATCH], *questions[EVAL_BATCH];
    long shown[EVAL_BATCH];
    bool ok = true;
    for (long i = 0; i < n; i++) {
        long own = d->of[list[i].record];
        prompts[i] = blip2_question(&s->model.config, list[i].q->asked);
        questions[i] = list[i].q->asked;
        shown[i] = which == OWN ? own : eval_other(d->pictures, own);
        ok &= prompts[i] != NULL;
    }
    if (!ok)
        error_set(e, "out of memory for %ld questions", n);
    real *rows = ok && which != BLIND ? eval_rows(s, c, d, shown, n, e) : NULL;
    if (ok && (rows || which == BLIND)) {
        blip2_generate o = c->generate;
        o.max_new_tokens = (int)c->answer_length;          /* as LAVIS's predict_answers and Hugging Face */
        o.min_length = (int)c->answer_min_length;
        o.length_penalty = c->answer_penalty;
        ok = eval_write(s, rows, n, prompts, questions, &o, to, e);
        if (ok)
            eval_plain(to, n);
    } else
        ok = false;
    for (long i = 0; i < n; i++)
        mem_free((char *)prompts[i]);
    mem_free(rows);
    return ok;
}

static json_t *result_of(const eval_data *d, const asked *a, const char *answer)
{
    const record *r = &d->records.items[a->record];
    return json_pack("{s:I, s:o, s:s, s:s, s:s, s:s, s:s}", "question_id", (json_int_t)a->id, "image_id",
                     eval_image_id(r),
                     "image", r->image, "type", a->q->type, "question", a->q->question, "answer", answer,
                     "truth", a->q->answer);
}

/* The shares of a tally, and their intervals: of each type, and of all. */
static json_t *shares_of(const eval_tally *tally, const asked *list, const double *right, long n,
                         const eval_config *c, error *e)
{
    double *some = mem_new((size_t)(n + 1) * sizeof *some);
    if (!some) {
        error_set(e, "out of memory for %ld answers", n);
        return NULL;
    }
    json_t *to = eval_tally_shares(tally), *intervals = json_object();
    for (int k = 0; k < tally->count; k++) {
        long many = 0;
        for (long i = 0; i < n; i++)
            if (!strcmp(*list[i].q->type ? list[i].q->type : "other", tally->row[k].type))
                some[many++] = right[i];
        if (many == tally->row[k].asked)                   /* not where further types share the last row */
            json_object_set_new(intervals, tally->row[k].type, eval_interval(many, some, 1, c));
    }
    mem_free(some);
    json_object_set_new(intervals, "all", eval_interval(n, right, 1, c));
    json_object_set_new(to, "interval_95", intervals);
    return to;
}

/* One row of the table, of the first `known` of n questions; NULL: failed. `results` gets every answer. */
static json_t *row(eval_session *s, const eval_config *c, const eval_data *d, seen which,
                   const asked *list, long n, long known, json_t *results, error *e)
{
    eval_tally tally = { 0 };
    double *right = mem_new((size_t)(n + 1) * sizeof *right);
    bool ok = right || error_set(e, "out of memory for %ld answers", n);
    static const char *const what[] = { "answers", "answers, blind", "answers, shuffled" };
    eval_progress(&c->watch, what[which], 0, n);
    for (long first = 0; ok && first < n; first += c->batch) {
        long many = n - first < c->batch ? n - first : c->batch;
        eval_text texts[EVAL_BATCH];
        if (!(ok = ask(s, c, d, which, list + first, many, texts, e)))
            break;
        for (long i = 0; i < many; i++) {
            const asked *a = &list[first + i];
            right[first + i] = !strcmp(texts[i].text, a->q->answer);
            if (first + i < known)
                eval_tally_add(&tally, a->q->type, right[first + i] > 0);
            json_array_append_new(results, result_of(d, a, texts[i].text));
        }
        eval_text_free(texts, many);
        eval_progress(&c->watch, what[which], first + many, n);
    }
    json_t *shares = ok ? shares_of(&tally, list, right, known, c, e) : NULL;
    mem_free(right);
    return shares;
}

/* ---- files in VQA v2's form -------------------------------------------------------------------------- */
static json_t *answers_of(const record_question *q)
{
    json_t *to = json_array();
    for (long k = 0; k < (q->answer_count ? q->answer_count : 1); k++)
        json_array_append_new(to, json_pack("{s:s, s:I}", "answer",
                                            q->answer_count ? q->answers[k] : q->answer,
                                            "answer_id", (json_int_t)k + 1));
    return to;
}

/* With the keys that the challenge's loader asks for. */
static json_t *in_vqa_form(const eval_config *c, const char *key, json_t *list)
{
    json_t *name = json_string(c->list);                   /* none, if it is no UTF-8 */
    if (!name)
        name = json_string("");
    return json_pack("{s:{s:O}, s:s, s:s, s:o, s:{}, s:o}", "info", "description", name, "task_type",
                     "Open-Ended", "data_type", "pictures", "data_subtype", name, "license", key, list);
}

static bool save_questions(const eval_config *c, const eval_data *d, const asked *list, long n, long known,
                           error *e)
{
    json_t *questions = json_array(), *annotations = json_array();
    for (long i = 0; i < n; i++) {
        const record_question *q = list[i].q;
        const record *r = &d->records.items[list[i].record];
        const char *type = *q->type ? q->type : "other";
        json_int_t id = list[i].id;
        json_array_append_new(questions, json_pack("{s:I, s:o, s:s}", "question_id", id, "image_id",
                                                   eval_image_id(r), "question", q->question));
        if (i < known)
            json_array_append_new(annotations,
            json_pack("{s:I, s:o, s:s, s:s, s:o}", "question_id", id, "image_id", eval_image_id(r),
                      "question_type", *q->question_type ? q->question_type : type,
                      "answer_type", type, "answers", answers_of(q)));
    }
    questions = in_vqa_form(c, "questions", questions);
    annotations = in_vqa_form(c, "annotations", annotations);
    bool ok = eval_save(c, "vqa_questions.json", questions, e)
              && eval_save(c, "vqa_annotations.json", annotations, e);
    json_decref(questions);
    json_decref(annotations);
    return ok;
}

/* Where several people answered: VQA accuracy by both rules, as `score vqa` reads it from the files. */
static bool score_answers(const eval_config *c, const char *file, const char *name, json_t *m, error *e)
{
    char *results = mem_text("%s/%s", c->output_dir, file);
    char *questions = mem_text("%s/vqa_questions.json", c->output_dir);
    char *annotations = mem_text("%s/vqa_annotations.json", c->output_dir);
    bool ok = (results && questions && annotations) || error_set(e, "out of memory");
    for (score_vqa_rule rule = SCORE_VQA_OFFICIAL; ok && rule <= SCORE_VQA_LAVIS; rule++) {
        const score_options o = { .rule = rule, .seed = (uint64_t)c->seed };
        char *text = score_vqa_files(results, questions, annotations, &o, e), key[64];
        snprintf(key, sizeof key, "%s_%s", name, score_vqa_rules[rule]);
        ok = text && !json_object_set_new(m, key, json_loads(text, 0, NULL));
        mem_free(text);
    }
    mem_free(results);
    mem_free(questions);
    mem_free(annotations);
    return ok;
}

/* Questions that two or more people answered. */
static long several_answered(const asked *list, long n)
{
    long some = 0;
    for (long i = 0; i < n; i++)
        some += list[i].q->answer_count > 1;
    return some;
}

/* Of the question that the fewest people answered: below 4 nothing reaches 100 % by the challenge's rule. */
static long fewest_answers(const asked *list, long n)
{
    long fewest = n ? list[0].q->answer_count : 0;
    for (long i = 1; i < n; i++)
        fewest = list[i].q->answer_count < fewest ? list[i].q->answer_count : fewest;
    return fewest;
}

bool eval_vqa(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e)
{
    static const char *const names[] = { "model", "blind", "shuffled" };
    static const char *const files[] = { "vqa.json", "vqa_blind.json", "vqa_shuffled.json" };
    long n, known;
    asked *list = collect(c, d, &n, &known);
    json_t *m = json_object();
    bool ok = list || error_set(e, "out of memory for %ld questions", n);
    long some = ok ? several_answered(list, known) : 0;
    bool people = some && some == known;
    if (ok && known < n)
        eval_warn(c, d, "vqa: %ld of %ld questions of %s have no answer to compare with: asked, and left "
                  "out of the figures", n - known, n, QUOTE(c->list));
    ok = ok && save_questions(c, d, list, n, known, e);
    const int rows = !c->controls || !known ? 1 : d->pictures > 1 ? 3 : 2;     /* one picture has no other */
    for (int k = 0; ok && k < rows; k++) {
        json_t *results = json_array(), *to = row(s, c, d, (seen)k, list, n, known, results, e);
        ok = to && (!known || !json_object_set(m, names[k], to)) && eval_save(c, files[k], results, e)
             && (!people || score_answers(c, files[k], names[k], m, e));
        json_decref(to);
        json_decref(results);
    }
    json_t *settings = eval_settings(s, c, c->answer_length);
    json_object_set_new(settings, "min_len", json_integer((json_int_t)c->answer_min_length));
    json_object_set_new(settings, "length_penalty", json_real(c->answer_penalty));
    json_object_set_new(settings, "question_prompt", json_string(s->model.config.question_prompt));
    json_object_set_new(settings, "right", json_string("the whole answer, letter by letter"));
    if (some && some < known)
        json_object_set_new(settings, "vqa_accuracy",
                            json_sprintf("not counted: %ld of %ld questions with an answer have one alone",
                                         known - some, known));
    if (!known)
        json_object_set_new(m, "answers", json_integer(n));
    if (people)
        json_object_set_new(settings, "answers_at_least", json_integer(fewest_answers(list, known)));
    json_object_set_new(m, "settings", settings);
    json_object_set_new(metrics, "vqa", m);
    mem_free(list);
    return ok;
}
