// y[t, n] = sum_k x[t, k] * w[n, k]
//
// A product with float weights as they stand, one row per output. Every output
// has one order of float operations: sixteen partial sums, of k = i + 16 j with
// j ascending, by fused multiply-add; then their sum as a fixed tree. K is
// padded by zeros. So its bits depend neither on the number of rows, nor on the
// threads, nor on the instruction set.

#ifndef CHATJAX_NATIVE_FLOAT_PRODUCT_H_
#define CHATJAX_NATIVE_FLOAT_PRODUCT_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "isa.h"
#include "parallel.h"
#include "vec.h"

namespace chatjax {

struct FloatProduct {
  int64_t T, K, N;
  const float* x;    // [T, K]
  const bool* live;  // [T]; the outputs of other rows are zeros
  bool is_bfloat16;  // the weights; else they are floats
  const void* w;     // [N, K]
  float* y;          // [T, N]
  Isa isa;
};

// The largest tile: so many rows share one read of the weights, so many vectors
// of sums (rows times outputs) fit the registers.
namespace plain {
constexpr int kRows = 1, kSums = 1;
}
#if defined(__x86_64__)
namespace avx2 {
constexpr int kRows = 3, kSums = 6;
}
namespace avx512 {
constexpr int kRows = 8, kSums = 24;
}
#elif defined(__aarch64__)
namespace neon {
constexpr int kRows = 3, kSums = 6;
}
#endif

}  // namespace chatjax

#define CHATJAX_BODY "float_product_inl.h"
#include "foreach_isa.h"

namespace chatjax {

template <typename Weight>
void FloatOutputs(const FloatProduct& p, const std::vector<int64_t>& rows,
                  int64_t begin, int64_t end) {
  CHATJAX_DISPATCH(p.isa, FloatOutputs<Weight>(p, rows, begin, end))
}

inline void Run(const FloatProduct& p, const Pool& pool) {
  std::vector<int64_t> rows;
  for (int64_t t = 0; t < p.T; ++t) {
    if (p.live[t]) rows.push_back(t);
    else std::fill(p.y + t * p.N, p.y + (t + 1) * p.N, 0.0f);
  }
  if (rows.empty()) return;
  // The weights of a chunk stay in a core's cache while tiles of rows pass.
  constexpr int64_t kStep = 24, kCacheBytes = 400 << 10;
  const int64_t row_bytes = std::max<int64_t>(p.K, 1) * (p.is_bfloat16 ? 2 : 4);
  const int64_t most = std::min(kCacheBytes / row_bytes,
                                p.N / (8 * pool.num_threads));
  const int64_t chunk = std::max(most / kStep, int64_t{1}) * kStep;
  ParallelFor(pool, p.N, chunk, [&](int64_t begin, int64_t end) {
    // On one thread the body gets all outputs at once.
    for (int64_t n = begin; n < end; n += chunk) {
      const int64_t stop = std::min(end, n + chunk);
      if (p.is_bfloat16) FloatOutputs<Bfloat16>(p, rows, n, stop);
      else FloatOutputs<float>(p, rows, n, stop);
    }
  });
}

}  // namespace chatjax

#endif  // CHATJAX_NATIVE_FLOAT_PRODUCT_H_
