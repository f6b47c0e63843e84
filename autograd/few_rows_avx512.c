/* few_rows_avx512.c - few_rows.h by AVX-512: 32 registers of 16 floats. */
#include "autograd/internal.h"
#if REAL == 32 && defined __x86_64__
#include <immintrin.h>
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
enum { LANES = 16, MOST = 8 };
typedef __m512 vec;
#define V TARGET static inline __attribute__((always_inline))

V vec v_zero(void) { return _mm512_setzero_ps(); }
V vec v_load(const float *p) { return _mm512_loadu_ps(p); }
V vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
V vec v_from_halves(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }

V vec v_from_bytes(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

V vec v_even(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}

V vec v_odd(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int)0xffff0000)));
}

/* To the nearest bfloat16, as brain_round does; a NaN stays one. */
V vec v_brain(vec x)
{
    __m512i u = _mm512_castps_si512(x),
            odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    u = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    u = _mm512_and_si512(u, _mm512_set1_epi32((int)0xffff0000));
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_castsi512_ps(u), x);
}

V float v_sum(vec x)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
}

static const unsigned char rows_at_once[MOST] = { 8, 8, 6, 6, 4, 4, 3, 3 };
#define SIZES(X, kind) X(kind, 1, 8) X(kind, 1, 1) X(kind, 2, 8) X(kind, 2, 1) X(kind, 3, 6) X(kind, 3, 1) \
    X(kind, 4, 6) X(kind, 4, 1) X(kind, 5, 4) X(kind, 5, 1) X(kind, 6, 4) X(kind, 6, 1) X(kind, 7, 3) \
    X(kind, 7, 1) X(kind, 8, 3) X(kind, 8, 1)
#include "autograd/few_rows.h"

const few_path few_avx512 = { "AVX-512", STEP, band };
#endif
