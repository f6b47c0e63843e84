/* positions.c - tables of positions on a grid of patches; row 0 belongs to the class token.
 *
 * Changing the grid from n to m patches a side is bicubic interpolation (Keys 1981, a = -0.75 as in PyTorch):
 *     y(i) = sum_k w(k - f) x(clamp(j + k)), k = -1..2,   j + f = source(i), 0 <= f < 1
 *     w(d) = (a+2)|d|^3 - (a+3)|d|^2 + 1       for |d| <= 1
 *          = a|d|^3 - 5a|d|^2 + 8a|d| - 4a     for 1 < |d| < 2
 * over rows and over columns. The families differ in where a position falls: EVA keeps the patches' areas,
 * source(i) = (i + 1/2) n/m - 1/2 (align_corners false); CLIP keeps the outermost centres,
 * source(i) = i (n-1)/(m-1) (align_corners true). lavis eva_vit.py, clip_vit.py: interpolate_pos_embed.    */
#include "blip2/internal.h"
#include <math.h>
#include <string.h>

enum { TAPS = 4 };

typedef struct tap { long at[TAPS]; double weight[TAPS]; } tap;        /* what one new position is made of */

static double keys(double d)
{
    const double a = -0.75;
    d = fabs(d);
    if (d <= 1)
        return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

static tap tap_of(blip2_vit_kind kind, long from, long to, long i)
{
    double source = kind == BLIP2_VIT_EVA ? ((double)i + 0.5) * (double)from / (double)to - 0.5
                  : to > 1 ? (double)i * (double)(from - 1) / (double)(to - 1) : 0;
    double whole = floor(source);
    tap p;
    for (int k = 0; k < TAPS; k++) {
        long at = (long)whole + k - 1;
        p.at[k] = at < 0 ? 0 : at >= from ? from - 1 : at;
        p.weight[k] = keys(source - whole - (k - 1));
    }
    return p;
}

void blip2_resize_positions(blip2_vit_kind kind, long from, long to, long C, const real *x, real *y)
{
    memcpy(y, x, (size_t)C * sizeof *y);
    for (long r = 0; r < to; r++) {
        tap row = tap_of(kind, from, to, r);
        for (long c = 0; c < to; c++) {
            tap column = tap_of(kind, from, to, c);
            real *yrc = y + (1 + r * to + c) * C;
            for (long i = 0; i < C; i++) {
                double sum = 0;
                for (int k = 0; k < TAPS; k++) {
                    double along = 0;                      /* an old row, interpolated at this column */
                    for (int l = 0; l < TAPS; l++)
                        along += column.weight[l] * (double)x[(1 + row.at[k] * from + column.at[l]) * C + i];
                    sum += row.weight[k] * along;
                }
                yrc[i] = (real)sum;
            }
        }
    }
}

/* A start for towers trained from nothing: the first half of a position's numbers tells its row, the second
 * its column, each as sin and cos of it at frequencies 10000^(-4i/C) (Vaswani et al. 2017, section 3.5, for
 * two axes). The class token, and what is left over where C is no multiple of 4, get zeros.                */
void sinusoid_positions(long grid, long C, double scale, real *y)
{
    long quarter = C / 4;
    memset(y, 0, (size_t)((1 + grid * grid) * C) * sizeof *y);
    for (long p = 0; p < grid * grid; p++) {
        const double place[2] = { (double)(p / grid), (double)(p % grid) };
        real *yp = y + (1 + p) * C;
        for (long i = 0; i < quarter; i++) {
            double frequency = pow(10000, -(double)i / (double)quarter);
            for (int axis = 0; axis < 2; axis++) {
                yp[2 * axis * quarter + i] = (real)(scale * sin(place[axis] * frequency));
                yp[(2 * axis + 1) * quarter + i] = (real)(scale * cos(place[axis] * frequency));
            }
        }
    }
}
