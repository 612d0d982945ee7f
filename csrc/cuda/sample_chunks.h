// How the ops that normalise share a sample out: chunks of neighbouring elements, one a block, so
// that a batch of one fills the GPU as well. Where chunks begin depends on the shape alone: so do
// the sums, whatever the GPU.
#pragma once

#include <algorithm>

#include "divider.h"
#include "launch.h"
#include "vector.h"

namespace invad {

// Vectors that a thread has under way at once.
constexpr int kUnroll = 4;

struct Chunks {
  static constexpr int64_t kMost = 512;  // every block adds up all chunks of its sample

  int size;        // elements of a sample
  int length;      // of a chunk, but for a sample's last
  int per_sample;  // chunks
  int64_t blocks;

  Chunks(const Tensor& x, int vector) {
    const int64_t sample = x.size(1) * x.size(2) * x.size(3);
    STD_TORCH_CHECK(sample < (int64_t{1} << 30), "a sample is too large");
    const int64_t tile = int64_t{kThreads} * kUnroll * vector;
    size = static_cast<int>(sample);
    length = static_cast<int>(tile * ceil_div(sample, tile * kMost));
    per_sample = static_cast<int>(ceil_div(sample, length));
    blocks = x.size(0) * per_sample;
    STD_TORCH_CHECK(blocks < (int64_t{1} << 31), "x has too many elements");
  }
};

// The chunk of a block.
struct Chunk {
  int64_t sample;
  int begin, end;  // elements of the sample

  __device__ explicit Chunk(const Chunks& chunks) : sample(blockIdx.x / chunks.per_sample) {
    begin = static_cast<int>(blockIdx.x % chunks.per_sample) * chunks.length;
    end = min(begin + chunks.length, chunks.size);
  }
};

// Calls f(u, element) for u = 0 .. kUnroll - 1, the thread's vectors of N in the tile at `tile`.
template <int N, typename F>
__device__ __forceinline__ void each_vector(int tile, int end, const F& f) {
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int at = tile + (u * kThreads + static_cast<int>(threadIdx.x)) * N;
    if (at < end) f(u, at);
  }
}

// Where element i of a sample has its gamma; beta is `half` further.
struct GammaBeta {
  bool last;
  int half;
  Divider channels;

  GammaBeta(const Tensor& x, MemoryFormat layout, const Chunks& chunks)
      : last(layout == MemoryFormat::ChannelsLast),
        half(last ? static_cast<int>(x.size(1)) : chunks.size),
        channels(static_cast<unsigned>(x.size(1))) {}

  __device__ __forceinline__ int gamma(int i) const {
    return last ? i + static_cast<int>(channels.quotient(i) * channels.divisor) : i;
  }
};

}  // namespace invad
