// Sums over the threads of a block, in an order that never changes.
#pragma once

#include "launch.h"

namespace invad {

// values[k] = the sum of all threads' values[k], for every thread. All kThreads threads call it.
template <int K, typename A>
__device__ __forceinline__ void block_sum(A (&values)[K]) {
  constexpr int kWarps = kThreads / 32;
  __shared__ A of_warps[K][kWarps];
#pragma unroll
  for (int by = 16; by > 0; by /= 2) {
#pragma unroll
    for (int k = 0; k < K; ++k) values[k] += __shfl_xor_sync(0xffffffff, values[k], by);
  }
  __syncthreads();  // the last call's sums have been read
  if (threadIdx.x % 32 == 0) {
#pragma unroll
    for (int k = 0; k < K; ++k) of_warps[k][threadIdx.x / 32] = values[k];
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < K; ++k) {
    values[k] = of_warps[k][0];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) values[k] += of_warps[k][warp];
  }
}

}  // namespace invad
