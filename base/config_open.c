/* config_open.c - a configuration in force: its file, key=value of the command line over it, and what ${...}
 * in its texts stands for (base.h). */
#include "base/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- key=value -------------------------------------------------------------------------------------- */
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
    char path[CONFIG_NAME], like[CONFIG_NAME], why[600];
    const char *equals = strchr(assignment, '=');
    void *target;
    if (!equals || equals == assignment || (size_t)(equals - assignment) >= sizeof path)
        return error_usage(e, "\"%s\": expected key=value, for example run.seed=7", QUOTE(assignment));
    snprintf(path, sizeof path, "%.*s", (int)(equals - assignment), assignment);
    const config_key *k = config_find(tables, count, path, &target);
    if (!k) {
        const char *suggestion = config_suggest(tables, count, path, like);
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

/* ---- ${...} ----------------------------------------------------------------------------------------- */
enum { MOST_DEEP = 8, MOST_REPLACED = 1000 };

typedef struct looking {                           /* for the key that ${name} means, in the text of `at` */
    const char *name, *at;
    const config_key *key;
    const void *value;
    char found[CONFIG_NAME];
    int count;                                     /* keys that it can mean */
} looking;

/* A whole name is that key; a word alone is its neighbour in `at`'s section, or else the only key that ends
 * in it. */
static bool look(void *context, const config_key *key, const char *name, void *value)
{
    looking *l = context;
    const char *last = strrchr(name, '.'), *mine = strrchr(l->at, '.');
    size_t section = mine ? (size_t)(mine - l->at) + 1 : 0;
    last = last ? last + 1 : name;
    if (!key->help)                                /* another program's name, which says nothing here */
        return true;
    bool whole = !strcmp(name, l->name), ends = !strchr(l->name, '.') && !strcmp(last, l->name);
    bool near = ends && (size_t)(last - name) == section && !strncmp(name, l->at, section);
    if (whole || near || ends) {
        l->key = key;
        l->value = value;
        strcpy(l->found, name);
        l->count = whole || near ? 1 : l->count + 1;
    }
    return !whole && !near;
}

typedef struct filling {
    const config_table *tables;
    int count, deep, replaced;
    error *e;
} filling;

static bool fill(filling *f, const char *at, char text[CONFIG_TEXT_SIZE]);

/* What ${name} stands for, in `to`. */
static bool meant(filling *f, const char *at, const char *name, char to[CONFIG_TEXT_SIZE])
{
    looking l = { .name = name, .at = at };
    char like[CONFIG_NAME];
    int n;
    if (++f->replaced > MOST_REPLACED)
        return error_usage(f->e, "%s: ${%s}: more than %d of these are to be replaced", at, QUOTE(name),
                           MOST_REPLACED);
    if (!strncmp(name, "env:", 4)) {
        const char *set = getenv(name + 4);
        if (!set || strlen(set) >= CONFIG_TEXT_SIZE)
            return error_usage(f->e, "%s: ${%s}: the environment has none, or a longer one than %d bytes", at,
                               QUOTE(name), CONFIG_TEXT_SIZE - 1);
        strcpy(to, set);
        return true;
    }
    config_each(f->tables, f->count, look, &l);
    if (!l.count) {
        const char *suggestion = config_suggest(f->tables, f->count, name, like);
        return error_usage(f->e, "%s: ${%s}: no key of this name%s%s%s; ${env:NAME} is of the environment",
                           at, QUOTE(name), suggestion ? ", did you mean " : "",
                           suggestion ? suggestion : "", suggestion ? "?" : "");
    }
    if (l.count > 1)
        return error_usage(f->e, "%s: ${%s}: %d keys end so, %s among them; give the whole name", at,
                           QUOTE(name), l.count, l.found);
    if (l.key->type == CONFIG_INT)
        snprintf(to, CONFIG_TEXT_SIZE, "%ld", *(const long *)l.value);
    else if (l.key->type == CONFIG_CHOICE) {
        const char *word = config_choice(l.key, l.value, &n);
        snprintf(to, CONFIG_TEXT_SIZE, "%.*s", n, word);
    } else if (l.key->type == CONFIG_TEXT)
        strcpy(to, l.value);
    else
        return error_usage(f->e, "%s: ${%s}: only texts, whole numbers and choices can stand in a text", at,
                           l.found);
    return fill(f, l.found, to);
}

/* Replaces each ${...} of `text`, which is that of the key `at`. */
static bool fill(filling *f, const char *at, char text[CONFIG_TEXT_SIZE])
{
    char done[CONFIG_TEXT_SIZE], name[CONFIG_NAME], value[CONFIG_TEXT_SIZE];
    size_t used = 0;
    if (!strstr(text, "${"))
        return true;
    if (f->deep == MOST_DEEP)
        return error_usage(f->e, "%s: \"%s\" speaks of itself, or of texts that speak of others more than %d "
                           "deep", at, QUOTE(text), MOST_DEEP);
    f->deep++;
    for (const char *p = text; *p;) {
        const char *end = strncmp(p, "${", 2) ? NULL : strchr(p, '}'), *put = value;
        size_t n = 1;
        if (strncmp(p, "${", 2))
            put = p++;
        else if (!end || end - p - 2 >= CONFIG_NAME)
            return error_usage(f->e, "%s: \"%s\": ${ without its }", at, QUOTE(text));
        else {
            snprintf(name, sizeof name, "%.*s", (int)(end - p - 2), p + 2);
            if (!meant(f, at, name, value))
                return false;
            n = strlen(value);
            p = end + 1;
        }
        if (used + n >= sizeof done)
            return error_usage(f->e, "%s: \"%s\" becomes longer than %d bytes", at, QUOTE(text),
                               CONFIG_TEXT_SIZE - 1);
        memcpy(done + used, put, n);
        used += n;
    }
    f->deep--;
    done[used] = 0;
    strcpy(text, done);
    return true;
}

static bool fill_key(void *context, const config_key *key, const char *name, void *value)
{
    config_list *list = value;
    if (key->type == CONFIG_TEXT)
        return fill(context, name, value);
    for (int i = 0; key->type == CONFIG_LIST && i < list->count; i++)
        if (!fill(context, name, list->item[i]))
            return false;
    return true;
}

bool config_open(const char *path, char *const *words, int word_count, const config_table *tables, int count,
                 error *e)
{
    filling f = { .tables = tables, .count = count, .e = e };
    if (!config_read(path, tables, count, e))
        return false;
    for (int i = 0; i < word_count; i++)
        if (!config_override(words[i], tables, count, e))
            return false;
    return config_each(tables, count, fill_key, &f);
}
