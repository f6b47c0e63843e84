/* import_vqa.c - VQAv2 and OK-VQA: questions in one file, answers in another, joined by question_id.
 *   {"data_subtype": "train2014", "questions": [{"image_id", "question", "question_id"}]}
 *   {"annotations": [{"question_id", "image_id", "answers": [{"answer"}], "multiple_choice_answer",
 *                     "answer_type", "question_type"}]}
 * The questions of a source for tests may have no answers: those of VQAv2's test parts are not published.
 * And the usual names of pictures that are known by number alone. */
#include "data/import.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PLACE_TEXT = 300, PATH = 2048 };

/* ---- where a picture is -------------------------------------------------------------------------------- */
/* "{}" is the number, "{12}" the number with zeros in front of it, "{s}" the subtype. */
static void fill(const char *pattern, const char *subtype, const char *number, char *to, long room)
{
    long used = 0;
    for (const char *p = pattern; *p && used < room - 1; ) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;
        int width = end ? atoi(p + 1) : 0, zeros = width < 32 ? width - (int)strlen(number) : 0;
        if (!end) {
            to[used++] = *p++;
            continue;
        }
        int n = p[1] == 's' ? snprintf(to + used, (size_t)(room - used), "%s", subtype)
                            : snprintf(to + used, (size_t)(room - used), "%.*s%s", zeros > 0 ? zeros : 0,
                                       "00000000000000000000000000000000", number);
        used = n < room - used ? used + n : room - 1;
        p = end + 1;
    }
    to[used] = 0;
}

const char *import_place(import *m, const char *subtype, const char *number, char *to, long room)
{
    static const char *const files[] = { "{}", "train2014/{}", "val2014/{}", "train2017/{}", "val2017/{}",
                                         "images/{}", NULL };
    static const char *const numbers[] = { "{}.jpg", "{s}/COCO_{s}_{12}.jpg", "COCO_{s}_{12}.jpg",
                                           "{s}/{12}.jpg", "{12}.jpg", "VG_100K/{}.jpg", "VG_100K_2/{}.jpg",
                                           "images/{}.jpg", NULL };
    const char *const *usual = subtype ? numbers : files, *own[] = { m->o->pattern, NULL };
    const char *const *names = m->o->pattern && subtype ? own : usual;
    for (int i = 0; names[i]; i++) {
        fill(names[i], subtype ? subtype : "", number, to, room);
        char *path = mem_text("%s/%s", m->root, to);
        bool there = path && access(path, F_OK) == 0;
        mem_free(path);
        if (there)
            return to;
    }
    fill(names[subtype && *subtype && usual == names], subtype ? subtype : "", number, to, room);
    return to;
}

/* ---- questions and answers ----------------------------------------------------------------------------- */
static void add(import *m, const char *where, const char *subtype, json_t *question, const json_t *answer)
{
    char path[PATH], number[IMPORT_NUMBER], id[IMPORT_NUMBER], text[IMPORT_NUMBER];
    const char *image = import_number(json_object_get(question, "image_id"), number);
    import_asked q = { .question = json_string_value(json_object_get(question, "question")),
                       .type = json_string_value(json_object_get(answer, "answer_type")),
                       .question_type = json_string_value(json_object_get(answer, "question_type")),
                       .id = import_number(json_object_get(question, "question_id"), id) };
    const char **answers = import_answers(m, where, json_object_get(answer, "answers"), &q.answer_count);
    import_item *i = NULL;
    q.answers = answers;
    q.answer = import_answer(m, json_object_get(answer, "multiple_choice_answer"), answers, q.answer_count,
                             text);
    if (image && q.question && q.answer)
        i = import_picture(m, where, import_place(m, subtype, image, path, sizeof path), image, IMPORT_DRAWN);
    else if (!m->no_memory)
        import_problem(m, where, "image_id, question, answers: expected a number, a text and a list");
    if (i && !m->no_memory)
        import_question(m, where, i, &q);
    mem_free(answers);
}

/* question_id -> annotation, of all files of answers */
static json_t *index_answers(import *m)
{
    json_t *index = json_object(), *file, *one;
    char number[IMPORT_NUMBER], where[PLACE_TEXT];
    size_t f, k;
    json_array_foreach(m->answers, f, file) {
        const char *name = json_string_value(json_object_get(file, "name"));
        json_array_foreach(json_object_get(json_object_get(file, "doc"), "annotations"), k, one) {
            const char *id = import_number(json_object_get(one, "question_id"), number);
            snprintf(where, sizeof where, "%s: annotations[%zu]", name, k);
            if (!id)
                import_problem(m, where, "question_id: expected a number");
            else if (json_object_get(index, id))
                import_problem(m, where, "question_id: an earlier annotation has it");
            else if (json_object_set(index, id, one))
                m->no_memory = true;
        }
    }
    return index;
}

/* "test2015", where the pictures of "test-dev2015" are, too. */
static void subtype_of(const json_t *doc, char *to, size_t room)
{
    const char *given = json_string_value(json_object_get(doc, "data_subtype"));
    bool dev = given && !strncmp(given, "test-dev", 8);
    snprintf(to, room, "%s%s", dev ? "test" : "", !given ? "" : dev ? given + 8 : given);
}

static void join_file(import *m, json_t *file, const json_t *index)
{
    const char *name = json_string_value(json_object_get(file, "name"));
    json_t *doc = json_object_get(file, "doc"), *one;
    char number[IMPORT_NUMBER], where[PLACE_TEXT], subtype[64];
    size_t k;
    subtype_of(doc, subtype, sizeof subtype);
    m->split = (int)json_integer_value(json_object_get(file, "split"));
    if (!import_root(m, json_string_value(json_object_get(file, "root"))))
        return;
    json_array_foreach(json_object_get(doc, "questions"), k, one) {
        const char *id = import_number(json_object_get(one, "question_id"), number);
        const json_t *answer = id ? json_object_get(index, id) : NULL;
        snprintf(where, sizeof where, "%s: questions[%zu]", name, k);
        if (!answer && !import_for_tests(m))
            import_problem(m, where, "question_id: no file of annotations has an answer to it; only "
                           "test:FILE may have none");
        else
            add(m, where, subtype, one, answer);
    }
}

void import_join(import *m)
{
    size_t k;
    json_t *file, *index = index_answers(m);
    if (m->answers && !m->questions)
        import_problem(m, json_string_value(json_object_get(json_array_get(m->answers, 0), "name")),
                       "these are VQA's answers; expected the file of questions beside it");
    json_array_foreach(m->questions, k, file)
        join_file(m, file, index);
    json_decref(index);
}
