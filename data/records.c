/* records.c - a list of pictures with what is said and asked about them (data.h): a JSON object a line, or
 * a JSON list of such objects. Lists come from outside: sizes are bounded, paths stay inside the data set,
 * and every bad record is reported, with its line, before work begins. All texts lie in a few large blocks
 * that go when the list goes. */
#include "data/internal.h"
#include "data/packages.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { RECORD_BYTES = 16 << 20, RECORD_VALUES = 100000 };
static const long FILE_BYTES = 1L << 36, NO_ID = LONG_MAX;

struct reader { const char *name; record_list *list; long room; bool no_memory; error *e; };

/* ---- memory of a list ---------------------------------------------------------------------------------- */
static void *take(struct reader *r, long bytes)
{
    void *p = data_take(&r->list->memory, bytes);
    r->no_memory |= !p;
    return p;
}

static char *take_text(struct reader *r, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = take(r, (long)n);
    return copy ? memcpy(copy, text, n) : NULL;
}

void record_list_free(record_list *l)
{
    data_blocks_free(&l->memory);
    mem_free(l->items);
    *l = (record_list){ 0 };
}

/* A copy in the list's memory of what `clean` makes of a text; NULL: memory is out. */
static char *cleaned(record_list *l, char *(*clean)(const char *), const char *text)
{
    char *made = clean(text), *copy = made ? data_take(&l->memory, (long)strlen(made) + 1) : NULL;
    if (copy)
        strcpy(copy, made);
    mem_free(made);
    return copy;
}

bool records_clean(record_list *l, error *e)
{
    bool ok = true;
    for (long i = 0; ok && i < l->count; i++) {
        record *r = &l->items[i];
        char **texts = data_take(&l->memory, (r->caption_count + 1) * (long)sizeof *texts);
        ok = texts != NULL;
        for (long k = 0; ok && k < r->caption_count; k++)
            ok = (texts[k] = cleaned(l, clean_caption, r->captions[k])) != NULL;
        for (long k = 0; ok && k < r->question_count; k++)
            ok = (r->questions[k].asked = cleaned(l, clean_question, r->questions[k].question)) != NULL;
        r->texts = texts;
    }
    return ok || error_set(e, "out of memory for the texts of %ld pictures", l->count);
}

/* ---- one record: NULL, or what is wrong with it -------------------------------------------------------- */
bool data_leaves(const char *path)
{
    if (*path == '/')
        return true;
    for (const char *p = path; *p; ) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return true;
        p += n + (p[n] == '/');
    }
    return false;
}

static const char *read_image(struct reader *r, const json_t *o, record *to)
{
    const char *image = json_string_value(json_object_get(o, "image"));
    if (!image || !*image)
        return "image: expected a text, the picture's path";
    if (data_leaves(image))
        return "image: expected a path inside the folder of this list";
    to->image = take_text(r, image);
    return NULL;
}

static const char *read_numbers(struct reader *r, const json_t *o, record *to)
{
    const json_t *id = json_object_get(o, "image_id"), *family = json_object_get(o, "family");
    if ((id && !json_is_integer(id) && !json_is_string(id)) || (family && !json_is_integer(family)))
        return "image_id, family: expected whole numbers; image_id may be a text";
    if (json_is_integer(id))
        to->image_id = (long)json_integer_value(id);
    if (json_is_string(id))
        to->id = take_text(r, json_string_value(id));
    if (family)
        to->family = (long)json_integer_value(family);
    return NULL;
}

static const char *read_captions(struct reader *r, const json_t *o, record *to)
{
    const json_t *list = json_object_get(o, "captions"), *one = json_object_get(o, "caption");
    long n = (long)json_array_size(list);
    if (one && !json_is_string(one))
        return "caption: expected a text";
    if (list && !json_is_array(list))
        return "captions: expected a list of texts";
    to->captions = take(r, (n + 1) * (long)sizeof *to->captions);
    for (long i = 0; i < n && !r->no_memory; i++) {
        const char *text = json_string_value(json_array_get(list, (size_t)i));
        if (!text)
            return "captions: expected a list of texts";
        to->captions[to->caption_count++] = take_text(r, text);
    }
    if (one && !r->no_memory)
        to->captions[to->caption_count++] = take_text(r, json_string_value(one));
    to->texts = to->captions;
    bool said = list || one || json_object_get(o, "questions");
    return said ? NULL : "captions, caption, questions: expected one of them";
}

static int by_text(const void *a, const void *b)
{
    const char *const *x = *(const char *const *const *)a, *const *y = *(const char *const *const *)b;
    int order = strcmp(*x, *y);
    return order ? order : (x > y) - (x < y);
}

/* In order, equal texts are neighbours, and the first of them is the one that stands first. */
bool data_majority(const char *const *texts, long n, long *most)
{
    const char *const **order = mem_new((size_t)(n + 1)*sizeof *order), *const *best = NULL;
    long longest = 0;
    *most = -1;
    if (!order)
        return false;
    for (long i = 0; i < n; i++)
        order[i] = &texts[i];
    qsort(order, (size_t)n, sizeof *order, by_text);
    for (long i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && !strcmp(*order[end], *order[i]); )
            end++;
        if (end - i > longest || (end - i == longest && order[i] < best)) {
            longest = end - i;
            best = order[i];
        }
    }
    *most = best ? best - texts : -1;
    mem_free(order);
    return true;
}

/* What several people answered; the most frequent is the answer where none is given. */
static const char *read_answers(struct reader *r, const json_t *list, record_question *q)
{
    static const char wrong[] = "answers: expected a list of texts, or of objects with the text \"answer\"";
    long n = (long)json_array_size(list), most = -1;
    if (list && !json_is_array(list))
        return wrong;
    q->answers = take(r, n * (long)sizeof *q->answers);
    for (long i = 0; i < n && !r->no_memory; i++) {
        const json_t *one = json_array_get(list, (size_t)i);
        const char *text = json_string_value(json_is_object(one) ? json_object_get(one, "answer") : one);
        if (!text)
            return wrong;
        q->answers[q->answer_count++] = take_text(r, text);
    }
    if (!q->answer && !r->no_memory)
        r->no_memory = !data_majority((const char *const *)q->answers, n, &most);
    if (most >= 0)
        q->answer = q->answers[most];
    return NULL;
}

/* A number, or a text of digits; -1: neither. */
static long number_of(const json_t *id)
{
    const char *text = json_string_value(id);
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (json_is_integer(id))
        return (long)json_integer_value(id);
    return digits && digits < 19 && !text[digits] ? strtol(text, NULL, 10) : -1;
}

static const char *read_questions(struct reader *r, const json_t *list, record *to)
{
    long n = (long)json_array_size(list);
    if (list && !json_is_array(list))
        return "questions: expected a list of objects";
    to->questions = take(r, n * (long)sizeof *to->questions);
    for (long i = 0; i < n && !r->no_memory; i++) {
        const json_t *one = json_array_get(list, (size_t)i);
        const char *question = json_string_value(json_object_get(one, "question"));
        const char *answer = json_string_value(json_object_get(one, "answer"));
        const char *type = json_string_value(json_object_get(one, "type"));
        const char *question_type = json_string_value(json_object_get(one, "question_type"));
        const json_t *answers = json_object_get(one, "answers"), *id = json_object_get(one, "question_id");
        if (!question || (!answer && !json_array_size(answers)))
            return "questions: expected objects with the texts \"question\" and \"answer\"";
        record_question *q = &to->questions[to->question_count++];
        q->id = number_of(id);
        q->question = q->asked = take_text(r, question);
        q->answer = answer ? take_text(r, answer) : NULL;
        const char *wrong = read_answers(r, answers, q);
        if (wrong)
            return wrong;
        q->type = take_text(r, type ? type : "");
        q->question_type = take_text(r, question_type ? question_type : "");
    }
    return NULL;
}

static void read_objects(struct reader *r, const json_t *list, record *to)
{
    long n = (long)json_array_size(list);
    to->objects = take(r, n * (long)sizeof *to->objects);
    for (long i = 0; i < n && !r->no_memory; i++) {
        const json_t *one = json_array_get(list, (size_t)i);
        const char *colour = json_string_value(json_object_get(one, "colour"));
        const char *shape = json_string_value(json_object_get(one, "shape"));
        to->objects[to->object_count++] = (record_object){ take_text(r, colour ? colour : ""),
                                                           take_text(r, shape ? shape : "") };
    }
}

static const char *read_record(struct reader *r, const json_t *o, record *to)
{
    const char *wrong = json_is_object(o) ? NULL : "expected an object";
    if (!wrong && !(wrong = read_image(r, o, to)) && !(wrong = read_numbers(r, o, to))
        && !(wrong = read_captions(r, o, to))
        && !(wrong = read_questions(r, json_object_get(o, "questions"), to)))
        read_objects(r, json_object_get(o, "objects"), to);
    return wrong;
}

/* Adds the record in text[0..n), or notes what is wrong with it; false: memory is out. */
static bool add_record(void *context, long line, const char *text, long n)
{
    struct reader *r = context;
    error one;
    record_list *l = r->list;
    void *items = l->items;
    r->no_memory |= !data_room(&items, &r->room, l->count + 1, sizeof *l->items);
    l->items = items;
    if (r->no_memory)
        return false;
    if (n > RECORD_BYTES) {
        error_line(r->e, "%s:%ld: expected at most %d bytes, found %ld", r->name, line, RECORD_BYTES, n);
        return true;
    }
    json_t *o = data_json(r->name, line, text, n, RECORD_VALUES, &one);
    if (!o) {
        error_line(r->e, "%s", one.text);
        return true;
    }
    record *to = &l->items[l->count];
    *to = (record){ .image_id = NO_ID, .family = l->count };
    const char *wrong = read_record(r, o, to);
    if (wrong)
        error_line(r->e, "%s:%ld: %s", r->name, line, wrong);
    l->count += !wrong;
    json_decref(o);
    return !r->no_memory;
}

/* ---- ids ----------------------------------------------------------------------------------------------- */
static int by_name(const void *a, const void *b)
{
    const record *x = *(record *const *)a, *y = *(record *const *)b;
    int order = strcmp(x->id, y->id);
    return order ? order : (x > y) - (x < y);
}

static int by_number(const void *a, const void *b)
{
    const record *x = *(record *const *)a, *y = *(record *const *)b;
    return x->image_id != y->image_id ? (x->image_id > y->image_id) - (x->image_id < y->image_id)
                                      : (x > y) - (x < y);
}

/* Records without an id get numbers from 0, or behind all that are given. */
static void number_rest(record_list *l)
{
    long next = 0;
    for (long i = 0; i < l->count; i++)
        if (l->items[i].image_id >= next)
            next = l->items[i].image_id < NO_ID ? l->items[i].image_id + 1 : next;
    if (next > NO_ID - l->count)                           /* no numbers are left behind them */
        next = 0;
    for (long i = 0; i < l->count; i++)
        if (l->items[i].image_id == NO_ID)
            l->items[i].image_id = next + i;
}

/* Ids that are texts become numbers. Two records of one id are of one picture, or a mistake: paths tell. */
static void settle_ids(struct reader *r)
{
    record_list *l = r->list;
    long texts = 0;
    number_rest(l);
    record **order = mem_new((size_t)l->count * sizeof *order + 1);
    r->no_memory |= !order;
    for (long i = 0; order && i < l->count; i++) {
        order[i] = &l->items[i];
        texts += l->items[i].id != NULL;
    }
    if (texts && texts < l->count)
        error_line(r->e, "%s: image_id: a text in %ld of %ld records; expected all or none", r->name, texts,
                   l->count);
    else if (texts && order) {
        qsort(order, (size_t)l->count, sizeof *order, by_name);
        for (long i = 0; i < l->count; i++) {
            bool again = i && !strcmp(order[i]->id, order[i - 1]->id);
            order[i]->image_id = again ? order[i - 1]->image_id : order[i] - l->items;
        }
    }
    if (order)
        qsort(order, (size_t)l->count, sizeof *order, by_number);
    for (long i = 1; order && i < l->count; i++)
        if (order[i]->image_id == order[i - 1]->image_id && strcmp(order[i]->image, order[i - 1]->image))
            error_line(r->e, "%s: image_id: %ld stands for two pictures, %s and %s", r->name,
                       order[i]->image_id, QUOTE(order[i - 1]->image), QUOTE(order[i]->image));
    mem_free(order);
}

bool records_parse(const char *name, const char *text, long bytes, record_list *l, error *e)
{
    struct reader r = { .name = name, .list = l, .e = e };
    *l = (record_list){ 0 };
    e->lines = 0;
    data_elements(name, text, bytes, add_record, &r, e);
    if (!e->lines && !r.no_memory)
        settle_ids(&r);
    if (!e->lines && !r.no_memory && l->count)
        return true;
    record_list_free(l);
    if (r.no_memory)
        return data_no_memory(e, r.name);
    if (e->lines)
        return error_head(e, ERROR_RUN, "%s: %d bad record%s", r.name, e->lines, e->lines > 1 ? "s" : "");
    return error_set(e, "%s: no pictures in it; expected one JSON object a line", r.name);
}

bool records_beside(const char *list, const char *key, error *e)
{
    return !pack_is(list) || !strchr(list, '/')
           || error_usage(e, "%s: a pack lies in the folder that root names; expected its name alone, "
                          "found %s", key, QUOTE(list));
}

bool records_read(const char *path, record_list *l, error *e)
{
    long bytes;
    *l = (record_list){ 0 };
    if (pack_is(path))
        return pack_records(path, l, e);
    char *text = file_load(path, FILE_BYTES, &bytes, e);
    const char *json = text ? data_without_mark(text, &bytes) : NULL;
    bool ok = text && records_parse(QUOTE(path), json, bytes, l, e);
    mem_free(text);
    return ok;
}

/* ---- the pictures -------------------------------------------------------------------------------------- */
static bool below(const char *path, const char *root)
{
    size_t n = strlen(root);
    return !strncmp(path, root, n) && (path[n] == '/' || (n && root[n - 1] == '/'));
}

/* What is wrong with the picture at root/image, or NULL; real_root is root without links. */
static const char *wrong_file(const char *root, const char *real_root, const char *image, char *path,
                              char *real_path)
{
    struct stat about;
    if (snprintf(path, PATH_MAX, "%s/%s", root, image) >= PATH_MAX)
        return "the path is too long";
    char *inside = pack_inside(path);
    if (inside)
        *inside = 0;
    if (!realpath(path, real_path) || stat(real_path, &about))
        return strerror(errno);
    if (!below(real_path, real_root))
        return "a link leads outside the data set's folder";
    return S_ISREG(about.st_mode) ? NULL : "not a regular file";
}

long records_missing(const char *root, const record_list *l, error *e)
{
    char real_root[PATH_MAX], path[PATH_MAX], real_path[PATH_MAX];
    long missing = 0;
    e->lines = 0;
    if (!realpath(root, real_root))
        real_root[0] = 0;
    for (long i = 0; i < l->count; i++) {
        const char *wrong = wrong_file(root, real_root, l->items[i].image, path, real_path);
        if (wrong)
            error_line(e, "%s: %s", QUOTE(l->items[i].image), wrong);
        missing += wrong != NULL;
    }
    if (missing)
        error_head(e, ERROR_RUN, "%s: %ld of %ld pictures cannot be read", QUOTE(root), missing, l->count);
    return missing;
}
