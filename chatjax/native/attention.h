// Attention over cache pages: queries and new keys are rotated (arXiv:2104.09864),
// new keys and values are written, then the queries of each position meet the keys and values of its sequence, page after page in
// absolute order, with one running softmax (arXiv:1805.02867).
//
// Every number has one order of float operations, the same on all paths, that
// depends on its own sequence alone: not on how many positions there are, nor
// on the threads.

#ifndef CHATJAX_NATIVE_ATTENTION_H_
#define CHATJAX_NATIVE_ATTENTION_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "isa.h"
#include "parallel.h"
#include "vec.h"

namespace chatjax {

enum class Element { kFloat32, kBfloat16, kInt8 };

struct Attention {
  int64_t T, K, G, H;           // positions, key/value heads, queries each, width
  int64_t S, P;                 // positions per page, pages per table
  int64_t num_tables;           // T, or 1 that all positions share
  int64_t window;               // positions seen, or 0 for all
  float scale;                  // of queries
  const float* q;               // [T, K, G, H]
  const float* cos;             // [T, H / 2], of the positions' angles
  const float* sin;             // [T, H / 2]
  Element type;                 // of keys and values
  const float* new_k;           // [T, K, H], to be written first
  const float* new_v;           // [T, K, H]
  void* k;                      // [pages, K, H, S]
  void* v;                      // [pages, K, S, H]
  float* k_scale;               // [pages, K, S] beside int8, else null
  float* v_scale;               // [pages, K, S] beside int8, else null
  const int32_t* tables;        // [num_tables, P]
  const int32_t* positions;     // [T]
  const bool* live;             // [T]; the outputs of other rows are zeros
  float* out;                   // [T, K, G, H]
  Isa isa;
};

constexpr int kMaxQueries = 8;  // that share one read of a page

inline int64_t Padded(int64_t size) { return (size + 15) / 16 * 16; }

inline int64_t ScratchSize(const Attention& a) {
  return kMaxQueries * (Padded(a.S) + 2 * Padded(a.H));
}

}  // namespace chatjax

#define CHATJAX_BODY "attention_inl.h"
#include "foreach_isa.h"

namespace chatjax {

inline void WriteOne(const Attention& a, int64_t t, int64_t head,
                     float* scratch) {
  CHATJAX_DISPATCH(a.isa, WriteOne(a, t, head, scratch))
}

inline void AttendTo(const Attention& a, int64_t t, int64_t head,
                     float* scratch) {
  CHATJAX_DISPATCH(a.isa, AttendTo(a, t, head, scratch))
}

inline void Run(const Attention& a, const Pool& pool) {
  std::vector<int64_t> rows;
  const int64_t width = a.K * a.G * a.H;
  for (int64_t t = 0; t < a.T; ++t) {
    if (a.live[t]) rows.push_back(t);
    else std::fill(a.out + t * width, a.out + (t + 1) * width, 0.0f);
  }
  // Head after head: neighbours in a chunk of a prompt read the same pages.
  const int64_t num_rows = rows.size(), units = num_rows * a.K;
  const int64_t chunk =
      std::clamp<int64_t>(units / (8 * pool.num_threads), 1, 8);
  auto each = [&](auto function) {
    ParallelFor(pool, units, chunk, [&](int64_t begin, int64_t end) {
      std::vector<float> scratch(ScratchSize(a));
      for (int64_t i = begin; i < end; ++i)
        function(a, rows[i % num_rows], i / num_rows, scratch.data());
    });
  };
  // All write before any reads: positions of one sequence may stand together.
  each(WriteOne);
  each(AttendTo);
}

}  // namespace chatjax

#endif  // CHATJAX_NATIVE_ATTENTION_H_
