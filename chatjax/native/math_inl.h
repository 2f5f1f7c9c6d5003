// Functions over `Vec`; included in the namespace of each instruction set.

// exp(x) for x <= 0; 2e-7 relative. Below -87 it stays at exp(-87); NaN stays.
static inline Vec Exp(Vec x) {
  // n is the nearest integer to x / ln 2; it ends in the low bits of `shifted`.
  const Vec magic = Set(12582912.0f);
  x = Max(Set(-87.0f), x);
  const Vec shifted = Fma(x, Set(1.44269504f), magic);
  const Vec n = Sub(shifted, magic);
  // ln 2 in two parts, the first exact in few bits.
  const Vec r = Fma(n, Set(2.12194440e-4f), Fma(n, Set(-0.693359375f), x));
  Vec p = Set(1.9875691500e-4f);
  p = Fma(p, r, Set(1.3981999507e-3f));
  p = Fma(p, r, Set(8.3334519073e-3f));
  p = Fma(p, r, Set(4.1665795894e-2f));
  p = Fma(p, r, Set(1.6666665459e-1f));
  p = Fma(p, r, Set(5.0000001201e-1f));
  const Vec y = Add(Fma(Mul(r, r), p, r), Set(1.0f));
  return ScaleByPowerOf2(y, shifted);
}

// 1 / (1 + exp(-x)).
static inline Vec Sigmoid(Vec x) {
  const Vec zero = Set(0.0f), one = Set(1.0f);
  const Vec e = Exp(Min(x, Sub(zero, x)));
  return Div(SelectNegative(x, e, one), Add(one, e));
}

// Up to 16 elements; the lanes beyond them are zeros.
template <typename T>
static inline Vec LoadPart(const T* x, int64_t count) {
  if (count >= 16) return Load(x);
  T padded[16] = {};
  std::copy_n(x, count, padded);
  return Load(padded);
}

template <typename T>
static inline void StorePart(Vec x, T* to, int64_t count) {
  if (count >= 16) return Store(x, to);
  T padded[16];
  Store(x, padded);
  std::copy_n(padded, count, to);
}
