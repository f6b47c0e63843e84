/* import_items.c - the pictures that an import has found, each once, by path and by id (import.h). Texts lie
 * in large blocks that go together. */
#include "data/import.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

/* ---- memory -------------------------------------------------------------------------------------------- */
void *import_take(import *m, long bytes)
{
    void *p = data_take(&m->memory, bytes);
    m->no_memory |= !p;
    return p;
}

char *import_copy(import *m, const char *text, long n)
{
    char *copy = import_take(m, n + 1);
    if (copy) {
        memcpy(copy, text, (size_t)n);
        copy[n] = 0;
    }
    return copy;
}

void import_free(import *m)
{
    data_blocks_free(&m->memory);
    mem_free(m->items);
    mem_free(m->paths.slot);
    mem_free(m->ids.slot);
    mem_free(m->names.slot);
    json_decref(m->questions);
    json_decref(m->answers);
}

/* ---- text -> place: an open hash table that doubles when it is half full ------------------------------- */
static struct import_slot *slot_of(const import_map *t, const char *key, uint64_t hash)
{
    long i = (long)(hash & (uint64_t)(t->slots - 1));
    while (t->slot[i].key && (t->slot[i].hash != hash || strcmp(t->slot[i].key, key)))
        i = (i + 1) & (t->slots - 1);
    return &t->slot[i];
}

static bool more_slots(import_map *t)
{
    import_map more = { .n = t->n, .slots = t->slots ? 2*t->slots : 1024 };
    more.slot = mem_new((size_t)more.slots*sizeof *more.slot);
    if (!more.slot)
        return false;
    for (long i = 0; i < t->slots; i++)
        if (t->slot[i].key)
            *slot_of(&more, t->slot[i].key, t->slot[i].hash) = t->slot[i];
    mem_free(t->slot);
    *t = more;
    return true;
}

long *import_entry(import *m, import_map *t, const char *key, long value)
{
    uint64_t hash = XXH3_64bits(key, strlen(key));
    if (2*(t->n + 1) > t->slots && !more_slots(t)) {
        m->no_memory = true;
        return NULL;
    }
    struct import_slot *s = slot_of(t, key, hash);
    if (!s->key) {
        const char *copy = import_copy(m, key, (long)strlen(key));
        if (!copy)
            return NULL;
        *s = (struct import_slot){ hash, copy, value };
        t->n++;
    }
    return &s->value;
}

/* ---- problems ------------------------------------------------------------------------------------------ */
bool import_problem(import *m, const char *where, const char *what)
{
    return error_line(m->e, "%s: %s", where, what);
}

bool import_utf8(const char *text)
{
    long n = (long)strlen(text);
    return unicode_valid(text, n) == n;
}

int import_split(const char *name)
{
    static const struct { const char *name; int split; } known[] = {
        { "train", 0 }, { "restval", 0 }, { "val", 1 }, { "validation", 1 }, { "valid", 1 }, { "dev", 1 },
        { "test", 2 },
    };
    for (size_t i = 0; name && i < sizeof known/sizeof *known; i++)
        if (!strcmp(name, known[i].name))
            return known[i].split;
    return IMPORT_DRAWN;
}

/* ---- pictures ------------------------------------------------------------------------------------------ */
bool import_root(import *m, const char *folder)
{
    char real_root[PATH_MAX];
    if (!realpath(folder, real_root))
        return error_line(m->e, "%s: folder of pictures: %s", QUOTE(folder), strerror(errno));
    m->root = import_copy(m, folder, (long)strlen(folder));
    m->real_root = import_copy(m, real_root, (long)strlen(real_root));
    return !m->no_memory;
}

static bool below(const char *path, const char *root)
{
    size_t n = strlen(root);
    return !strncmp(path, root, n) && (path[n] == '/' || (n && root[n - 1] == '/'));
}

bool import_inside(const import *m, const char *real_path)
{
    return m->o->allow_outside || !strcmp(real_path, m->real_root) || below(real_path, m->real_root);
}

bool import_for_tests(const import *m)
{
    return m->split == import_split("test");
}

static import_item *new_item(import *m)
{
    void *items = m->items;
    m->no_memory |= !data_room(&items, &m->room, m->count + 1, sizeof *m->items);
    m->items = items;
    if (m->no_memory)
        return NULL;
    m->items[m->count] = (import_item){ .split = IMPORT_DRAWN };
    return &m->items[m->count++];
}

/* The real path of a picture, or NULL: reported, or counted. */
static const char *find_file(import *m, const char *where, const char *path, const char *full,
                             char real_path[PATH_MAX])
{
    struct stat about;
    if (!m->o->allow_outside && data_leaves(path)) {
        error_line(m->e,
                   "%s: %s: leaves the folder of the pictures; expected a path inside, or --allow-outside",
                   where, QUOTE(path));
        return NULL;
    }
    if (!realpath(full, real_path) || stat(real_path, &about)) {
        m->result->missing++;
        if (!m->o->skip_missing)
            error_line(m->e, "%s: %s: %s", where, QUOTE(full), strerror(errno));
        return NULL;
    }
    if (!S_ISREG(about.st_mode)) {
        error_line(m->e, "%s: %s: not a regular file", where, QUOTE(full));
        return NULL;
    }
    if (import_inside(m, real_path))
        return real_path;
    error_line(m->e, "%s: %s: a link leads outside the folder of the pictures; expected none, or "
               "--allow-outside", where, QUOTE(path));
    return NULL;
}

/* Notes the id of a picture; false: it belongs to another one, or the picture has another. */
static bool settle_id(import *m, const char *where, import_item *item, const char *id)
{
    long place = item - m->items, *known;
    if (!id)
        return true;
    if (item->id)
        return !strcmp(item->id, id) || error_line(m->e, "%s: %s: its image_id is %s here and was %s", where,
                                                   QUOTE(item->path), QUOTE(id), QUOTE(item->id));
    if (!(known = import_entry(m, &m->ids, id, place)))
        return false;
    if (*known != place)
        return error_line(m->e, "%s: image_id %s stands for two pictures, %s and %s", where, QUOTE(id),
                          QUOTE(m->items[*known].path), QUOTE(item->path));
    item->id = item->key = import_copy(m, id, (long)strlen(id));
    return item->id != NULL;
}

bool import_settle(import *m, const char *where, import_item *item, const char *id, int split)
{
    if (m->split != IMPORT_DRAWN)
        split = m->split;
    if (split != IMPORT_DRAWN && item->split != IMPORT_DRAWN && item->split != split)
        return error_line(m->e, "%s: %s: in two splits", where, QUOTE(item->path));
    if (split != IMPORT_DRAWN)
        item->split = split;
    item->bare |= import_for_tests(m);
    return settle_id(m, where, item, id);
}

/* The place of a picture met first by the name `full`; by another name it may be there already. */
static long *add_file(import *m, const char *path, const char *full, const char *found)
{
    long *known = import_entry(m, &m->paths, found, IMPORT_NONE);
    if (known && *known < 0) {
        import_item *item = new_item(m);
        if (!item)
            return NULL;
        item->path = import_copy(m, found, (long)strlen(found));
        item->key = import_copy(m, path, (long)strlen(path));
        *known = m->count - 1;
    }
    long at = known ? *known : IMPORT_NONE, *place = import_entry(m, &m->paths, full, at);
    if (place)
        *place = at;
    return place;
}

import_item *import_picture(import *m, const char *where, const char *path, const char *id, int split)
{
    char full[PATH_MAX], real_path[PATH_MAX];
    bool outer = *path == '/' && m->o->allow_outside;
    m->touched++;
    if (!*path || snprintf(full, sizeof full, outer ? "%s%s" : "%s/%s", outer ? "" : m->root, path)
                  >= (int)sizeof full) {
        import_problem(m, where, "image: expected the path of a picture");
        return NULL;
    }
    if (!import_utf8(path)) {                          /* a list of JSON cannot hold it */
        error_line(m->e, "%s: %s: name: not UTF-8", where, QUOTE(path));
        return NULL;
    }
    long *place = import_entry(m, &m->paths, full, IMPORT_NONE);
    if (place && *place == IMPORT_NONE) {
        *place = IMPORT_MISSING;
        const char *found = find_file(m, where, path, full, real_path);
        if (found && !(place = add_file(m, path, full, found)))
            return NULL;
    }
    if (!place || *place < 0 || m->no_memory)
        return NULL;
    import_item *item = &m->items[*place];
    return import_settle(m, where, item, id, split) ? item : NULL;
}

bool import_taken(import *m, const char *name)
{
    long before = m->names.n;
    return import_entry(m, &m->names, name, 0) && m->names.n == before;
}

bool import_goes_on(import *m)
{
    if (++m->met % 256 == 0 && m->progress)
        m->stopped |= !m->progress(m->context, NULL, 0, 0);
    return !m->no_memory && !m->stopped;
}

import_item *import_held(import *m, const char *where, const char *name, const char *id, int split)
{
    import_item *item = new_item(m);
    m->touched++;
    if (!item)
        return NULL;
    item->path = item->held = item->key = import_copy(m, name, (long)strlen(name));
    return item->held && import_settle(m, where, item, id, split) ? item : NULL;
}

/* ---- what is said and asked ---------------------------------------------------------------------------- */
static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_known(const import_item *i, const char *text, size_t n)
{
    const import_text *one = i->captions;
    for (long k = 0; k < i->known; k++, one = one->next)
        if (k >= i->known_from && strlen(one->text) == n && !memcmp(one->text, text, n))
            return true;
    return false;
}

void import_caption(import *m, const char *where, import_item *i, const char *text)
{
    long n = (long)strlen(text);
    while (n && is_white(text[n - 1]))
        n--;
    while (n && is_white(*text))
        text++, n--;
    if (!n) {
        m->result->empty++;
        return;
    }
    if (is_known(i, text, (size_t)n))
        return;
    import_text *one = import_take(m, sizeof *one);
    if (one)
        *one = (import_text){ NULL, import_copy(m, text, n) };
    if (m->no_memory)
        return;
    if (!import_utf8(one->text)) {
        import_problem(m, where, "caption: not UTF-8");
        return;
    }
    *(i->captions ? i->next_caption : &i->captions) = one;
    i->next_caption = &one->next;
    i->caption_count++;
}

static const char *copy_text(import *m, const char *text)
{
    return text ? import_copy(m, text, (long)strlen(text)) : NULL;
}

void import_question(import *m, const char *where, import_item *i, const import_asked *q)
{
    import_asked *one = import_take(m, sizeof *one);
    const char **answers = import_take(m, (q->answer_count + 1)*(long)sizeof *answers);
    if (!import_utf8(q->question) || !import_utf8(q->answer)) {
        import_problem(m, where, "question, answer: not UTF-8");
        return;
    }
    for (long k = 0; answers && k < q->answer_count; k++)
        answers[k] = copy_text(m, q->answers[k]);
    if (!one || m->no_memory)
        return;
    *one = (import_asked){ NULL, copy_text(m, q->question), copy_text(m, q->answer), copy_text(m, q->type),
                           copy_text(m, q->question_type), copy_text(m, q->id), answers, q->answer_count };
    m->result->unanswered += import_for_tests(m) && !*q->answer;
    *(i->questions ? i->next_question : &i->questions) = one;
    i->next_question = &one->next;
    i->question_count++;
}
