// map = mean over the scales of M map Mᵀ, score = maximum of the map: resize and Gaussian are one
// banded matrix M a side. First the rows of the small map get as wide as the result, then each row
// of the result is a sum of a few of them, and its maximum is taken while it is at hand.
#include "../anomaly_score.h"

#include <cmath>

#include "../resize_filter.h"
#include "element.h"
#include "parallel.h"

namespace invad {
namespace {

// One scale's matrices, and its rows at the result's width: N x h x W.
template <typename A>
struct Scale {
  int64_t height;
  BandedMatrix<A> rows;
  Tensor wide;
};

// m: N x h x w, by = Mᵀ of w x W. Returns N x h x W.
template <typename A, typename T>
Tensor widen(const Tensor& m, const BandedMatrix<A>& by) {
  const int64_t samples = m.size(0), height = m.size(1), width = m.size(2), out_width = by.columns;
  const int64_t stride_n = m.stride(0), stride_h = m.stride(1), stride_w = m.stride(2);
  const Tensor wide = empty({samples, height, out_width}, m, kScalarType<A>);
  const T* from = data<T>(m);
  A* out = mutable_data<A>(wide);
  const int64_t cost = static_cast<int64_t>(by.weights.size()) + 1;
  parallel(samples * height, ceil_div(kGrainElements, cost), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* source = from + row / height * stride_n + row % height * stride_h;
      A* target = out + row * out_width;
      std::fill(target, target + out_width, A(0));
      for (int64_t x = 0; x < width; ++x) {
        const auto& band = by.rows[x];
        const A value = static_cast<A>(load(source, x * stride_w));
        const A* __restrict weight = by.weights.data() + band.at;
        A* __restrict to = target + band.first;
        for (int64_t i = 0; i < band.count; ++i) to[i] += value * weight[i];
      }
    }
  });
  return wide;
}

// to += sum of `count` rows, `width` apart, each times its weight.
template <typename A>
void add_rows(const A* __restrict rows, const A* weights, int64_t count, int64_t width,
              A* __restrict to) {
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    const A* __restrict r0 = rows + k * width, * __restrict r1 = r0 + width, * __restrict r2 = r1 + width, * __restrict r3 = r2 + width;
    const A w0 = weights[k], w1 = weights[k + 1], w2 = weights[k + 2], w3 = weights[k + 3];
    for (int64_t x = 0; x < width; ++x) to[x] += w0 * r0[x] + w1 * r1[x] + w2 * r2[x] + w3 * r3[x];
  }
  for (; k < count; ++k) {
    const A* __restrict row = rows + k * width;
    const A weight = weights[k];
    for (int64_t x = 0; x < width; ++x) to[x] += weight * row[x];
  }
}

// The maximum of a row; NaN if there is one.
template <typename A>
A maximum(const A* __restrict row, int64_t width) {
  A most = -INFINITY;
  int64_t missing = 0;
#pragma omp simd reduction(max : most) reduction(+ : missing)
  for (int64_t x = 0; x < width; ++x) {
    most = row[x] > most ? row[x] : most;
    missing += row[x] != row[x];
  }
  return missing ? static_cast<A>(NAN) : most;
}

// map: N x H x W; score: N.
template <typename A>
void filter(const std::vector<Scale<A>>& scales, int64_t samples, int64_t height, int64_t width,
            A* map, A* score) {
  std::vector<A> row_maximum(samples * height);
  const A share = 1 / static_cast<A>(scales.size());
  parallel(samples * height, ceil_div(kGrainElements, 8 * width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      A* __restrict to = map + row * width;
      std::fill(to, to + width, A(0));
      for (const Scale<A>& scale : scales) {
        const auto& band = scale.rows.rows[row % height];
        const int64_t first = row / height * scale.height + band.first;
        add_rows(data<A>(scale.wide) + first * width, scale.rows.weights.data() + band.at,
                 band.count, width, to);
      }
      if (scales.size() > 1)
        for (int64_t x = 0; x < width; ++x) to[x] *= share;
      row_maximum[row] = maximum(to, width);
    }
  });
  for (int64_t n = 0; n < samples; ++n) score[n] = maximum(row_maximum.data() + n * height, height);
}

template <typename A>
void map_and_score(const std::vector<Tensor>& maps, double sigma, const AnomalyScore& of) {
  std::vector<Scale<A>> scales;
  for (const Tensor& m : maps) {
    const BandedMatrix<A> columns = resize_filter<A>(m.size(2), of.width, sigma);
    const bool square = m.size(1) == m.size(2) && of.height == of.width;
    Scale<A> scale{m.size(1), square ? columns : resize_filter<A>(m.size(1), of.height, sigma), {}};
    dispatch_float(
        m, [&](auto type) { scale.wide = widen<A, decltype(type)>(m, columns.transposed()); });
    scales.push_back(std::move(scale));
  }
  filter(scales, of.samples, of.height, of.width, mutable_data<A>(of.map),
         mutable_data<A>(of.score));
}

std::tuple<Tensor, Tensor> anomaly_score(const std::vector<Tensor>& maps,
                                         const std::vector<int64_t>& size, double sigma) {
  const AnomalyScore of(maps, size, sigma);
  const bool wide = of.map.scalar_type() == ScalarType::Double;
  (wide ? map_and_score<double> : map_and_score<float>)(maps, sigma, of);
  return {of.map, of.score};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("anomaly_score", TORCH_BOX(&invad::anomaly_score));
}
