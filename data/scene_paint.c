/* scene_paint.c - a scene as a picture: a ground, shapes by their signed distance, noise.
 *
 * A pixel whose centre has distance d to a shape is covered by clamp(1/2 - d, 0, 1) of it: edges one pixel
 * wide. Distances of convex parts are exact or a maximum of half planes; unions are minima, cuts are
 * maxima. */
#include "data/internal.h"
#include <math.h>

enum { CIRCLE, SQUARE, TRIANGLE, CROSS, STAR, RING, HEART, MOON, DIAMOND };

/* Signed distance to the polygon (x,y)[n]: the nearest edge, negative inside (even-odd rule). */
static double polygon(const double (*v)[2], int n, double x, double y)
{
    double least = INFINITY;
    bool inside = false;
    for (int i = 0, j = n - 1; i < n; j = i++) {
        double ex = v[j][0] - v[i][0], ey = v[j][1] - v[i][1], px = x - v[i][0], py = y - v[i][1];
        double t = (px*ex + py*ey)/(ex*ex + ey*ey);
        t = t < 0 ? 0 : t > 1 ? 1 : t;
        least = fmin(least, hypot(px - t*ex, py - t*ey));
        if ((v[i][1] > y) != (v[j][1] > y) && x < v[i][0] + (y - v[i][1])*ex/ey)
            inside = !inside;
    }
    return inside ? -least : least;
}

static double star(double x, double y)
{
    static const double tips[10][2] = {  /* radius 1 and 0.45 in turn, every 36 degrees from the top */
        { 0, -1 }, { 0.26450, -0.36406 }, { 0.95106, -0.30902 }, { 0.42798, 0.13906 }, { 0.58779, 0.80902 },
        { 0, 0.45 }, { -0.58779, 0.80902 }, { -0.42798, 0.13906 }, { -0.95106, -0.30902 },
        { -0.26450, -0.36406 },
    };
    return polygon(tips, 10, x, y);
}

static double diamond(double x, double y, double half)
{
    return (fabs(x) + fabs(y) - half)*0.70710678;
}

/* A square on its tip with a half circle on both upper edges. */
static double heart(double x, double y)
{
    const double half = 0.76, drop = 0.08;
    double body = diamond(x, y - drop, half);
    double ears = hypot(fabs(x) - half/2, y - drop + half/2) - half*0.70710678;
    return fmin(body, ears);
}

double data_distance(int shape, double x, double y)
{
    double ax = fabs(x), ay = fabs(y);
    switch (shape) {
    case CIRCLE:
        return hypot(x, y) - 0.9;
    case SQUARE:
        return fmax(ax, ay) - 0.8;
    case TRIANGLE:
        return fmax(y - 0.75, 0.866*ax - 0.5*y - 0.45);
    case CROSS:
        return fmin(fmax(ax - 0.95, ay - 0.3), fmax(ax - 0.3, ay - 0.95));
    case STAR:
        return star(x, y);
    case RING:
        return fabs(hypot(x, y) - 0.68) - 0.23;
    case HEART:
        return heart(x, y);
    case MOON:
        return fmax(hypot(x, y) - 0.9, 0.78 - hypot(x - 0.45, y));
    default:
        return diamond(x, y, 0.98);
    }
}

/* ---- the ground ---------------------------------------------------------------------------------------- */
enum pattern { PLAIN_GROUND, SLOPE, STRIPES, CHECKS, PATTERNS };

/* How much lighter or darker the ground is at (u,v), in [-1,1]; angle and phase vary it, c and s are its
 * direction. */
static double pattern_at(enum pattern pattern, double u, double v, double c, double s, double phase)
{
    double along = c*u + s*v;
    if (pattern == SLOPE)
        return 2*along - c - s;
    if (pattern == STRIPES)
        return sin(6.2831853*(4*along + phase));
    if (pattern == CHECKS)
        return ((long)floor(6*u + phase) + (long)floor(6*v + phase)) % 2 ? 1 : -1;
    return 0;
}

static void paint_ground(const struct recipe *k, int ground, keyed *r, long size, float *canvas)
{
    double shade = data_between(r, -k->o->ground_tint, k->o->ground_tint);
    double angle = data_between(r, 0, 6.2831853);
    double c = cos(angle), s = sin(angle), phase = data_uniform(r);
    enum pattern pattern = (enum pattern)data_below(r, PATTERNS);
    for (long y = 0; y < size; y++)
        for (long x = 0; x < size; x++) {
            double u = ((double)x + 0.5)/(double)size, v = ((double)y + 0.5)/(double)size;
            double more = shade + k->o->pattern*pattern_at(pattern, u, v, c, s, phase);
            for (int i = 0; i < 3; i++)
                canvas[3*(y*size + x) + i] = (float)(data_grounds[ground].rgb[i] + more);
        }
}

/* ---- the shapes ---------------------------------------------------------------------------------------- */
static long clamp(double x, long most)
{
    return x < 0 ? 0 : x > (double)most ? most : (long)x;
}

static void paint_shape(int shape, const struct spot *at, const double rgb[3], long size, float *canvas)
{
    long left = clamp(at->x - at->radius - 1, size), right = clamp(at->x + at->radius + 2, size);
    long top = clamp(at->y - at->radius - 1, size), bottom = clamp(at->y + at->radius + 2, size);
    for (long y = top; y < bottom; y++)
        for (long x = left; x < right; x++) {
            double d = data_distance(shape, ((double)x + 0.5 - at->x)/at->radius,
                                     ((double)y + 0.5 - at->y)/at->radius);
            double cover = 0.5 - d*at->radius;
            cover = cover < 0 ? 0 : cover > 1 ? 1 : cover;
            float *p = canvas + 3*(y*size + x);
            for (int i = 0; i < 3; i++)
                p[i] += (float)(cover*(rgb[i] - p[i]));
        }
}

static void paint_object(const struct recipe *k, const struct object *o, keyed *r, struct spot *at,
                         float *canvas)
{
    const scenes_options *w = k->o;
    double cell = (double)w->size/(double)w->cells, radius = cell*w->radius*(o->size ? 1 : w->small), rgb[3];
    at->x = cell*((double)(o->cell % w->cells) + 0.5 + data_between(r, -w->jitter, w->jitter));
    at->y = cell*((double)(o->cell / w->cells) + 0.5 + data_between(r, -w->jitter, w->jitter));
    at->radius = radius*data_between(r, w->shrink, 1);
    double shade = data_between(r, -w->tint, w->tint);
    for (int i = 0; i < 3; i++)
        rgb[i] = data_colours[o->colour].rgb[i] + shade;
    paint_shape(o->shape, at, rgb, w->size, canvas);
}

/* About normal, deviation 1: the sum of 8 random bytes, whose mean is 1020 and whose variance is 8 (256^2
 * - 1)/12. */
static double bell(keyed *r)
{
    int sum = 0;
    for (uint64_t bits = data_bits(r), i = 0; i < 8; i++, bits >>= 8)
        sum += (int)(bits & 255);
    return (sum - 1020)/209.0223;
}

void data_scene_paint(const struct recipe *k, const struct scene *s, keyed *r, struct spot *spots,
                      float *canvas, picture *p)
{
    long size = k->o->size;
    paint_ground(k, s->ground, r, size, canvas);
    for (int i = 0; i < s->n; i++)
        paint_object(k, &s->object[i], r, &spots[i], canvas);
    for (long i = 0; i < 3*size*size; i++) {
        double v = canvas[i] + k->o->noise*bell(r) + 0.5;
        p->rgb[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}
