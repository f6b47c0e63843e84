/* import_easy.c - easy-vqa (Zhou 2019): a folder with questions.json, a list of [question, answer,
 * picture], and images/NUMBER.png; or the folders train and test, each of that form. A picture shows one
 * shape of one colour. Its caption is made from what its questions tell: "a red triangle"; where they do
 * not tell all, "a red shape", "a triangle" or "a shape"; where none has an answer, there is none. */
#include "data/import.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COLOURS = 8, SHAPES = 3 };
static const char *const colours[COLOURS] = { "red", "green", "blue", "black", "gray", "teal", "brown",
                                              "yellow" };
static const char *const shapes[SHAPES] = { "circle", "rectangle", "triangle" };

/* The first of the words that stands in a text as a word. */
static const char *word_in(const char *text, const char *const *words, int n)
{
    for (int i = 0; i < n; i++) {
        size_t length = strlen(words[i]);
        for (const char *s = text; (s = strstr(s, words[i])); s += length)
            if ((s == text || s[-1] == ' ') && strchr(" ?", s[length]))
                return words[i];
    }
    return NULL;
}

/* What a question with its answer tells: "is no blue shape present?" "no" tells blue. */
static void learn(const import_asked *q, const char **colour, const char **shape)
{
    if (!*q->answer)
        return;
    bool yes = !strcmp(q->answer, "yes"), no = !strcmp(q->answer, "no");
    bool denied = strstr(q->question, " no ") || strstr(q->question, " not ");
    const char *said = yes || no ? (yes != denied ? q->question : "") : q->answer, *c, *s;
    bool asks = !yes && !no;
    if ((c = word_in(said, colours, COLOURS)) || (asks && (c = word_in(q->question, colours, COLOURS))))
        *colour = c;
    if ((s = word_in(said, shapes, SHAPES)) || (asks && (s = word_in(q->question, shapes, SHAPES))))
        *shape = s;
}

static void caption(import *m, import_item *item)
{
    const char *colour = NULL, *shape = NULL;
    char text[64];
    bool told = false;
    for (const import_asked *q = item->questions; q; q = q->next) {
        told |= *q->answer != 0;
        learn(q, &colour, &shape);
    }
    if (!told)
        return;
    snprintf(text, sizeof text, "a %s%s%s", colour ? colour : "", colour ? " " : "", shape ? shape : "shape");
    import_caption(m, "easy-vqa", item, text);
}

static const char *type_of(const char *answer)
{
    bool yes_no = !strcmp(answer, "yes") || !strcmp(answer, "no");
    return !*answer ? NULL : yes_no ? "yes/no" : word_in(answer, colours, COLOURS) ? "colour" : "shape";
}

void import_easy_questions(import *m, const char *where, json_t *list)
{
    char name[64], path[128], said[IMPORT_NUMBER];
    const char *question = json_string_value(json_array_get(list, 0));
    const char *answer = import_answer(m, json_array_get(list, 1), NULL, 0, said);
    const json_t *number = json_array_get(list, 2);
    if (!question || !answer || !json_is_integer(number)) {
        import_problem(m, where, "expected [\"question\", \"answer\", number of the picture]; only "
                       "test:SRC may have \"\" for an answer");
        return;
    }
    snprintf(name, sizeof name, "%lld.png", (long long)json_integer_value(number));
    import_item *i = import_picture(m, where, import_place(m, NULL, name, path, sizeof path), NULL,
                                    IMPORT_DRAWN);
    if (i)
        import_question(m, where, i, &(import_asked){ .question = question, .answer = answer,
                                                      .type = type_of(answer) });
}

static bool one_folder(import *m, const char *folder, int split)
{
    char *list = mem_text("%s/questions.json", folder), *pictures = mem_text("%s/images", folder);
    bool is = list && pictures && access(list, F_OK) == 0 && access(pictures, F_OK) == 0;
    int before = m->split;
    long first = m->count;
    if (is && import_root(m, pictures)) {
        m->split = before != IMPORT_DRAWN ? before : split;
        import_json(m, list);
        for (long i = first; i < m->count; i++)
            caption(m, &m->items[i]);
        m->split = before;
    }
    mem_free(list);
    mem_free(pictures);
    return is;
}

/* The package's train half has no validation part: it is drawn from it. */
bool import_easy(import *m, const char *path)
{
    static const struct { const char *name; int split; } halves[] = { { "train", IMPORT_DRAWN },
                                                                      { "test", 2 } };
    bool is = one_folder(m, path, IMPORT_DRAWN), alone = is;
    for (int i = 0; i < 2 && !alone; i++) {
        char *folder = mem_text("%s/%s", path, halves[i].name);
        is |= folder && one_folder(m, folder, halves[i].split);
        mem_free(folder);
    }
    return is;
}
