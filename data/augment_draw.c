/* augment_draw.c - which view of a picture training sees: LAVIS's blip2_image_train and blip_image_train
 * (data.h). The n-th number is a function of the key and n, so a view depends on no thread and no history.
 *
 * The crop is torchvision's RandomResizedCrop: of ten draws of an area and the logarithm of an aspect the
 * first that fits; else the largest centred part of a permitted aspect.                                    */
#include "data/internal.h"
#include <math.h>
#include <string.h>

enum { TRIES = 10, LARGEST = 10 };
static const double narrow = 3.0 / 4, wide = 4.0 / 3;      /* width over height */
enum stream { CROP, FLIP, OPERATIONS };

static keyed draws(uint64_t key, enum stream stream)
{
    return data_keyed((long)key, (int)stream, 0);
}

static long below(keyed *r, long n) { return (long)(data_uniform(r) * (double)n); }

crop picture_crop(long width, long height, double least, double most, uint64_t key)
{
    keyed r = draws(key, CROP);
    for (int k = 0; k < TRIES; k++) {
        double area = (double)width * (double)height * data_between(&r, least, most);
        double aspect = exp(data_between(&r, log(narrow), log(wide)));
        long w = lrint(sqrt(area * aspect)), h = lrint(sqrt(area / aspect));
        if (w > 0 && h > 0 && w <= width && h <= height) {
            long top = below(&r, height - h + 1), left = below(&r, width - w + 1);
            return (crop){ left, top, w, h };
        }
    }
    double aspect = (double)width / (double)height;
    long w = aspect > wide ? lrint((double)height * wide) : width;
    long h = aspect < narrow ? lrint((double)width / narrow) : height;
    return (crop){ (width - w) / 2, (height - h) / 2, w, h };
}

static bool resized_crop(picture *to, const picture *from, long size, crop c, error *e)
{
    picture part;
    if (!picture_new(&part, c.width, c.height, e))
        return false;
    for (long y = 0; y < c.height; y++)
        memcpy(part.rgb + 3*y*c.width, from->rgb + 3*((c.top + y)*from->width + c.left), (size_t)(3*c.width));
    bool ok = picture_resize(to, &part, size, size, e);
    picture_free(&part);
    return ok;
}

static void mirror(picture *p)
{
    for (long y = 0; y < p->height; y++)
        for (long x = 0; x < p->width / 2; x++) {
            uint8_t kept[3], *a = p->rgb + 3*(y*p->width + x), *b = p->rgb + 3*((y + 1)*p->width - 1 - x);
            memcpy(kept, a, 3);
            memcpy(a, b, 3);
            memcpy(b, kept, 3);
        }
}

/* What the magnitude means for an operation; shears, translations and rotations go either way. */
static double argument_of(augment_operation operation, double magnitude, bool backwards)
{
    double part = magnitude / LARGEST, sign = backwards ? -1 : 1;
    switch (operation) {
    case AUGMENT_BRIGHTNESS: case AUGMENT_SHARPNESS:     return part * 1.8 + 0.1;
    case AUGMENT_SHEAR_X: case AUGMENT_SHEAR_Y:          return sign * part * 0.3;
    case AUGMENT_TRANSLATE_X: case AUGMENT_TRANSLATE_Y:  return sign * part * 10;
    case AUGMENT_ROTATE:                                 return sign * part * 30;
    default:                                             return 0;
    }
}

bool picture_look(picture *to, const picture *from, long size, const picture_view *v, uint64_t key, error *e)
{
    crop c = { 0, 0, from->width, from->height };
    keyed flip = draws(key, FLIP), r = draws(key, OPERATIONS);
    if (v->most > 0)
        c = picture_crop(from->width, from->height, v->least, v->most, key);
    if (!resized_crop(to, from, size, c, e))
        return false;
    if (data_uniform(&flip) < v->flip)
        mirror(to);
    for (int k = 0; k < v->operations; k++) {
        augment_operation operation = (augment_operation)data_below(&r, AUGMENT_OPERATIONS);
        bool done = data_uniform(&r) < 0.5, backwards = data_uniform(&r) < 0.5;
        if (done && !picture_augment(to, operation, argument_of(operation, v->magnitude, backwards), e)) {
            picture_free(to);
            return false;
        }
    }
    return true;
}
