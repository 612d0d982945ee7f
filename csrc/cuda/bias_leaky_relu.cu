// y = leaky_relu(x + bias, 0.2) * sqrt(2), optionally (y + skip) / sqrt(2): one read, one write.
// Backward: one read of the gradient and of x or y, one write; the bias's sums on the way, in two
// steps of fixed order.
#include <algorithm>

#include "../bias_leaky_relu.h"
#include "../leaky_relu.h"
#include "channel_values.h"
#include "launch.h"
#include "vector.h"

namespace invad {
namespace {

constexpr double kHalf = 0.70710678118654752440;  // 1 / sqrt(2)

// Memory as rows that see one bias or one row of biases. Channels first: a row is a plane and its
// bias one number. Channels last: a row is a pixel and column c has the bias of channel c.
struct Rows {
  bool planes;
  int channels;
  int64_t count, length;

  Rows(const Tensor& x, MemoryFormat layout)
      : planes(layout == MemoryFormat::Contiguous), channels(static_cast<int>(x.size(1))) {
    length = planes ? x.size(2) * x.size(3) : x.size(1);
    count = x.numel() / length;
    STD_TORCH_CHECK(count < (int64_t{1} << 31) && length < (int64_t{1} << 31),
                    "bias_leaky_relu: x has too many elements");
  }
};

// A block is threadIdx.x along a row by threadIdx.y rows; `wide` covers a row of that many vectors.
dim3 block_for(int64_t vectors, unsigned least = 1) {
  unsigned wide = least;
  while (wide < vectors && wide < kThreads) wide *= 2;
  return dim3(wide, kThreads / wide);
}

// x, skip, y: rows x length, skip may be null; bias: C.
template <typename T, int N, bool kPlanes>
__global__ void __launch_bounds__(kThreads)
    forward(const T* __restrict__ x, ChannelValues bias, const T* __restrict__ skip,
            T* __restrict__ y, int rows, int length, int channels) {
  using A = Accumulate<T>;
  const int column = (blockIdx.y * blockDim.x + threadIdx.x) * N;
  if (column >= length) return;
  A shift[N];
  if (!kPlanes) {
#pragma unroll
    for (int i = 0; i < N; ++i) shift[i] = bias.get<A>(column + i);
  }
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
#pragma unroll 4
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; row < rows;
       row += step) {
    if (kPlanes) {
      const A one = bias.get<A>(static_cast<unsigned>(row) % channels);
#pragma unroll
      for (int i = 0; i < N; ++i) shift[i] = one;
    }
    const int64_t at = row * length + column;
    A v[N];
    load<N>(x + at, v);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = leaky_relu(v[i] + shift[i]);
    if (skip != nullptr) {
      A add[N];
      load<N>(skip + at, add);
#pragma unroll
      for (int i = 0; i < N; ++i) v[i] = (v[i] + add[i]) * static_cast<A>(kHalf);
    }
    store<N>(y + at, v);
  }
}

template <typename T>
void run_forward(const CurrentStream& stream, const T* x, ChannelValues bias, const T* skip, T* y,
                 const Rows& rows) {
  with_vectors<T>(
      rows.length,
      [&](auto n) {
        constexpr int N = decltype(n)::value;
        const int64_t vectors = ceil_div(rows.length, N);
        const dim3 block = block_for(vectors);
        const int64_t columns = ceil_div(vectors, block.x), groups = ceil_div(rows.count, block.y);
        // Four rows a thread where the GPU is filled all the same: four loads under way at once.
        const int64_t each = std::clamp<int64_t>(columns * groups / 1024, 1, 4);
        const Launch launch{dim3(ceil_div(groups, each), columns), block};
        launch(stream, rows.planes ? forward<T, N, true> : forward<T, N, false>, x, bias, skip, y,
               rows.count, rows.length, rows.channels);
      },
      x, skip, y);
}

// What each block of the backward sums up over.
struct Parts {
  static constexpr int64_t kMost = 512;  // blocks that share the rows of channels last
  int64_t count, rows;                   // parts, and rows in each

  // Channels first: a part is an image, and each of its planes is summed up by itself.
  Parts(const Rows& all, unsigned rows_at_once) {
    rows =
        all.planes ? all.channels : std::max<int64_t>(4 * rows_at_once, ceil_div(all.count, kMost));
    count = ceil_div(all.count, rows);
  }
};

template <typename T, int N>
__device__ __forceinline__ void slope(const T* grad, const T* source, T* grad_x, int64_t at,
                                      const Accumulate<T> (&shift)[N], Accumulate<T> positive,
                                      Accumulate<T> (&sum)[N]) {
  using A = Accumulate<T>;
  A g[N], s[N];
  load<N>(grad + at, g);
  load<N>(source + at, s);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    g[i] *= s[i] + shift[i] > 0 ? positive : positive * static_cast<A>(kLeakySlope);
    sum[i] += g[i];
  }
  store<N>(grad_x + at, g);
}

// Channels last. grad, source, grad_x: rows x length; bias: C; partial: parts x C. A thread keeps
// to its channels.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    backward_pixels(const T* __restrict__ grad, const T* __restrict__ source, ChannelValues bias,
                    Accumulate<T> gain, T* __restrict__ grad_x, Accumulate<T>* __restrict__ partial,
                    int rows, int length, int part_rows) {
  using A = Accumulate<T>;
  const int column = (blockIdx.y * blockDim.x + threadIdx.x) * N;
  A shift[N], sum[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    shift[i] = column < length ? bias.get<A>(column + i) : A(0);
    sum[i] = 0;
  }
  const int64_t first = static_cast<int64_t>(blockIdx.x) * part_rows;
  const int64_t last = first + part_rows < rows ? first + part_rows : rows;
  if (column < length) {
#pragma unroll 4
    for (int64_t row = first + threadIdx.y; row < last; row += blockDim.y)
      slope<T, N>(grad, source, grad_x, row * length + column, shift, gain, sum);
  }
  // shared[i][y][x]: neighbours in x lie side by side.
  __shared__ A shared[N * kThreads];
  A* mine = shared + threadIdx.x;
#pragma unroll
  for (int i = 0; i < N; ++i) mine[i * kThreads + threadIdx.y * blockDim.x] = sum[i];
  __syncthreads();
  if (threadIdx.y != 0 || column >= length) return;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    A total = 0;
    for (unsigned y = 0; y < blockDim.y; ++y) total += mine[i * kThreads + y * blockDim.x];
    partial[static_cast<int64_t>(blockIdx.x) * length + column + i] = total;
  }
}

// Channels first. grad, source, grad_x: planes x length; bias: C; partial: planes, which is
// N x C. blockDim.x threads, whole warps, share a plane.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    backward_planes(const T* __restrict__ grad, const T* __restrict__ source, ChannelValues bias,
                    Accumulate<T> gain, T* __restrict__ grad_x, Accumulate<T>* __restrict__ partial,
                    int planes, int length, int channels) {
  using A = Accumulate<T>;
  const int plane = blockIdx.x * blockDim.y + threadIdx.y;
  A shift[N], sum[N];
  const A one = plane < planes ? bias.get<A>(static_cast<unsigned>(plane) % channels) : A(0);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    shift[i] = one;
    sum[i] = 0;
  }
  if (plane < planes) {
    const int64_t start = static_cast<int64_t>(plane) * length;
#pragma unroll 2
    for (int column = threadIdx.x * N; column < length; column += blockDim.x * N)
      slope<T, N>(grad, source, grad_x, start + column, shift, gain, sum);
  }
  A total = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) total += sum[i];
  for (int by = 16; by > 0; by /= 2) total += __shfl_xor_sync(0xffffffff, total, by);
  __shared__ A shared[kThreads / 32];
  const int warps = blockDim.x / 32;
  if (threadIdx.x % 32 == 0) shared[threadIdx.y * warps + threadIdx.x / 32] = total;
  __syncthreads();
  if (threadIdx.x != 0 || plane >= planes) return;
  total = 0;
  for (int warp = 0; warp < warps; ++warp) total += shared[threadIdx.y * warps + warp];
  partial[plane] = total;
}

constexpr int kSumLanes = 16;

// partial: parts x C; grad_bias: C. Each of a channel's threads adds every kSumLanes-th part.
template <typename A>
__global__ void __launch_bounds__(32 * kSumLanes)
    add_parts(const A* __restrict__ partial, A* __restrict__ grad_bias, int parts, int channels) {
  const int channel = blockIdx.x * 32 + threadIdx.x;
  double sum = 0;
  if (channel < channels) {
#pragma unroll 4
    for (int part = threadIdx.y; part < parts; part += kSumLanes)
      sum += partial[static_cast<int64_t>(part) * channels + channel];
  }
  __shared__ double shared[kSumLanes][32];
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  sum = 0;
  for (int lane = 0; lane < kSumLanes; ++lane) sum += shared[lane][threadIdx.x];
  grad_bias[channel] = static_cast<A>(sum);
}

template <typename T>
void run_backward(const CurrentStream& stream, const BiasLeakyReluBackward& of, double gain) {
  using A = Accumulate<T>;
  const Rows rows(of.source, of.layout);
  const ChannelValues bias(of.bias);
  const T *grad = data<T>(of.grad), *source = data<T>(of.source);
  T* grad_x = mutable_data<T>(of.grad_x);
  with_vectors<T>(
      rows.length,
      [&](auto n) {
        constexpr int N = decltype(n)::value;
        const int64_t vectors = ceil_div(rows.length, N);
        const dim3 block = block_for(vectors, rows.planes ? 32 : 1);
        const Parts parts(rows, block.y);
        const Tensor partial = empty({parts.count, rows.channels}, of.source, kScalarType<A>);
        if (rows.planes) {
          const Launch launch{dim3(ceil_div(rows.count, block.y)), block};
          launch(stream, backward_planes<T, N>, grad, source, bias, gain, grad_x,
                 mutable_data<A>(partial), rows.count, rows.length, rows.channels);
        } else {
          const Launch launch{dim3(parts.count, ceil_div(vectors, block.x)), block};
          launch(stream, backward_pixels<T, N>, grad, source, bias, gain, grad_x,
                 mutable_data<A>(partial), rows.count, rows.length, parts.rows);
        }
        const Launch launch{dim3(ceil_div(rows.channels, 32)), dim3(32, kSumLanes)};
        launch(stream, add_parts<A>, data<A>(partial), mutable_data<A>(of.grad_bias), parts.count,
               rows.channels);
      },
      grad, source, grad_x);
}

// x, skip: N x C x H x W, bias: C. Returns y, shaped and laid out like x.
Tensor bias_leaky_relu(const Tensor& x, const Tensor& bias, std::optional<Tensor> skip) {
  const BiasLeakyRelu of(x, bias, skip);
  const CurrentStream stream(x);
  if (of.x.numel() == 0) return of.y;
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    run_forward(stream, data<T>(of.x), ChannelValues(of.bias), data<T>(of.skip),
                mutable_data<T>(of.y), Rows(of.x, of.layout));
  });
  return of.y;
}

// grad, source: N x C x H x W, bias: C. Returns grad_x, laid out like source, and grad_bias in
// float32 (float64 for float64).
std::tuple<Tensor, Tensor> bias_leaky_relu_backward(const Tensor& grad, const Tensor& source,
                                                    const Tensor& bias, bool has_skip) {
  const BiasLeakyReluBackward of(grad, source, bias);
  const CurrentStream stream(source);
  if (of.source.numel() == 0) return {of.grad_x, of.grad_bias};
  dispatch_float(of.source, [&](auto type) {
    run_backward<decltype(type)>(stream, of, has_skip ? 1.0 : kLeakyGain);
  });
  return {of.grad_x, of.grad_bias};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CUDA, m) {
  m.impl("bias_leaky_relu", TORCH_BOX(&invad::bias_leaky_relu));
  m.impl("bias_leaky_relu_backward", TORCH_BOX(&invad::bias_leaky_relu_backward));
}
