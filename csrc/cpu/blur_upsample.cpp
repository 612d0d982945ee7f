// The 4 x 4 low-pass filter outer([1, 3, 3, 1]) / 64 * 4 with zero padding, then bias and leaky
// ReLU where a bias is given: one read, one write. The filter is separable: four input rows are
// added up into a padded line, and the line's neighbours into a row of the output.
#include "../blur_upsample.h"

#include <algorithm>

#include "../leaky_relu.h"
#include "element.h"
#include "parallel.h"

namespace invad {
namespace {

constexpr double kOuter = 0.25, kInner = 0.75;  // [1, 3, 3, 1] / 8 * 2
constexpr int64_t kTileElements = 512;

// Memory as images of rows. Channels first: an image is one channel's plane and neighbours are one
// element apart. Channels last: an image holds all channels and neighbours are C apart.
struct Images {
  int64_t count, height, row, out_height, out_row, step, channels, padding;

  Images(const Tensor& x, MemoryFormat layout, int64_t padding)
      : channels(x.size(1)), padding(padding) {
    const bool last = layout == MemoryFormat::ChannelsLast;
    step = last ? channels : 1;
    count = x.numel() / (x.size(2) * x.size(3) * step);
    height = x.size(2);
    row = x.size(3) * step;
    out_height = height + 2 * padding - 3;
    out_row = row + (2 * padding - 3) * step;
  }
};

// Output rows that are worked on at once, from kRows + 3 rows of the input.
constexpr int64_t kRows = 4;

// line + k * stride: the vertical filter over rows k to k + 3 of the input, elements begin to end.
template <typename A, typename T>
inline void add_rows(const T* const* rows, A* line, int64_t stride, int64_t begin, int64_t end) {
  static_assert(kRows == 4);
  const A outer = static_cast<A>(kOuter), inner = static_cast<A>(kInner);
  const T *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3], *r4 = rows[4], *r5 = rows[5],
          *r6 = rows[6];
  A *l0 = line, *l1 = l0 + stride, *l2 = l1 + stride, *l3 = l2 + stride;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const A a = load(r0, i), b = load(r1, i), c = load(r2, i), d = load(r3, i), e = load(r4, i),
            f = load(r5, i), g = load(r6, i);
    l0[i] = outer * (a + d) + inner * (b + c);
    l1[i] = outer * (b + e) + inner * (c + d);
    l2[i] = outer * (c + f) + inner * (d + e);
    l3[i] = outer * (d + g) + inner * (e + f);
  }
}

// y: count elements, the horizontal filter over a padded line; bias(i) is for element i of them.
template <bool kBias, typename A, typename T, typename Bias>
inline void add_neighbours(const A* __restrict line, int64_t step, Bias bias, T* __restrict y,
                           int64_t count) {
  const A outer = static_cast<A>(kOuter), inner = static_cast<A>(kInner);
  for (int64_t i = 0; i < count; ++i) {
    A v = outer * (line[i] + line[i + 3 * step]) + inner * (line[i + step] + line[i + 2 * step]);
    if constexpr (kBias) v = leaky_relu(v + bias(i));
    store(y, i, v);
  }
}

// x: N x C x H x W, y: N x C x H + 2 padding - 3 x W + 2 padding - 3, bias: C or null.
template <typename T>
void blur(const T* x, const Accumulate<T>* bias, T* y, const Images& images) {
  using A = Accumulate<T>;
  const int64_t row = images.row, out_row = images.out_row, step = images.step;
  const int64_t margin = images.padding * step, stride = row + 2 * margin;
  const std::vector<T> no_row(row, static_cast<T>(0));
  const int64_t groups = ceil_div(images.out_height, kRows);
  // A tile of a line and its neighbours stay in the first cache between the two filters.
  const int64_t tile = step * ceil_div(kTileElements, step);
  parallel(images.count * groups, ceil_div(kGrainElements, kRows * out_row),
           [&](int64_t begin, int64_t end) {
             std::vector<A> lines(kRows * stride, static_cast<A>(0));
             for (int64_t i = begin; i < end; ++i) {
               const int64_t image = i / groups, first = i % groups * kRows;
               const int64_t count = std::min(kRows, images.out_height - first);
               const T* from = x + image * images.height * row;
               const T* rows[kRows + 3];
               for (int64_t k = 0; k < kRows + 3; ++k) {
                 const int64_t at = first - images.padding + k;
                 rows[k] = at < 0 || at >= images.height ? no_row.data() : from + at * row;
               }
               int64_t filtered = 0;
               for (int64_t left = 0; left < out_row; left += tile) {
                 const int64_t width = std::min(tile, out_row - left);
                 // Elements of the input's rows that the tile needs: in the line they lie a margin
                 // further.
                 const int64_t needed = std::min(left + width + 3 * step - margin, row);
                 add_rows(rows, lines.data() + margin, stride, filtered, needed);
                 filtered = std::max(filtered, needed);
                 for (int64_t k = 0; k < count; ++k) {
                   const A* line = lines.data() + k * stride + left;
                   T* to = y + (image * images.out_height + first + k) * out_row + left;
                   if (bias == nullptr) {
                     add_neighbours<false>(line, step, [](int64_t) { return A(); }, to, width);
                   } else if (step == 1) {
                     const A one = bias[image % images.channels];
                     add_neighbours<true>(line, step, [one](int64_t) { return one; }, to, width);
                   } else {
                     for (int64_t pixel = 0; pixel < width; pixel += step)
                       add_neighbours<true>(
                           line + pixel, step, [bias](int64_t c) { return bias[c]; }, to + pixel,
                           step);
                   }
                 }
               }
             }
           });
}

// x: N x C x H x W, bias: C. Returns the filtered x in the layout of x.
Tensor blur_upsample(const Tensor& x, std::optional<Tensor> bias, int64_t padding) {
  const BlurUpsample of(x, bias, padding);
  if (of.x.numel() == 0) return of.y;
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulate<T>;
    if (bias) bias = in_layout(*of.bias, MemoryFormat::Contiguous, kScalarType<A>);
    blur(data<T>(of.x), data<A>(bias), mutable_data<T>(of.y), Images(of.x, of.layout, padding));
  });
  return of.y;
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("blur_upsample", TORCH_BOX(&invad::blur_upsample));
}
