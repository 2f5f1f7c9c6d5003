// Attention of one position's queries over the pages of its sequence. Included
// once per instruction set, inside that set's namespace, after its `Vec`: 16
// floats.
//
// Lanes are keys while logits are made and parts of a head while values are
// added up, so nothing is summed across lanes but the sixteen partial sums of
// the softmax, at the end, as a fixed tree.

// Rotates the pairs (x[i], x[i + H/2]) of a head by the angles of a position.
static inline void Rotate(const Attention& a, int64_t t, const float* x,
                          float scale, float* to) {
  const int64_t half = a.H / 2;
  for (int64_t i = 0; i < half; i += 16) {
    const int64_t count = half - i;
    const Vec cos = LoadPart(a.cos + t * half + i, count);
    const Vec sin = LoadPart(a.sin + t * half + i, count);
    const Vec first = LoadPart(x + i, count);
    const Vec second = LoadPart(x + half + i, count);
    const Vec one = Sub(Mul(first, cos), Mul(second, sin));
    const Vec two = Add(Mul(second, cos), Mul(first, sin));
    StorePart(Mul(one, Set(scale)), to + i, count);
    StorePart(Mul(two, Set(scale)), to + half + i, count);
  }
}

// Logits of G queries for the keys [begin, end) of a page, in steps of 16.
template <int G, typename T>
static inline void PageLogits(const Attention& a, const float* q, const T* k,
                              const float* k_scale, int64_t begin, int64_t end,
                              float* logits, int64_t stride) {
  for (int64_t c = begin; c < end; c += 16) {
    Vec dot[G];
    for (int g = 0; g < G; ++g) dot[g] = Set(0.0f);
    for (int64_t h = 0; h < a.H; ++h) {
      const Vec key = LoadPart(k + h * a.S + c, a.S - c);
      for (int g = 0; g < G; ++g) dot[g] = Fma(Set(q[g * a.H + h]), key, dot[g]);
    }
    for (int g = 0; g < G; ++g) {
      if (k_scale) dot[g] = Mul(dot[g], LoadPart(k_scale + c, a.S - c));
      Store(dot[g], logits + g * stride + c);
    }
  }
}

// Turns the logits [lo, hi) of one query into weights, in place; the lanes
// around them become zeros. Updates the largest logit and the lanes' sums;
// returns the factor that what came before decays by.
static inline float Softmax(int64_t begin, int64_t lo, int64_t hi, float* x,
                            float* largest, Vec* sum) {
  const int64_t end = begin + (hi - begin + 15) / 16 * 16;
  const float lowest = -std::numeric_limits<float>::infinity();
  std::fill(x + begin, x + lo, lowest);
  std::fill(x + hi, x + end, lowest);
  Vec peak = Set(*largest);
  for (int64_t c = begin; c < end; c += 16) peak = Max(peak, Load(x + c));
  float lanes[16];
  Store(peak, lanes);
  const float new_largest = *std::max_element(lanes, lanes + 16);
  Store(Exp(Set(*largest - new_largest)), lanes);
  const float decay = *largest == lowest ? 0.0f : lanes[0];
  *largest = new_largest;
  *sum = Mul(*sum, Set(decay));
  for (int64_t c = begin; c < end; c += 16)
    Store(Exp(Sub(Load(x + c), Set(new_largest))), x + c);
  std::fill(x + begin, x + lo, 0.0f);
  std::fill(x + hi, x + end, 0.0f);
  for (int64_t c = begin; c < end; c += 16) *sum = Add(*sum, Load(x + c));
  return decay;
}

// out = out * decay + the weighted values [lo, hi) of a page.
template <int G, typename T>
static inline void PageValues(const Attention& a, const T* v, int64_t lo,
                              int64_t hi, const float* weights, int64_t stride,
                              const float* decay, float* out) {
  const int64_t padded = Padded(a.H);
  for (int64_t h = 0; h < a.H; h += 16) {
    Vec sum[G];
    for (int g = 0; g < G; ++g)
      sum[g] = Mul(Load(out + g * padded + h), Set(decay[g]));
    for (int64_t s = lo; s < hi; ++s) {
      const Vec value = LoadPart(v + s * a.H + h, a.H - h);
      for (int g = 0; g < G; ++g)
        sum[g] = Fma(Set(weights[g * stride + s]), value, sum[g]);
    }
    for (int g = 0; g < G; ++g) Store(sum[g], out + g * padded + h);
  }
}

// G queries of position t that share key/value head `head`, the first of them
// number `first_query` of the head's. `scratch` holds ScratchSize(a) floats.
template <int G, typename T>
static void Attend(const Attention& a, int64_t t, int64_t head,
                   int64_t first_query, float* scratch) {
  const int64_t at = (t * a.K + head) * a.G + first_query;
  const int64_t stride = Padded(a.S), padded = Padded(a.H);
  float* logits = scratch;
  float* out = logits + kMaxQueries * stride;
  float* q = out + kMaxQueries * padded;
  for (int g = 0; g < G; ++g)
    Rotate(a, t, a.q + (at + g) * a.H, a.scale, q + g * a.H);
  std::fill(out, out + G * padded, 0.0f);
  float largest[G], decay[G];
  std::fill(largest, largest + G, -std::numeric_limits<float>::infinity());
  Vec sum[G];
  for (int g = 0; g < G; ++g) sum[g] = Set(0.0f);

  const int64_t position = a.positions[t];
  const int64_t oldest =
      a.window > 0 ? std::max<int64_t>(position - a.window + 1, 0) : 0;
  const int32_t* table = a.tables + (a.num_tables == 1 ? 0 : t) * a.P;
  for (int64_t j = oldest / a.S; j <= position / a.S; ++j) {
    const int64_t page = table[j] * a.K + head;
    const int64_t lo = std::max<int64_t>(oldest - j * a.S, 0);
    const int64_t hi = std::min(position - j * a.S + 1, a.S);
    const int64_t begin = lo / 16 * 16;
    const T* k = static_cast<T*>(a.k) + page * a.H * a.S;
    const T* v = static_cast<T*>(a.v) + page * a.S * a.H;
    const float* k_scale = a.k_scale ? a.k_scale + page * a.S : nullptr;
    PageLogits<G>(a, q, k, k_scale, begin, hi, logits, stride);
    for (int g = 0; g < G; ++g) {
      float* weights = logits + g * stride;
      decay[g] = Softmax(begin, lo, hi, weights, &largest[g], &sum[g]);
      if (a.v_scale)
        for (int64_t s = lo; s < hi; ++s)
          weights[s] *= a.v_scale[page * a.S + s];
    }
    PageValues<G>(a, v, lo, hi, logits, stride, decay, out);
  }
  for (int g = 0; g < G; ++g) {
    const float total = Sum(sum[g]);
    for (int64_t h = 0; h < a.H; ++h)
      a.out[(at + g) * a.H + h] = out[g * padded + h] / total;
  }
}

template <typename T>
static void AttendAll(const Attention& a, int64_t t, int64_t head,
                      float* scratch) {
  for (int64_t g = 0, count; g < a.G; g += count) {
    count = std::min<int64_t>(a.G - g, kMaxQueries);
    switch (count) {
      case 1: Attend<1, T>(a, t, head, g, scratch); break;
      case 2: Attend<2, T>(a, t, head, g, scratch); break;
      case 3: Attend<3, T>(a, t, head, g, scratch); break;
      case 4: Attend<4, T>(a, t, head, g, scratch); break;
      case 5: Attend<5, T>(a, t, head, g, scratch); break;
      case 6: Attend<6, T>(a, t, head, g, scratch); break;
      case 7: Attend<7, T>(a, t, head, g, scratch); break;
      default: Attend<8, T>(a, t, head, g, scratch); break;
    }
  }
}

static void AttendTo(const Attention& a, int64_t t, int64_t head,
                     float* scratch) {
  switch (a.type) {
    case Element::kFloat32: return AttendAll<float>(a, t, head, scratch);
    case Element::kBfloat16: return AttendAll<Bfloat16>(a, t, head, scratch);
    case Element::kInt8: return AttendAll<int8_t>(a, t, head, scratch);
  }
}

// A number as the cache keeps it. Int8 was scaled before.
static inline void Convert(float x, float* to) { *to = x; }
static inline void Convert(float x, Bfloat16* to) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);  // ties to even
  to->bits = (x == x ? rounded : bits | 0x400000) >> 16;
}
static inline void Convert(float x, int8_t* to) {
  *to = static_cast<int8_t>(std::lrintf(x));
}

// The largest magnitude; NaN if there is one.
static inline float Peak(const float* x, int64_t count) {
  float peak = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    const float magnitude = std::fabs(x[i]);
    if (!(magnitude <= peak)) peak = magnitude;
    if (peak != peak) return peak;
  }
  return peak;
}

// Writes one head of a position, `stride` elements apart, into its page.
template <typename T>
static void Write(const float* x, int64_t count, T* to, int64_t stride,
                  float* scale) {
  float factor = 1.0f;
  if (scale) {
    // Infinity and NaN stay in the scale; the numbers are then zeros.
    const float peak = Peak(x, count);
    *scale = peak / 127.0f;
    factor = peak > 1e-30f && peak < 3e38f ? 127.0f / peak : 0.0f;
  }
  for (int64_t i = 0; i < count; ++i) {
    const float value = scale ? (factor == 0.0f ? 0.0f : x[i] * factor) : x[i];
    Convert(value, to + i * stride);
  }
}

template <typename T>
static void WriteAs(const Attention& a, int64_t t, int64_t head,
                    float* rotated) {
  const int64_t position = a.positions[t];
  const int32_t* table = a.tables + (a.num_tables == 1 ? 0 : t) * a.P;
  const int64_t page = table[position / a.S] * a.K + head;
  const int64_t s = position % a.S, from = (t * a.K + head) * a.H;
  float* k_scale = a.k_scale ? a.k_scale + page * a.S + s : nullptr;
  float* v_scale = a.v_scale ? a.v_scale + page * a.S + s : nullptr;
  Rotate(a, t, a.new_k + from, 1.0f, rotated);
  Write(rotated, a.H, static_cast<T*>(a.k) + page * a.H * a.S + s, a.S,
        k_scale);
  Write(a.new_v + from, a.H, static_cast<T*>(a.v) + (page * a.S + s) * a.H, 1,
        v_scale);
}

static void WriteOne(const Attention& a, int64_t t, int64_t head,
                     float* scratch) {
  switch (a.type) {
    case Element::kFloat32: return WriteAs<float>(a, t, head, scratch);
    case Element::kBfloat16: return WriteAs<Bfloat16>(a, t, head, scratch);
    case Element::kInt8: return WriteAs<int8_t>(a, t, head, scratch);
  }
}
