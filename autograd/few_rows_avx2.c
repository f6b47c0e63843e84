/* few_rows_avx2.c - few_rows.h by AVX2, FMA and F16C: 16 registers of 8 floats. */
#include "autograd/internal.h"
#if REAL == 32 && defined __x86_64__
#include <immintrin.h>
#define TARGET __attribute__((target("avx2,fma,f16c")))
enum { LANES = 8, MOST = 6 };
typedef __m256 vec;
#define V TARGET static inline __attribute__((always_inline))

V vec v_zero(void) { return _mm256_setzero_ps(); }
V vec v_load(const float *p) { return _mm256_loadu_ps(p); }
V vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
V vec v_from_halves(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }

V vec v_from_bytes(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

V vec v_even(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)p), 16));
}

V vec v_odd(const uint16_t *p)
{
    __m256i upper = _mm256_set1_epi32((int)0xffff0000);
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)p), upper));
}

/* To the nearest bfloat16, as brain_round does; a NaN stays one. */
V vec v_brain(vec x)
{
    __m256i u = _mm256_castps_si256(x),
            odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    u = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    u = _mm256_and_si256(u, _mm256_set1_epi32((int)0xffff0000));
    return _mm256_blendv_ps(_mm256_castsi256_ps(u), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

V float v_sum(vec x)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
}

static const unsigned char rows_at_once[MOST] = { 8, 4, 3, 3, 2, 2 };
#define SIZES(X, kind) X(kind, 1, 8) X(kind, 1, 1) X(kind, 2, 4) X(kind, 2, 1) X(kind, 3, 3) X(kind, 3, 1) \
    X(kind, 4, 3) X(kind, 4, 1) X(kind, 5, 2) X(kind, 5, 1) X(kind, 6, 2) X(kind, 6, 1)
#include "autograd/few_rows.h"

const few_path few_avx2 = { "AVX2", STEP, band };
#endif
