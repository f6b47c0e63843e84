/* exif.c - which way up a picture is: the tag Orientation of an Exif block, and the turn that it asks for.
 *
 * The block is a TIFF file (Exif 2.3, section 4.5): II or MM for the order of bytes, 42, the place of the
 * first directory, and there a count of entries of 12 bytes: tag, type, count, value. Orientation (0x0112)
 * says where row 0 and column 0 of the stored picture belong:
 *   1 top left       2 top right      3 bottom right   4 bottom left        (rows stay rows)
 *   5 left top       6 right top      7 right bottom   8 left bottom        (rows become columns)
 * What is damaged says nothing: the picture stays as it is. */
#include "data/internal.h"
#include <string.h>

enum { ORIENTATION = 0x0112, ENTRY = 12, BYTE = 1, SHORT = 3, LONG = 4 };
struct block { const uint8_t *at; long n; bool big; };

/* `bytes` bytes at `at`, 0 where the block ends before. */
static long number(const struct block *b, long at, int bytes)
{
    long v = 0;
    if (at < 0 || at > b->n - bytes)
        return 0;
    for (int i = 0; i < bytes; i++)
        v |= (long)b->at[at + i] << 8*(b->big ? bytes - 1 - i : i);
    return v;
}

int data_exif_orientation(const uint8_t *bytes, long n)
{
    struct block b = { bytes, n, false };
    if (n > 6 && !memcmp(bytes, "Exif\0\0", 6))
        b = (struct block){ bytes + 6, n - 6, false };
    if (b.n < 8 || (memcmp(b.at, "II*\0", 4) && memcmp(b.at, "MM\0*", 4)))
        return 1;
    b.big = b.at[0] == 'M';
    long directory = number(&b, 4, 4), entries = number(&b, directory, 2);
    for (long i = 0; i < entries; i++) {
        long entry = directory + 2 + i*ENTRY, type = number(&b, entry + 2, 2);
        if (entry > b.n - ENTRY)
            return 1;
        if (number(&b, entry, 2) != ORIENTATION)
            continue;
        int width = type == BYTE ? 1 : type == SHORT ? 2 : type == LONG ? 4 : 0;
        long v = width && number(&b, entry + 4, 4) == 1 ? number(&b, entry + 8, width) : 1;
        return v >= 1 && v <= 8 ? (int)v : 1;
    }
    return 1;
}

bool data_turn(picture *p, int orientation, error *e)
{
    bool swap = orientation >= 5, flip_x, flip_y;
    picture to;
    if (orientation < 2 || orientation > 8)
        return true;
    flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    if (!picture_new(&to, swap ? p->height : p->width, swap ? p->width : p->height, e))
        return false;
    for (long y = 0; y < to.height; y++)
        for (long x = 0; x < to.width; x++) {
            long u = swap ? y : x, v = swap ? x : y;               /* in p, but for the flips */
            u = flip_x ? p->width - 1 - u : u;
            v = flip_y ? p->height - 1 - v : v;
            memcpy(to.rgb + 3*(y*to.width + x), p->rgb + 3*(v*p->width + u), 3);
        }
    picture_free(p);
    *p = to;
    return true;
}

/* round((c a + 255 (255 - a))/255), as Pillow's alpha_composite over opaque white has it for all c and a. */
void data_on_white(const uint8_t *rgba, uint8_t *rgb, long pixels)
{
    for (long i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++) {
            int a = rgba[4*i + 3], sum = rgba[4*i + c]*a + 255*(255 - a);
            rgb[3*i + c] = (uint8_t)((2*sum + 255)/510);
        }
}
