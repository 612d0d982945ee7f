// Mean and variance of each sample, for the ops that normalise: every chunk's in one launch; the
// next one's blocks add up the chunks of their sample by themselves.
#pragma once

#include "block_sum.h"
#include "sample_chunks.h"

namespace invad {

// x: samples x size. statistics: blocks x 2, the mean of each chunk and the sum of squared
// distances from it; taken in two passes over registers, so that nothing cancels.
template <typename T, int N>
static __global__ void __launch_bounds__(kThreads)
    chunk_moments(const T* __restrict__ x, Accumulate<T>* __restrict__ statistics, Chunks chunks) {
  using A = Accumulate<T>;
  const Chunk chunk(chunks);
  x += chunk.sample * chunks.size;
  A mean = 0, squares = 0;
  for (int tile = chunk.begin; tile < chunk.end; tile += kThreads * kUnroll * N) {
    A v[kUnroll][N];
    each_vector<N>(tile, chunk.end, [&](int u, int at) { load<N>(x + at, v[u]); });
    A sum[1] = {0}, square[1] = {0};
    each_vector<N>(tile, chunk.end, [&](int u, int) {
#pragma unroll
      for (int i = 0; i < N; ++i) sum[0] += v[u][i];
    });
    block_sum(sum);
    const A count = min(kThreads * kUnroll * N, chunk.end - tile);
    const A tile_mean = sum[0] / count;
    each_vector<N>(tile, chunk.end, [&](int u, int) {
#pragma unroll
      for (int i = 0; i < N; ++i) square[0] += (v[u][i] - tile_mean) * (v[u][i] - tile_mean);
    });
    block_sum(square);
    // Chan, Golub and LeVeque's rule for two sets.
    const A before = tile - chunk.begin, weight = count / (before + count);
    const A distance = tile_mean - mean;
    mean += distance * weight;
    squares += square[0] + distance * distance * (before * weight);
  }
  if (threadIdx.x == 0) {
    statistics[2 * static_cast<int64_t>(blockIdx.x)] = mean;
    statistics[2 * static_cast<int64_t>(blockIdx.x) + 1] = squares;
  }
}

template <typename A>
struct Normal {
  A mean, rstd;
};

// Of the whole sample, from its chunks' statistics.
template <typename A>
__device__ __forceinline__ Normal<A> add_up_statistics(const A* statistics, const Chunks& chunks,
                                                       double eps) {
  const double origin = statistics[0];
  double sums[2] = {0, 0};
  for (int i = threadIdx.x; i < chunks.per_sample; i += kThreads) {
    const double count = min(chunks.length, chunks.size - i * chunks.length);
    const double distance = statistics[2 * i] - origin;
    sums[0] += count * distance;
    sums[1] += statistics[2 * i + 1] + count * distance * distance;
  }
  block_sum(sums);
  const double offset = sums[0] / chunks.size;
  const double variance = sums[1] / chunks.size - offset * offset;
  // NaN stays NaN: max would drop it.
  const double safe = variance < 0 ? 0 : variance;
  return {static_cast<A>(origin + offset), static_cast<A>(rsqrt(safe + eps))};
}

// Of each chunk the mean and the squared distances from it.
struct ChunkStatistics {
  Chunks chunks;
  Tensor values;  // chunks of all samples x 2
};

// x: dense in either layout, not empty.
template <typename T>
ChunkStatistics chunk_statistics(const Tensor& x, const CurrentStream& stream) {
  using A = Accumulate<T>;
  std::optional<ChunkStatistics> result;
  with_vectors<T>(
      x.size(1) * x.size(2) * x.size(3),
      [&](auto n) {
        constexpr int N = decltype(n)::value;
        const Chunks chunks(x, N);
        const Tensor values = empty({chunks.blocks, 2}, x, kScalarType<A>);
        const Launch launch{dim3(chunks.blocks), dim3(kThreads)};
        launch(stream, chunk_moments<T, N>, data<T>(x), mutable_data<A>(values), chunks);
        result = ChunkStatistics{chunks, values};
      },
      data<T>(x));
  return *result;
}

}  // namespace invad
