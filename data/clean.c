/* clean.c - captions and questions as LAVIS cleans them before tokenizing (processors/blip_processors.py,
 * as facts): lower case; each of .!"()*#:;~ becomes a space (captions) or goes (questions); in captions two
 * white characters or more become one space, then line breaks at the end and spaces at both ends go; in
 * questions spaces at the end go; what stands before the 50th space is kept. Broken UTF-8 becomes U+FFFD. */
#include "data/internal.h"
#include <string.h>
#include <utf8proc.h>

static bool cased(int c)
{
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

static bool passed_over(int c)         /* for the final sigma: marks, and signs within words */
{
    utf8proc_category_t k = utf8proc_category(c);
    return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2019 || k == UTF8PROC_CATEGORY_MN
        || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_LM
        || k == UTF8PROC_CATEGORY_SK;
}

/* Capital sigma has another small form at the end of a word: a letter before, none after (Unicode, 3.13). */
static bool final_sigma(const ints *text, long at)
{
    long before = at - 1, after = at + 1;
    while (before >= 0 && passed_over(text->at[before]))
        before--;
    while (after < text->n && passed_over(text->at[after]))
        after++;
    return before >= 0 && cased(text->at[before]) && !(after < text->n && cased(text->at[after]));
}

/* As Python's str.lower: context for sigma, and a dotted capital I keeps its dot. */
static void append_lower(buffer *to, const ints *text, long at)
{
    int c = text->at[at];
    if (c == 0x130)
        data_append(to, "i\xCC\x87", 3);
    else if (c == 0x3A3)
        data_append_character(to, final_sigma(text, at) ? 0x3C2 : 0x3C3);
    else
        data_append_character(to, unicode_lower(c));
}

static bool dropped(int c)
{
    return c > 0 && c < 128 && strchr(".!\"()*#:;~", c);
}

static bool python_white(int c)
{
    return unicode_white(c) || (c >= 0x1C && c <= 0x1F);
}

static char *cut_words(buffer *b)
{
    long words = 1;
    for (char *p = b->text; p && *p; p++)
        if (*p == ' ' && words++ == CLEAN_WORDS)
            *p = 0, p--;
    if (b->failed)
        data_buffer_free(b);
    return b->text;
}

static ints characters(const char *text)
{
    ints list = { 0 };
    for (long at = 0, n = (long)strlen(text); at < n; ) {
        int c;
        at += unicode_next(text + at, n - at, &c);
        data_push(&list, c == UNICODE_BROKEN ? UNICODE_REPLACEMENT : c);
    }
    return list;
}

char *clean_caption(const char *text)
{
    ints all = characters(text);
    buffer to = { .failed = all.failed };
    data_append(&to, "", 0);
    for (long i = 0, run; i < all.n; i += run) {
        for (run = 0; i + run < all.n && (dropped(all.at[i + run]) || python_white(all.at[i + run])); run++)
            ;
        if (run >= 2 || (run && dropped(all.at[i])))
            data_append(&to, " ", 1);
        else
            append_lower(&to, &all, i);
        run += !run;
    }
    mem_free(all.at);
    while (!to.failed && to.used && to.text[to.used - 1] == '\n')
        to.text[--to.used] = 0;
    while (!to.failed && to.used && to.text[to.used - 1] == ' ')
        to.text[--to.used] = 0;
    long front = to.failed ? 0 : (long)strspn(to.text, " ");
    if (front)
        memmove(to.text, to.text + front, (size_t)(to.used - front) + 1);
    return cut_words(&to);
}

char *clean_question(const char *text)
{
    ints all = characters(text);
    buffer to = { .failed = all.failed };
    data_append(&to, "", 0);
    for (long i = 0; i < all.n; i++)
        if (!dropped(all.at[i]))
            append_lower(&to, &all, i);
    mem_free(all.at);
    while (!to.failed && to.used && to.text[to.used - 1] == ' ')
        to.text[--to.used] = 0;
    return cut_words(&to);
}
