// How every kernel is launched. cudaLaunchKernelEx rather than <<< >>>: the sources are plain C++
// for any compiler, and tests/cuda_emulation runs them where there is no GPU.
#pragma once

#include <utility>

#include "../stable.h"

namespace invad {

// The dynamic shared memory of the block, as many bytes as the launch asked for.
extern __shared__ __align__(16) unsigned char dynamic_shared[];

struct Launch {
  dim3 grid, block;
  size_t shared_bytes = 0;
  static constexpr size_t kUnasked = 48 << 10;  // shared memory that any kernel may have

  // The arguments are converted to the kernel's parameters.
  template <typename... Parameters, typename... Arguments>
  void operator()(const CurrentStream& stream, void (*kernel)(Parameters...),
                  Arguments&&... arguments) const {
    if (shared_bytes > kUnasked)
      STD_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(shared_bytes)));
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    STD_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
  }
};

constexpr int kThreads = 256;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace invad
