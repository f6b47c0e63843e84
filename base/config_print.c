/* config_print.c - a configuration as YAML that reads back the same (base.h). */
#include "base/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct printer {
    char *text;
    size_t used, room;
    bool failed, help;
    char before[CONFIG_NAME];                      /* the key printed last */
} printer;

static void put(printer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(printer *p, const char *format, ...)
{
    char line[4 * CONFIG_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || p->failed)
        return;
    if (p->used + (size_t)n + 1 > p->room) {
        size_t room = 2 * p->room + (size_t)n + 4096;
        char *more = mem_grow(p->text, p->room, room);
        if (!more) {
            p->failed = true;
            return;
        }
        p->text = more;
        p->room = room;
    }
    memcpy(p->text + p->used, line, (size_t)n + 1);
    p->used += (size_t)n;
}

/* A text as YAML's double-quoted scalar. */
static void put_text(printer *p, const char *s)
{
    put(p, "\"");
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            put(p, "\\%c", *s);
        else if (*s == '\n')
            put(p, "\\n");
        else if ((unsigned char)*s < 0x20)
            put(p, "\\x%02x", (unsigned char)*s);
        else
            put(p, "%c", *s);
    put(p, "\"");
}

/* The shortest decimal that reads back as the same double. */
static void put_number(printer *p, double x)
{
    char text[40];
    locale_t before = numbers_begin();
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    numbers_end(before);
    put(p, "%s", text);
}

static void put_value(printer *p, const config_key *k, const void *v)
{
    const char *c;
    int n;
    switch (k->type) {
    case CONFIG_BOOL: put(p, "%s", *(const bool *)v ? "true" : "false"); break;
    case CONFIG_INT: put(p, "%ld", *(const long *)v); break;
    case CONFIG_REAL: put_number(p, *(const double *)v); break;
    case CONFIG_TEXT: put_text(p, v); break;
    case CONFIG_CHOICE:
        c = config_choice(k, v, &n);
        put(p, "%.*s", n, c);
        break;
    case CONFIG_ELSEWHERE: break;                          /* never printed */
    case CONFIG_LIST:
        put(p, "[");
        for (int i = 0; i < ((const config_list *)v)->count; i++) {
            put(p, i ? ", " : "");
            put_text(p, ((const config_list *)v)->item[i]);
        }
        put(p, "]");
        break;
    }
}

/* One key on its line; a section's header is written where its path first differs from the one before. */
static bool put_key(void *context, const config_key *key, const char *name, void *value)
{
    printer *p = context;
    int depth = 0;
    const char *part = name;
    for (const char *dot; (dot = strchr(part, '.')); part = dot + 1, depth++) {
        size_t n = (size_t)(dot - name) + 1;
        if (strncmp(name, p->before, n))
            put(p, "%*s%.*s:\n", 2 * depth, "", (int)(dot - part), part);
    }
    put(p, "%*s%s: ", 2 * depth, "", part);
    put_value(p, key, value);
    if (p->help && key->help)
        put(p, "   # %s%s%s", key->help, key->choices ? "; one of " : "", key->choices ? key->choices : "");
    put(p, "\n");
    strcpy(p->before, name);
    return !p->failed;
}

char *config_print(const config_table *tables, int count, bool help)
{
    printer p = { .help = help };
    if (!config_each(tables, count, put_key, &p)) {
        mem_free(p.text);
        return NULL;
    }
    return p.text;
}
