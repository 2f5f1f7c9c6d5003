// Outputs of a float product; included in the namespace of each instruction
// set, after its `Vec` of 16 floats, kRows and kSums.

// A tile: W rows times C outputs, whose weights stand K apart.
template <int W, int C, typename Weight>
static inline void FloatTile(const float* const* x, const Weight* w, int64_t K,
                             float (*y)[C]) {
  Vec sum[W][C];
  for (int i = 0; i < W; ++i)
    for (int c = 0; c < C; ++c) sum[i][c] = Set(0.0f);
  int64_t k = 0;
  for (; k + 16 <= K; k += 16) {
    Vec part[C];
    for (int c = 0; c < C; ++c) part[c] = Load(w + c * K + k);
    for (int i = 0; i < W; ++i) {
      const Vec row = Keep(Load(x[i] + k));
      for (int c = 0; c < C; ++c) sum[i][c] = Fma(row, part[c], sum[i][c]);
    }
  }
  if (k < K) {
    Vec part[C];
    for (int c = 0; c < C; ++c) part[c] = LoadPart(w + c * K + k, K - k);
    for (int i = 0; i < W; ++i) {
      const Vec row = LoadPart(x[i] + k, K - k);
      for (int c = 0; c < C; ++c) sum[i][c] = Fma(row, part[c], sum[i][c]);
    }
  }
  for (int i = 0; i < W; ++i)
    for (int c = 0; c < C; ++c) y[i][c] = Sum(sum[i][c]);
}

// The outputs [begin, end) of the W rows from `row` on.
template <int W, typename Weight>
static void FloatRows(const FloatProduct& p, const int64_t* row, int64_t begin,
                      int64_t end) {
  constexpr int C = std::min(kSums / W, 6);
  const auto* w = static_cast<const Weight*>(p.w);
  const float* x[W];
  for (int i = 0; i < W; ++i) x[i] = p.x + row[i] * p.K;
  int64_t n = begin;
  for (; n + C <= end; n += C) {
    float y[W][C];
    FloatTile<W, C>(x, w + n * p.K, p.K, y);
    for (int i = 0; i < W; ++i) std::copy_n(y[i], C, p.y + row[i] * p.N + n);
  }
  for (; n < end; ++n) {
    float y[W][1];
    FloatTile<W, 1>(x, w + n * p.K, p.K, y);
    for (int i = 0; i < W; ++i) p.y[row[i] * p.N + n] = y[i][0];
  }
}

template <int W, typename Weight>
static void FloatRows(const FloatProduct& p, int64_t width, const int64_t* row,
                      int64_t begin, int64_t end) {
  if (width == W) return FloatRows<W, Weight>(p, row, begin, end);
  if constexpr (W > 1)
    return FloatRows<W - 1, Weight>(p, width, row, begin, end);
}

// The outputs [begin, end) of all live rows.
template <typename Weight>
static void FloatOutputs(const FloatProduct& p,
                         const std::vector<int64_t>& rows, int64_t begin,
                         int64_t end) {
  const int64_t num_rows = rows.size();
  for (int64_t i = 0, width; i < num_rows; i += width) {
    // Tiles of even sizes: 9 rows are 5 and 4, not 8 and 1.
    const int64_t left = num_rows - i, tiles = (left + kRows - 1) / kRows;
    width = (left + tiles - 1) / tiles;
    FloatRows<kRows, Weight>(p, width, &rows[i], begin, end);
  }
}
