// y = leaky_relu(conv3x3(x) + bias + plus, slope) by Winograd's minimal filtering F(4 x 4, 3 x 3):
// 36 multiplications for each 4 x 4 tile of the output where the direct sum takes 144.
//
// x is cut into patches of 6 x 6 that overlap by two. Each patch is transformed (v = B^T d B); at
// each of its 36 positions the channels are multiplied with the transformed filters, one matrix
// product over all patches; and the products are transformed back to tiles (y = A^T m A).
#include "../winograd_conv.h"

#include <algorithm>

#include "parallel.h"

#ifdef INVAD_X86
#include <immintrin.h>
#endif

namespace invad {
namespace {

constexpr int64_t kTile = 4, kPatch = 6;
static_assert(kPositions == kPatch * kPatch);
// The points of the interpolation: 0, +-kNear, +-kFar and infinity (see ops/winograd_conv.py).
constexpr float kNear = 0.625f, kFar = 1.5f;
// What the transformed patches and products of a group may take: they come back from a cache.
constexpr int64_t kGroupBytes = 2 << 20;

struct Range {
  int64_t begin, end;
};

// How a matrix product's operands lie: entries from one row of `a`, from one k of `a` and of `b`,
// and from one row of `c` to the next.
struct Steps {
  int64_t a_row, a_k, b_k, c_row;
};

// Of maps of type T; factors are of type W, their products and sums float32.
template <typename T, typename W>
struct Kernels {
  void (*transform_patch)(const T*, int64_t, int64_t, Range, Range, int64_t, W*, int64_t);
  void (*multiply)(const W*, const W*, float*, int64_t, int64_t, Steps);
  void (*transform_tile)(const float*, int64_t, const float*, const T*, float, T*, int64_t, int64_t,
                         int64_t, int64_t, int64_t);
};

struct GradientKernels {
  void (*transform_patch)(const float*, int64_t, int64_t, Range, Range, int64_t, float*, int64_t);
  void (*transform_gradient)(const float*, int64_t, int64_t, int64_t, int64_t, int64_t, float*,
                             int64_t);
  void (*add_products)(const float*, const float*, float*, int64_t, int64_t, Steps);
};

// Unlike an ordinary loop, these vectors must be compiled for their instruction set from the
// start: once lowered to 128 bits they stay so.
typedef float Vec __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));
#pragma GCC diagnostic ignored "-Wpsabi"
namespace narrow {
#define KERNEL
#include "winograd_kernels.h"
#undef KERNEL
}  // namespace narrow
#ifdef INVAD_X86
namespace wide {
#define KERNEL __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma")))
#include "winograd_kernels.h"
#undef KERNEL
}  // namespace wide
namespace wide_bf16 {
#define KERNEL __attribute__((target("avx512f,avx512dq,avx512vl,avx512bf16,avx2,fma")))
#define BF16_INSTRUCTIONS
#include "winograd_kernels.h"
#undef BF16_INSTRUCTIONS
#undef KERNEL
}  // namespace wide_bf16
#endif

template <typename T, typename W>
const Kernels<T, W>& kernels() {
#ifdef INVAD_X86
  if (capability() >= Capability::kAvx512Bf16) return wide_bf16::kernels<T, W>;
  if (capability() >= Capability::kAvx512) return wide::kernels<T, W>;
#endif
  return narrow::kernels<T, W>;
}

const GradientKernels& gradient_kernels() {
#ifdef INVAD_X86
  if (capability() >= Capability::kAvx512) return wide::gradient_kernels;
#endif
  return narrow::gradient_kernels;
}

// What of 0 .. length lies in a window of `size` that begins at `from`, counted from there.
Range inside(int64_t from, int64_t size, int64_t length) {
  return {std::max<int64_t>(0, -from), std::min(size, length - from)};
}

// The images as tiles, row by row.
struct Tiles {
  int64_t height, width, down, across, count;

  explicit Tiles(const Tensor& x)
      : height(x.size(2)),
        width(x.size(3)),
        down(ceil_div(height, kTile)),
        across(ceil_div(width, kTile)),
        count(x.size(0) * down * across) {}

  int64_t image(int64_t tile) const { return tile / (down * across); }
  int64_t top(int64_t tile) const { return tile / across % down * kTile; }
  int64_t left(int64_t tile) const { return tile % across * kTile; }
  int64_t pixel(int64_t tile) const {
    return (image(tile) * height + top(tile)) * width + left(tile);
  }
};

// One patch of x, N x I x H x W, channels last.
template <typename K, typename T, typename W>
void transform_patch(const K& k, const T* x, const Tiles& tiles, int64_t tile, int64_t in, W* v,
                     int64_t position_step) {
  k.transform_patch(x + (tiles.pixel(tile) - tiles.width - 1) * in, tiles.width * in, in,
                    inside(tiles.top(tile) - 1, kPatch, tiles.height),
                    inside(tiles.left(tile) - 1, kPatch, tiles.width), in, v, position_step);
}

// A group so small that what passes between the steps stays in a cache, but no smaller than what
// makes reading all filters, or adding to their gradient, once more for each group worth it.
int64_t tiles_of_group(const Tiles& tiles, int64_t in, int64_t out, int64_t factor_bytes) {
  const int64_t tile_bytes = kPositions * (in * factor_bytes + out * sizeof(float));
  return std::min(tiles.count, std::max(kGroupBytes / tile_bytes, in * out / (in + out)));
}

// x: N x I x H x W, plus and y: N x O x H x W, channels last; bias: O; weight: 36 x O/64 x I x 64,
// or of bfloat16 36 x O/64 x I/2 x 64 x 2.
template <typename T, typename W>
void convolve(const T* x, const W* weight, const float* bias, const T* plus, float slope, T* y,
              const Tiles& tiles, int64_t in, int64_t out, const Tensor& like, ScalarType factors) {
  const Kernels<T, W>& k = kernels<T, W>();
  const int64_t group = tiles_of_group(tiles, in, out, sizeof(W));
  const Tensor patches = empty({kPositions, group, in}, like, factors);
  const Tensor products = empty({kPositions, group, out}, like, ScalarType::Float);
  W* v = mutable_data<W>(patches);
  float* m = mutable_data<float>(products);
  const int64_t panels = out / kPanel;
  using torch::stable::parallel_for;
  for (int64_t first = 0; first < tiles.count; first += group) {
    const int64_t count = std::min(group, tiles.count - first);
    parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        transform_patch(k, x, tiles, first + i, in, v + i * in, group * in);
    });
    parallel_for(0, kPositions * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t position = i / panels, panel = i % panels;
        k.multiply(v + position * group * in, weight + i * in * kPanel,
                   m + position * group * out + panel * kPanel, count, in, {in, 1, kPanel, out});
      }
    });
    parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t tile = first + i, at = tiles.pixel(tile) * out;
        k.transform_tile(m + i * out, group * out, bias, plus ? plus + at : nullptr, slope, y + at,
                         tiles.width * out, out, std::min(kTile, tiles.height - tiles.top(tile)),
                         std::min(kTile, tiles.width - tiles.left(tile)), out);
      }
    });
  }
}

// x: N x I x H x W, weight: 36 x O/64 x I x 64 of float32 or 36 x O/64 x I/2 x 128 of bfloat16,
// bias: O, plus: N x O x H x W. Returns N x O x H x W, channels last.
Tensor winograd_conv(const Tensor& x, const Tensor& weight, const Tensor& bias,
                     std::optional<Tensor> plus, double slope) {
  const WinogradConv of(x, weight, bias, plus, slope);
  if (of.y.numel() == 0) return of.y;
  const ScalarType factors = weight.scalar_type();
  const auto run = [&](auto element, auto factor) {
    using T = decltype(element);
    using W = decltype(factor);
    convolve(data<T>(of.x), data<W>(of.weight), data<float>(of.bias), data<T>(of.plus),
             static_cast<float>(slope), mutable_data<T>(of.y), Tiles(of.x), of.in, of.out, of.x,
             factors);
  };
  if (x.scalar_type() == ScalarType::Float)
    run(float{}, float{});
  else if (factors == ScalarType::Float)
    run(BFloat16{}, float{});
  else
    run(BFloat16{}, BFloat16{});
  return of.y;
}

// Of the transformed filters, 36 x O/64 x I x 64; x: N x I x H x W and grad: N x O x H x W,
// float32.
Tensor winograd_conv_backward(const Tensor& x_in, const Tensor& grad_in) {
  const WinogradConvBackward of(x_in, grad_in);
  const int64_t in = of.in, out = of.out, panels = out / kPanel;
  Tensor result = of.grad_weight;
  torch::stable::zero_(result);
  const GradientKernels& k = gradient_kernels();
  const Tiles tiles(of.x);
  const int64_t group = tiles_of_group(tiles, in, out, sizeof(float));
  const Tensor patches = empty({kPositions, group, in}, of.x, ScalarType::Float);
  const Tensor gradients = empty({kPositions, group, out}, of.x, ScalarType::Float);
  const float *from = data<float>(of.x), *g = data<float>(of.grad);
  float *v = mutable_data<float>(patches), *m = mutable_data<float>(gradients);
  float* sums = mutable_data<float>(result);
  using torch::stable::parallel_for;
  for (int64_t first = 0; first < tiles.count; first += group) {
    const int64_t count = std::min(group, tiles.count - first);
    parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t tile = first + i;
        transform_patch(k, from, tiles, tile, in, v + i * in, group * in);
        k.transform_gradient(g + tiles.pixel(tile) * out, tiles.width * out, out,
                             std::min(kTile, tiles.height - tiles.top(tile)),
                             std::min(kTile, tiles.width - tiles.left(tile)), out, m + i * out,
                             group * out);
      }
    });
    // Each thread has sums of its own: they do not depend on how many threads there are.
    parallel_for(0, kPositions * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t position = i / panels, panel = i % panels;
        k.add_products(v + position * group * in, m + position * group * out + panel * kPanel,
                       sums + i * in * kPanel, in, count, {1, in, out, kPanel});
      }
    });
  }
  return result;
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("winograd_conv", TORCH_BOX(&invad::winograd_conv));
  m.impl("winograd_conv_backward", TORCH_BOX(&invad::winograd_conv_backward));
}
