/* sheet.c - pictures in a grid, enlarged, with text beside them: to look at a dataset, and to show what a
 * model says. */
#include "data/internal.h"
#include <stdio.h>
#include <string.h>

enum { LETTERS = 38, MARGIN = 8, PICTURE_AIM = 96 };

/* How many bytes of s go on one line: up to a newline, or to the last blank that fits. */
static int line_of(const char *s)
{
    int n = 0, blank = 0;
    for (int letters = 0; s[n] && s[n] != '\n'; letters++) {
        int bytes = text_printable(s + n);
        blank = s[n] == ' ' ? n : blank;
        if (letters == LETTERS)
            return blank ? blank : n;
        n += bytes ? bytes : 1;
    }
    return n;
}

static long entry_width(const struct sheet *s)
{
    return s->side*s->scale + 3*MARGIN + LETTERS*PICTURE_LETTER;
}

static long entry_height(const struct sheet *s)
{
    return s->side*s->scale + MARGIN;
}

bool data_sheet_begin(struct sheet *s, long entries, long side, error *e)
{
    *s = (struct sheet){ .columns = 4, .side = side, .scale = 1 };
    if (side < PICTURE_AIM)
        s->scale = (PICTURE_AIM + side/2)/side;
    long rows = (entries + s->columns - 1)/s->columns;
    if (!picture_new(&s->page, s->columns*entry_width(s) + MARGIN, rows*entry_height(s) + MARGIN, e))
        return false;
    memset(s->page.rgb, 250, (size_t)(3*s->page.width*s->page.height));
    return true;
}

void data_sheet_add(struct sheet *s, long at, const picture *p, const char *text)
{
    long left = at%s->columns*entry_width(s) + MARGIN, top = at/s->columns*entry_height(s) + MARGIN;
    picture_paste(&s->page, left, top, p->width*s->scale, p->height*s->scale, p);
    char line[4*LETTERS + 1];
    left += s->side*s->scale + MARGIN;
    for (long y = top; *text && y + PICTURE_LINE - 1 <= top + s->side*s->scale; y += PICTURE_LINE) {
        int n = line_of(text);
        snprintf(line, sizeof line, "%.*s", n, text);
        picture_text(&s->page, left, y, (picture_pen){ { 30, 30, 30 }, 1, false }, line);
        text += n;
        text += *text == ' ' || *text == '\n';
    }
}
