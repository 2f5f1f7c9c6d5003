// A loop over chunks, shared with the threads of a pool.

#ifndef CHATJAX_NATIVE_PARALLEL_H_
#define CHATJAX_NATIVE_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

namespace chatjax {

// Where work is scheduled. The pool may run a task late or one after another.
struct Pool {
  int64_t num_threads;
  std::function<void(std::function<void()>)> schedule;
};

// Calls body(begin, end) until all of [0, size) is done, in chunks. The caller
// takes part, and waits for claimed chunks only: a task that the pool starts
// when nothing is left finds that out in memory which outlives the call.
template <typename Body>
void ParallelFor(const Pool& pool, int64_t size, int64_t chunk,
                 const Body& body) {
  if (pool.num_threads < 2 || size <= chunk) {
    body(int64_t{0}, size);
    return;
  }
  struct State {
    std::atomic<int64_t> next{0}, left{0};
  };
  auto state = std::make_shared<State>();
  const int64_t num_chunks = (size + chunk - 1) / chunk;
  state->left = num_chunks;
  // `body` lives on the caller's stack: only a claimed chunk may touch it.
  auto work = [state, num_chunks, chunk, size, &body] {
    for (int64_t c; (c = state->next.fetch_add(1)) < num_chunks;) {
      body(c * chunk, std::min(size, (c + 1) * chunk));
      state->left.fetch_sub(1, std::memory_order_release);
    }
  };
  const int64_t helpers = std::min(pool.num_threads, num_chunks) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.schedule(work);
  work();
  for (int spins = 0; state->left.load(std::memory_order_acquire) > 0;) {
    if (++spins > 1000) std::this_thread::yield();
  }
}

}  // namespace chatjax

#endif  // CHATJAX_NATIVE_PARALLEL_H_
