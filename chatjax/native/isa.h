// Instruction sets that kernels are written for, and which there are here.

#ifndef CHATJAX_NATIVE_ISA_H_
#define CHATJAX_NATIVE_ISA_H_

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

// Functions between the two are compiled for a set that the processor has to
// be asked for first.
#if defined(__clang__)
#define CHATJAX_PRAGMA(x) _Pragma(#x)
#define CHATJAX_BEGIN_TARGET(flags)                                   \
  CHATJAX_PRAGMA(clang attribute push(__attribute__((target(flags))), \
                                      apply_to = function))
#define CHATJAX_END_TARGET _Pragma("clang attribute pop")
#else
#define CHATJAX_PRAGMA(x) _Pragma(#x)
#define CHATJAX_BEGIN_TARGET(flags) \
  _Pragma("GCC push_options") CHATJAX_PRAGMA(GCC target(flags))
#define CHATJAX_END_TARGET _Pragma("GCC pop_options")
#endif

namespace chatjax {

enum class Isa : int32_t { kPlain = 0, kAvx2 = 1, kVnni = 2, kNeon = 3 };

// Whether this processor has what a path needs.
inline bool IsSupported(Isa isa) {
  switch (isa) {
    case Isa::kPlain:
      return true;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kVnni:
      return __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
    case Isa::kNeon:
      // GCC 12 has no __builtin_cpu_supports for this family.
#if defined(__ARM_FEATURE_DOTPROD)
      return true;
#elif defined(__linux__)
      return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#else
      return false;
#endif
#endif
    default:
      return false;
  }
}

inline Isa BestIsa() {
  static const Isa best = [] {
    for (Isa isa : {Isa::kVnni, Isa::kAvx2, Isa::kNeon})
      if (IsSupported(isa)) return isa;
    return Isa::kPlain;
  }();
  return best;
}

}  // namespace chatjax

// Calls a function of the namespace of an instruction set.
#if defined(__x86_64__)
#define CHATJAX_DISPATCH(isa, call) \
  switch (isa) {                    \
    case Isa::kVnni:                \
      return avx512::call;          \
    case Isa::kAvx2:                \
      return avx2::call;            \
    default:                        \
      return plain::call;           \
  }
#elif defined(__aarch64__)
#define CHATJAX_DISPATCH(isa, call) \
  return isa == Isa::kNeon ? neon::call : plain::call;
#else
#define CHATJAX_DISPATCH(isa, call) return plain::call;
#endif

#endif  // CHATJAX_NATIVE_ISA_H_
