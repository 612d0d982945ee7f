// y = leaky_relu(x + bias, 0.2) * sqrt(2), optionally (y + skip) / sqrt(2): one read, one write.
// Backward: one read of the gradient and of x or y, one write; the bias's sums on the way.
#include "../bias_leaky_relu.h"

#include <algorithm>

#include "../leaky_relu.h"
#include "element.h"
#include "parallel.h"

namespace invad {
namespace {

constexpr double kHalf = 0.70710678118654752440;

// Memory as rows that see one bias row each. Channels first: a row is a plane and its bias one
// number. Channels last: a row is so many pixels that it fills some vectors, and its bias repeats.
struct Rows {
  bool planes;
  int64_t channels, length, count, total;

  Rows(const Tensor& x, MemoryFormat layout)
      : planes(layout == MemoryFormat::Contiguous), channels(x.size(1)), total(x.numel()) {
    length = planes ? x.size(2) * x.size(3) : channels * ceil_div(256, channels);
    count = ceil_div(total, length);
  }
  int64_t grain() const { return ceil_div(kGrainElements, length); }
  // The last row of channels last may be shorter.
  int64_t length_of(int64_t row) const { return std::min(length, total - row * length); }
};

// One entry a channel -> what a row is added to: the same, or repeated to the row's length.
template <typename A>
std::vector<A> bias_row(const Tensor& bias, const Rows& rows) {
  const Tensor wide = in_layout(bias, MemoryFormat::Contiguous, kScalarType<A>);
  std::vector<A> row(rows.planes ? rows.channels : rows.length);
  for (size_t i = 0; i < row.size(); ++i) row[i] = data<A>(wide)[i % rows.channels];
  return row;
}

// One row: x, skip, y of `length` elements; bias(i) is what element i is added to.
template <typename A, bool kSkip, typename T, typename Bias>
inline void activate_row(const T* __restrict x, Bias bias, const T* __restrict skip,
                         T* __restrict y, int64_t length) {
  for (int64_t i = 0; i < length; ++i) {
    A v = leaky_relu(load(x, i) + bias(i));
    if constexpr (kSkip) v = (v + load(skip, i)) * static_cast<A>(kHalf);
    store(y, i, v);
  }
}

// x, skip, y: N x C x H x W, dense in one layout; bias: C.
template <typename T, bool kSkip>
void forward(const T* x, const Tensor& bias, const T* skip, T* y, const Rows& rows) {
  using A = Accumulate<T>;
  const std::vector<A> shifts = bias_row<A>(bias, rows);
  const A* shift = shifts.data();
  parallel(rows.count, rows.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * rows.length, length = rows.length_of(row);
      const T* add = kSkip ? skip + at : nullptr;
      if (rows.planes) {
        const A one = shift[row % rows.channels];
        activate_row<A, kSkip>(x + at, [one](int64_t) { return one; }, add, y + at, length);
      } else {
        activate_row<A, kSkip>(
            x + at, [shift](int64_t i) { return shift[i]; }, add, y + at, length);
      }
    }
  });
}

// One row's grad_x: the gradient by what the activation did there.
template <typename A>
inline A slope(A pre_activation, A grad, A positive, A negative) {
  return grad * (pre_activation > 0 ? positive : negative);
}

// grad, source, grad_x: N x C x H x W, dense in one layout; grad_bias: C. `source` and `bias` add
// up to the pre-activation, or to something of its sign. The sums are taken block by block and
// then in order: they do not depend on the number of threads.
template <typename T>
void backward(const T* grad, const T* source, const Tensor& bias, double gain, T* grad_x,
              Accumulate<T>* grad_bias, const Rows& rows) {
  using A = Accumulate<T>;
  const std::vector<A> shifts = bias_row<A>(bias, rows);
  const A* shift = shifts.data();
  const A positive = static_cast<A>(gain), negative = static_cast<A>(gain * kLeakySlope);
  const int64_t block_rows = rows.planes ? 1 : 64, width = rows.planes ? 1 : rows.length;
  const int64_t blocks = ceil_div(rows.count, block_rows);
  std::vector<A> partial(blocks * width);
  A* sums = partial.data();
  parallel(blocks, ceil_div(rows.grain(), block_rows), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      A* __restrict sum = sums + block * width;
      const int64_t last = std::min(rows.count, (block + 1) * block_rows);
      for (int64_t row = block * block_rows; row < last; ++row) {
        const int64_t at = row * rows.length, length = rows.length_of(row);
        const T* __restrict g = grad + at;
        const T* __restrict s = source + at;
        T* __restrict to = grad_x + at;
        if (rows.planes) {
          const A one = shift[row % rows.channels];
          A total = 0;
#pragma omp simd reduction(+ : total)
          for (int64_t i = 0; i < length; ++i) {
            const A v = slope(load(s, i) + one, load(g, i), positive, negative);
            store(to, i, v);
            total += v;
          }
          *sum = total;
        } else {
#pragma omp simd
          for (int64_t i = 0; i < length; ++i) {
            const A v = slope(load(s, i) + shift[i], load(g, i), positive, negative);
            store(to, i, v);
            sum[i] += v;
          }
        }
      }
    }
  });
  std::vector<double> total(rows.channels);
  const int64_t parts = blocks * width;
  for (int64_t from = 0; from < parts; from += rows.channels)
    for (int64_t c = 0; c < rows.channels; ++c) total[c] += partial[from + c];
  std::copy(total.begin(), total.end(), grad_bias);
}

// x, skip: N x C x H x W, bias: C. Returns y, shaped and laid out like x.
Tensor bias_leaky_relu(const Tensor& x, const Tensor& bias, std::optional<Tensor> skip) {
  const BiasLeakyRelu of(x, bias, skip);
  if (of.x.numel() == 0) return of.y;
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    const Rows rows(of.x, of.layout);
    if (of.skip)
      forward<T, true>(data<T>(of.x), of.bias, data<T>(of.skip), mutable_data<T>(of.y), rows);
    else
      forward<T, false>(data<T>(of.x), of.bias, nullptr, mutable_data<T>(of.y), rows);
  });
  return of.y;
}

// grad, source: N x C x H x W, bias: C. Returns grad_x, laid out like source, and grad_bias in
// float32 (float64 for float64).
std::tuple<Tensor, Tensor> bias_leaky_relu_backward(const Tensor& grad, const Tensor& source,
                                                    const Tensor& bias, bool has_skip) {
  const BiasLeakyReluBackward of(grad, source, bias);
  if (of.source.numel() == 0) return {of.grad_x, of.grad_bias};
  dispatch_float(of.source, [&](auto type) {
    using T = decltype(type);
    backward<T>(data<T>(of.grad), data<T>(of.source), of.bias, has_skip ? 1.0 : kLeakyGain,
                mutable_data<T>(of.grad_x), mutable_data<Accumulate<T>>(of.grad_bias),
                Rows(of.source, of.layout));
  });
  return {of.grad_x, of.grad_bias};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("bias_leaky_relu", TORCH_BOX(&invad::bias_leaky_relu));
  m.impl("bias_leaky_relu_backward", TORCH_BOX(&invad::bias_leaky_relu_backward));
}
