// Sixteen floats, once per instruction set, with the same operations and the
// same bits. Kernels are written over them in files that are included in each
// of these namespaces.

#ifndef CHATJAX_NATIVE_VEC_H_
#define CHATJAX_NATIVE_VEC_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "isa.h"

namespace chatjax {

struct Bfloat16 {
  uint16_t bits;
};

namespace plain {

struct Vec {
  float x[16];
};

template <typename F>
inline Vec Map(F f) {
  Vec r;
  for (int i = 0; i < 16; ++i) r.x[i] = f(i);
  return r;
}

inline Vec Set(float x) {
  return Map([=](int) { return x; });
}
inline Vec Load(const float* x) {
  return Map([=](int i) { return x[i]; });
}
inline Vec Load(const Bfloat16* x) {
  return Map([=](int i) {
    const uint32_t word = static_cast<uint32_t>(x[i].bits) << 16;
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
  });
}
inline Vec Load(const int8_t* x) {
  return Map([=](int i) { return static_cast<float>(x[i]); });
}
inline void Store(Vec a, float* to) { std::copy_n(a.x, 16, to); }
// As it is. Where it pays, the compiler may not load it again for each use.
inline Vec Keep(Vec a) { return a; }
inline Vec Add(Vec a, Vec b) {
  return Map([&](int i) { return a.x[i] + b.x[i]; });
}
inline Vec Sub(Vec a, Vec b) {
  return Map([&](int i) { return a.x[i] - b.x[i]; });
}
inline Vec Mul(Vec a, Vec b) {
  return Map([&](int i) { return a.x[i] * b.x[i]; });
}
inline Vec Div(Vec a, Vec b) {
  return Map([&](int i) { return a.x[i] / b.x[i]; });
}
inline Vec Fma(Vec a, Vec b, Vec c) {
  return Map([&](int i) { return std::fma(a.x[i], b.x[i], c.x[i]); });
}
// Where one is NaN, the second of the two.
inline Vec Max(Vec a, Vec b) {
  return Map([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
}
inline Vec Min(Vec a, Vec b) {
  return Map([&](int i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; });
}
// `a` where x is negative, else `b`.
inline Vec SelectNegative(Vec x, Vec a, Vec b) {
  return Map([&](int i) { return x.x[i] < 0 ? a.x[i] : b.x[i]; });
}
// x * 2^n, with n in the low bits of `shifted`.
inline Vec ScaleByPowerOf2(Vec a, Vec shifted) {
  return Map([&](int i) {
    uint32_t word, n;
    std::memcpy(&word, &a.x[i], sizeof word);
    std::memcpy(&n, &shifted.x[i], sizeof n);
    word += n << 23;
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
  });
}

// The lanes' sum: i and i + 8, then i and i + 4, i + 2, i + 1.
inline float Sum(Vec a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.x[i] += a.x[i + half];
  return a.x[0];
}

}  // namespace plain

#if defined(__x86_64__)

CHATJAX_BEGIN_TARGET("avx2,fma")
namespace avx2 {

struct Vec {
  __m256 a, b;
};

inline Vec Set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Vec Load(const float* x) {
  return {_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)};
}
inline __m256 Widen(const Bfloat16* x) {
  const auto* from = reinterpret_cast<const __m128i*>(x);
  const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}
inline Vec Load(const Bfloat16* x) { return {Widen(x), Widen(x + 8)}; }
inline __m256 Widen(const int8_t* x) {
  const auto* from = reinterpret_cast<const __m128i*>(x);
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from)));
}
inline Vec Load(const int8_t* x) { return {Widen(x), Widen(x + 8)}; }
inline void Store(Vec a, float* to) {
  _mm256_storeu_ps(to, a.a);
  _mm256_storeu_ps(to + 8, a.b);
}
inline Vec Keep(Vec a) { return a; }
inline Vec Add(Vec a, Vec b) {
  return {_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)};
}
inline Vec Sub(Vec a, Vec b) {
  return {_mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b)};
}
inline Vec Mul(Vec a, Vec b) {
  return {_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)};
}
inline Vec Div(Vec a, Vec b) {
  return {_mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b)};
}
inline Vec Fma(Vec a, Vec b, Vec c) {
  return {_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}
inline Vec Max(Vec a, Vec b) {
  return {_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b)};
}
inline Vec Min(Vec a, Vec b) {
  return {_mm256_min_ps(a.a, b.a), _mm256_min_ps(a.b, b.b)};
}
inline __m256 SelectNegative(__m256 x, __m256 a, __m256 b) {
  const __m256 zero = _mm256_setzero_ps();
  return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, zero, _CMP_LT_OQ));
}
inline Vec SelectNegative(Vec x, Vec a, Vec b) {
  return {SelectNegative(x.a, a.a, b.a), SelectNegative(x.b, a.b, b.b)};
}
inline __m256 ScaleByPowerOf2(__m256 a, __m256 shifted) {
  const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), n));
}
inline Vec ScaleByPowerOf2(Vec a, Vec shifted) {
  return {ScaleByPowerOf2(a.a, shifted.a), ScaleByPowerOf2(a.b, shifted.b)};
}

inline float Sum(__m256 a) {
  const __m128 four =
      _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float Sum(Vec a) { return Sum(_mm256_add_ps(a.a, a.b)); }

}  // namespace avx2
CHATJAX_END_TARGET

CHATJAX_BEGIN_TARGET("avx512f")
namespace avx512 {

using Vec = __m512;

inline Vec Set(float x) { return _mm512_set1_ps(x); }
inline Vec Load(const float* x) { return _mm512_loadu_ps(x); }
inline Vec Load(const Bfloat16* x) {
  const auto* from = reinterpret_cast<const __m256i*>(x);
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}
inline Vec Load(const int8_t* x) {
  const auto* from = reinterpret_cast<const __m128i*>(x);
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from)));
}
inline void Store(Vec a, float* to) { _mm512_storeu_ps(to, a); }
inline Vec Keep(Vec a) {
  asm("" : "+v"(a));
  return a;
}
inline Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec Sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec Mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec Div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec SelectNegative(Vec x, Vec a, Vec b) {
  const __mmask16 mask =
      _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  return _mm512_mask_blend_ps(mask, b, a);
}
inline Vec ScaleByPowerOf2(Vec a, Vec shifted) {
  const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), n));
}

inline float Sum(Vec a) {
  const __m512 upper = _mm512_shuffle_f32x4(a, a, 0xee);
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a),
                                     _mm512_castps512_ps256(upper));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight),
                                 _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace avx512
CHATJAX_END_TARGET

#elif defined(__aarch64__)

namespace neon {

struct Vec {
  float32x4_t x[4];
};

template <typename F>
inline Vec Map(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}

inline Vec Set(float x) {
  return Map([=](int) { return vdupq_n_f32(x); });
}
inline Vec Load(const float* x) {
  return Map([=](int i) { return vld1q_f32(x + 4 * i); });
}
inline Vec Load(const Bfloat16* x) {
  return Map([=](int i) {
    const uint16x4_t part = vld1_u16(&x[4 * i].bits);
    return vreinterpretq_f32_u32(vshll_n_u16(part, 16));
  });
}
inline Vec Load(const int8_t* x) {
  return Map([=](int i) {
    const int8_t padded[8] = {x[4 * i], x[4 * i + 1], x[4 * i + 2],
                              x[4 * i + 3]};
    const int16x4_t words = vget_low_s16(vmovl_s8(vld1_s8(padded)));
    return vcvtq_f32_s32(vmovl_s16(words));
  });
}
inline void Store(Vec a, float* to) {
  for (int i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, a.x[i]);
}
inline Vec Keep(Vec a) { return a; }
inline Vec Add(Vec a, Vec b) {
  return Map([&](int i) { return vaddq_f32(a.x[i], b.x[i]); });
}
inline Vec Sub(Vec a, Vec b) {
  return Map([&](int i) { return vsubq_f32(a.x[i], b.x[i]); });
}
inline Vec Mul(Vec a, Vec b) {
  return Map([&](int i) { return vmulq_f32(a.x[i], b.x[i]); });
}
inline Vec Div(Vec a, Vec b) {
  return Map([&](int i) { return vdivq_f32(a.x[i], b.x[i]); });
}
inline Vec Fma(Vec a, Vec b, Vec c) {
  return Map([&](int i) { return vfmaq_f32(c.x[i], a.x[i], b.x[i]); });
}
// As `a > b ? a : b`: the instruction treats NaN otherwise.
inline Vec Max(Vec a, Vec b) {
  return Map([&](int i) {
    return vbslq_f32(vcgtq_f32(a.x[i], b.x[i]), a.x[i], b.x[i]);
  });
}
inline Vec Min(Vec a, Vec b) {
  return Map([&](int i) {
    return vbslq_f32(vcltq_f32(a.x[i], b.x[i]), a.x[i], b.x[i]);
  });
}
inline Vec SelectNegative(Vec x, Vec a, Vec b) {
  return Map([&](int i) {
    const uint32x4_t mask = vcltq_f32(x.x[i], vdupq_n_f32(0.0f));
    return vbslq_f32(mask, a.x[i], b.x[i]);
  });
}
inline Vec ScaleByPowerOf2(Vec a, Vec shifted) {
  return Map([&](int i) {
    const uint32x4_t n = vshlq_n_u32(vreinterpretq_u32_f32(shifted.x[i]), 23);
    return vreinterpretq_f32_u32(
        vaddq_u32(vreinterpretq_u32_f32(a.x[i]), n));
  });
}

inline float Sum(Vec a) {
  const float32x4_t four = vaddq_f32(vaddq_f32(a.x[0], a.x[2]),
                                     vaddq_f32(a.x[1], a.x[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

}  // namespace neon

#endif

}  // namespace chatjax

#define CHATJAX_BODY "math_inl.h"
#include "foreach_isa.h"

#endif  // CHATJAX_NATIVE_VEC_H_
