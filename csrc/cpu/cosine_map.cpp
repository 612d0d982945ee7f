// 1 - cosine of features f and reconstructions r, every scale resized bilinearly to the first's
// grid, without resizing them. With unit vectors u, v and the corners a, b of a coarse cell
//   <resized u, resized v> = sum_ab w_a w_b <u_a, v_b>,
// and the weights are products of one factor a side. So four maps on the coarse grid hold all that
// is needed of a product: of a vector with itself, and of neighbours with both orders added up:
//   same(y, x) = <(y, x), (y, x)>          right(y, x) = <(y, x), (y, x+1)>
//   below(y, x) = <(y, x), (y+1, x)>       diagonal(y, x) = <(y, x), (y+1, x+1)>
//                                                          + <(y, x+1), (y+1, x)>
// Along a side, a product at fraction t between samples 0 and 1 is
//   (1-t)^2 same(0) + t^2 same(1) + t (1-t) between(0).
#include "../cosine_map.h"

#include <array>
#include <cmath>

#include "../bilinear.h"
#include "channel_vectors.h"

namespace invad {
namespace {

constexpr double kNormalizeEps = 1e-12, kCosineEps = 1e-8;
constexpr int kProducts = 3;  // f r, f f, r r, in this order everywhere
enum Plane { kSame, kRight, kBelow, kDiagonal, kPlanes };

// Of one scale.
struct Pair {
  ChannelVectors f, r;

  bool same_grid(const Pair& other) const {
    return f.height == other.f.height && f.width == other.f.width;
  }
  int64_t row_grain() const { return ceil_div(kGrainElements, f.width * f.channels + 1); }
};

// f r, f f and r r of every place of a row; products: 3 x width.
template <typename A, typename T>
void multiply_row(VectorRow<T> f, VectorRow<T> r, int64_t width, int64_t channels, A* products) {
  for (int64_t x = 0; x < width; ++x) {
    const T* __restrict one = f.at(x);
    const T* __restrict other = r.at(x);
    A fr = 0, ff = 0, rr = 0;
#pragma omp simd reduction(+ : fr, ff, rr)
    for (int64_t c = 0; c < channels; ++c) {
      const A a = static_cast<A>(load(one, c)), b = static_cast<A>(load(other, c));
      fr += a * b;
      ff += a * a;
      rr += b * b;
    }
    products[x] = fr;
    products[width + x] = ff;
    products[2 * width + x] = rr;
  }
}

// One vector with eight others.
template <typename A>
std::array<A, 8> multiply_eight(const A* __restrict one, const std::array<const A*, 8>& others,
                                int64_t channels) {
  const A* __restrict a = others[0], * __restrict b = others[1], * __restrict c = others[2], * __restrict d = others[3], * __restrict e = others[4], * __restrict f = others[5], * __restrict g = others[6], * __restrict h = others[7];
  A sa = 0, sb = 0, sc = 0, sd = 0, se = 0, sf = 0, sg = 0, sh = 0;
#pragma omp simd reduction(+ : sa, sb, sc, sd, se, sf, sg, sh)
  for (int64_t i = 0; i < channels; ++i) {
    const A v = one[i];
    sa += v * a[i];
    sb += v * b[i];
    sc += v * c[i];
    sd += v * d[i];
    se += v * e[i];
    sf += v * f[i];
    sg += v * g[i];
    sh += v * h[i];
  }
  return {sa, sb, sc, sd, se, sf, sg, sh};
}

// 1 / max(norm, eps) of squared norms; NaN stays NaN.
template <typename A>
void invert_norms(const A* __restrict squares, A* __restrict inverse, int64_t count) {
  for (int64_t x = 0; x < count; ++x) {
    const A norm = std::sqrt(squares[x]);
    inverse[x] = 1 / (norm < static_cast<A>(kNormalizeEps) ? static_cast<A>(kNormalizeEps) : norm);
  }
}

// A row of a coarse scale with what each vector has for itself.
template <typename A>
struct CoarseRow {
  VectorRow<A> f, r;
  std::vector<A> f_buffer, r_buffer, products, inverse;

  explicit CoarseRow(const Pair& pair)
      : f_buffer(pair.f.width * pair.f.channels),
        r_buffer(f_buffer.size()),
        products(kProducts * pair.f.width),
        inverse(2 * pair.f.width) {}

  void read(const Pair& pair, int64_t n, int64_t y) {
    const int64_t width = pair.f.width;
    f = pair.f.read(n, y, f_buffer.data());
    r = pair.r.read(n, y, r_buffer.data());
    multiply_row(f, r, width, pair.f.channels, products.data());
    invert_norms(products.data() + width, inverse.data(), 2 * width);
  }
  A f_inverse(int64_t x) const { return inverse[x]; }
  A r_inverse(int64_t x) const { return inverse[inverse.size() / 2 + x]; }
};

// Adds the products of neighbours p and q: f_p r_q + f_q r_p, 2 f_p f_q, 2 r_p r_q, of unit
// vectors. to: three numbers, `stride` apart.
template <typename A>
inline void add_neighbours(A f_r, A r_f, A f_f, A r_r, A f_p, A r_p, A f_q, A r_q, A* to,
                           int64_t stride) {
  to[0] += f_r * (f_p * r_q) + r_f * (r_p * f_q);
  to[stride] += 2 * f_f * (f_p * f_q);
  to[2 * stride] += 2 * r_r * (r_p * r_q);
}

// planes: kPlanes x 3 x width, of the row `here` and the one below it, which is `here` again at
// the end, as a place without a right neighbour has itself.
template <typename A>
void multiply_neighbours(const CoarseRow<A>& here, const CoarseRow<A>& below, int64_t width,
                         int64_t channels, A* planes) {
  const int64_t plane = kProducts * width;
  std::fill(planes + plane, planes + kPlanes * plane, A(0));
  for (int64_t x = 0; x < width; ++x) {
    const int64_t left = std::max<int64_t>(x - 1, 0), right = std::min(x + 1, width - 1);
    const std::array<const A*, 8> others = {here.f.at(right),  below.f.at(x),    below.f.at(right),
                                            below.f.at(left),  here.r.at(right), below.r.at(x),
                                            below.r.at(right), below.r.at(left)};
    const auto of_f = multiply_eight(here.f.at(x), others, channels);
    const auto of_r = multiply_eight(here.r.at(x), others, channels);
    const A f = here.f_inverse(x), r = here.r_inverse(x);
    const auto add = [&](int k, const CoarseRow<A>& row, int64_t at, Plane which, int64_t to) {
      add_neighbours(of_f[4 + k], of_r[k], of_f[k], of_r[4 + k], f, r, row.f_inverse(at),
                     row.r_inverse(at), planes + which * plane + to, width);
    };
    const A* own = here.products.data() + x;
    planes[x] = own[0] * (f * r);
    planes[width + x] = own[width] * (f * f);
    planes[2 * width + x] = own[2 * width] * (r * r);
    add(0, here, right, kRight, x);
    add(1, below, x, kBelow, x);
    add(2, below, right, kDiagonal, x);
    if (x > 0) add(3, below, left, kDiagonal, left);
  }
}

// The products of a scale on its own grid: N x H x kPlanes x 3 x W.
template <typename A>
Tensor coarse_products(const Pair& pair, const Tensor& like) {
  const int64_t height = pair.f.height, width = pair.f.width, rows = pair.f.samples * height;
  const Tensor planes = empty({rows, kPlanes, kProducts, width}, like, kScalarType<A>);
  A* out = mutable_data<A>(planes);
  parallel(rows, pair.row_grain(), [&](int64_t begin, int64_t end) {
    CoarseRow<A> here(pair), below(pair);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / height, y = row % height;
      const bool last = y + 1 == height;
      if (row == begin || y == 0)
        here.read(pair, n, y);
      else
        std::swap(here, below);
      if (!last) below.read(pair, n, y + 1);
      multiply_neighbours(here, last ? here : below, width, pair.f.channels,
                          out + row * kPlanes * kProducts * width);
    }
  });
  return planes;
}

// Weights of same(first), same(second) and between(first).
template <typename A>
std::array<A, 3> square_weights(double t) {
  return {static_cast<A>((1 - t) * (1 - t)), static_cast<A>(t * t), static_cast<A>(t * (1 - t))};
}

// A coarse scale as the finest grid sees it.
template <typename A>
struct Resized {
  Tensor planes;
  int64_t height, width, out_height;
  std::vector<int32_t> first, second;
  std::vector<A> of_first, of_second, of_between;

  Resized(const Pair& pair, const Pair& finest, const Tensor& like)
      : planes(coarse_products<A>(pair, like)),
        height(pair.f.height),
        width(pair.f.width),
        out_height(finest.f.height) {
    for (int64_t x = 0; x < finest.f.width; ++x) {
      const Tap tap(x, width, finest.f.width);
      const auto weights = square_weights<A>(tap.fraction);
      first.push_back(static_cast<int32_t>(tap.first));
      second.push_back(static_cast<int32_t>(tap.second));
      of_first.push_back(weights[0]);
      of_second.push_back(weights[1]);
      of_between.push_back(weights[2]);
    }
  }

  // Adds the products at row y of the finest grid. scratch: 6 x width; sums: 3 x finest width.
  void add_row(int64_t n, int64_t y, A* __restrict scratch, A* __restrict sums) const {
    const Tap tap(y, height, out_height);
    const auto weights = square_weights<A>(tap.fraction);
    const int64_t plane = kProducts * width;
    const A* __restrict upper = data<A>(planes) + (n * height + tap.first) * kPlanes * plane;
    const A* __restrict lower = data<A>(planes) + (n * height + tap.second) * kPlanes * plane;
    for (int64_t i = 0; i < 2 * plane; ++i)  // kSame between kBelow, kRight between kDiagonal
      scratch[i] =
          weights[0] * upper[i] + weights[1] * lower[i] + weights[2] * upper[kBelow * plane + i];
    const int64_t count = static_cast<int64_t>(first.size());
    const int32_t* __restrict from = first.data(), * __restrict to = second.data();
    const A *__restrict a = of_first.data(), *__restrict b = of_second.data(),
            *__restrict c = of_between.data();
    for (int k = 0; k < kProducts; ++k) {
      const A* __restrict same = scratch + k * width;
      const A* __restrict between = scratch + plane + k * width;
      A* __restrict sum = sums + k * count;
      for (int64_t x = 0; x < count; ++x)
        sum[x] += a[x] * same[from[x]] + b[x] * same[to[x]] + c[x] * between[from[x]];
    }
  }
};

// One row's f r, f f and r r, read where they lie if that is possible. buffer: 2 rows.
template <typename A>
void products_of_row(const Pair& pair, int64_t n, int64_t y, A* buffer, A* products) {
  const int64_t width = pair.f.width, channels = pair.f.channels;
  if (pair.f.type() == ScalarType::BFloat16 && pair.r.type() == ScalarType::BFloat16 &&
      pair.f.dense() && pair.r.dense())
    return multiply_row(pair.f.in_place<BFloat16>(n, y), pair.r.in_place<BFloat16>(n, y), width,
                        channels, products);
  multiply_row(pair.f.read(n, y, buffer), pair.r.read(n, y, buffer + width * channels), width,
               channels, products);
}

// |.| of a sum of squares, at least eps; rounding may have left it below zero, and NaN stays NaN.
template <typename A>
inline A norm_of(A square) {
  const A norm = std::sqrt(square < 0 ? 0 : square);
  return norm < static_cast<A>(kCosineEps) ? static_cast<A>(kCosineEps) : norm;
}

// y: N x H x W of the pairs' grid; the pairs lie on it, the resized scales are brought to it.
template <typename A>
Tensor finest_map(const std::vector<Pair>& pairs, const std::vector<Resized<A>>& resized,
                  bool normalize, const Tensor& like) {
  const ChannelVectors& grid = pairs[0].f;
  const int64_t width = grid.width, height = grid.height, sums_size = kProducts * width;
  const Tensor map = empty({grid.samples, height, width}, like, kScalarType<A>);
  A* out = mutable_data<A>(map);
  int64_t channels = 0, coarse = 0;
  for (const Pair& pair : pairs) channels = std::max(channels, pair.f.channels);
  for (const auto& scale : resized) coarse = std::max(coarse, scale.width);
  parallel(grid.samples * height, pairs[0].row_grain(), [&](int64_t begin, int64_t end) {
    std::vector<A> sums(sums_size), products(sums_size), inverse(2 * width);
    std::vector<A> buffer(2 * width * channels), scratch(2 * kProducts * coarse);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / height, y = row % height;
      std::fill(sums.begin(), sums.end(), A(0));
      for (const Pair& pair : pairs) {
        products_of_row(pair, n, y, buffer.data(), products.data());
        std::fill(inverse.begin(), inverse.end(), A(1));
        if (normalize) invert_norms(products.data() + width, inverse.data(), 2 * width);
        const A *f = inverse.data(), *r = f + width, *from = products.data();
        for (int64_t x = 0; x < width; ++x) {
          sums[x] += from[x] * (f[x] * r[x]);
          sums[width + x] += from[width + x] * (f[x] * f[x]);
          sums[2 * width + x] += from[2 * width + x] * (r[x] * r[x]);
        }
      }
      for (const auto& scale : resized) scale.add_row(n, y, scratch.data(), sums.data());
      const A* __restrict total = sums.data();
      A* __restrict to = out + row * width;
      for (int64_t x = 0; x < width; ++x)
        to[x] = 1 - total[x] / (norm_of(total[width + x]) * norm_of(total[2 * width + x]));
    }
  });
  return map;
}

template <typename A>
std::vector<Tensor> maps_of(const std::vector<Pair>& pairs, bool unified, const Tensor& like) {
  std::vector<Tensor> maps;
  if (!unified) {
    for (const Pair& pair : pairs) maps.push_back(finest_map<A>({pair}, {}, false, like));
    return maps;
  }
  std::vector<Pair> aligned;
  std::vector<Resized<A>> resized;
  for (const Pair& pair : pairs) {
    if (pair.same_grid(pairs[0]))
      aligned.push_back(pair);
    else
      resized.emplace_back(pair, pairs[0], like);
  }
  maps.push_back(finest_map(aligned, resized, true, like));
  return maps;
}

// features, reconstructions: N x C x H x W each, alike in pairs. Returns N x H x W: of the first
// scale's grid if unified, else of every scale.
std::vector<Tensor> cosine_map(const std::vector<Tensor>& features,
                               const std::vector<Tensor>& reconstructions, bool unified) {
  const bool wide = check_cosine_map(features, reconstructions);
  std::vector<Pair> pairs;
  for (size_t i = 0; i < features.size(); ++i)
    pairs.push_back({ChannelVectors(features[i]), ChannelVectors(reconstructions[i])});
  return wide ? maps_of<double>(pairs, unified, features[0])
              : maps_of<float>(pairs, unified, features[0]);
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("cosine_map", TORCH_BOX(&invad::cosine_map));
}
