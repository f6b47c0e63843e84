/* draw.c - letters, areas and pictures put onto a picture (data.h): for sheets to look at. What lies outside
 * is left out. */
#include "data/internal.h"
#include <string.h>

enum { COLUMNS = 5, ROWS = 7, FIRST = ' ', LAST = '~' };

/* A letter is 5 x 7 dots: 35 bits, row by row from the top, the leftmost dot first. From ' ' on, 8 a line. */
static const uint64_t letters[LAST - FIRST + 1] = {
    0x000000000, 0x108421004, 0x294000000, 0x295f57d4a, 0x11f4717c4, 0x672222273, 0x32544564d, 0x108000000,
    0x088842082, 0x208210888, 0x009575480, 0x0084f9080, 0x000001088, 0x0000f8000, 0x00000018c, 0x042222210,
    0x3a33ae62e, 0x11842108e, 0x3a211111f, 0x3a213062e, 0x08ca97c42, 0x7e1e0862e, 0x1910f462e, 0x7c2221084,
    0x3a317462e, 0x3a317844c, 0x008000080, 0x008001088, 0x088882082, 0x001f07c00, 0x208208888, 0x3a2131004,
    0x3a37ada0e, 0x11518fe31, 0x7a31f463e, 0x3a308422e, 0x7a318c63e, 0x7e10f421f, 0x7e10f4210, 0x3a30bc62f,
    0x4631fc631, 0x38842108e, 0x1c4210a4c, 0x4654c5251, 0x42108421f, 0x4775ac631, 0x47359c631, 0x3a318c62e,
    0x7a31f4210, 0x3a318d64d, 0x7a31f5251, 0x3e107043e, 0x7c8421084, 0x46318c62e, 0x46318c544, 0x4631ad771,
    0x462a22a31, 0x462a21084, 0x7c222221f, 0x39084210e, 0x420820821, 0x38421084e, 0x115100000, 0x00000001f,
    0x208000000, 0x000e0be2f, 0x421e8c63e, 0x000e8422e, 0x042f8c62f, 0x000e8fe0e, 0x1928e2108, 0x3e318bc2e,
    0x421e8c631, 0x100c2108e, 0x080610a4c, 0x4212a6292, 0x30842108e, 0x001aad6b5, 0x001e8c631, 0x000e8c62e,
    0x7a318fa10, 0x3e318bc21, 0x0016cc210, 0x000f8383e, 0x211c42126, 0x00118c62f, 0x00118c544, 0x0011ad6aa,
    0x001151151, 0x46318bc2e, 0x001f1111f, 0x0c8441083, 0x108421084, 0x608411098, 0x0008a8800,
};

static void dot(picture *p, long x, long y, const uint8_t rgb[3])
{
    if (x >= 0 && y >= 0 && x < p->width && y < p->height)
        memcpy(p->rgb + 3*(y*p->width + x), rgb, 3);
}

void picture_fill(picture *p, long x, long y, long width, long height, const uint8_t rgb[3])
{
    for (long i = 0; i < width*height; i++)
        dot(p, x + i%width, y + i/width, rgb);
}

/* The letter that is drawn for a character of n bytes (0: a broken one): of letters with marks their base,
 * usual signs by the nearest of ASCII, '\0' (a '?') for the rest. -1: nothing, a mark behind its letter. */
static int letter_of(const char *s, int n)
{
    static const struct { int c; char letter; } signs[] = {
        { 0xD8, 'O' }, { 0xF8, 'o' }, { 0x110, 'D' }, { 0x111, 'd' }, { 0x141, 'L' }, { 0x142, 'l' },
        { 0x131, 'i' }, { 0xDF, 's' }, { 0xC6, 'A' }, { 0xE6, 'a' }, { 0x152, 'O' }, { 0x153, 'o' },
        { 0xA0, ' ' }, { 0xD7, 'x' }, { 0xAB, '"' }, { 0xBB, '"' }, { 0x2010, '-' }, { 0x2011, '-' },
        { 0x2013, '-' }, { 0x2014, '-' }, { 0x2018, '\'' }, { 0x2019, '\'' }, { 0x201C, '"' },
        { 0x201D, '"' }, { 0x201E, '"' }, { 0x2026, '.' },
    };
    int c, parts[UNICODE_PARTS];
    if (n < 2)
        return n ? *s : '\0';
    unicode_next(s, n, &c);
    for (size_t i = 0; i < sizeof signs/sizeof *signs; i++)
        if (signs[i].c == c)
            return signs[i].letter;
    if (unicode_mark(c))
        return -1;
    unicode_decompose(c, parts);
    return parts[0] < 0x80 ? parts[0] : '\0';
}

static void put_letter(picture *p, long x, long y, picture_pen pen, char letter)
{
    uint64_t dots = letter >= FIRST && letter <= LAST ? letters[letter - FIRST] : letters['?' - FIRST];
    long drop = strchr("gpqy", letter) && letter ? 2 : 0;          /* their stems hang below the line */
    for (int i = 0; i < COLUMNS*ROWS; i++) {
        long across = i%COLUMNS*pen.scale, down = (i/COLUMNS + drop)*pen.scale;
        if (dots >> (COLUMNS*ROWS - 1 - i) & 1)
            picture_fill(p, pen.upwards ? x + down : x + across,
                         pen.upwards ? y - across - pen.scale + 1 : y + down, pen.scale, pen.scale, pen.rgb);
    }
}

void picture_text(picture *p, long x, long y, picture_pen pen, const char *text)
{
    for (int n, letter; *text; text += n ? n : 1) {
        n = text_printable(text);
        letter = letter_of(text, n);
        if (letter < 0)
            continue;
        put_letter(p, x, y, pen, (char)letter);
        *(pen.upwards ? &y : &x) += PICTURE_LETTER*pen.scale*(pen.upwards ? -1 : 1);
    }
}

long picture_text_width(const char *text, int scale)
{
    long letters_met = 0;
    for (int n; *text; text += n ? n : 1) {
        n = text_printable(text);
        letters_met += letter_of(text, n) >= 0;
    }
    return letters_met*PICTURE_LETTER*scale;
}

/* Each dot of `to` takes the one below its middle: crisp where `from` is the smaller one. */
void picture_paste(picture *p, long x, long y, long width, long height, const picture *from)
{
    for (long i = 0; i < width*height; i++) {
        long column = (2*(i%width) + 1)*from->width/(2*width);
        long row = (2*(i/width) + 1)*from->height/(2*height);
        dot(p, x + i%width, y + i/width, from->rgb + 3*(row*from->width + column));
    }
}
