// 1 - cosine of features f and reconstructions r, every scale resized bilinearly to the first's
// grid without resizing them: csrc/cpu/cosine_map.cpp has the algebra. A block holds a tile of a
// coarse scale and its right and lower border in shared memory, some channels at a time, so that a
// vector is read once for all that its neighbours want of it. Then a light pass a scale adds these
// products up on the finest grid, and the pass over the finest scale makes the map.
#include "../cosine_map.h"
#include "bilinear.h"
#include "launch.h"
#include "ptx.h"
#include "vector.h"

namespace invad {
namespace {

constexpr double kNormalizeEps = 1e-12, kCosineEps = 1e-8;
constexpr int kProducts = 3;  // f r, f f, r r, in this order everywhere
enum Plane { kSame, kRight, kBelow, kDiagonal, kPlanes };

constexpr int kTileRows = 4, kTileColumns = 8;
constexpr int kLineColumns = kTileColumns + 1, kPositions = (kTileRows + 1) * kLineColumns;
constexpr int kChannels = 64;                                  // held at a time
constexpr int kLanes = kThreads / (kTileRows * kTileColumns);  // threads that share a pixel
constexpr int kRun = 4;                                        // channels a lane takes at once

// x: N x C x H x W, any strides.
template <typename T>
struct View {
  const T* x;
  int64_t n, c, h, w;

  explicit View(const Tensor& x)
      : x(data<T>(x)), n(x.stride(0)), c(x.stride(1)), h(x.stride(2)), w(x.stride(3)) {}

  __device__ __forceinline__ const T* at(int sample, int row, int column) const {
    return x + sample * n + row * h + column * w;
  }
  // Whether channels are neighbours, and whether vectors of them lie at multiples of 16 bytes.
  bool last() const { return c == 1; }
  bool vectors(int64_t channels) const {
    constexpr int N = kVector<T>;
    return last() && channels % N == 0 && n % N == 0 && h % N == 0 && w % N == 0 && aligned(x);
  }
};

// A grid of N x H x W pixels.
struct Grid {
  int samples, height, width;

  explicit Grid(const Tensor& x)
      : samples(static_cast<int>(x.size(0))),
        height(static_cast<int>(x.size(2))),
        width(static_cast<int>(x.size(3))) {}
  int64_t pixels() const { return static_cast<int64_t>(samples) * height * width; }
};

template <typename A>
__device__ __forceinline__ A inverse_norm(A square) {
  const A norm = sqrt(square);
  return 1 / (norm < static_cast<A>(kNormalizeEps) ? static_cast<A>(kNormalizeEps) : norm);
}

// At least eps; rounding may have left the square below zero, and NaN stays NaN.
template <typename A>
__device__ __forceinline__ A norm_of(A square) {
  const A norm = sqrt(square < 0 ? A(0) : square);
  return norm < static_cast<A>(kCosineEps) ? static_cast<A>(kCosineEps) : norm;
}

// What a pixel has with itself and its three neighbours 1: right, 2: below, 3: below right.
template <typename A>
struct Sums {
  A own[kProducts] = {};
  A norms[3][2] = {};  // of f and r at 1, 2, 3
  A pairs[4][4] = {};  // (0, 1), (0, 2), (0, 3), (1, 2): f f, r r, f r, r f

  __device__ __forceinline__ void add(const A (&f)[4], const A (&r)[4]) {
    own[0] += f[0] * r[0];
    own[1] += f[0] * f[0];
    own[2] += r[0] * r[0];
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      norms[k][0] += f[k + 1] * f[k + 1];
      norms[k][1] += r[k + 1] * r[k + 1];
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int p = k < 3 ? 0 : 1, q = k < 3 ? k + 1 : 2;
      pairs[k][0] += f[p] * f[q];
      pairs[k][1] += r[p] * r[q];
      pairs[k][2] += f[p] * r[q];
      pairs[k][3] += r[p] * f[q];
    }
  }
};

// The sum over the kLanes threads of a pixel, or over a warp.
template <int kCount, typename A>
__device__ __forceinline__ A sum_of_lanes(A v) {
#pragma unroll
  for (int by = kCount / 2; by > 0; by /= 2) v += __shfl_xor_sync(0xffffffff, v, by);
  return v;
}

// Both orders added, of unit vectors: f r, f f, r r; u and v: inverse norms of f and r.
template <typename A>
__device__ __forceinline__ void of_units(const A (&pair)[4], A u_p, A u_q, A v_p, A v_q,
                                         A (&to)[kProducts]) {
  to[0] += pair[2] * (u_p * v_q) + pair[3] * (v_p * u_q);
  to[1] += 2 * pair[0] * (u_p * u_q);
  to[2] += 2 * pair[1] * (v_p * v_q);
}

// planes: kPlanes x 3 x N x h x w. N: elements of f and r to load at once, along the channels;
// 1 also for memory in planes.
template <typename T, int N, bool kLast>
__global__ void __launch_bounds__(kThreads)
    multiply_neighbours(View<T> f, View<T> r, Accumulate<T>* __restrict__ planes, int channels,
                        int height, int width, int64_t pixels) {
  using A = Accumulate<T>;
  __shared__ __align__(32) A vectors[2][kPositions][kChannels];
  const int across = (width + kTileColumns - 1) / kTileColumns;
  const int down = (height + kTileRows - 1) / kTileRows;
  const int left = blockIdx.x % across * kTileColumns;
  const int top = blockIdx.x / across % down * kTileRows;
  const int sample = blockIdx.x / across / down;
  const int pixel = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const int row = pixel / kTileColumns, column = pixel % kTileColumns;
  const int position = row * kLineColumns + column;
  const int places[4] = {position, position + 1, position + kLineColumns,
                         position + kLineColumns + 1};
  Sums<A> sums;
  for (int start = 0; start < channels; start += kChannels) {
    constexpr int kLoads = kPositions * kChannels / N;
    for (int i = forget(threadIdx.x); i < 2 * kLoads; i += kThreads) {
      const int side = i / kLoads, k = i % kLoads;
      const int place = kLast ? k / (kChannels / N) : k % kPositions;
      const int channel = kLast ? k % (kChannels / N) * N : k / kPositions;
      // At the right and lower edge a vector is its own neighbour.
      const int y = min(top + place / kLineColumns, height - 1);
      const int x = min(left + place % kLineColumns, width - 1);
      A v[N] = {};
      if (start + channel < channels) {
        const View<T>& view = side == 0 ? f : r;
        load<N>(view.at(sample, y, x) + (start + channel) * view.c, v);
      }
#pragma unroll
      for (int e = 0; e < N; ++e) vectors[side][place][channel + e] = v[e];
    }
    __syncthreads();
#pragma unroll
    for (int c = lane * kRun; c < kChannels; c += kLanes * kRun) {
      A all[2][4][kRun];
#pragma unroll
      for (int side = 0; side < 2; ++side)
#pragma unroll
        for (int k = 0; k < 4; ++k) load<kRun>(&vectors[side][places[k]][c], all[side][k]);
#pragma unroll
      for (int e = 0; e < kRun; ++e) {
        const A of_f[4] = {all[0][0][e], all[0][1][e], all[0][2][e], all[0][3][e]};
        const A of_r[4] = {all[1][0][e], all[1][1][e], all[1][2][e], all[1][3][e]};
        sums.add(of_f, of_r);
      }
    }
    __syncthreads();
  }
  A u[4], v[4], same[kProducts], products[kPlanes - 1][kProducts] = {};
#pragma unroll
  for (int k = 0; k < kProducts; ++k) same[k] = sum_of_lanes<kLanes>(sums.own[k]);
  u[0] = inverse_norm(same[1]);
  v[0] = inverse_norm(same[2]);
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    u[k + 1] = inverse_norm(sum_of_lanes<kLanes>(sums.norms[k][0]));
    v[k + 1] = inverse_norm(sum_of_lanes<kLanes>(sums.norms[k][1]));
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int p = k < 3 ? 0 : 1, q = k < 3 ? k + 1 : 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) sums.pairs[k][i] = sum_of_lanes<kLanes>(sums.pairs[k][i]);
    of_units(sums.pairs[k], u[p], u[q], v[p], v[q], products[k < 3 ? k : 2]);
  }
  if (lane != 0 || top + row >= height || left + column >= width) return;
  A* to = planes + (static_cast<int64_t>(sample) * height + top + row) * width + left + column;
  const A scale[kProducts] = {u[0] * v[0], u[0] * u[0], v[0] * v[0]};
#pragma unroll
  for (int k = 0; k < kProducts; ++k) {
    to[k * pixels] = same[k] * scale[k];
#pragma unroll
    for (int plane = 1; plane < kPlanes; ++plane)
      to[(plane * kProducts + k) * pixels] = products[plane - 1][k];
  }
}

// A product of two linear interpolants between their samples.
template <typename A>
__device__ __forceinline__ A square(const DeviceTap<A>& tap, A at_first, A at_second, A between) {
  const A t = tap.fraction, rest = 1 - t;
  return rest * rest * at_first + t * t * at_second + t * rest * between;
}

// planes: kPlanes x 3 x N x h x w; totals: 3 x N x H x W, written where `first`, else added to.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    add_resized(const A* __restrict__ planes, A* __restrict__ totals, bool first, int64_t pixels,
                int height, int width, int64_t coarse_pixels, int coarse_height, int coarse_width) {
  const int64_t pixel = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pixel >= pixels) return;
  const DeviceTap<A> across(static_cast<int>(pixel % width), coarse_width, width);
  const int64_t row = pixel / width;
  const DeviceTap<A> down(static_cast<int>(row % height), coarse_height, height);
  const int64_t sample = row / height * coarse_height;
  const int64_t upper = (sample + down.first) * coarse_width;
  const int64_t lower = (sample + down.second) * coarse_width;
  const int64_t plane = kProducts * coarse_pixels;
  for (int k = 0; k < kProducts; ++k) {
    const A* from = planes + k * coarse_pixels;
    // Down first: what a column has with itself, and with the next.
    const auto column = [&](int which, int x) {
      const A* same = from + which * plane + x;
      return square(down, same[upper], same[lower], same[kBelow * plane + upper]);
    };
    const A v = square(across, column(kSame, across.first), column(kSame, across.second),
                       column(kRight, across.first));
    A& total = totals[k * pixels + pixel];
    total = first ? v : total + v;
  }
}

// map: N x H x W of f's own grid; totals: 3 x N x H x W of the other scales, or null. Channels
// last: a warp takes a pixel. Else: a warp takes 32 pixels, and eight of them share the channels.
template <typename T, int N, bool kLast>
__global__ void __launch_bounds__(kThreads)
    make_map(View<T> f, View<T> r, const Accumulate<T>* __restrict__ totals, bool normalize,
             Accumulate<T>* __restrict__ map, int channels, int height, int width, int64_t pixels) {
  using A = Accumulate<T>;
  constexpr int kWarps = kThreads / 32;
  const int64_t pixel = kLast ? static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y
                              : static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  const int64_t place = pixel < pixels ? pixel : pixels - 1, row = place / width;
  const int sample = static_cast<int>(row / height), x = static_cast<int>(place % width);
  const T* one = f.at(sample, static_cast<int>(row % height), x);
  const T* other = r.at(sample, static_cast<int>(row % height), x);
  A sums[kProducts] = {};
#pragma unroll 2
  for (int c = kLast ? threadIdx.x * N : threadIdx.y; c < channels; c += kLast ? 32 * N : kWarps) {
    A a[N], b[N];
    load<N>(one + c * f.c, a);
    load<N>(other + c * r.c, b);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sums[0] += a[i] * b[i];
      sums[1] += a[i] * a[i];
      sums[2] += b[i] * b[i];
    }
  }
  if (kLast) {
#pragma unroll
    for (int k = 0; k < kProducts; ++k) sums[k] = sum_of_lanes<32>(sums[k]);
  } else {
    __shared__ A parts[kProducts][kWarps][32];
#pragma unroll
    for (int k = 0; k < kProducts; ++k) {
      parts[k][threadIdx.y][threadIdx.x] = sums[k];
      sums[k] = 0;
    }
    __syncthreads();
    for (int k = 0; k < kProducts; ++k)
      for (int warp = 0; warp < kWarps; ++warp) sums[k] += parts[k][warp][threadIdx.x];
  }
  if (pixel >= pixels || (kLast ? threadIdx.x : threadIdx.y) != 0) return;
  if (normalize) {
    const A u = inverse_norm(sums[1]), v = inverse_norm(sums[2]);
    sums[0] *= u * v;
    sums[1] *= u * u;
    sums[2] *= v * v;
  }
  if (totals != nullptr)
    for (int k = 0; k < kProducts; ++k) sums[k] += totals[k * pixels + pixel];
  map[pixel] = 1 - sums[0] / (norm_of(sums[1]) * norm_of(sums[2]));
}

// f, r: N x C x H x W of one type.
struct Pair {
  Tensor f, r;
  Grid grid;
  int channels;

  // `wide`: in float64. Types that differ meet in the accumulation's.
  Pair(const Tensor& f_in, const Tensor& r_in, bool wide)
      : f(f_in), r(r_in), grid(f_in), channels(static_cast<int>(f_in.size(1))) {
    const bool converted = wide || f.scalar_type() != r.scalar_type();
    const ScalarType type = !converted ? f.scalar_type()
                            : wide     ? ScalarType::Double
                                       : ScalarType::Float;
    if (f.scalar_type() != type) f = torch::stable::to(f, type);
    if (r.scalar_type() != type) r = torch::stable::to(r, type);
  }
};

// Calls run(View f, View r, number of elements to load at once, whether channels come last).
template <typename F>
void with_views(const Pair& pair, F&& run) {
  dispatch_float(pair.f, [&](auto type) {
    using T = decltype(type);
    const View<T> f(pair.f), r(pair.r);
    if constexpr (kVector<T> > 1) {
      if (f.vectors(pair.channels) && r.vectors(pair.channels))
        return run(f, r, std::integral_constant<int, kVector<T>>{}, std::true_type{});
    }
    if (f.last())
      run(f, r, std::integral_constant<int, 1>{}, std::true_type{});
    else
      run(f, r, std::integral_constant<int, 1>{}, std::false_type{});
  });
}

Tensor map_of(const CurrentStream& stream, const Pair& pair, const Tensor* totals, bool normalize) {
  const Grid& grid = pair.grid;
  Tensor map;
  with_views(pair, [&](auto f, auto r, auto n, auto last) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(f.x)>>;
    using A = Accumulate<T>;
    constexpr bool kLast = decltype(last)::value;
    map = empty({grid.samples, grid.height, grid.width}, pair.f, kScalarType<A>);
    if (grid.samples == 0) return;
    const Launch launch{dim3(ceil_div(grid.pixels(), kLast ? kThreads / 32 : 32)),
                        dim3(32, kThreads / 32)};
    launch(stream, make_map<T, decltype(n)::value, kLast>, f, r,
           totals ? data<A>(*totals) : nullptr, normalize, mutable_data<A>(map), pair.channels,
           grid.height, grid.width, grid.pixels());
  });
  return map;
}

// Adds what the pair has on the finest grid to the totals, or makes them.
void add_scale(const CurrentStream& stream, const Pair& pair, const Grid& finest, bool first,
               Tensor& totals) {
  const Grid& grid = pair.grid;
  check_sizes(grid.height, finest.height, "cosine_map");
  check_sizes(grid.width, finest.width, "cosine_map");
  with_views(pair, [&](auto f, auto r, auto n, auto last) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(f.x)>>;
    using A = Accumulate<T>;
    if (first)
      totals =
          empty({kProducts, finest.samples, finest.height, finest.width}, pair.f, kScalarType<A>);
    if (grid.samples == 0) return;
    const Tensor planes =
        empty({kPlanes * kProducts, grid.samples, grid.height, grid.width}, pair.f, kScalarType<A>);
    const int64_t tiles = ceil_div(grid.height, kTileRows) * ceil_div(grid.width, kTileColumns);
    const Launch multiply{dim3(grid.samples * tiles), dim3(kThreads)};
    multiply(stream, multiply_neighbours<T, decltype(n)::value, decltype(last)::value>, f, r,
             mutable_data<A>(planes), pair.channels, grid.height, grid.width, grid.pixels());
    const Launch add{dim3(ceil_div(finest.pixels(), kThreads)), dim3(kThreads)};
    add(stream, add_resized<A>, data<A>(planes), mutable_data<A>(totals), first, finest.pixels(),
        finest.height, finest.width, grid.pixels(), grid.height, grid.width);
  });
}

// features, reconstructions: N x C x H x W each, alike in pairs. Returns N x H x W: of the first
// scale's grid if unified, else of every scale.
std::vector<Tensor> cosine_map(const std::vector<Tensor>& features,
                               const std::vector<Tensor>& reconstructions, bool unified) {
  const bool wide = check_cosine_map(features, reconstructions);
  for (const Tensor& f : features)
    STD_TORCH_CHECK(f.numel() / std::max<int64_t>(f.size(1), 1) < (int64_t{1} << 31),
                    "cosine_map: a feature map has too many pixels");
  const CurrentStream stream(features[0]);
  std::vector<Pair> pairs;
  for (size_t i = 0; i < features.size(); ++i)
    pairs.emplace_back(features[i], reconstructions[i], wide);
  std::vector<Tensor> maps;
  if (!unified) {
    for (const Pair& pair : pairs) maps.push_back(map_of(stream, pair, nullptr, false));
    return maps;
  }
  Tensor totals;
  for (size_t i = 1; i < pairs.size(); ++i)
    add_scale(stream, pairs[i], pairs[0].grid, i == 1, totals);
  maps.push_back(map_of(stream, pairs[0], pairs.size() > 1 ? &totals : nullptr, true));
  return maps;
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CUDA, m) {
  m.impl("cosine_map", TORCH_BOX(&invad::cosine_map));
}
