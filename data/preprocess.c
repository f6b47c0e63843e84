/* preprocess.c - a picture as a vision tower takes it: bicubic to S x S, the aspect not kept, then per
 * channel (u8/255 - mean)/deviation with CLIP's constants (Radford et al. 2021; LAVIS's blip_image_eval),
 * as (3,S,S). */
#include "data/data.h"

static const real mean[3] = { (real)0.48145466, (real)0.4578275, (real)0.40821073 };
static const real deviation[3] = { (real)0.26862954, (real)0.26130258, (real)0.27577711 };

void picture_normalise_as(picture_reference as, const uint8_t *rgb, long size, real *pixels)
{
    real unit[256];                                /* of every byte: where the references round apart */
    for (int v = 0; v < 256; v++)
        unit[v] = as == PICTURE_HF ? (real)(v*(1/255.0)) : (real)v/255;
    for (int c = 0; c < 3; c++)
        for (long i = 0; i < size*size; i++)
            pixels[c*size*size + i] = (unit[rgb[3*i + c]] - mean[c])/deviation[c];
}

void picture_normalise(const uint8_t *rgb, long size, real *pixels)
{
    picture_normalise_as(PICTURE_LAVIS, rgb, size, pixels);
}

bool picture_pixels(const picture *from, long size, real *pixels, error *e)
{
    picture small;
    if (!picture_resize(&small, from, size, size, e))
        return false;
    picture_normalise(small.rgb, size, pixels);
    picture_free(&small);
    return true;
}
