/* narrow.c - real numbers in 16 or 32 bits and back (rows.h).
 *
 * binary16: sign, 5 bits of exponent (bias 15), 10 of fraction; below 2^-14 the fraction counts units of
 * 2^-24. bfloat16: the upper 16 bits of a float. Both are rounded to the nearest, ties to even (IEEE 754,
 * 4.3.1).                                                                                                  */
#include "base/rows.h"
#include <math.h>
#include <string.h>

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* u without its lowest `drop` bits, rounded to even. A carry goes into the exponent, where it belongs. */
static uint32_t rounded(uint32_t u, int drop)
{
    uint32_t half = 1u << (drop - 1), odd = u >> drop & 1;
    return (u + half - 1 + odd) >> drop;
}

static uint16_t to_half(float x)
{
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000, size = u & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (size >= 0x477ff000)                                /* 65520 and above: nearer to 2^16 than to 65504 */
        return (uint16_t)(sign | 0x7c00);
    if (size >= 0x38800000)                                /* 2^-14: the exponent moves from bias 127 to 15 */
        return (uint16_t)(sign | rounded(size - (112u << 23), 13));
    /* In units of 2^-24, which are the lowest bits of floats from 1/2 on: the sum is rounded to them. */
    float units = float_of(size) + 0.5f;
    return (uint16_t)(sign | (bits_of(units) - bits_of(0.5f)));
}

static float from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, size = h & 0x7fff;
    if (size >= 0x7c00)
        return float_of(sign | 0x7f800000 | (size & 0x3ff) << 13);
    if (size >= 0x400)
        return float_of(sign | ((size << 13) + (112u << 23)));
    return float_of(sign | bits_of((float)size * 0x1p-24f));
}

static uint16_t to_brain(float x)
{
    uint32_t u = bits_of(x);
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? u >> 16 | 0x40 : rounded(u, 16));
}

long narrow_reals(h5_stored as, long n, const real *from, void *to)
{
    long lost = 0;
    uint16_t *half = to;
    float *single = to;
    for (long i = 0; i < n; i++) {
        float x = (float)from[i], back;
        if (as == H5_F32)
            single[i] = back = x;
        else if (as == H5_F16)
            back = from_half(half[i] = to_half(x));
        else
            back = float_of((uint32_t)(half[i] = to_brain(x)) << 16);
        lost += isinf(back) && isfinite(from[i]);
    }
    return lost;
}

void widen_reals(h5_stored as, long n, const void *from, real *to)
{
    const uint16_t *half = from;
    const float *single = from;
    if (as == H5_F32)
        for (long i = 0; i < n; i++)
            to[i] = single[i];
    else if (as == H5_F16)
        for (long i = 0; i < n; i++)
            to[i] = from_half(half[i]);
    else
        for (long i = 0; i < n; i++)
            to[i] = float_of((uint32_t)half[i] << 16);
}
