/* config_keys.c - the keys of tables by their names, and names that are like a mistyped one (base.h). */
#include "base/internal.h"
#include <stdio.h>
#include <string.h>

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
static void name_in(const config_table *t, const config_key *k, const char *path, char to[CONFIG_NAME])
{
    size_t n = strlen(t->section) - 1, name;               /* with the dot */
    config_name(t, k, to);
    if (!is_named(t) || strncmp(path, t->section, n))
        return;
    name = strspn(path + n, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    if (name && name < CONFIG_NAMED_SIZE && (!path[n + name] || path[n + name] == '.'))
        snprintf(to, CONFIG_NAME, "%.*s.%s", (int)(n + name), path, k->name);
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

bool config_is_section(const config_table *tables, int count, const char *path, bool named)
{
    char name[CONFIG_NAME];
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
    char section[CONFIG_NAME];
    size_t n = strlen(t->section) - 1;
    snprintf(section, CONFIG_NAME, "%.*s", (int)(n + strcspn(path + n, ".")), path);
    return config_is_section(tables, count, section, false);
}

const config_key *config_find(const config_table *tables, int count, const char *path, void **target)
{
    char name[CONFIG_NAME];
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

const char *config_suggest(const config_table *tables, int count, const char *path, char to[CONFIG_NAME])
{
    enum { MOST = 512 };
    char (*names)[CONFIG_NAME] = mem_new((size_t)MOST * CONFIG_NAME);
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
        snprintf(to, CONFIG_NAME, "%s", like);
    mem_free(names);
    mem_free(list);
    return like ? to : NULL;
}

bool config_each(const config_table *tables, int count, config_visit *visit, void *context)
{
    char name[CONFIG_NAME];
    for (int i = 0; i < count; i++) {
        const config_table *t = &tables[i];
        const config_named *own = is_named(t) ? t->to : NULL;
        for (int section = 0; section < (own ? own->count : 1); section++)
            for (int k = 0; k < t->count; k++) {
                const config_key *key = &t->keys[k];
                if (key->type == CONFIG_ELSEWHERE)
                    continue;
                char *to = own ? (char *)own->items + (size_t)section * own->size : t->to;
                config_name(t, key, name);
                if (own)
                    snprintf(name, CONFIG_NAME, "%.*s%s.%s", (int)strlen(t->section) - 1, t->section,
                             own->name[section], key->name);
                if (!visit(context, key, name, to + key->offset))
                    return false;
            }
    }
    return true;
}
