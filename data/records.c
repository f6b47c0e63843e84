/* records.c - a data set's list: one JSON object a line, a picture with what is said and asked about it (data.h). Lines come
 * from outside: sizes are bounded, paths stay inside the data set, every bad line is reported before work begins. */
#include "data/internal.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 16 << 20, DEPTH = 32 };
static const long FILE_BYTES = 1L << 36;

/* ---- one line ----------------------------------------------------------------------------------------------------- */
static char *keep(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = mem_new(n);
    if (copy)
        memcpy(copy, s, n);
    return copy;
}

static bool outside(const char *path)
{
    if (!*path || *path == '/')
        return true;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return true;
        p += n + (p[n] == '/');
    }
    return false;
}

static bool whole(const json_t *o, const char *key, long *to)
{
    const json_t *v = json_object_get(o, key);
    if (v && !json_is_integer(v))
        return false;
    if (v)
        *to = (long)json_integer_value(v);
    return true;
}

static const char *take_captions(const json_t *list, record *r)
{
    size_t i;
    json_t *one;
    if (list && !json_is_array(list))
        return "captions: expected a list of texts";
    r->captions = mem_new((json_array_size(list) + 1) * sizeof *r->captions);
    if (!r->captions)
        return "out of memory";
    json_array_foreach(list, i, one) {
        if (!json_is_string(one))
            return "captions: expected a list of texts";
        if (!(r->captions[r->caption_count++] = keep(json_string_value(one))))
            return "out of memory";
    }
    return NULL;
}

static const char *take_questions(const json_t *list, record *r)
{
    size_t i;
    json_t *one;
    if (list && !json_is_array(list))
        return "questions: expected a list of objects";
    r->questions = mem_new((json_array_size(list) + 1) * sizeof *r->questions);
    if (!r->questions)
        return "out of memory";
    json_array_foreach(list, i, one) {
        const char *q = json_string_value(json_object_get(one, "question"));
        const char *a = json_string_value(json_object_get(one, "answer"));
        const char *type = json_string_value(json_object_get(one, "type"));
        record_question *to = &r->questions[r->question_count++];
        if (!q || !a)
            return "questions: expected objects with the texts \"question\" and \"answer\"";
        *to = (record_question){ keep(q), keep(a), keep(type ? type : "") };
        if (!to->question || !to->answer || !to->type)
            return "out of memory";
    }
    return NULL;
}

static const char *take_objects(const json_t *list, record *r)
{
    size_t i;
    json_t *one;
    r->objects = mem_new((json_array_size(list) + 1) * sizeof *r->objects);
    if (!r->objects)
        return "out of memory";
    json_array_foreach(list, i, one) {
        const char *colour = json_string_value(json_object_get(one, "colour"));
        const char *shape = json_string_value(json_object_get(one, "shape"));
        record_object *to = &r->objects[r->object_count++];
        *to = (record_object){ keep(colour ? colour : ""), keep(shape ? shape : "") };
        if (!to->colour || !to->shape)
            return "out of memory";
    }
    return NULL;
}

/* NULL, or what is wrong with the line. */
static const char *take(const json_t *o, record *r)
{
    const char *image = json_string_value(json_object_get(o, "image")), *wrong;
    if (!json_is_object(o) || !image)
        return "expected an object with the text \"image\", the picture's path";
    if (outside(image))
        return "image: expected a path inside the folder of this list";
    if (!whole(o, "image_id", &r->image_id) || !whole(o, "family", &r->family))
        return "image_id, family: expected whole numbers";
    if (!(r->image = keep(image)))
        return "out of memory";
    if ((wrong = take_captions(json_object_get(o, "captions"), r)) || (wrong = take_questions(json_object_get(o, "questions"), r)))
        return wrong;
    return take_objects(json_object_get(o, "objects"), r);
}

static void record_free(record *r)
{
    for (long i = 0; i < r->caption_count; i++)
        mem_free(r->captions[i]);
    for (long i = 0; i < r->question_count; i++) {
        mem_free(r->questions[i].question);
        mem_free(r->questions[i].answer);
        mem_free(r->questions[i].type);
    }
    for (long i = 0; i < r->object_count; i++) {
        mem_free(r->objects[i].colour);
        mem_free(r->objects[i].shape);
    }
    mem_free(r->image);
    mem_free(r->captions);
    mem_free(r->questions);
    mem_free(r->objects);
}

void record_list_free(record_list *l)
{
    for (long i = 0; i < l->count; i++)
        record_free(&l->items[i]);
    mem_free(l->items);
    *l = (record_list){ 0 };
}

/* ---- the list ------------------------------------------------------------------------------------------------------- */
static record *more(record_list *l, long *room)
{
    if (l->count == *room) {
        long wide = *room ? 2 * *room : 256;
        record *items = mem_grow(l->items, (size_t)*room * sizeof *items, (size_t)wide * sizeof *items);
        if (!items)
            return NULL;
        l->items = items;
        *room = wide;
    }
    l->items[l->count] = (record){ .image_id = l->count, .family = l->count };
    return &l->items[l->count++];
}

static bool shallow(const char *line, size_t n)
{
    int depth = 0;
    bool text = false;
    for (size_t i = 0; i < n; i++) {
        if (line[i] == '\\' && text)
            i++;
        else if (line[i] == '"')
            text = !text;
        else if (!text && (line[i] == '[' || line[i] == '{') && ++depth > DEPTH)
            return false;
        else if (!text && (line[i] == ']' || line[i] == '}'))
            depth--;
    }
    return true;
}

static const char *read_line(const char *line, size_t n, record *r, char why[JSON_ERROR_TEXT_LENGTH])
{
    json_error_t where;
    if (n > LINE_BYTES)
        return "longer than 16 MiB";
    if (!shallow(line, n))
        return "nested deeper than 32";
    json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &where);
    if (!o) {
        memcpy(why, where.text, JSON_ERROR_TEXT_LENGTH);
        return why;
    }
    const char *wrong = take(o, r);
    json_decref(o);
    return wrong;
}

static int by_id(const void *a, const void *b)
{
    const record *x = *(const record *const *)a, *y = *(const record *const *)b;
    return x->image_id < y->image_id ? -1 : x->image_id > y->image_id;
}

/* Two pictures of one id are one picture seen twice, or a mistake: the paths tell. */
static void check_ids(const char *path, const record_list *l, error *e)
{
    const record **order = mem_new((size_t)l->count * sizeof *order);
    for (long i = 0; order && i < l->count; i++)
        order[i] = &l->items[i];
    if (order)
        qsort(order, (size_t)l->count, sizeof *order, by_id);
    for (long i = 1; order && i < l->count; i++)
        if (order[i]->image_id == order[i-1]->image_id && strcmp(order[i]->image, order[i-1]->image))
            error_line(e, "%s: image_id %ld stands for two pictures, %s and %s", path, order[i]->image_id,
                       QUOTE(order[i-1]->image), QUOTE(order[i]->image));
    mem_free(order);
}

bool records_read(const char *path, record_list *l, error *e)
{
    long bytes, room = 0, number = 0;
    char why[JSON_ERROR_TEXT_LENGTH], shown[BASE_QUOTE];
    *l = (record_list){ 0 };
    char *text = file_load(path, FILE_BYTES, &bytes, e);
    if (!text)
        return false;
    error_quote(shown, path);
    e->lines = 0;
    for (char *p = text, *end = text + bytes; p < end;) {
        char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = stop ? (size_t)(stop - p) : (size_t)(end - p);
        number++;
        if (n && !(n == 1 && *p == '\r')) {
            record *r = more(l, &room);
            const char *wrong = r ? read_line(p, n, r, why) : "out of memory";
            if (wrong)
                error_line(e, "%s:%ld: %s", shown, number, wrong);
        }
        p += n + 1;
    }
    mem_free(text);
    check_ids(shown, l, e);
    if (!e->lines && !l->count)
        return error_set(e, "%s: no pictures in it; expected one JSON object a line", shown);
    if (e->lines) {
        record_list_free(l);
        return error_head(e, ERROR_RUN, "%s: %d bad lines", shown, e->lines);
    }
    return true;
}
