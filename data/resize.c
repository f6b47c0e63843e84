/* resize.c - bicubic resampling with antialiasing on bytes, bit for bit what Pillow 13 computes.
 *
 * Keys 1981, a = -1/2:  f(t) = (a+2)|t|^3 - (a+3)|t|^2 + 1           for |t| < 1,
 *                       f(t) = a(|t|^3 - 5|t|^2 + 8|t| - 4)          for |t| < 2.
 * Along one axis with scale = in/out and s = max(scale, 1), output i is centred on c = (i + 1/2) scale and
 * takes the inputs j in [c - 2s, c + 2s] (rounded to the nearest) with weights f((j + 1/2 - c)/s), divided by
 * their sum and rounded to 22 binary places:  out = clamp((2^21 + sum k_j in_j) >> 22).  Each axis is a pass
 * of its own with bytes between: across first, but down first where the height shrinks by more than twice
 * what the width does.
 *
 * The rounding of every single product shows in the last bit of k, hence `rounded`. One output position's
 * weights are held at a time: there are 4 in/out of them, which a thin picture makes many. */
#include "data/data.h"
#include <math.h>
#include <string.h>

enum { PLACES = 22 };
/* inputs first .. first + n - 1 and their weights */
struct window { long first, n; int32_t *k; double *w; };

/* x as a double: keeps the compiler from fusing a product into the sum around it. */
static double rounded(double x)
{
    volatile double y = x;
    return y;
}

static double cubic(double t)
{
    const double a = -0.5;
    t = fabs(t);
    if (t < 1)
        return rounded(rounded((rounded((a + 2)*t) - (a + 3))*t)*t) + 1;
    if (t < 2)
        return (rounded((rounded((t - 5)*t) + 8)*t) - 4)*a;
    return 0;
}

static long window_room(long in, long out)
{
    double scale = (double)in/(double)out;
    return 2*(long)ceil(2*(scale > 1 ? scale : 1)) + 1;
}

/* The window of output i of `out` over `in` inputs. */
static void window_at(struct window *v, long i, long in, long out)
{
    double scale = (double)in/(double)out, s = scale > 1 ? scale : 1, inverse = 1/s;
    double centre = rounded(((double)i + 0.5)*scale), sum = 0;
    long first = (long)(centre - 2*s + 0.5), last = (long)(centre + 2*s + 0.5);
    v->first = first < 0 ? 0 : first;
    v->n = (last > in ? in : last) - v->first;
    for (long j = 0; j < v->n; j++) {
        v->w[j] = cubic(rounded(((double)(j + v->first) - centre + 0.5)*inverse));
        sum += v->w[j];
    }
    for (long j = 0; j < v->n; j++) {
        double k = (sum != 0 ? v->w[j]/sum : v->w[j])*(1 << PLACES);
        v->k[j] = (int32_t)(k < 0 ? k - 0.5 : k + 0.5);
    }
}

static uint8_t byte_of(int32_t sum)
{
    int32_t v = sum >> PLACES;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* Each row of `from` to the width of `to`. */
static void pass_across(const picture *from, picture *to, struct window *v)
{
    for (long i = 0; i < to->width; i++) {
        window_at(v, i, from->width, to->width);
        for (long y = 0; y < from->height; y++) {
            const uint8_t *in = from->rgb + 3*(y*from->width + v->first);
            int32_t r = 1 << (PLACES - 1), g = r, b = r;
            for (long j = 0; j < v->n; j++) {
                r += v->k[j]*in[3*j];
                g += v->k[j]*in[3*j + 1];
                b += v->k[j]*in[3*j + 2];
            }
            uint8_t *out = to->rgb + 3*(y*to->width + i);
            out[0] = byte_of(r);
            out[1] = byte_of(g);
            out[2] = byte_of(b);
        }
    }
}

/* Each column of `from` to the height of `to`; sums (3 width) is scratch. */
static void pass_down(const picture *from, picture *to, struct window *v, int32_t *sums)
{
    long row = 3*from->width;
    for (long i = 0; i < to->height; i++) {
        window_at(v, i, from->height, to->height);
        for (long x = 0; x < row; x++)
            sums[x] = 1 << (PLACES - 1);
        for (long j = 0; j < v->n; j++) {
            const uint8_t *in = from->rgb + (v->first + j)*row;
            int32_t k = v->k[j];
            for (long x = 0; x < row; x++)
                sums[x] += k*in[x];
        }
        for (long x = 0; x < row; x++)
            to->rgb[i*row + x] = byte_of(sums[x]);
    }
}

static bool one_pass(const picture *from, picture *to, bool across, error *e)
{
    long in = across ? from->width : from->height, out = across ? to->width : to->height;
    long room = window_room(in, out);
    if (!picture_new(to, to->width, to->height, e))
        return false;
    struct window v = { .k = mem_new((size_t)room*sizeof *v.k), .w = mem_new((size_t)room*sizeof *v.w) };
    int32_t *sums = across ? NULL : mem_new((size_t)(3*from->width)*sizeof *sums);
    bool ok = v.k && v.w && (across || sums);
    if (!ok) {
        picture_free(to);
        error_set(e, "picture: memory is out; %ld x %ld pixels to be resized", from->width, from->height);
    } else if (across) {
        pass_across(from, to, &v);
    } else {
        pass_down(from, to, &v, sums);
    }
    mem_free(v.k);
    mem_free(v.w);
    mem_free(sums);
    return ok;
}

bool picture_resize(picture *to, const picture *from, long width, long height, error *e)
{
    if (width == from->width && height == from->height) {
        if (!picture_new(to, width, height, e))
            return false;
        memcpy(to->rgb, from->rgb, (size_t)(3*width*height));
        return true;
    }
    long shrink = from->height - height;
    bool down_first = shrink > 0 && shrink > 2*(from->width - width);
    *to = (picture){ width, height, NULL };
    if (width == from->width || height == from->height)
        return one_pass(from, to, height == from->height, e);
    picture between = { down_first ? from->width : width, down_first ? height : from->height, NULL };
    bool ok = one_pass(from, &between, !down_first, e) && one_pass(&between, to, down_first, e);
    picture_free(&between);
    return ok;
}
