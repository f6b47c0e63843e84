/* report_difference.c - the settings of a run that are not those of another configuration. Both are texts as
 * config_print writes them, a key a line, so that they can be compared as text: run.init_lr, 1e-4, 1e-5. */
#include "eval/report.h"
#include <string.h>

typedef struct setting { char key[CONFIG_NAME], value[4 * CONFIG_TEXT_SIZE]; } setting;

/* Bytes of the value in front of its help; a # in quotes is part of it. */
static size_t value_length(const char *value, size_t n)
{
    bool quoted = false;
    size_t end = 0;
    for (; end < n; end++) {
        if (value[end] == '\\' && quoted && end + 1 < n)
            end++;
        else if (value[end] == '"')
            quoted = !quoted;
        else if (value[end] == '#' && !quoted && end && value[end - 1] == ' ')
            break;
    }
    while (end && value[end - 1] == ' ')
        end--;
    return end < n ? end : n;
}

/* The next line that sets a key; false: there is none. path: the sections that the lines before it opened. */
static bool next(const char **at, char path[CONFIG_NAME], setting *s)
{
    while (**at) {
        const char *line = *at, *text = line + strspn(line, " ");
        size_t n = strcspn(line, "\n"), depth = (size_t)(text - line) / 2, length = strcspn(text, ":\n");
        *at = line + n + (line[n] == '\n');
        if (text >= line + n || *text == '#' || text[length] != ':')
            continue;
        char *end = path;                                  /* behind the sections that are still open */
        while (depth-- && *end)
            end += strcspn(end, ".") + 1;
        size_t used = (size_t)(end - path);
        if (used + length + 2 > CONFIG_NAME)               /* no key of a configuration is that long */
            continue;
        const char *value = text + length + 1 + strspn(text + length + 1, " ");
        size_t bytes = value < line + n ? value_length(value, (size_t)(line + n - value)) : 0;
        if (!bytes) {
            memcpy(end, text, length);
            memcpy(end + length, ".", 2);
            continue;
        }
        bytes = bytes < sizeof s->value ? bytes : sizeof s->value - 1;
        memset(s, 0, sizeof *s);
        memcpy(s->key, path, used);
        memcpy(s->key + used, text, length);
        memcpy(s->value, value, bytes);
        return true;
    }
    return false;
}

static bool find(const char *text, const char *key, setting *s)
{
    char path[CONFIG_NAME] = "";
    while (next(&text, path, s))
        if (!strcmp(s->key, key))
            return true;
    return false;
}

bool report_setting(const char *text, const char *key, char to[REPORT_SETTING])
{
    setting s;
    bool met = find(text, key, &s) && strlen(s.value) < REPORT_SETTING;
    if (met)
        strcpy(to, s.value);
    return met;
}

static void put_row(report *r, const char *key, const char *base, const char *here)
{
    file_print(r->to, "<tr><td>");
    report_text(r, key);
    file_print(r->to, "</td><td>");
    report_text(r, base);
    file_print(r->to, "</td><td>");
    report_text(r, here);
    file_print(r->to, "</td></tr>\n");
}

void report_difference(report *r)
{
    setting here, there;
    char path[CONFIG_NAME] = "", other[CONFIG_NAME] = "";
    long rows = 0;
    if (!r->base_text)
        return;
    file_print(r->to, "<h3>Against ");
    report_text(r, r->base);
    file_print(r->to,
               "</h3>\n<div class=\"scroll\"><table>\n<tr><th>key</th><th>there</th><th>here</th></tr>\n");
    for (const char *at = r->config; next(&at, path, &here);) {
        bool met = find(r->base_text, here.key, &there);
        if (!met || strcmp(here.value, there.value)) {
            put_row(r, here.key, met ? there.value : "not set", here.value);
            rows++;
        }
    }
    for (const char *at = r->base_text; next(&at, other, &there);)
        if (!find(r->config, there.key, &here)) {
            put_row(r, there.key, there.value, "not set");
            rows++;
        }
    if (!rows)
        file_print(r->to, "<tr><td>nothing differs</td><td></td><td></td></tr>\n");
    file_print(r->to, "</table></div>\n");
}
