// A thread block on one CPU thread: every CUDA thread is a fiber that runs until it waits at a
// barrier, for its warp or for its block. Blocks run one after another.
#pragma once

#include <functional>
#include <map>

// Barriers of one kernel are told apart by where they are called.
#define INVAD_CALLED_FROM const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// A shared variable is thread_local: that keeps all of a library's in one range of memory, which is
// filled with NaN before every block; and `extern __shared__` is right C++.
#define __shared__ thread_local

namespace invad {
// The array that a kernel launched with dynamic shared memory uses; csrc/cuda/launch.h declares it.
constexpr size_t kEmulatedSharedBytes = 100 << 10;
extern thread_local unsigned char dynamic_shared[kEmulatedSharedBytes];
}  // namespace invad

void __syncthreads(INVAD_CALLED_FROM);
int __syncthreads_count(int predicate, INVAD_CALLED_FROM);
int __syncthreads_and(int predicate, INVAD_CALLED_FROM);
int __syncthreads_or(int predicate, INVAD_CALLED_FROM);

namespace cuda_emulation {
// Runs `thread` for every thread of every block. Throws where a GPU would hang, or could: threads
// of a block that wait at different barriers, or at one that others left out.
void launch(const std::function<void()>& thread, dim3 grid, dim3 block, size_t shared);
}  // namespace cuda_emulation

struct cudaLaunchAttribute {};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

// More than 48 kB of shared memory a kernel has only after asking for it.
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
namespace cuda_emulation {
inline std::map<const void*, size_t> allowed_shared_bytes;
}
template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int bytes) {
  cuda_emulation::allowed_shared_bytes[reinterpret_cast<const void*>(kernel)] = bytes;
  return cudaSuccess;
}

// The arguments are converted to the kernel's parameters, once, as CUDA does.
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const auto allowed =
      cuda_emulation::allowed_shared_bytes.find(reinterpret_cast<const void*>(kernel));
  if (config->dynamicSmemBytes > (48 << 10) &&
      (allowed == cuda_emulation::allowed_shared_bytes.end() ||
       config->dynamicSmemBytes > allowed->second))
    return cudaErrorInvalidValue;
  const auto run = [kernel](Parameters... given) { return [=] { kernel(given...); }; };
  cuda_emulation::launch(run(std::forward<Arguments>(arguments)...), config->gridDim,
                         config->blockDim, config->dynamicSmemBytes);
  return cudaSuccess;
}
