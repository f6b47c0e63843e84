/* error.c - one sentence about what is wrong with the world, or a list of them (base.h). */
#include "base/base.h"
#include <stdio.h>
#include <string.h>

static void put(error *e, error_kind kind, const char *format, va_list args)
{
    e->kind = kind;
    e->lines = 0;
    vsnprintf(e->text, sizeof e->text, format, args);
}

bool error_set(error *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put(e, ERROR_RUN, format, args);
    va_end(args);
    return false;
}

bool error_usage(error *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put(e, ERROR_USAGE, format, args);
    va_end(args);
    return false;
}

bool error_line(error *e, const char *format, ...)
{
    if (e->lines++ < ERROR_LINES) {
        size_t used = e->lines == 1 ? (e->text[0] = 0) : strlen(e->text);
        used += (size_t)snprintf(e->text + used, sizeof e->text - used, "\n  ");
        va_list args;
        va_start(args, format);
        if (used < sizeof e->text)
            vsnprintf(e->text + used, sizeof e->text - used, format, args);
        va_end(args);
    }
    return false;
}

static bool head(error *e, error_kind kind, const char *format, va_list args)
{
    char lines[ERROR_TEXT];
    memcpy(lines, e->text, sizeof lines);
    int n = vsnprintf(e->text, sizeof e->text, format, args);
    if (e->lines && n >= 0 && (size_t)n < sizeof e->text)
        snprintf(e->text + n, sizeof e->text - (size_t)n, "%s", lines);
    e->kind = kind;
    return false;
}

bool error_head(error *e, error_kind kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    head(e, kind, format, args);
    va_end(args);
    return false;
}

bool error_close(error *e, error_kind kind, const char *format, ...)
{
    enum { INDENT = 3 };                                  /* what error_line puts before a line */
    e->kind = kind;
    va_list args;
    va_start(args, format);
    if (e->lines == 1)
        memmove(e->text, e->text + INDENT, strlen(e->text + INDENT) + 1);
    else if (e->lines)
        head(e, kind, format, args);
    va_end(args);
    return !e->lines;
}

int text_printable(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x20 || s[0] == 0x7f)
        return 0;
    if (s[0] < 0x80)
        return 1;
    int n = s[0] < 0xc2 || s[0] > 0xf4 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool control = s[0] == 0xc2 && s[1] < 0xa0;
    bool longer = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);       /* than need be */
    /* surrogates, past U+10FFFF */
    bool outside = (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90);
    return control || longer || outside ? 0 : n;
}

const char *error_quote(char *to, const char *name)
{
    const unsigned char *s = (const unsigned char *)name;
    char *p = to;
    int used = 0;
    while (*s && used < 200) {
        int n = text_printable((const char *)s);
        if (n) {
            memcpy(p, s, (size_t)n);
            p += n;
        } else {
            n = 1;
            p += sprintf(p, "\\x%02x", *s);
        }
        s += n;
        used += n;
    }
    strcpy(p, *s ? "..." : "");
    return to;
}

/* Edit distance with swaps of neighbours counted once (optimal string alignment), at most 63 letters. */
static int distance(const char *a, const char *b)
{
    int n = (int)strlen(a), m = (int)strlen(b), d[64][64];
    if (n > 63 || m > 63)
        return 99;
    for (int i = 0; i <= n; i++)
        for (int j = 0; j <= m; j++) {
            if (!i || !j) {
                d[i][j] = i + j;
                continue;
            }
            int best = d[i-1][j-1] + (a[i-1] != b[j-1]);
            best = d[i-1][j] + 1 < best ? d[i-1][j] + 1 : best;
            best = d[i][j-1] + 1 < best ? d[i][j-1] + 1 : best;
            if (i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] && d[i-2][j-2] + 1 < best)
                best = d[i-2][j-2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *nearest(const char *word, const char *const *words, int n)
{
    const char *best = NULL;
    int least = 1 + (int)strlen(word) / 3;
    for (int i = 0; i < n; i++) {
        int d = distance(word, words[i]);
        if (d <= least && (!best || d < least)) {
            least = d;
            best = words[i];
        }
    }
    return best;
}
