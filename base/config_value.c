/* config_value.c - one value of a configuration: what a text may say as a number, a choice, an item. */
#include "base/internal.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_word(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(text, *words))
            return true;
    return false;
}

/* Whole token, decimal, finite: no octal, no hexadecimal, no nan or inf. */
static bool number(const char *text, double *value)
{
    const char *p = text + (*text == '-' || *text == '+');
    char *end;
    if (!isdigit((unsigned char)p[0]) && !(p[0] == '.' && isdigit((unsigned char)p[1])))
        return false;
    if (p[0] == '0' && (isdigit((unsigned char)p[1]) || p[1] == 'x' || p[1] == 'X' || p[1] == 'o'))
        return false;
    errno = 0;
    locale_t before = numbers_begin();
    *value = strtod(text, &end);
    numbers_end(before);
    return !*end && !errno && isfinite(*value);
}

static bool choose(const char *choices, const char *text, int *index)
{
    size_t n = strlen(text);
    int i = 0;
    for (const char *p = choices; *p; i++) {
        size_t length = strcspn(p, " ");
        if (length == n && !strncmp(p, text, n)) {
            *index = i;
            return true;
        }
        p += length + (p[length] == ' ');
    }
    return false;
}

static void wrong(char *why, size_t size, const config_key *k, const char *what, const char *text)
{
    if (k->least == 0 && k->most == 0)
        snprintf(why, size, "expected %s, found \"%s\"", what, QUOTE(text));
    else
        snprintf(why, size, "expected %s from %.10g to %.10g, found \"%s\"", what, k->least, k->most,
                 QUOTE(text));
}

/* UTF-8 without control characters but tab and newline: what config_print can write so that it reads back the
 * same. */
static bool clean(const char *text)
{
    for (int n; *text; text += n) {
        n = *text == '\n' || *text == '\t' ? 1 : text_printable(text);
        if (!n)
            return false;
    }
    return true;
}

static bool take_number(const config_key *k, void *target, const char *text)
{
    double x;
    if (!number(text, &x)
        || (k->least == 0 && k->most == 0 ? fabs(x) > 1e15 : !(x >= k->least && x <= k->most)))
        return false;
    if (k->type == CONFIG_REAL)
        *(double *)target = x;
    else if (fabs(x) < 9e15 && !strpbrk(text, ".eE"))
        *(long *)target = (long)x;
    else
        return false;
    return true;
}

bool config_take(const config_key *k, void *target, const char *text, bool quoted, char *why, size_t size)
{
    static const char *const yes[] = { "true", "True", "TRUE", NULL }, *const no[] = { "false", "False",
                                                                                       "FALSE", NULL };
    if (!clean(text)) {
        snprintf(why, size, "expected UTF-8 without control characters, found \"%s\"", QUOTE(text));
        return false;
    }
    switch (k->type) {
    case CONFIG_BOOL:
        if (!quoted && (is_word(text, yes) || is_word(text, no))) {
            *(bool *)target = is_word(text, yes);
            return true;
        }
        wrong(why, size, k, "true or false", text);
        return false;
    case CONFIG_INT:
    case CONFIG_REAL:
        if (!quoted && take_number(k, target, text))
            return true;
        wrong(why, size, k, k->type == CONFIG_INT ? "a whole number" : "a number", text);
        return false;
    case CONFIG_CHOICE:
        if (choose(k->choices, text, target))
            return true;
        snprintf(why, size, "expected one of: %s; found \"%s\"", k->choices, QUOTE(text));
        return false;
    case CONFIG_TEXT:
        if (strlen(text) < CONFIG_TEXT_SIZE) {
            strcpy(target, !quoted && (!strcmp(text, "null") || !strcmp(text, "~")) ? "" : text);
            return true;
        }
        snprintf(why, size, "expected a text of at most %d bytes, found %zu", CONFIG_TEXT_SIZE - 1,
                 strlen(text));
        return false;
    default: {
        config_list *list = target;
        if (list->count < CONFIG_LIST_MOST && strlen(text) < CONFIG_TEXT_SIZE) {
            strcpy(list->item[list->count++], text);
            return true;
        }
        snprintf(why, size, "expected at most %d texts of at most %d bytes", CONFIG_LIST_MOST,
                 CONFIG_TEXT_SIZE - 1);
        return false;
    }
    }
}

const char *config_choice(const config_key *k, const void *value, int *length)
{
    const char *c = k->choices;
    for (int i = *(const int *)value; i > 0 && *c; i--)
        c += strcspn(c, " ") + 1;
    *length = (int)strcspn(c, " ");
    return c;
}
