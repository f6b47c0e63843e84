/* random.c - random numbers by counter (autograd.h): Philox 4x32-10.
 *
 * Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.2 and table 2. A
 * counter of 4 words and a key of 2 go through ten rounds of two 32 x 32 -> 64 bit products; the result is
 * the random number. There is no state, so order and threads do not matter. */
#include "autograd/internal.h"

typedef struct words { uint32_t a, b, c, d; } words;

/* Inline in any case: a loop that calls it would not become vector instructions. */
static inline __attribute__((always_inline)) words philox(uint64_t key, words x)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    #pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xD2511F53 * x.a, q = (uint64_t)0xCD9E8D57 * x.c;
        uint32_t high_p = (uint32_t)(p >> 32), high_q = (uint32_t)(q >> 32);
        x = (words){ high_q ^ x.b ^ k0, (uint32_t)q, high_p ^ x.d ^ k1, (uint32_t)p };
        k0 += 0x9E3779B9;                                  /* the golden ratio */
        k1 += 0xBB67AE85;                                  /* sqrt 3 - 1 */
    }
    return x;
}

void ag_philox(uint64_t key, const uint32_t counter[4], uint32_t out[4])
{
    words y = philox(key, (words){ counter[0], counter[1], counter[2], counter[3] });
    out[0] = y.a, out[1] = y.b, out[2] = y.c, out[3] = y.d;
}

/* The last word of the counter says what the numbers are for, so that no two uses of one key meet. */
enum use { UNIFORM, NORMAL, MIX, BITS };

static words draw(uint64_t key, uint64_t index, enum use use)
{
    return philox(key, (words){ (uint32_t)index, (uint32_t)(index >> 32), 0, use });
}

static double unit(uint32_t high, uint32_t low)            /* 53 bits, [0,1) */
{
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

double ag_uniform(uint64_t key, uint64_t index)
{
    words y = draw(key, index, UNIFORM);
    return unit(y.a, y.b);
}

double ag_normal(uint64_t key, uint64_t index)
{
    words y = draw(key, index, NORMAL);
    return sqrt(-2 * log1p(-unit(y.a, y.b))) * cos(2 * M_PI * unit(y.c, y.d));     /* log of (0,1] */
}

uint64_t ag_mix(uint64_t a, uint64_t b)
{
    words y = draw(a, b, MIX);
    return (uint64_t)y.a << 32 | y.b;
}

void ag_random_bits(uint64_t key, uint32_t sheet, long band, long first, long n, uint16_t bits[8][AG_DRAWN])
{
    for (long c = 0; c < n; c++) {
        words y = philox(key, (words){ (uint32_t)(first + c), (uint32_t)band, sheet, BITS });
        bits[0][c] = (uint16_t)y.a;
        bits[1][c] = (uint16_t)(y.a >> 16);
        bits[2][c] = (uint16_t)y.b;
        bits[3][c] = (uint16_t)(y.b >> 16);
        bits[4][c] = (uint16_t)y.c;
        bits[5][c] = (uint16_t)(y.c >> 16);
        bits[6][c] = (uint16_t)y.d;
        bits[7][c] = (uint16_t)(y.d >> 16);
    }
}
