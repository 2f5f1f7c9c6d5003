// Runs the products without XLA, for the sanitizers and for processors that
// are only emulated. Every path, pool and choice of rows must give the bits of
// the plain path on one thread, a row at a time. Prints a hash of these bits,
// which is the same on every machine.

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <random>

#include "float_product.h"
#include "product.h"

namespace {

using chatjax::Isa;
using chatjax::Pool;
using Task = std::function<void()>;

constexpr int kThreads = 4;
constexpr uint32_t kNan = 0x7fc00000;

class Threads {
 public:
  Threads() {
    for (int i = 0; i < kThreads; ++i)
      threads_.emplace_back([this] { Loop(); });
  }
  ~Threads() {
    {
      std::lock_guard lock(mutex_);
      is_closed_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  void Add(Task task) {
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
  }

 private:
  void Loop() {
    for (;;) {
      Task task;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return is_closed_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  bool is_closed_ = false;
  std::vector<std::thread> threads_;
};

struct Case {
  int64_t T, K, N, groups, blocks;
  std::vector<float> x, sw;
  std::vector<uint8_t> w;
  std::vector<float> w_float;
  std::vector<chatjax::Bfloat16> w_bfloat16;
};

enum class Weights { kInt8, kFloat, kBfloat16 };

using Random = std::mt19937;  // its distributions differ between libraries

float Uniform(Random& random) {  // in [-1, 1)
  return static_cast<float>(static_cast<int32_t>(random())) / 2147483648.0f;
}

void FillGroup(Random& random, float* x, int64_t size) {
  const uint32_t kind = random() % 16;
  const float magnitude = kind == 0   ? 0.0f
                          : kind == 1 ? 1e-40f
                          : kind == 2 ? 1e-30f
                          : kind == 3 ? 1e30f
                                      : 3.0f;
  for (int64_t i = 0; i < size; ++i) x[i] = magnitude * Uniform(random);
  float* odd = &x[random() % size];
  if (kind == 9) {  // halves of a step, but for the rounding of a product
    const float step = std::abs(*odd) / 127.0f;
    for (int64_t i = 0; i < size; ++i)
      x[i] = step * (static_cast<int32_t>(random() % 254) - 126.5f);
    x[0] = 127.0f * step;
  }
  if (kind == 4) *odd = 3e38f;
  if (kind == 5) *odd = -0.0f;
  if (kind == 6) std::fill(x, x + size, random() % 2 ? 2.0f : -2.0f);
  if (kind == 7 && random() % 4 == 0) *odd = std::nanf("");
  if (kind == 8 && random() % 4 == 0) *odd = -HUGE_VALF;
}

Case MakeCase(Random& random, int64_t T, int64_t K, int64_t N) {
  Case c{.T = T, .K = K, .N = N,
         .groups = (K + chatjax::kGroup - 1) / chatjax::kGroup,
         .blocks = (N + chatjax::kBlock - 1) / chatjax::kBlock,
         .x = std::vector<float>(T * K), .sw = {}, .w = {}, .w_float = {}, .w_bfloat16 = {}};
  for (int64_t t = 0; t < T; ++t)
    for (int64_t k = 0; k < K; k += chatjax::kGroup)
      FillGroup(random, &c.x[t * K + k], std::min(chatjax::kGroup, K - k));
  c.sw.resize(c.blocks * c.groups * chatjax::kBlock);
  for (float& scale : c.sw) {
    const int exponent = random() % 24;
    scale = std::ldexp(Uniform(random), -exponent);
  }
  c.w.resize(c.sw.size() * chatjax::kGroup);
  const bool is_extreme = random() % 4 == 0;
  for (uint8_t& w : c.w)
    w = is_extreme ? (random() % 2 ? 1 : 255) : 1 + random() % 255;
  for (int64_t i = 0; i < N * K; ++i) {
    c.w_float.push_back(Uniform(random));
    uint32_t bits;
    std::memcpy(&bits, &c.w_float.back(), sizeof bits);
    c.w_bfloat16.push_back({static_cast<uint16_t>(bits >> 16)});
  }
  return c;
}

// The rows of `c` that are live, or, with `only`, that row as a whole input.
std::vector<float> Multiply(const Case& c, Weights type, Isa isa,
                            const Pool& pool, const bool* live,
                            int64_t only = -1) {
  const int64_t T = only < 0 ? c.T : 1;
  std::vector<float> y(T * c.N, 7.0f);
  const float* x = c.x.data() + (only < 0 ? 0 : only * c.K);
  if (type != Weights::kInt8) {
    const bool is_bfloat16 = type == Weights::kBfloat16;
    const void* w = c.w_float.data();
    if (is_bfloat16) w = c.w_bfloat16.data();
    chatjax::Run(chatjax::FloatProduct{.T = T, .K = c.K, .N = c.N, .x = x,
                                       .live = live,
                                       .is_bfloat16 = is_bfloat16, .w = w,
                                       .y = y.data(), .isa = isa},
                 pool);
    return y;
  }
  chatjax::Run(chatjax::Product{.T = T, .K = c.K, .N = c.N, .x = x,
                                .live = live, .w = c.w.data(),
                                .sw = c.sw.data(), .y = y.data(), .isa = isa},
               pool);
  return y;
}

uint32_t Bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return std::isnan(x) ? kNan : bits;
}

struct Checker {
  Threads threads;
  std::vector<Task> held;
  uint64_t hash = 14695981039346656037u;

  // Pools that start a task on another thread, at once in the caller, and not
  // before the call has returned: while a later one is under way.
  std::vector<Pool> Pools() {
    return {{1, [](Task) { std::abort(); }},
            {kThreads, [this](Task task) { threads.Add(std::move(task)); }},
            {kThreads, [](Task task) { task(); }},
            {kThreads, [this](Task task) { held.push_back(std::move(task)); }}};
  }

  std::vector<float> Reference(const Case& c, Weights type) {
    const bool live = true;
    std::vector<float> all;
    for (int64_t t = 0; t < c.T; ++t) {
      const auto row = Multiply(c, type, Isa::kPlain, Pools()[0], &live, t);
      all.insert(all.end(), row.begin(), row.end());
    }
    for (float y : all) hash = (hash ^ Bits(y)) * 1099511628211u;
    return all;
  }

  void Check(const Case& c) {
    for (auto type : {Weights::kInt8, Weights::kFloat, Weights::kBfloat16})
      Check(c, type);
  }

  void Check(const Case& c, Weights type) {
    Random random(c.T);
    const auto want = Reference(c, type);
    auto live = std::make_unique<bool[]>(c.T);
    for (int number = 0; number < 4; ++number) {
      const auto isa = Isa{number};
      if (!chatjax::IsSupported(isa)) continue;
      const auto pools = Pools();
      for (size_t p = 0; p < pools.size(); ++p) {
        const bool is_whole = random() % 2;
        for (int64_t t = 0; t < c.T; ++t) live[t] = is_whole || random() % 2;
        const auto got = Multiply(c, type, isa, pools[p], live.get());
        for (auto& task : std::exchange(held, {})) threads.Add(std::move(task));
        Compare(c, want, got, live.get(), number, p);
      }
    }
  }

  static void Compare(const Case& c, const std::vector<float>& want,
                      const std::vector<float>& got, const bool* live, int isa,
                      size_t pool) {
    for (int64_t i = 0; i < c.T * c.N; ++i) {
      const float y = live[i / c.N] ? want[i] : 0.0f;
      if (Bits(y) == Bits(got[i])) continue;
      std::fprintf(stderr,
                   "T=%d K=%d N=%d isa=%d pool=%d: y[%d]=%a, expected %a\n",
                   int(c.T), int(c.K), int(c.N), isa, int(pool), int(i),
                   got[i], y);
      std::exit(1);
    }
  }
};

}  // namespace

int main() {
  Checker checker;
  constexpr int64_t kT[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 17, 40};
  constexpr int64_t kK[] = {1, 2, 63, 64, 65, 100, 128, 131, 300};
  constexpr int64_t kN[] = {1, 4, 31, 32, 33, 64, 95, 200};
  for (uint32_t i = 0; i < 120; ++i) {
    Random random(i);
    const int64_t K = kK[random() % 9], N = kN[random() % 8];
    checker.Check(MakeCase(random, kT[i % 12], K, N));
  }
  Random random(0);
  checker.Check(MakeCase(random, 130, 70, 33));
  checker.Check(MakeCase(random, 2, 64, 2500));
  for (int number = 0; number < 4; ++number)
    if (chatjax::IsSupported(Isa{number})) std::printf("isa %d\n", number);
  std::printf("hash %016llx\n", static_cast<unsigned long long>(checker.hash));
}
