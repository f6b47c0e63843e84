/* config.c - YAML into structs by tables of keys: strict, bounded, every problem of a file and of those that
 * it includes in one go.
 *
 * libyaml's event interface alone is used (its document interface is quadratic in depth). What YAML allows
 * and a configuration does not need is refused: anchors, aliases, tags, several documents, keys twice. */
#include "base/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum {
    MOST_BYTES = 1 << 20, MOST_DEPTH = 64, MOST_EVENTS = 100000, MOST_PROBLEMS = 100,
    MOST_DEEP = 8, MOST_FILES = 64,                /* of `include` */
    PATH = CONFIG_NAME
};

typedef struct reader {
    const char *file;                              /* as messages name it */
    const char *path;                              /* that `include` starts from; NULL: it is no file */
    int included;                                  /* how deep this file is included */
    int *files;                                    /* included so far, by all */
    const config_table *tables;
    int count;
    error *e;
    int problems;
    char (*seen)[PATH];                            /* keys met so far */
    long seen_count, seen_room;
} reader;

static void problem(reader *r, const yaml_mark_t *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void problem(reader *r, const yaml_mark_t *at, const char *format, ...)
{
    char what[800], where[32] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (at)
        snprintf(where, sizeof where, ":%zu:%zu", at->line + 1, at->column + 1);
    r->problems++;
    error_line(r->e, "%.150s%s: %s", r->file, where, what);
}

/* ---- events ----------------------------------------------------------------------------------------- */
typedef struct walk {
    yaml_parser_t parser;
    const char *text;
    size_t bytes;
    reader *r;
    long events;
    int depth;
    bool stop;
} walk;

/* The next event; false at the end of the stream or after a problem that ends the reading. */
static bool next(walk *w, yaml_event_t *event)
{
    if (w->stop)
        return false;
    if (!yaml_parser_parse(&w->parser, event)) {
        const yaml_parser_t *p = &w->parser;
        yaml_mark_t at = p->problem_mark;
        for (size_t i = 0; p->error == YAML_READER_ERROR && i < p->problem_offset && i < w->bytes; i++)
            at.line += w->text[i] == '\n', at.column = 0;     /* bytes that are no text have no mark */
        problem(w->r, &at, "not YAML: %s", p->problem ? p->problem : "cannot be read");
        w->stop = true;
        return false;
    }
    const char *anchor = NULL, *tag = NULL;
    bool zero = false;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        anchor = (char *)event->data.scalar.anchor, tag = (char *)event->data.scalar.tag;
        zero = memchr(event->data.scalar.value, 0, event->data.scalar.length);
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = (char *)event->data.mapping_start.anchor, tag = (char *)event->data.mapping_start.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = (char *)event->data.sequence_start.anchor, tag = (char *)event->data.sequence_start.tag;
        break;
    default: break;
    }
    bool opens = event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
    w->depth += opens;
    w->depth -= event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
    yaml_mark_t at = event->start_mark;
    if (anchor || tag || event->type == YAML_ALIAS_EVENT)
        problem(w->r, &at, "anchors, aliases and tags are not taken here");
    else if (zero)
        problem(w->r, &at, "a zero byte in a text");
    else if (w->depth > MOST_DEPTH)
        problem(w->r, &at, "nested deeper than %d", MOST_DEPTH);
    else if (++w->events > MOST_EVENTS)
        problem(w->r, &at, "more than %d parts", MOST_EVENTS);
    else if (w->r->problems < MOST_PROBLEMS)  /* more help nobody, and each is compared with all keys */
        return true;
    w->stop = true;
    yaml_event_delete(event);
    return false;
}

/* Reads on to the end of the value that `event` begins. */
static void skip(walk *w, const yaml_event_t *event)
{
    int depth = w->depth
                - (event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT);
    yaml_event_t inner;
    while (w->depth > depth && next(w, &inner))
        yaml_event_delete(&inner);
}

static bool met_before(reader *r, const char *path)
{
    for (long i = 0; i < r->seen_count; i++)
        if (!strcmp(r->seen[i], path))
            return true;
    if (r->seen_count == r->seen_room) {
        long room = r->seen_room ? 2 * r->seen_room : 128;
        void *more = mem_grow(r->seen, (size_t)r->seen_room * PATH, (size_t)room * PATH);
        if (!more) {
            problem(r, NULL, "memory is out");
            return false;
        }
        r->seen = more;
        r->seen_room = room;
    }
    strcpy(r->seen[r->seen_count++], path);
    return false;
}

static void read_list(walk *w, const config_key *k, const char *path, config_list *list)
{
    yaml_event_t item;
    char why[600];
    list->count = 0;
    while (next(w, &item)) {
        bool end = item.type == YAML_SEQUENCE_END_EVENT;
        yaml_mark_t at = item.start_mark;
        if (item.type == YAML_SCALAR_EVENT) {
            if (!config_take(k, list, (char *)item.data.scalar.value, true, why, sizeof why))
                problem(w->r, &at, "%s: %s", path, why);
        } else if (!end) {
            problem(w->r, &at, "%s: expected a list of texts", path);
            skip(w, &item);
        }
        yaml_event_delete(&item);
        if (end)
            return;
    }
}

static void read_section(walk *w, const char *path);

/* The value of `path`, whose first event is given. */
static void read_value(walk *w, const char *path, yaml_event_t *event, const yaml_mark_t *key_at)
{
    reader *r = w->r;
    void *target;
    char like[PATH], why[600];
    const config_key *k = config_find(r->tables, r->count, path, &target);
    yaml_mark_t at = event->start_mark;
    bool scalar = event->type == YAML_SCALAR_EVENT;
    const char *text = scalar ? (char *)event->data.scalar.value : "";
    if (k && !target) {
        problem(r, key_at, "%s: at most %d such sections are possible", path, CONFIG_NAMED_MOST);
        skip(w, event);
    } else if (k && k->type == CONFIG_ELSEWHERE) {
        problem(r, key_at, "%s: %s", path, k->help);
        skip(w, event);
    } else if (!k && config_is_section(r->tables, r->count, path, event->type == YAML_MAPPING_START_EVENT)) {
        if (event->type == YAML_MAPPING_START_EVENT)
            read_section(w, path);
        else if (!scalar || *text) {
            problem(r, &at, "%s: expected a section with keys of its own, found %s", path,
                    scalar ? "a value" : "a list");
            skip(w, event);
        }
    } else if (!k) {
        const char *suggestion = config_suggest(r->tables, r->count, path, like);
        problem(r, key_at, "%s: unknown key%s%s%s", QUOTE(path), suggestion ? ", did you mean " : "",
                suggestion ? suggestion : "", suggestion ? "?" : "");
        skip(w, event);
    } else if (k->type == CONFIG_LIST && event->type == YAML_SEQUENCE_START_EVENT)
        read_list(w, k, path, target);
    else if (scalar && k->type != CONFIG_LIST) {
        if (!config_take(k, target, text, event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE, why,
                         sizeof why))
            problem(r, &at, "%s: %s", path, why);
    } else {
        problem(r, &at, "%s: expected %s, found %s", path,
                k->type == CONFIG_LIST ? "a list: [a, b]" : "one value",
                scalar                                     ? "one value"
                : event->type == YAML_SEQUENCE_START_EVENT ? "a list"
                                                           : "a section");
        skip(w, event);
    }
}

static void read_text(reader *r, const char *text, size_t bytes);

/* One file of `include`, its path from the folder of the file that it stands in. */
static void include_one(walk *w, const yaml_event_t *item)
{
    const reader *r = w->r;
    const char *name = (char *)item->data.scalar.value, *slash = strrchr(r->path, '/');
    int folder = *name == '/' || !slash ? 0 : (int)(slash - r->path) + 1;
    char shown[BASE_QUOTE];
    yaml_mark_t at = item->start_mark;
    error why;
    long bytes;
    char *path = mem_text("%.*s%s", folder, r->path, name);
    bool room = r->included < MOST_DEEP && *r->files < MOST_FILES;
    char *text = path && room ? file_load(path, MOST_BYTES, &bytes, &why) : NULL;
    if (path && r->included == MOST_DEEP)
        problem(w->r, &at, "include: %s: files are included %d deep here; does one include itself?",
                QUOTE(name), MOST_DEEP);
    else if (path && *r->files == MOST_FILES) {
        problem(w->r, &at, "include: %s: more than %d files in all", QUOTE(name), MOST_FILES);
        w->stop = true;
    } else if (!text)
        problem(w->r, &at, "include: %.300s", path ? why.text : "memory is out");
    else {
        ++*r->files;
        reader inner = { .file = error_quote(shown, path), .path = path, .included = r->included + 1,
                         .files = r->files, .tables = r->tables, .count = r->count, .e = r->e,
                         .problems = r->problems };
        read_text(&inner, text, (size_t)bytes);
        w->r->problems = inner.problems;
    }
    mem_free(text);
    mem_free(path);
}

/* include: FILE, or a list of them, whose keys those of this file then replace. */
static void include(walk *w, const yaml_event_t *value, const yaml_mark_t *key_at)
{
    yaml_event_t item;
    if (!w->r->path)
        problem(w->r, key_at, "include: only a file can include others");
    else if (w->r->seen_count > 1)
        problem(w->r, key_at, "include: expected before all other keys, which replace what it brings");
    else if (value->type == YAML_SCALAR_EVENT) {
        include_one(w, value);
        return;
    } else if (value->type == YAML_SEQUENCE_START_EVENT) {
        while (next(w, &item)) {
            bool end = item.type == YAML_SEQUENCE_END_EVENT, scalar = item.type == YAML_SCALAR_EVENT;
            yaml_mark_t at = item.start_mark;
            if (scalar)
                include_one(w, &item);
            else if (!end) {
                problem(w->r, &at, "include: expected a list of files");
                skip(w, &item);
            }
            yaml_event_delete(&item);
            if (end)
                return;
        }
        return;
    } else
        problem(w->r, key_at, "include: expected a file, or a list of files");
    skip(w, value);
}

static void read_section(walk *w, const char *path)
{
    yaml_event_t key, value;
    while (next(w, &key)) {
        char name[PATH];
        yaml_mark_t at = key.start_mark;
        if (key.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&key);
            return;
        }
        bool plain = key.type == YAML_SCALAR_EVENT && strlen(path) + key.data.scalar.length + 2 < PATH;
        if (plain)
            snprintf(name, PATH, "%s%s%s", path, *path ? "." : "", (char *)key.data.scalar.value);
        else {
            problem(w->r, &at, "expected a key, a word of at most %d bytes", PATH);
            skip(w, &key);
        }
        yaml_event_delete(&key);
        if (!next(w, &value))
            return;
        if (plain && met_before(w->r, name)) {
            problem(w->r, &at, "%s: this key stands here twice", QUOTE(name));
            skip(w, &value);
        } else if (plain && !strcmp(name, "include"))
            include(w, &value, &at);
        else if (plain)
            read_value(w, name, &value, &at);
        else
            skip(w, &value);
        yaml_event_delete(&value);
    }
}

static void read_document(walk *w)
{
    yaml_event_t event;
    int documents = 0;
    while (next(w, &event)) {
        yaml_mark_t at = event.start_mark;
        bool end = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT && documents++) {
            problem(w->r, &at, "a second document; which one is meant?");
            w->stop = true;
        } else if (event.type == YAML_MAPPING_START_EVENT)
            read_section(w, "");
        else if (event.type == YAML_SCALAR_EVENT || event.type == YAML_SEQUENCE_START_EVENT) {
            problem(w->r, &at, "expected sections with keys, found %s",
                    event.type == YAML_SCALAR_EVENT ? "one value" : "a list");
            skip(w, &event);
        }
        yaml_event_delete(&event);
        if (end)
            break;
    }
    if (!documents && !w->r->problems)
        problem(w->r, NULL, "empty: no configuration in it");
}

static void read_text(reader *r, const char *text, size_t bytes)
{
    walk w = { .r = r, .text = text, .bytes = bytes };
    if (bytes > MOST_BYTES)
        problem(r, NULL, "%zu bytes; a configuration has at most %d", bytes, MOST_BYTES);
    else if (memchr(text, 0, bytes))
        problem(r, NULL, "not a text file: it holds zero bytes");
    else if (!yaml_parser_initialize(&w.parser))
        problem(r, NULL, "out of memory");
    else {
        yaml_parser_set_input_string(&w.parser, (const unsigned char *)text, bytes);
        read_document(&w);
        yaml_parser_delete(&w.parser);
    }
    mem_free(r->seen);
}

static bool read_all(const char *name, const char *path, const char *text, size_t bytes,
                     const config_table *tables, int count, error *e)
{
    char shown[BASE_QUOTE];
    int files = 0;
    reader r = { .file = error_quote(shown, name), .path = path, .files = &files, .tables = tables,
                 .count = count, .e = e };
    e->lines = 0;
    read_text(&r, text, bytes);
    return error_close(e, ERROR_USAGE, "%s: %d problems", shown, r.problems);
}

bool config_read_text(const char *name, const char *text, size_t bytes, const config_table *tables, int count,
                      error *e)
{
    return read_all(name, NULL, text, bytes, tables, count, e);
}

bool config_read(const char *path, const config_table *tables, int count, error *e)
{
    long bytes;
    char *text = file_load(path, MOST_BYTES, &bytes, e);
    if (!text) {
        e->kind = ERROR_USAGE;
        return false;
    }
    bool ok = read_all(path, path, text, (size_t)bytes, tables, count, e);
    mem_free(text);
    return ok;
}
