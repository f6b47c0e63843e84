/* halves.c - numbers of 16 bits: IEEE 754 binary16 ("half") and bfloat16 ("brain", the upper half of a
 * float).
 *
 * Widening is exact. Narrowing rounds to the nearest, ties to even, as the CPU's own instructions do; NaN
 * stays NaN and what is too large becomes infinite. Every loop is a straight run of integer operations and
 * selections that the compiler turns into vector instructions. */
#include "base/base.h"

static inline uint32_t bits_of(float x) { return (union { float f; uint32_t u; }){ .f = x }.u; }
static inline float from_bits(uint32_t u) { return (union { uint32_t u; float f; }){ .u = u }.f; }

/* The exponent moves by 127 - 15; the product does it for subnormal numbers too, infinities and NaN apart. */
static inline float half_wide(uint16_t h)
{
    uint32_t body = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t scaled = bits_of(from_bits(body) * 0x1p112f);
    uint32_t special = body | 0x7f800000;
    return from_bits((body >= 0x0f800000 ? special : scaled) | sign);
}

void half_widen(long n, const uint16_t *x, real *y)
{
    for (long i = 0; i < n; i++)
        y[i] = (real)half_wide(x[i]);
}

void brain_widen(long n, const uint16_t *x, real *y)
{
    for (long i = 0; i < n; i++)
        y[i] = (real)from_bits((uint32_t)x[i] << 16);
}

/* Below 2^-14 a half is a whole number of 2^-24: adding 0.5 leaves that number, rounded, in the low bits. */
static inline uint16_t half_near(float x)
{
    uint32_t u = bits_of(x), a = u & 0x7fffffff, sign = u >> 16 & 0x8000;
    uint32_t small = bits_of(from_bits(a) + 0.5f) - bits_of(0.5f);
    uint32_t usual = (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13;       /* (127 - 15) << 23 */
    uint32_t large = a > 0x7f800000 ? 0x7e00 : 0x7c00;
    return (uint16_t)(sign | (a >= 0x477ff000 ? large : a < 0x38800000 ? small : usual));
}

void half_round(long n, const real *x, uint16_t *y)
{
    for (long i = 0; i < n; i++)
        y[i] = half_near((float)x[i]);
}

static inline uint16_t brain_near(float x)
{
    uint32_t u = bits_of(x), near = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? u >> 16 | 0x40 : near);
}

void brain_round(long n, const real *x, uint16_t *y)
{
    for (long i = 0; i < n; i++)
        y[i] = brain_near((float)x[i]);
}
