// The kernels of winograd_conv.cpp for one instruction set: included once for each, in a namespace
// of its own, with KERNEL as the attribute. Vectors are of 16 channels; compilers cut them to size.

KERNEL inline Vec load(const float* from) {
  Vec v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
KERNEL inline Vec load(const BFloat16* from) {
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  const Words words = __builtin_convertvector(halves, Words) << 16;
  return (Vec)words;
}
KERNEL inline void store(float* to, const Vec& v) { __builtin_memcpy(to, &v, sizeof v); }
KERNEL inline void store(BFloat16* to, const Vec& v) {
#ifdef BF16_INSTRUCTIONS
  const __m256bh halves = _mm512_cvtneps_pbh((__m512)v);
#else
  const Words bits = (Words)v, nearest_even = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Halves halves = __builtin_convertvector(v == v ? nearest_even : Words{} + 0x7fc0, Halves);
#endif
  __builtin_memcpy(to, &halves, sizeof halves);
}

// sum + a * b, both of bfloat16 pairs: each lane takes the two products of its pair.
KERNEL inline Vec add_products(const Vec& sum, const Words& a, const Words& b) {
#ifdef BF16_INSTRUCTIONS
  return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  const Words second = Words{} + 0xffff0000;
  return sum + (Vec)(a << 16) * (Vec)(b << 16) + (Vec)(a & second) * (Vec)(b & second);
#endif
}

// t = B^T d: one side of a patch. Six vectors in and out, `step` apart.
KERNEL inline void patch_side(const Vec* d, int step, Vec* t) {
  constexpr float kA2 = kNear * kNear, kB2 = kFar * kFar;
  const Vec d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step],
            d5 = d[5 * step];
  const Vec near_even = d4 - kB2 * d2, near_odd = kNear * (d3 - kB2 * d1);
  const Vec far_even = d4 - kA2 * d2, far_odd = kFar * (d3 - kA2 * d1);
  t[0] = kA2 * kB2 * d0 - (kA2 + kB2) * d2 + d4;
  t[step] = near_even + near_odd;
  t[2 * step] = near_even - near_odd;
  t[3 * step] = far_even + far_odd;
  t[4 * step] = far_even - far_odd;
  t[5 * step] = kA2 * kB2 * d1 - (kA2 + kB2) * d3 + d5;
}

// y = A^T m: one side of a tile. Six vectors in and four out, `step` apart.
KERNEL inline void tile_side(const Vec* m, int step, Vec* y) {
  constexpr float kA2 = kNear * kNear, kB2 = kFar * kFar;
  const Vec m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step];
  const Vec near_sum = m1 + m2, near_difference = kNear * (m1 - m2);
  const Vec far_sum = m3 + m4, far_difference = kFar * (m3 - m4);
  y[0] = m[0] + near_sum + far_sum;
  y[step] = near_difference + far_difference;
  y[2 * step] = kA2 * near_sum + kB2 * far_sum;
  y[3 * step] = kA2 * near_difference + kB2 * far_difference + m[5 * step];
}

// v = B^T d B for every channel. patch: its first pixel, which may lie outside the image; only
// rows and columns in the given ranges are read, the others are zero. v: 36 rows of channels,
// `position_step` apart.
template <typename T, typename W>
KERNEL void transform_patch(const T* patch, int64_t row_step, int64_t pixel_step, Range rows,
                            Range columns, int64_t channels, W* v, int64_t position_step) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Vec d[kPositions] = {}, t[kPositions], u[kPositions];
    for (int64_t i = rows.begin; i < rows.end; ++i)
      for (int64_t j = columns.begin; j < columns.end; ++j)
        d[i * kPatch + j] = load(patch + i * row_step + j * pixel_step + c);
    for (int j = 0; j < kPatch; ++j) patch_side(d + j, kPatch, t + j);
    for (int i = 0; i < kPatch; ++i) patch_side(t + i * kPatch, 1, u + i * kPatch);
    for (int64_t p = 0; p < kPositions; ++p) store(v + p * position_step + c, u[p]);
  }
}

template <int kRows, bool kAdd>
KERNEL inline void store_rows(const Vec (&sum)[kRows][4], float* c, int64_t row_step) {
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
    for (int j = 0; j < 4; ++j) {
      float* to = c + r * row_step + kLanes * j;
      store(to, kAdd ? load(to) + sum[r][j] : sum[r][j]);
    }
}

// c[r][0 .. 64) (+)= sum over k of a[r][k] * b[k][0 .. 64).
template <int kRows, bool kAdd>
KERNEL void multiply_rows(const float* a, const float* b, float* c, int64_t depth, Steps step) {
  Vec sum[kRows][4] = {};
  for (int64_t k = 0; k < depth; ++k, a += step.a_k, b += step.b_k) {
    const Vec b0 = load(b), b1 = load(b + 16), b2 = load(b + 32), b3 = load(b + 48);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const float one = a[r * step.a_row];
      sum[r][0] += one * b0;
      sum[r][1] += one * b1;
      sum[r][2] += one * b2;
      sum[r][3] += one * b3;
    }
  }
  store_rows<kRows, kAdd>(sum, c, step.c_row);
}

// The same of bfloat16, a's rows whole and b in pairs of rows: b[k / 2][0 .. 64)[k % 2].
template <int kRows, bool kAdd>
KERNEL void multiply_rows(const BFloat16* a, const BFloat16* b, float* c, int64_t depth,
                          Steps step) {
  Vec sum[kRows][4] = {};
  for (int64_t k = 0; k < depth; k += 2, b += 2 * step.b_k) {
    Words pairs[4];
    __builtin_memcpy(pairs, b, sizeof pairs);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      uint32_t pair;
      __builtin_memcpy(&pair, a + r * step.a_row + k, sizeof pair);
      const Words one = Words{} + pair;
      for (int j = 0; j < 4; ++j) sum[r][j] = add_products(sum[r][j], one, pairs[j]);
    }
  }
  store_rows<kRows, kAdd>(sum, c, step.c_row);
}

// The same for any number of rows.
template <typename W, bool kAdd>
KERNEL void multiply(const W* a, const W* b, float* c, int64_t rows, int64_t depth, Steps step) {
  const auto next = [&](int64_t done) { a += done * step.a_row, c += done * step.c_row; };
  for (; rows >= 6; rows -= 6, next(6)) multiply_rows<6, kAdd>(a, b, c, depth, step);
  if (rows & 4) multiply_rows<4, kAdd>(a, b, c, depth, step), next(4);
  if (rows & 2) multiply_rows<2, kAdd>(a, b, c, depth, step), next(2);
  if (rows & 1) multiply_rows<1, kAdd>(a, b, c, depth, step);
}

// y = leaky_relu(A^T m A + bias + plus, slope) for every channel of a tile. m: 36 rows of
// channels, `position_step` apart; plus and y: the tile's first pixel, of which `rows` x `columns`
// lie in the image; plus may be null.
template <typename T>
KERNEL void transform_tile(const float* m, int64_t position_step, const float* bias, const T* plus,
                           float slope, T* y, int64_t row_step, int64_t pixel_step, int64_t rows,
                           int64_t columns, int64_t channels) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Vec in[kPositions], t[kTile * kPatch], out[kTile * kPatch];
    for (int64_t p = 0; p < kPositions; ++p) in[p] = load(m + p * position_step + c);
    for (int j = 0; j < kPatch; ++j) tile_side(in + j, kPatch, t + j);
    for (int i = 0; i < kTile; ++i) tile_side(t + i * kPatch, 1, out + i * kPatch);
    const Vec shift = load(bias + c);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t at = i * row_step + j * pixel_step + c;
        Vec v = out[i * kPatch + j] + shift;
        if (plus) v += load(plus + at);
        store(y + at, v > 0 ? v : v * slope);
      }
  }
}

// u = A g: one side of a tile's gradient. Four vectors in and six out.
KERNEL inline void gradient_side(const Vec* g, int g_step, Vec* u, int u_step) {
  constexpr float kA2 = kNear * kNear, kB2 = kFar * kFar;
  const Vec g0 = g[0], g1 = g[g_step], g2 = g[2 * g_step], g3 = g[3 * g_step];
  const Vec near_even = g0 + kA2 * g2, near_odd = kNear * (g1 + kA2 * g3);
  const Vec far_even = g0 + kB2 * g2, far_odd = kFar * (g1 + kB2 * g3);
  u[0] = g0;
  u[u_step] = near_even + near_odd;
  u[2 * u_step] = near_even - near_odd;
  u[3 * u_step] = far_even + far_odd;
  u[4 * u_step] = far_even - far_odd;
  u[5 * u_step] = g3;
}

// m = A g A^T for every channel. tile: the gradient at its first pixel, of which `rows` x `columns`
// lie in the image; the others are zero. m: 36 rows of channels, `position_step` apart.
KERNEL void transform_gradient(const float* tile, int64_t row_step, int64_t pixel_step,
                               int64_t rows, int64_t columns, int64_t channels, float* m,
                               int64_t position_step) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Vec g[kTile * kTile] = {}, t[kPatch * kTile], u[kPositions];
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        g[i * kTile + j] = load(tile + i * row_step + j * pixel_step + c);
    for (int j = 0; j < kTile; ++j) gradient_side(g + j, kTile, t + j, kTile);
    for (int i = 0; i < kPatch; ++i) gradient_side(t + i * kTile, 1, u + i * kPatch, 1);
    for (int64_t p = 0; p < kPositions; ++p) store(m + p * position_step + c, u[p]);
  }
}

template <typename T, typename W>
constexpr Kernels<T, W> kernels = {transform_patch<T, W>, multiply<W, false>, transform_tile<T>};
constexpr GradientKernels gradient_kernels = {transform_patch<float, float>, transform_gradient,
                                              multiply<float, true>};
