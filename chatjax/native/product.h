// y[t, n] = sum_g sx[t, g] * sw[n, g] * sum_{k in g} q[t, k] * w[n, k]
//
// An int8 product with groups of 64 along K: the activations are quantized
// here, one scale per row and group; so are the weights, when they are packed.
//
// Every output has one order of float operations: over the groups, ascending,
//   y = fma(float(dot), sw * sx, y)
// with an exact integer dot. So its bits depend neither on the number of rows,
// nor on the threads, nor on the instruction set: all paths below do the same.
//
// Weights are stored as w + 128 in blocks of 32 outputs, [N/32][K/4][32][4],
// their scales [N/32][K/64][32]: a vector holds four k of many outputs, there
// are no horizontal sums, and one conversion per group serves a whole vector.

#ifndef CHATJAX_NATIVE_PRODUCT_H_
#define CHATJAX_NATIVE_PRODUCT_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "isa.h"
#include "parallel.h"

namespace chatjax {

constexpr int64_t kGroup = 64;  // inputs per scale
constexpr int64_t kQuads = kGroup / 4;
constexpr int64_t kBlock = 32;  // outputs per packed block
constexpr int kMaxTile = 8;     // rows that share one read of the weights

// Rows of activations in int8. K is padded by zeros to whole groups.
struct Quantized {
  int64_t groups;
  std::vector<int8_t> values;   // [rows, groups * 64]
  std::vector<float> scales;    // [rows, groups]
  std::vector<int32_t> offsets;  // [rows, groups]: -128 * sum of the values

  Quantized(int64_t rows, int64_t groups)
      : groups(groups),
        values(rows * groups * kGroup),
        scales(rows * groups),
        offsets(rows * groups) {}
};

// Four values as one word, whatever their alignment.
inline int32_t Quad(const int8_t* x) {
  int32_t quad;
  std::memcpy(&quad, x, sizeof quad);
  return quad;
}

// Quantizes one group; `x` has 64 values. A group with a value that is not
// finite gets a scale that is not a number, so that its outputs are not either.
inline void QuantizeGroup(const float* x, int8_t* q, float* scale,
                          int32_t* offset) {
  // Magnitudes order as their bits do; an integer maximum has no order.
  int32_t peak_bits = 0, bits[kGroup];
  std::memcpy(bits, x, sizeof bits);
  for (int i = 0; i < kGroup; ++i)
    peak_bits = std::max(peak_bits, bits[i] & 0x7fffffff);
  float peak;
  std::memcpy(&peak, &peak_bits, sizeof peak);
  const bool is_finite = peak_bits < 0x7f800000;
  if (!is_finite || peak < 1e-30f) {
    std::memset(q, 0, kGroup);
    *scale = is_finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    *offset = 0;
    return;
  }
  const float inverse = 127.0f / peak;
  int32_t sum = 0;
  for (int i = 0; i < kGroup; ++i) {
    // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, and
    // leaves it in the low bits.
    const float shifted = x[i] * inverse + 12582912.0f;
    int32_t word;
    std::memcpy(&word, &shifted, sizeof word);
    const int32_t value = word - 0x4b400000;
    q[i] = static_cast<int8_t>(value);
    sum += value;
  }
  *scale = peak / 127.0f;
  *offset = -128 * sum;
}

inline void QuantizeRow(const float* x, int64_t K, int64_t row, Quantized* to) {
  for (int64_t g = 0; g < to->groups; ++g) {
    const int64_t at = row * to->groups + g, start = g * kGroup;
    const float* group = x + start;
    float padded[kGroup] = {};
    if (start + kGroup > K) {
      std::copy(group, x + K, padded);
      group = padded;
    }
    QuantizeGroup(group, &to->values[at * kGroup], &to->scales[at],
                  &to->offsets[at]);
  }
}

// A tile: W consecutive rows times one packed block.
struct Tile {
  int64_t groups;
  const int8_t* q;         // [W, groups * 64]
  const float* sx;         // [W, groups]
  const int32_t* offset;   // [W, groups]
  const uint8_t* w;        // [groups * 16, 32, 4]
  const float* sw;         // [groups, 32]
  float* y;                // [W, 32]
};

template <int W>
void TilePlain(const Tile& t) {
  std::fill(t.y, t.y + W * kBlock, 0.0f);
  for (int64_t g = 0; g < t.groups; ++g)
    for (int i = 0; i < W; ++i)
      for (int64_t n = 0; n < kBlock; ++n) {
        int32_t dot = t.offset[i * t.groups + g];
        for (int64_t k = 0; k < kGroup; ++k)
          dot += t.q[(i * t.groups + g) * kGroup + k] *
                 t.w[((g * kQuads + k / 4) * kBlock + n) * 4 + k % 4];
        float* y = &t.y[i * kBlock + n];
        const float scale = t.sw[g * kBlock + n] * t.sx[i * t.groups + g];
        *y = std::fma(static_cast<float>(dot), scale, *y);
      }
}

#if defined(__x86_64__)

// dot += the four products of each lane. The intrinsic says the same, but GCC
// 12 copies the accumulator for it, which costs half the speed of wide tiles.
__attribute__((target("avx512f,avx512vnni"))) inline void AddDot(
    __m512i* dot, __m512i w, __m512i x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(*dot) : "v"(w), "v"(x));
}

template <int W>
__attribute__((target("avx512f,avx512vnni"))) void TileVnni(const Tile& t) {
  __m512 y[W][2];
  for (int i = 0; i < W; ++i) y[i][0] = y[i][1] = _mm512_setzero_ps();
  for (int64_t g = 0; g < t.groups; ++g) {
    __m512i dot[W][2];
    for (int i = 0; i < W; ++i)
      dot[i][0] = dot[i][1] = _mm512_set1_epi32(t.offset[i * t.groups + g]);
    const uint8_t* w = t.w + g * kGroup * kBlock;
#pragma GCC unroll 4
    for (int64_t k = 0; k < kQuads; ++k) {
      const __m512i w0 = _mm512_loadu_si512(w + k * 128);
      const __m512i w1 = _mm512_loadu_si512(w + k * 128 + 64);
      for (int i = 0; i < W; ++i) {
        const __m512i x = _mm512_set1_epi32(
            Quad(t.q + (i * t.groups + g) * kGroup + 4 * k));
        AddDot(&dot[i][0], w0, x);
        AddDot(&dot[i][1], w1, x);
      }
    }
    const __m512 s0 = _mm512_loadu_ps(t.sw + g * kBlock);
    const __m512 s1 = _mm512_loadu_ps(t.sw + g * kBlock + 16);
    for (int i = 0; i < W; ++i) {
      const __m512 sx = _mm512_set1_ps(t.sx[i * t.groups + g]);
      y[i][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][0]),
                                _mm512_mul_ps(s0, sx), y[i][0]);
      y[i][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][1]),
                                _mm512_mul_ps(s1, sx), y[i][1]);
    }
  }
  for (int i = 0; i < W; ++i) {
    _mm512_storeu_ps(t.y + i * kBlock, y[i][0]);
    _mm512_storeu_ps(t.y + i * kBlock + 16, y[i][1]);
  }
}

// Eight outputs at a time. The product of bytes wants one unsigned factor and
// saturates at 16 bits: |x| * sign(x) w stays within 2 * 127 * 127 as long as
// no weight is -128, and packing makes none.
template <int W>
__attribute__((target("avx2,fma"))) void TileAvx2(const Tile& t) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
  for (int64_t n = 0; n < kBlock; n += 8) {
    __m256 y[W];
    for (int i = 0; i < W; ++i) y[i] = _mm256_setzero_ps();
    for (int64_t g = 0; g < t.groups; ++g) {
      __m256i dot[W];
      for (int i = 0; i < W; ++i) dot[i] = _mm256_setzero_si256();
      for (int64_t k = 0; k < kQuads; ++k) {
        const uint8_t* quad = t.w + ((g * kQuads + k) * kBlock + n) * 4;
        const __m256i w = _mm256_xor_si256(
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(quad)), flip);
        for (int i = 0; i < W; ++i) {
          const __m256i x = _mm256_set1_epi32(
              Quad(t.q + (i * t.groups + g) * kGroup + 4 * k));
          const __m256i pairs =
              _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
          dot[i] = _mm256_add_epi32(dot[i], _mm256_madd_epi16(pairs, ones));
        }
      }
      const __m256 s = _mm256_loadu_ps(t.sw + g * kBlock + n);
      for (int i = 0; i < W; ++i) {
        const __m256 sx = _mm256_set1_ps(t.sx[i * t.groups + g]);
        y[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[i]),
                               _mm256_mul_ps(s, sx), y[i]);
      }
    }
    for (int i = 0; i < W; ++i) _mm256_storeu_ps(t.y + i * kBlock + n, y[i]);
  }
}

#elif defined(__aarch64__)

template <int W>
__attribute__((target("arch=armv8.2-a+dotprod"))) void TileNeon(const Tile& t) {
  const uint8x16_t flip = vdupq_n_u8(0x80);
  for (int64_t n = 0; n < kBlock; n += 4) {
    float32x4_t y[W];
    for (int i = 0; i < W; ++i) y[i] = vdupq_n_f32(0.0f);
    for (int64_t g = 0; g < t.groups; ++g) {
      int32x4_t dot[W];
      for (int i = 0; i < W; ++i) dot[i] = vdupq_n_s32(0);
      for (int64_t k = 0; k < kQuads; ++k) {
        const uint8_t* quad = t.w + ((g * kQuads + k) * kBlock + n) * 4;
        const int8x16_t w = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(quad), flip));
        for (int i = 0; i < W; ++i) {
          const int8x16_t x = vreinterpretq_s8_s32(
              vdupq_n_s32(Quad(t.q + (i * t.groups + g) * kGroup + 4 * k)));
          dot[i] = vdotq_s32(dot[i], w, x);
        }
      }
      const float32x4_t s = vld1q_f32(t.sw + g * kBlock + n);
      for (int i = 0; i < W; ++i) {
        const float32x4_t scale = vmulq_n_f32(s, t.sx[i * t.groups + g]);
        y[i] = vfmaq_f32(y[i], vcvtq_f32_s32(dot[i]), scale);
      }
    }
    for (int i = 0; i < W; ++i) vst1q_f32(t.y + i * kBlock + n, y[i]);
  }
}

#endif

template <int W>
void RunTile(Isa isa, const Tile& tile) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kVnni:
      return TileVnni<W>(tile);
    case Isa::kAvx2:
      return TileAvx2<W>(tile);
#elif defined(__aarch64__)
    case Isa::kNeon:
      return TileNeon<W>(tile);
#endif
    default:
      return TilePlain<W>(tile);
  }
}

inline void RunTile(Isa isa, int width, const Tile& tile) {
  switch (width) {
    case 1:
      return RunTile<1>(isa, tile);
    case 2:
      return RunTile<2>(isa, tile);
    case 3:
      return RunTile<3>(isa, tile);
    case 4:
      return RunTile<4>(isa, tile);
    case 5:
      return RunTile<5>(isa, tile);
    case 6:
      return RunTile<6>(isa, tile);
    case 7:
      return RunTile<7>(isa, tile);
    default:
      return RunTile<kMaxTile>(isa, tile);
  }
}

struct Product {
  int64_t T, K, N;
  const float* x;      // [T, K]
  const bool* live;    // [T]; the outputs of other rows are zeros
  const uint8_t* w;    // [ceil(N/32)][ceil(K/64) * 16][32][4]
  const float* sw;     // [ceil(N/32)][ceil(K/64)][32]
  float* y;            // [T, N]
  Isa isa;
};

inline void Run(const Product& p, const Pool& pool) {
  std::vector<int64_t> rows;
  for (int64_t t = 0; t < p.T; ++t) {
    if (p.live[t]) rows.push_back(t);
    else std::fill(p.y + t * p.N, p.y + (t + 1) * p.N, 0.0f);
  }
  const int64_t num_rows = rows.size();
  const int64_t groups = (p.K + kGroup - 1) / kGroup;
  Quantized x(num_rows, groups);
  ParallelFor(pool, num_rows, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      QuantizeRow(p.x + rows[i] * p.K, p.K, i, &x);
  });

  const int64_t blocks = (p.N + kBlock - 1) / kBlock;
  const int64_t chunk =
      std::clamp<int64_t>(blocks / (8 * pool.num_threads), 1, 16);
  ParallelFor(pool, blocks, chunk, [&](int64_t begin, int64_t end) {
    float y[kMaxTile * kBlock];
    for (int64_t b = begin; b < end; ++b) {
      const int64_t width = std::min(kBlock, p.N - b * kBlock);
      for (int64_t i = 0, tile; i < num_rows; i += tile) {
        // Tiles of even sizes: 9 rows are 5 and 4, not 8 and 1.
        const int64_t left = num_rows - i;
        const int64_t tiles = (left + kMaxTile - 1) / kMaxTile;
        tile = (left + tiles - 1) / tiles;
        RunTile(p.isa, tile,
                {.groups = groups,
                 .q = &x.values[i * groups * kGroup],
                 .sx = &x.scales[i * groups],
                 .offset = &x.offsets[i * groups],
                 .w = p.w + b * groups * kGroup * kBlock,
                 .sw = p.sw + b * groups * kBlock,
                 .y = y});
        for (int j = 0; j < tile; ++j)
          std::copy_n(y + j * kBlock, width,
                      p.y + rows[i + j] * p.N + b * kBlock);
      }
    }
  });
}

}  // namespace chatjax

#endif  // CHATJAX_NATIVE_PRODUCT_H_
