/* augment.c - the ten operations of LAVIS's RandAugment on a picture (data.h).
 *
 * Cubuk et al. 2020, "RandAugment", in the form of lavis/processors/randaugment.py; blip_image_train names
 * the ten. Bytes equal those of the reference with OpenCV 4.5, but for two of its slips:
 * - AutoContrast negates an unsigned byte, so that a channel without black turns white; here the darkest
 *   value becomes 0 and the brightest 255, as PIL's autocontrast does and the reference means to.
 * - Sharpness lets values beyond 0..255 wrap around; here they are clamped.                             */
#include "data/data.h"
#include <math.h>
#include <string.h>

enum { GREY = 128 };

static uint8_t byte_of(double x) { return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x); }    /* towards 0 */

/* ---- a table a channel ------------------------------------------------------------------------------- */
static void look_up(picture *p, int channel, const uint8_t table[256])
{
    for (long i = 0; i < p->width * p->height; i++)
        p->rgb[3*i + channel] = table[p->rgb[3*i + channel]];
}

static void count(const picture *p, int channel, long counts[256])
{
    memset(counts, 0, 256 * sizeof *counts);
    for (long i = 0; i < p->width * p->height; i++)
        counts[p->rgb[3*i + channel]]++;
}

/* The darkest value becomes 0, the brightest 255, those between lie on a line. */
static void contrast(picture *p)
{
    for (int c = 0; c < 3; c++) {
        long counts[256];
        uint8_t table[256];
        int low = 0, high = 255;
        count(p, c, counts);
        while (!counts[low])
            low++;
        while (!counts[high])
            high--;
        double scale = high > low ? 255.0 / (high - low) : 0, offset = -low * scale;
        for (int i = 0; high > low && i < 256; i++)
            table[i] = byte_of(i * scale + offset);
        if (high > low)
            look_up(p, c, table);
    }
}

/* All values become about equally frequent: i -> (step/2 + pixels below i)/step, where step is 1/255 of the
 * pixels, less those of the brightest value. */
static void equalize(picture *p)
{
    for (int c = 0; c < 3; c++) {
        long counts[256], high = 255;
        uint8_t table[256];
        count(p, c, counts);
        while (!counts[high])
            high--;
        long step = (p->width * p->height - counts[high]) / 255, sum = step / 2;
        for (int i = 0; step && i < 256; sum += counts[i], i++)
            table[i] = byte_of((double)(sum / step));
        if (step)
            look_up(p, c, table);
    }
}

static void brightness(picture *p, double factor)
{
    uint8_t table[256];
    for (int i = 0; i < 256; i++)
        table[i] = byte_of((float)i * (float)factor);
    for (int c = 0; c < 3; c++)
        look_up(p, c, table);
}

/* ---- neighbours -------------------------------------------------------------------------------------- */
/* x as a float: keeps the compiler from fusing a product into the sum around it. */
static float rounded(float x)
{
    volatile float y = x;
    return y;
}

/* Away from (factor > 1) or towards the picture smoothed by (1 1 1; 1 5 1; 1 1 1)/13; the border stays. */
static bool sharpness(picture *p, double factor, error *e)
{
    picture from;
    if (!picture_new(&from, p->width, p->height, e))
        return false;
    long row = 3 * p->width;
    memcpy(from.rgb, p->rgb, (size_t)(row * p->height));
    for (long y = 1; y < p->height - 1; y++)
        for (long i = 3; i < row - 3; i++) {
            const uint8_t *at = from.rgb + y*row + i;
            int sum = 4 * at[0];
            for (long dy = -1; dy <= 1; dy++)
                sum += at[dy*row - 3] + at[dy*row] + at[dy*row + 3];
            float smooth = (float)((2*sum + 13) / 26);     /* the nearest; 13 is odd, there are no ties */
            p->rgb[y*row + i] = byte_of(smooth + rounded((float)factor * ((float)at[0] - smooth)));
        }
    picture_free(&from);
    return true;
}

/* ---- affine maps ------------------------------------------------------------------------------------- */
/* (x,y) of the result shows (m0 x + m1 y + m2, m3 x + m4 y + m5) of the picture. Places are rounded to 1/32
 * of a pixel by way of 1/1024, and mixed from the four pixels around, as OpenCV's warpAffine does.         */
enum { FINE = 1024, PLACES = 32 };

static int pixel(const picture *p, long x, long y, int channel)
{
    bool inside = x >= 0 && y >= 0 && x < p->width && y < p->height;
    return inside ? p->rgb[3*(y*p->width + x) + channel] : GREY;
}

static bool warp(picture *p, const double m[6], error *e)
{
    picture to;
    if (!picture_new(&to, p->width, p->height, e))
        return false;
    for (long y = 0; y < to.height; y++) {
        long row_x = lrint((m[1]*(double)y + m[2]) * FINE) + FINE/PLACES/2;
        long row_y = lrint((m[4]*(double)y + m[5]) * FINE) + FINE/PLACES/2;
        for (long x = 0; x < to.width; x++) {
            long px = (row_x + lrint(m[0]*(double)x * FINE)) >> 5;
            long py = (row_y + lrint(m[3]*(double)x * FINE)) >> 5;
            long left = px >> 5, top = py >> 5, fx = px & (PLACES - 1), fy = py & (PLACES - 1);
            for (int c = 0; c < 3; c++) {
                long above = (PLACES - fx) * pixel(p, left, top, c) + fx * pixel(p, left + 1, top, c);
                long below = (PLACES - fx) * pixel(p, left, top + 1, c)
                             + fx * pixel(p, left + 1, top + 1, c);
                long sum = (PLACES - fy) * above + fy * below;
                to.rgb[3*(y*to.width + x) + c] = (uint8_t)((sum + FINE/2) / FINE);
            }
        }
    }
    picture_free(p);
    *p = to;
    return true;
}

/* The inverse of (x,y) -> (m0 x + m1 y + m2, m3 x + m4 y + m5). */
static bool warp_by(picture *p, const double m[6], error *e)
{
    double d = 1 / (m[0]*m[4] - m[1]*m[3]), a = m[4]*d, b = -m[1]*d, c = -m[3]*d, f = m[0]*d;
    return warp(p, (const double[]){ a, b, -a*m[2] - b*m[5], c, f, -c*m[2] - f*m[5] }, e);
}

/* About (W/2, H/2), with the y axis pointing down. */
static bool rotate(picture *p, double degrees, error *e)
{
    double a = cos(degrees * M_PI / 180), b = sin(degrees * M_PI / 180);
    double x = (double)p->width / 2, y = (double)p->height / 2;
    return warp_by(p, (const double[]){ a, b, (1 - a)*x - b*y, -b, a, b*x + (1 - a)*y }, e);
}

bool picture_augment(picture *p, augment_operation operation, double argument, error *e)
{
    double v = (double)(float)argument;                    /* the reference's maps are of floats */
    switch (operation) {
    case AUGMENT_CONTRAST:    contrast(p); return true;
    case AUGMENT_EQUALIZE:    equalize(p); return true;
    case AUGMENT_BRIGHTNESS:  brightness(p, argument); return true;
    case AUGMENT_SHARPNESS:   return argument == 1 || sharpness(p, argument, e);
    case AUGMENT_SHEAR_X:     return warp_by(p, (const double[]){ 1, v, 0, 0, 1, 0 }, e);
    case AUGMENT_SHEAR_Y:     return warp_by(p, (const double[]){ 1, 0, 0, v, 1, 0 }, e);
    case AUGMENT_TRANSLATE_X: return warp_by(p, (const double[]){ 1, 0, -v, 0, 1, 0 }, e);
    case AUGMENT_TRANSLATE_Y: return warp_by(p, (const double[]){ 1, 0, 0, 0, 1, -v }, e);
    case AUGMENT_ROTATE:      return rotate(p, argument, e);
    default:                  return true;
    }
}
