/* import_record.c - one object of a JSON list, or one row of a table turned into one: the picture under one
 * of the names that lists use, its caption or captions, a question with its answer, or our own "questions".
 *   {"image": "a.jpg", "caption": "text" | ["text", ...], "image_id": 7, "split": "train"}
 *   {"image": "a.jpg", "question": "what?", "answer": "text" | ["text", ...], "question_id": 1} */
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

static void read_captions(import *m, const char *where, import_item *i, const json_t *said)
{
    if (json_is_string(said))
        import_caption(m, where, i, json_string_value(said));
    else if (said && !json_is_array(said))
        import_problem(m, where, "caption: expected a text or a list of texts");
    for (size_t k = 0; k < json_array_size(said); k++) {
        const char *text = json_string_value(json_array_get(said, k));
        if (text)
            import_caption(m, where, i, text);
        else
            import_problem(m, where, "caption: expected a text or a list of texts");
    }
}

/* Of VQA's own files an answer is {"answer": "yes"}. */
const char **import_answers(import *m, const json_t *list, long *n)
{
    const char **texts = mem_new((json_array_size(list) + 1)*sizeof *texts);
    *n = 0;
    m->no_memory |= !texts;
    for (size_t k = 0; texts && k < json_array_size(list); k++) {
        const json_t *one = json_array_get(list, k);
        const char *text = json_string_value(json_is_object(one) ? json_object_get(one, "answer") : one);
        if (text)
            texts[(*n)++] = text;
    }
    return texts;
}

const char *import_majority(import *m, const char *const *answers, long n)
{
    long most = -1;
    m->no_memory |= !answers || !data_majority(answers, n, &most);
    return most >= 0 ? answers[most] : NULL;
}

static void read_question(import *m, const char *where, import_item *i, const json_t *o)
{
    const char *question = json_string_value(json_object_get(o, "question"));
    char number[IMPORT_NUMBER], id[IMPORT_NUMBER];
    const json_t *said = FIRST(o, "answer", "answers"), *all = json_object_get(o, "answers");
    const json_t *list = json_is_array(all) ? all : said;
    import_asked q = { .question = question, .type = json_string_value(FIRST(o, "type", "answer_type")),
                       .id = import_number(json_object_get(o, "question_id"), id) };
    const char **answers = import_answers(m, list, &q.answer_count);
    q.answers = answers;
    q.answer = json_is_array(said) ? import_majority(m, answers, q.answer_count)
                                   : import_number(said, number);
    if (!m->no_memory && q.question && q.answer)
        import_question(m, where, i, &q);
    else if (!m->no_memory)
        import_problem(m, where, "question, answer: expected both, as texts");
    mem_free(answers);
}

void import_record(import *m, const char *where, json_t *o)
{
    char number[IMPORT_NUMBER];
    const json_t *id = FIRST(o, "image_id", "imageId"),
                 *said = FIRST(o, "captions", "caption", "text", "TEXT");
    const json_t *questions = json_object_get(o, "questions"), *question = json_object_get(o, "question");
    const char *path = json_string_value(FIRST(o, "image", "image_path", "file_name", "filename", "file",
                                               "path", "filepath"));
    if (!json_is_object(o)) {
        import_problem(m, where, "expected an object");
        return;
    }
    if (!path || (id && !import_number(id, number))) {
        import_problem(m, where, !path && FIRST(o, "url", "URL", "image_url")
                       ? "image: expected the path of a file; pictures are not fetched from addresses"
                       : "image, image_id: expected a path, and a number or a text");
        return;
    }
    if (!said && !questions && !question) {
        import_problem(m, where, "caption, question: expected one of them");
        return;
    }
    const char *split = json_string_value(json_object_get(o, "split"));
    if (split && *split && import_split(split) == IMPORT_DRAWN) {
        import_problem(m, where, "split: expected train, val or test");
        return;
    }
    import_item *i = import_picture(m, where, path, id ? import_number(id, number) : NULL,
                                    import_split(split));
    if (!i)
        return;
    read_captions(m, where, i, said);
    if (question)
        read_question(m, where, i, o);
    for (size_t k = 0; k < json_array_size(questions); k++)
        read_question(m, where, i, json_array_get(questions, k));
}
