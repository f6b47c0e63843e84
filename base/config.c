/* config.c - YAML into structs by tables of keys: strict, bounded, every problem of a file in one go.
 *
 * libyaml's event interface alone is used (its document interface is quadratic in depth). What YAML allows
 * and a configuration does not need is refused: anchors, aliases, tags, several documents, keys twice. */
#include "base/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MOST_BYTES = 1 << 20, MOST_DEPTH = 64, MOST_EVENTS = 100000, MOST_PROBLEMS = 100, PATH = CONFIG_NAME };

typedef struct reader {
    const char *file;
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

/* ---- keys ------------------------------------------------------------------------------------------- */
void config_name(const config_table *t, const config_key *k, char to[CONFIG_NAME])
{
    snprintf(to, CONFIG_NAME, "%s%s%s", t->section, *t->section ? "." : "", k->name);
}

static bool is_named(const config_table *t)
{
    size_t n = strlen(t->section);
    return n > 2 && !strcmp(t->section + n - 2, ".*");
}

/* The key's name in the section of its own name that `path` speaks of, if the table is of such sections;
 * else as config_name has it. */
static void name_in(const config_table *t, const config_key *k, const char *path, char to[PATH])
{
    size_t n = strlen(t->section) - 1, name;               /* with the dot */
    config_name(t, k, to);
    if (!is_named(t) || strncmp(path, t->section, n))
        return;
    name = strspn(path + n, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    if (name && name < CONFIG_NAMED_SIZE && (!path[n + name] || path[n + name] == '.'))
        snprintf(to, PATH, "%.*s.%s", (int)(n + name), path, k->name);
}

/* The struct of the section that `path` speaks of, a new one at its first mention; NULL: there is no more
 * room. */
static char *struct_of(const config_table *t, const char *path)
{
    if (!is_named(t))
        return t->to;
    config_named *own = t->to;
    const char *name = path + strlen(t->section) - 1;
    int n = (int)strcspn(name, "."), i = 0;
    while (i < own->count && ((int)strlen(own->name[i]) != n || strncmp(own->name[i], name, (size_t)n)))
        i++;
    if (i == CONFIG_NAMED_MOST)
        return NULL;
    if (i == own->count)
        snprintf(own->name[own->count++], CONFIG_NAMED_SIZE, "%.*s", n, name);
    return (char *)own->items + (size_t)i * own->size;
}

/* named: sections that the file names itself count too. */
static bool is_section(const config_table *tables, int count, const char *path, bool named)
{
    char name[PATH];
    size_t n = strlen(path);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < tables[i].count && (named || !is_named(&tables[i])); k++) {
            name_in(&tables[i], &tables[i].keys[k], path, name);
            if (!strncmp(name, path, n) && name[n] == '.')
                return true;
        }
    return false;
}

/* Is the name that `path` gives to a section already that of one with known keys? */
static bool is_taken(const config_table *tables, int count, const config_table *t, const char *path)
{
    char section[PATH];
    size_t n = strlen(t->section) - 1;
    snprintf(section, PATH, "%.*s", (int)(n + strcspn(path + n, ".")), path);
    return is_section(tables, count, section, false);
}

/* *target NULL: the key is known, but its section is one too many. */
static const config_key *find(const config_table *tables, int count, const char *path, void **target)
{
    char name[PATH];
    for (int i = 0; i < count; i++)
        for (int k = 0; k < tables[i].count; k++) {
            name_in(&tables[i], &tables[i].keys[k], path, name);
            if (!strcmp(name, path) && !(is_named(&tables[i]) && is_taken(tables, count, &tables[i], path))) {
                char *to = struct_of(&tables[i], path);
                *target = to ? to + tables[i].keys[k].offset : NULL;
                return &tables[i].keys[k];
            }
        }
    return NULL;
}

/* The known key or section of the same depth that a mistyped one is most like. */
static const char *suggest(const config_table *tables, int count, const char *path, char to[PATH])
{
    enum { MOST = 512 };
    char (*names)[PATH] = mem_new((size_t)MOST * PATH);
    const char **list = mem_new((size_t)MOST * sizeof *list);
    int n = 0, dots = 0;
    for (const char *p = path; *p; p++)
        dots += *p == '.';
    for (int i = 0; names && list && i < count; i++)
        for (int k = 0; k < tables[i].count && n < MOST; k++) {
            if (tables[i].keys[k].type == CONFIG_ELSEWHERE)
                continue;
            name_in(&tables[i], &tables[i].keys[k], path, names[n]);
            char *end = names[n];
            for (int d = 0; end && d <= dots; d++)
                end = strchr(end + (d > 0), '.');
            if (end)
                *end = 0;
            list[n] = names[n];
            n += strcmp(names[n], path) != 0;              /* a section of its own name is like itself */
        }
    const char *like = n ? nearest(path, list, n) : NULL;
    if (like)
        snprintf(to, PATH, "%s", like);
    mem_free(names);
    mem_free(list);
    return like ? to : NULL;
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
static void skip(walk *w, yaml_event_t *event)
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
    const config_key *k = find(r->tables, r->count, path, &target);
    yaml_mark_t at = event->start_mark;
    bool scalar = event->type == YAML_SCALAR_EVENT;
    const char *text = scalar ? (char *)event->data.scalar.value : "";
    if (k && !target) {
        problem(r, key_at, "%s: at most %d such sections are possible", path, CONFIG_NAMED_MOST);
        skip(w, event);
    } else if (k && k->type == CONFIG_ELSEWHERE) {
        problem(r, key_at, "%s: %s", path, k->help);
        skip(w, event);
    } else if (!k && is_section(r->tables, r->count, path, event->type == YAML_MAPPING_START_EVENT)) {
        if (event->type == YAML_MAPPING_START_EVENT)
            read_section(w, path);
        else if (!scalar || *text) {
            problem(r, &at, "%s: expected a section with keys of its own, found %s", path,
                    scalar ? "a value" : "a list");
            skip(w, event);
        }
    } else if (!k) {
        const char *suggestion = suggest(r->tables, r->count, path, like);
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
        } else if (plain)
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

static bool conclude(reader *r)
{
    mem_free(r->seen);
    return error_close(r->e, ERROR_USAGE, "%s: %d problems", r->file, r->problems);
}

bool config_read_text(const char *name, const char *text, size_t bytes, const config_table *tables, int count,
                      error *e)
{
    char shown[BASE_QUOTE];
    reader r = { .file = error_quote(shown, name), .tables = tables, .count = count, .e = e };
    walk w = { .r = &r, .text = text, .bytes = bytes };
    e->lines = 0;
    if (bytes > MOST_BYTES)
        return error_usage(e, "%s: %zu bytes; a configuration has at most %d", shown, bytes, MOST_BYTES);
    if (memchr(text, 0, bytes))
        return error_usage(e, "%s: not a text file: it holds zero bytes", shown);
    if (!yaml_parser_initialize(&w.parser))
        return error_set(e, "%s: out of memory", shown);
    yaml_parser_set_input_string(&w.parser, (const unsigned char *)text, bytes);
    read_document(&w);
    yaml_parser_delete(&w.parser);
    return conclude(&r);
}

bool config_read(const char *path, const config_table *tables, int count, error *e)
{
    long bytes;
    char *text = file_load(path, MOST_BYTES, &bytes, e);
    if (!text) {
        e->kind = ERROR_USAGE;
        return false;
    }
    bool ok = config_read_text(path, text, (size_t)bytes, tables, count, e);
    mem_free(text);
    return ok;
}

/* a,b,c or [a, b, c]: plain texts. */
static bool override_list(const config_key *k, config_list *list, const char *text)
{
    char why[600];
    size_t all = strlen(text);
    bool brackets = all > 1 && text[0] == '[' && text[all - 1] == ']';
    const char *end = text + all - brackets;
    list->count = 0;
    for (text += brackets; text < end;) {
        char item[CONFIG_TEXT_SIZE];
        const char *comma = memchr(text, ',', (size_t)(end - text)), *next = comma ? comma : end, *to = next;
        while (brackets && text < to && *text == ' ')
            text++;
        while (brackets && to > text && to[-1] == ' ')
            to--;
        snprintf(item, sizeof item, "%.*s", (int)(to - text), text);
        if ((size_t)(to - text) >= sizeof item || !config_take(k, list, item, true, why, sizeof why))
            return false;
        text = next + (comma != NULL);
    }
    return true;
}

/* `key=value`, the value as it would stand in the file. */
bool config_override(const char *assignment, const config_table *tables, int count, error *e)
{
    char path[PATH], like[PATH], why[600];
    const char *equals = strchr(assignment, '=');
    void *target;
    if (!equals || equals == assignment || (size_t)(equals - assignment) >= sizeof path)
        return error_usage(e, "\"%s\": expected key=value, for example run.seed=7", QUOTE(assignment));
    snprintf(path, sizeof path, "%.*s", (int)(equals - assignment), assignment);
    const config_key *k = find(tables, count, path, &target);
    if (!k) {
        const char *suggestion = suggest(tables, count, path, like);
        return error_usage(e, "%s: unknown key%s%s%s", QUOTE(path), suggestion ? ", did you mean " : "",
                           suggestion ? suggestion : "", suggestion ? "?" : "");
    }
    if (!target)
        return error_usage(e, "%s: at most %d such sections are possible", path, CONFIG_NAMED_MOST);
    if (k->type == CONFIG_ELSEWHERE)
        return error_usage(e, "%s: %s", path, k->help);
    const char *text = equals + 1;
    if (k->type != CONFIG_LIST)
        return config_take(k, target, text, false, why, sizeof why) || error_usage(e, "%s: %s", path, why);
    return override_list(k, target, text)
        || error_usage(e, "%s: expected at most %d short texts, a,b,c or [a, b, c]", path, CONFIG_LIST_MOST);
}
