/* sheet.c - pictures in a grid, enlarged, with text beside them: to look at a dataset, and to show what a
 * model says. */
#include "data/internal.h"
#include <string.h>

enum { GLYPH = 6, LINE = 10, LETTERS = 38, MARGIN = 8, PICTURE_AIM = 96 };

static const uint8_t small_letters[26][7] = {      /* 5 x 7; a row is 5 bits, the leftmost is 16 */
    { 0x00, 0x00, 0x0e, 0x01, 0x0f, 0x11, 0x0f }, { 0x10, 0x10, 0x1e, 0x11, 0x11, 0x11, 0x1e },    /* a b */
    { 0x00, 0x00, 0x0e, 0x10, 0x10, 0x11, 0x0e }, { 0x01, 0x01, 0x0f, 0x11, 0x11, 0x11, 0x0f },    /* c d */
    { 0x00, 0x00, 0x0e, 0x11, 0x1f, 0x10, 0x0e }, { 0x06, 0x09, 0x08, 0x1c, 0x08, 0x08, 0x08 },    /* e f */
    { 0x0f, 0x11, 0x11, 0x11, 0x0f, 0x01, 0x0e }, { 0x10, 0x10, 0x1e, 0x11, 0x11, 0x11, 0x11 },    /* g h */
    { 0x04, 0x00, 0x0c, 0x04, 0x04, 0x04, 0x0e }, { 0x02, 0x00, 0x06, 0x02, 0x02, 0x12, 0x0c },    /* i j */
    { 0x10, 0x10, 0x12, 0x14, 0x18, 0x14, 0x12 }, { 0x0c, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e },    /* k l */
    { 0x00, 0x00, 0x1a, 0x15, 0x15, 0x15, 0x15 }, { 0x00, 0x00, 0x1e, 0x11, 0x11, 0x11, 0x11 },    /* m n */
    { 0x00, 0x00, 0x0e, 0x11, 0x11, 0x11, 0x0e }, { 0x1e, 0x11, 0x11, 0x11, 0x1e, 0x10, 0x10 },    /* o p */
    { 0x0f, 0x11, 0x11, 0x11, 0x0f, 0x01, 0x01 }, { 0x00, 0x00, 0x16, 0x19, 0x10, 0x10, 0x10 },    /* q r */
    { 0x00, 0x00, 0x0f, 0x10, 0x0e, 0x01, 0x1e }, { 0x08, 0x08, 0x1c, 0x08, 0x08, 0x09, 0x06 },    /* s t */
    { 0x00, 0x00, 0x11, 0x11, 0x11, 0x11, 0x0f }, { 0x00, 0x00, 0x11, 0x11, 0x11, 0x0a, 0x04 },    /* u v */
    { 0x00, 0x00, 0x11, 0x15, 0x15, 0x15, 0x0a }, { 0x00, 0x00, 0x11, 0x0a, 0x04, 0x0a, 0x11 },    /* w x */
    { 0x11, 0x11, 0x11, 0x11, 0x0f, 0x01, 0x0e }, { 0x00, 0x00, 0x1f, 0x02, 0x04, 0x08, 0x1f },    /* y z */
};
static const struct { char letter; uint8_t rows[7]; } signs[] = {
    { ',', { 0x00, 0x00, 0x00, 0x00, 0x04, 0x04, 0x08 } },
    { ':', { 0x00, 0x04, 0x00, 0x00, 0x00, 0x04, 0x00 } },
    { '?', { 0x0e, 0x11, 0x01, 0x06, 0x04, 0x00, 0x04 } },
    { '/', { 0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x10 } },
};

static const uint8_t *rows_of(char letter)
{
    if (letter >= 'a' && letter <= 'z')
        return small_letters[letter - 'a'];
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (signs[i].letter == letter)
            return signs[i].rows;
    return NULL;
}

static void put_letter(picture *page, long x, long y, char letter)
{
    const uint8_t *rows = rows_of(letter);
    y += strchr("gpqy", letter) ? 2 : 0;           /* their stems hang below the line */
    for (int i = 0; rows && i < 35; i++)
        if (rows[i/5] >> (4 - i%5) & 1)
            memset(page->rgb + 3*((y + i/5)*page->width + x + i%5), 30, 3);
}

/* How many letters of s go on one line: up to a newline, or to the last blank that fits. */
static int line_of(const char *s)
{
    int n = (int)strcspn(s, "\n");
    if (n <= LETTERS)
        return n;
    for (n = LETTERS; n > 0 && s[n] != ' '; n--)
        ;
    return n ? n : LETTERS;
}

static long entry_width(const struct sheet *s)
{
    return s->side*s->scale + 3*MARGIN + LETTERS*GLYPH;
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
    for (long y = 0; y < s->side*s->scale; y++)
        for (long x = 0; x < s->side*s->scale; x++)
            memcpy(s->page.rgb + 3*((top + y)*s->page.width + left + x),
                   p->rgb + 3*(y/s->scale*p->width + x/s->scale), 3);
    left += s->side*s->scale + MARGIN;
    for (long y = top; *text && y + LINE - 1 <= top + s->side*s->scale; y += LINE) {
        int n = line_of(text);
        for (int i = 0; i < n; i++)
            put_letter(&s->page, left + i*GLYPH, y, text[i]);
        text += n;
        text += *text == ' ' || *text == '\n';
    }
}
