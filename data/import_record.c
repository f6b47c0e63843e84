/* import_record.c - one object of a JSON list, or one row of a table turned into one: the picture under one
 * of the names that lists use, its caption or captions, a question with its answer, or our own "questions".
 *   {"image": "a.jpg", "caption": "text" | ["text", ...], "image_id": 7, "split": "train"}
 *   {"image": "a.jpg", "question": "what?", "answer": "text" | ["text", ...], "question_id": 1}
 * Of a source for tests, texts and answers may be missing. Nothing else that is there under a name that is
 * known is passed over: it is taken, or an error. */
#include "data/import.h"
#include <stdio.h>
#include <string.h>

/* What stands under the first of these names that is there and not null. */
static const json_t *first_of(const json_t *o, const char *const *names)
{
    const json_t *found = NULL;
    for (; *names && !found; names++)
        if (!json_is_null(json_object_get(o, *names)))
            found = json_object_get(o, *names);
    return found;
}
#define FIRST(o, ...) first_of((o), (const char *const[]){ __VA_ARGS__, NULL })

/* A text, or a whole number as one; NULL: neither. */
const char *import_number(const json_t *v, char number[IMPORT_NUMBER])
{
    if (json_is_integer(v))
        snprintf(number, IMPORT_NUMBER, "%lld", (long long)json_integer_value(v));
    return json_is_integer(v) ? number : json_string_value(v);
}

/* One text under two of the names is one caption; a list that repeats a text means it, and so do two records
 * of a picture. */
static void read_captions(import *m, const char *where, import_item *i, const json_t *o)
{
    static const char *const names[] = { "captions", "caption", "text", "TEXT", NULL };
    long known = i->known, from = i->known_from;
    if (!known)
        i->known_from = i->caption_count;
    for (int n = 0; names[n]; n++) {
        const json_t *said = json_object_get(o, names[n]);
        bool wrong = said && !json_is_null(said) && !json_is_string(said) && !json_is_array(said);
        if (json_is_string(said))
            import_caption(m, where, i, json_string_value(said));
        for (size_t k = 0; !wrong && k < json_array_size(said); k++) {
            const char *text = json_string_value(json_array_get(said, k));
            wrong = !text;
            if (text)
                import_caption(m, where, i, text);
        }
        if (wrong)
            error_line(m->e, "%s: %s: expected a text or a list of texts", where, names[n]);
        i->known = i->caption_count;
    }
    i->known = known;
    i->known_from = from;
}

/* Of VQA's own files an answer is {"answer": "yes"}. */
const char **import_answers(import *m, const char *where, const json_t *list, long *n)
{
    const char **texts = mem_new((json_array_size(list) + 1)*sizeof *texts);
    *n = 0;
    m->no_memory |= !texts;
    for (size_t k = 0; texts && k < json_array_size(list); k++) {
        char number[IMPORT_NUMBER];
        const json_t *one = json_array_get(list, k);
        const char *text = import_number(json_is_object(one) ? json_object_get(one, "answer") : one, number);
        if (text)
            texts[(*n)++] = text == number ? import_copy(m, number, (long)strlen(number)) : text;
        else
            error_line(m->e, "%s: answers[%zu]: expected a text or a number, or an object with one as "
                       "\"answer\"", where, k);
    }
    return texts;
}

const char *import_majority(import *m, const char *const *answers, long n)
{
    long most = -1;
    m->no_memory |= !answers || (!m->no_memory && !data_majority(answers, n, &most));
    return most >= 0 ? answers[most] : NULL;
}

const char *import_answer(import *m, const json_t *said, const char *const *answers, long n,
                          char number[IMPORT_NUMBER])
{
    bool none = !said || json_is_null(said) || (json_is_array(said) && answers);
    const char *text = import_number(said, number);
    if (!none && !text)
        return NULL;
    if ((!text || !*text) && n)
        text = import_majority(m, answers, n);
    return text && *text ? text : import_for_tests(m) ? "" : NULL;
}

static void read_question(import *m, const char *where, import_item *i, const json_t *o)
{
    const char *question = json_string_value(json_object_get(o, "question"));
    char number[IMPORT_NUMBER], id[IMPORT_NUMBER];
    const json_t *said = FIRST(o, "answer", "answers"), *all = FIRST(o, "answers");
    const json_t *list = json_is_array(all) ? all : said;
    import_asked q = { .question = question, .type = json_string_value(FIRST(o, "type", "answer_type")),
                       .question_type = json_string_value(FIRST(o, "question_type")),
                       .id = import_number(json_object_get(o, "question_id"), id) };
    const char **answers = import_answers(m, where, list, &q.answer_count);
    q.answers = answers;
    q.answer = import_answer(m, said, answers, q.answer_count, number);
    if (all && all != said && !json_is_array(all))
        import_problem(m, where, "answers: expected a list beside \"answer\"");
    else if (!m->no_memory && q.question && q.answer)
        import_question(m, where, i, &q);
    else if (!m->no_memory)
        import_problem(m, where, q.question && (!said || json_is_array(said) || json_is_string(said))
                       ? "question, answer: expected both, as texts; only test:SRC may have no answers"
                       : "question, answer: expected both, as texts");
    mem_free(answers);
}

static void read_texts(import *m, const char *where, import_item *i, const json_t *o)
{
    const json_t *questions = FIRST(o, "questions");
    read_captions(m, where, i, o);
    if (FIRST(o, "question"))
        read_question(m, where, i, o);
    if (questions && !json_is_array(questions))
        import_problem(m, where, "questions: expected a list of objects");
    for (size_t k = 0; k < json_array_size(questions); k++)
        read_question(m, where, i, json_array_get(questions, k));
}

/* false: what stands there as the id or the split is neither, and that is reported. id, split: NULL, none */
static bool read_marks(import *m, const char *where, const json_t *o, char number[IMPORT_NUMBER],
                       const char **id, int *split)
{
    const json_t *given = FIRST(o, "image_id", "imageId"), *part = FIRST(o, "split");
    const char *name = json_string_value(part);
    *id = import_number(given, number);
    *split = import_split(name);
    if (given && !*id)
        return import_problem(m, where, "image_id: expected a number or a text");
    if (part && (!name || (*name && *split == IMPORT_DRAWN)))
        return import_problem(m, where, "split: expected train, val or test");
    return true;
}

void import_record_of(import *m, const char *where, import_item *i, const json_t *o)
{
    char number[IMPORT_NUMBER];
    const char *id;
    int split;
    if (!json_is_object(o))
        import_problem(m, where, "expected an object");
    else if (read_marks(m, where, o, number, &id, &split) && import_settle(m, where, i, id, split))
        read_texts(m, where, i, o);
}

const char *import_named(const json_t *o)
{
    return json_string_value(FIRST(o, "image", "image_path", "file_name", "filename", "file", "path",
                                   "filepath"));
}

void import_record(import *m, const char *where, json_t *o)
{
    char number[IMPORT_NUMBER];
    const char *id, *path = import_named(o);
    int split;
    if (!json_is_object(o)) {
        import_problem(m, where, "expected an object");
        return;
    }
    if (!path) {
        import_problem(m, where, FIRST(o, "url", "URL", "image_url")
                       ? "image: expected the path of a file; pictures are not fetched from addresses: "
                         "img2dataset, for one, makes .tar shards of such a list, which are read here"
                       : "image: expected the path of a picture");
        return;
    }
    if (!FIRST(o, "captions", "caption", "text", "TEXT", "questions", "question") && !import_for_tests(m)) {
        import_problem(m, where, "caption, question: expected one of them; only test:SRC may have neither");
        return;
    }
    if (!read_marks(m, where, o, number, &id, &split))
        return;
    import_item *i = import_picture(m, where, path, id, split);
    if (i)
        read_texts(m, where, i, o);
}
