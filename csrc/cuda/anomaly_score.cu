// map = mean over the scales of M map Mᵀ, score = maximum of the map: resize and Gaussian are one
// banded matrix M a side (csrc/resize_filter.h makes the same on the host). A first launch a side
// makes its band, in the order of the sums that no thread may change; then the rows of the small
// map get as wide as the result, then its columns as high, and every block leaves its maximum.
#include <cmath>

#include "../anomaly_score.h"
#include "bilinear.h"
#include "launch.h"

namespace invad {
namespace {

// M, target x source, by diagonals: entry (i, first[i] + k) is at weights[k target + i].
template <typename A>
struct Band {
  const int* first;
  const A* weights;
  int source, target, width;  // width: entries of a row

  // The sum over a row of M with the elements `step` apart.
  template <typename T>
  __device__ __forceinline__ A apply(int i, const T* x, int64_t step) const {
    const int from = first[i];
    A sum = 0;
#pragma unroll 4
    for (int k = 0; k < width; ++k)
      if (from + k < source)
        sum += weights[static_cast<int64_t>(k) * target + i] * static_cast<A>(x[(from + k) * step]);
    return sum;
  }
};

// Where position i + k of `length` is, mirrored at the edges with the edge sample.
__device__ __forceinline__ int mirrored(int64_t position, int length) {
  const int64_t period = 2 * static_cast<int64_t>(length);
  const int64_t wrapped = (position % period + period) % period;
  return static_cast<int>(wrapped < length ? wrapped : period - 1 - wrapped);
}

// The first source sample that row i of M reaches.
__device__ __forceinline__ int first_reached(int i, int radius, int source, int target) {
  if (i - radius <= 0) return 0;
  // A mirrored far edge comes back no further than the reach itself.
  return DeviceTap<float>(min(i - radius, target - 1), source, target).first;
}

// first: target; weights: width x target. One thread an entry, so that each sum has its order.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    make_band(int* __restrict__ first, A* __restrict__ weights, int source, int target, int width,
              int radius, A sigma) {
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (entry >= static_cast<int64_t>(width) * target) return;
  const int i = static_cast<int>(entry % target), k = static_cast<int>(entry / target);
  const int start = first_reached(i, radius, source, target), column = start + k;
  A sum = 0, all = 0;
  for (int offset = -radius; offset <= radius; ++offset) {
    const A z = radius > 0 ? static_cast<A>(offset) / sigma : A(0);
    const A weight = exp(static_cast<A>(-0.5) * z * z);
    all += weight;
    const DeviceTap<A> tap(mirrored(static_cast<int64_t>(i) + offset, target), source, target);
    if (tap.first == column) sum += weight * (1 - tap.fraction);
    if (tap.second == column) sum += weight * tap.fraction;
  }
  weights[entry] = sum / all;
  if (k == 0) first[i] = start;
}

// m: N x h x w, any strides; wide: N x h x W.
template <typename A, typename T>
__global__ void __launch_bounds__(kThreads)
    widen(const T* __restrict__ m, int64_t stride_n, int64_t stride_h, int64_t stride_w,
          Band<A> columns, A* __restrict__ wide, int64_t rows, int height) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t row = at / columns.target;
  if (row >= rows) return;
  const T* from = m + row / height * stride_n + row % height * stride_h;
  wide[at] = columns.apply(static_cast<int>(at % columns.target), from, stride_w);
}

// The larger, and NaN if either is.
template <typename A>
__device__ __forceinline__ A larger(A a, A b) {
  return a > b || a != a ? a : b;
}

// v, the largest of the block, in its first thread.
template <typename A>
__device__ __forceinline__ A largest_of_block(A v) {
  __shared__ A warps[kThreads / 32];
#pragma unroll
  for (int by = 16; by > 0; by /= 2) v = larger(v, __shfl_xor_sync(0xffffffff, v, by));
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int warp = 1; warp < kThreads / 32; ++warp) v = larger(v, warps[warp]);
  return v;
}

// wide: N x h x W; map: N x H x W, added to if `add`, times `factor` in the end; maxima: N x blocks
// of an image, or null. A block stays in one image.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    heighten(const A* __restrict__ wide, Band<A> rows, A* __restrict__ map, A* __restrict__ maxima,
             int width, bool add, A factor) {
  const int64_t size = static_cast<int64_t>(rows.target) * width;
  const int64_t place = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t n = blockIdx.y;
  A v = -INFINITY;
  if (place < size) {
    const A* from = wide + n * rows.source * width + place % width;
    v = rows.apply(static_cast<int>(place / width), from, width);
    A& to = map[n * size + place];
    v = (add ? to + v : v) * factor;
    to = v;
  }
  if (maxima == nullptr) return;
  v = largest_of_block(v);
  if (threadIdx.x == 0) maxima[n * gridDim.x + blockIdx.x] = v;
}

// maxima: N x count; score: N, one a block.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    reduce(const A* __restrict__ maxima, A* __restrict__ score, int count) {
  A v = -INFINITY;
  const A* from = maxima + static_cast<int64_t>(blockIdx.x) * count;
  for (int i = threadIdx.x; i < count; i += kThreads) v = larger(v, from[i]);
  v = largest_of_block(v);
  if (threadIdx.x == 0) score[blockIdx.x] = v;
}

template <typename A>
struct OwnedBand {
  Tensor first, weights;
  Band<A> band;

  OwnedBand(const CurrentStream& stream, int64_t source, int64_t target, double sigma,
            const Tensor& like) {
    check_sizes(source, target, "anomaly_score");
    const int64_t radius = sigma > 0 ? static_cast<int64_t>(4 * sigma + 0.5) : 0;
    // Both ends of the reach are rounded outwards.
    const int64_t reach =
        std::min(2 * radius, target) * (source - 1) / std::max<int64_t>(target - 1, 1) + 3;
    const int64_t width = std::min(reach, source);
    first = empty({target}, like, ScalarType::Int);
    weights = empty({width, target}, like, kScalarType<A>);
    band = {data<int>(first), data<A>(weights), static_cast<int>(source), static_cast<int>(target),
            static_cast<int>(width)};
    const Launch launch{dim3(ceil_div(width * target, kThreads)), dim3(kThreads)};
    launch(stream, make_band<A>, mutable_data<int>(first), mutable_data<A>(weights), source, target,
           width, radius, sigma);
  }
};

template <typename A>
void map_and_score(const std::vector<Tensor>& maps, double sigma, const AnomalyScore& of) {
  const CurrentStream stream(maps[0]);
  const int64_t samples = of.samples, blocks = ceil_div(of.height * of.width, kThreads);
  const Tensor maxima = empty({samples, blocks}, maps[0], kScalarType<A>);
  for (size_t i = 0; i < maps.size(); ++i) {
    const Tensor& m = maps[i];
    const int64_t rows = samples * m.size(1);
    const OwnedBand<A> across(stream, m.size(2), of.width, sigma, m);
    const OwnedBand<A> down(stream, m.size(1), of.height, sigma, m);
    const Tensor wide = empty({samples, m.size(1), of.width}, m, kScalarType<A>);
    dispatch_float(m, [&](auto type) {
      using T = decltype(type);
      const Launch launch{dim3(ceil_div(rows * of.width, kThreads)), dim3(kThreads)};
      launch(stream, widen<A, T>, data<T>(m), m.stride(0), m.stride(1), m.stride(2), across.band,
             mutable_data<A>(wide), rows, m.size(1));
    });
    const bool last = i + 1 == maps.size();
    const Launch launch{dim3(blocks, samples), dim3(kThreads)};
    launch(stream, heighten<A>, data<A>(wide), down.band, mutable_data<A>(of.map),
           last ? mutable_data<A>(maxima) : nullptr, of.width, i > 0,
           last ? 1 / static_cast<A>(maps.size()) : A(1));
  }
  const Launch launch{dim3(samples), dim3(kThreads)};
  launch(stream, reduce<A>, data<A>(maxima), mutable_data<A>(of.score), blocks);
}

std::tuple<Tensor, Tensor> anomaly_score(const std::vector<Tensor>& maps,
                                         const std::vector<int64_t>& size, double sigma) {
  const AnomalyScore of(maps, size, sigma);
  if (of.samples == 0) return {of.map, of.score};
  STD_TORCH_CHECK(of.samples < 65536, "anomaly_score: too many maps in one batch");
  if (of.map.scalar_type() == ScalarType::Double)
    map_and_score<double>(maps, sigma, of);
  else
    map_and_score<float>(maps, sigma, of);
  return {of.map, of.score};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CUDA, m) {
  m.impl("anomaly_score", TORCH_BOX(&invad::anomaly_score));
}
