// One row of a gate; included in the namespace of each instruction set.

static inline Vec Activate(Activation activation, Vec x) {
  if (activation == Activation::kSilu) return Mul(x, Sigmoid(x));
  // 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
  const Vec cubic = Fma(Mul(x, x), Set(0.0713548163f), Set(1.5957691216f));
  return Mul(x, Sigmoid(Mul(x, cubic)));
}

static void GateRow(const Gate& g, int64_t t) {
  const float* gate = g.x + t * 2 * g.F;
  const float* up = gate + g.F;
  for (int64_t f = 0; f < g.F; f += 16) {
    const int64_t count = g.F - f;
    const Vec y = Activate(g.activation, LoadPart(gate + f, count));
    StorePart(Mul(y, LoadPart(up + f, count)), g.out + t * g.F + f, count);
  }
}
