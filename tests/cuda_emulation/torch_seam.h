// Included before every .cu file: what the sources ask of a CUDA torch is answered here, so that
// they need no test code of their own. The ops are registered for CPU tensors in a namespace of
// their own, invad_fast_emulated; tests put them over invad_fast's.
#pragma once

#include "cuda_runtime.h"

// Functions of libtorch_cuda, or that want a GPU.
#define aoti_torch_get_current_cuda_stream cuda_emulation_get_current_stream
#define aoti_torch_create_device_guard cuda_emulation_create_device_guard
#define aoti_torch_delete_device_guard cuda_emulation_delete_device_guard

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#undef STD_CUDA_CHECK
#define STD_CUDA_CHECK(expression)                                        \
  do {                                                                    \
    if ((expression) != cudaSuccess)                                      \
      throw std::runtime_error("CUDA emulation: " #expression " failed"); \
  } while (0)

#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY_IMPL(ns, key, m) \
  _STABLE_TORCH_LIBRARY_IMPL(invad_fast_emulated, CPU, m, C10_UID)
