/* vqa.c - questions: the decoded string must equal the answer, letter by letter; there is no list of answers
 * to choose from. Beside the model stand two controls: blind (the language model without any picture) and
 * shuffled (another picture's soft prompt). What they reach is what needs no seeing.                       */
#include "eval/internal.h"
#include <string.h>

typedef struct asked { long picture; const record_question *q; } asked;

void eval_tally_add(eval_tally *t, const char *type, bool right)
{
    int i = 0;
    if (!*type)
        type = "other";
    while (i < t->count && strcmp(t->row[i].type, type))
        i++;
    if (i == EVAL_TYPES)                                   /* more types than rows: the last ones share one */
        t->row[--i].type = "other";
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

static bool ask(eval_session *s, const eval_config *c, const eval_data *d, const real *features,
                const asked *list, long n, eval_text *to, error *e)
{
    const char *prompts[EVAL_BATCH], *questions[EVAL_BATCH];
    long each = d->N * d->E;
    real *rows = features ? mem_new((size_t)(n * each) * sizeof *rows) : NULL;
    bool ok = !features || rows;
    for (long i = 0; i < n; i++) {
        prompts[i] = blip2_question(&s->model.config, list[i].q->question);
        questions[i] = list[i].q->question;
        ok &= prompts[i] != NULL;
        if (rows)
            memcpy(rows + i * each, features + list[i].picture * each, (size_t)each * sizeof *rows);
    }
    if (!ok)
        error_set(e, "out of memory for %ld questions", n);
    else {
        blip2_generate o = c->generate;
        o.max_length = c->answer_length;
        ok = eval_write(s, rows, n, prompts, questions, &o, to, e);
    }
    for (long i = 0; i < n; i++)
        mem_free((char *)prompts[i]);
    mem_free(rows);
    return ok;
}

static json_t *result_of(const eval_data *d, const asked *a, long number, const char *answer)
{
    const record *r = &d->records.items[a->picture];
    return json_pack("{s:I, s:o, s:s, s:s, s:s, s:s}", "question_id", (json_int_t)number,
                     "image_id", eval_image_id(r), "type", a->q->type, "question", a->q->question,
                     "answer", answer, "truth", a->q->answer);
}

/* One row of the table, NULL: failed; `results` gets every answer where it is not NULL. */
static json_t *row(eval_session *s, const eval_config *c, const eval_data *d, const real *features,
                   const asked *list, long n, json_t *results, error *e)
{
    eval_tally tally = { 0 };
    for (long first = 0; first < n; first += c->batch) {
        long many = n - first < c->batch ? n - first : c->batch;
        eval_text texts[EVAL_BATCH];
        if (!ask(s, c, d, features, list + first, many, texts, e))
            return NULL;
        for (long i = 0; i < many; i++) {
            const asked *a = &list[first + i];
            eval_tally_add(&tally, a->q->type, !strcmp(texts[i].text, a->q->answer));
            if (results)
                json_array_append_new(results, result_of(d, a, first + i, texts[i].text));
        }
        eval_text_free(texts, many);
    }
    return eval_tally_shares(&tally);
}

static asked *collect(const eval_data *d, long *n)
{
    *n = 0;
    for (long i = 0; i < d->n; i++)
        *n += d->records.items[i].question_count;
    asked *list = mem_new((size_t)(*n + 1) * sizeof *list);
    for (long i = 0, at = 0; list && i < d->n; i++)
        for (long k = 0; k < d->records.items[i].question_count; k++)
            list[at++] = (asked){ i, &d->records.items[i].questions[k] };
    return list;
}

bool eval_vqa(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e)
{
    static const char *const names[] = { "model", "blind", "shuffled" };
    long n;
    asked *list = collect(d, &n);
    real *other = c->controls ? eval_shuffled(d) : NULL;
    const real *features[] = { d->features, NULL, other };
    json_t *m = json_object(), *results = json_array();
    bool ok = (list && (!c->controls || other)) || error_set(e, "out of memory for %ld questions", n);
    for (int k = 0; ok && k < (c->controls ? 3 : 1); k++) {
        json_t *to = row(s, c, d, features[k], list, n, k ? NULL : results, e);
        ok = to && !json_object_set_new(m, names[k], to);
    }
    ok = ok && eval_save(c, "vqa.json", results, e);
    json_object_set_new(metrics, "vqa", m);
    json_decref(results);
    mem_free(list);
    mem_free(other);
    return ok;
}
