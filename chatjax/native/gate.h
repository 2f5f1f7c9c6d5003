// act(gate) * up, the middle of a gated MLP (arXiv:2002.05202).

#ifndef CHATJAX_NATIVE_GATE_H_
#define CHATJAX_NATIVE_GATE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "isa.h"
#include "parallel.h"
#include "vec.h"

namespace chatjax {

enum class Activation : int32_t { kSilu = 0, kGeluTanh = 1 };

struct Gate {
  int64_t T, F;
  Activation activation;
  const float* x;      // [T, 2, F]: gate, up
  const bool* live;    // [T]; the outputs of other rows are zeros
  float* out;          // [T, F]
  Isa isa;
};

}  // namespace chatjax

#define CHATJAX_BODY "gate_inl.h"
#include "foreach_isa.h"

namespace chatjax {

inline void GateRow(const Gate& g, int64_t t) {
  CHATJAX_DISPATCH(g.isa, GateRow(g, t))
}

inline void Run(const Gate& g, const Pool& pool) {
  ParallelFor(pool, g.T, 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      if (g.live[t]) GateRow(g, t);
      else std::fill(g.out + t * g.F, g.out + (t + 1) * g.F, 0.0f);
    }
  });
}

}  // namespace chatjax

#endif  // CHATJAX_NATIVE_GATE_H_
