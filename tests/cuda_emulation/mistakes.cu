// Kernels with a mistake each: the emulation must find every one of them.
#include "../../csrc/cuda/launch.h"
#include "../../csrc/cuda/ptx.h"

namespace {

__global__ void some_threads_at_a_barrier() {
  if (threadIdx.x < 16) __syncthreads();
}

__global__ void two_barriers() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void half_a_shuffle(float* to) {
  float v = 1;
  if (threadIdx.x < 16) v += __shfl_xor_sync(0xffffffff, v, 1);
  to[threadIdx.x] = v;
}

__global__ void shuffle_from_outside_its_mask(float* to) {
  if (threadIdx.x < 16) to[threadIdx.x] = __shfl_down_sync(0xffff, 1.0f, 4);
}

__global__ void too_much_shared_memory() {
  reinterpret_cast<float*>(invad::dynamic_shared)[threadIdx.x] = 1;
}

// Only the barrier is missing: each thread reads what its neighbour writes.
__global__ void no_barrier(float* to) {
  __shared__ float shared[64];
  shared[threadIdx.x] = 1;
  to[threadIdx.x] = shared[threadIdx.x ^ 1];
}

__global__ void beyond_the_end(float* to) { to[threadIdx.x + 1] = 1; }

__global__ void unaligned(float* to) {
  const auto* vector = reinterpret_cast<const float4*>(to + 1);
  if (threadIdx.x == 0) to[0] = vector->x;
}

__global__ void unaligned_row_of_a_matrix() {
  unsigned matrices[2];
  invad::load_matrices(invad::dynamic_shared + 8, matrices);
}

}  // namespace

// What is thrown, or what the kernel wrote to `to`, 64 floats.
extern "C" __attribute__((visibility("default"))) const char* run_mistake(int which, float* to) {
  static std::string message;
  size_t shared_bytes = 63 * sizeof(float);
  const auto run = [&](auto* kernel, auto... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(1);
    config.blockDim = dim3(64);
    config.dynamicSmemBytes = shared_bytes;
    STD_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, arguments...));
  };
  try {
    message.clear();
    switch (which) {
      case 0:
        run(some_threads_at_a_barrier);
        break;
      case 1:
        run(two_barriers);
        break;
      case 2:
        run(half_a_shuffle, to);
        break;
      case 3:
        run(shuffle_from_outside_its_mask, to);
        break;
      case 4:
        run(too_much_shared_memory);
        break;
      case 5:
        run(no_barrier, to);
        break;
      case 6:
        run(beyond_the_end, to);
        break;
      case 7:
        run(unaligned, to);
        break;
      case 8:
        run(unaligned_row_of_a_matrix);
        break;
      default:
        shared_bytes = 50000;  // and nobody asked for more than 48 kB
        run(too_much_shared_memory);
    }
  } catch (const std::exception& error) {
    message = error.what();
  }
  return message.c_str();
}
