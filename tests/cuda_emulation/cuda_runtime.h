// Stands in for CUDA's header of this name: the part of CUDA C++ that csrc/cuda uses, for g++.
// What a kernel sees of its thread and block, shared memory, barriers and launches is in block.h,
// shuffles and votes in warp.h, atomics in atomics.h. README.md says what is checked and how to
// add to it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define INVAD_VECTOR_TYPES(type, name, bytes)                                   \
  struct alignas(2 * bytes) name##2 { type x, y; };                             \
  struct alignas(4 * bytes > 16 ? 16 : 4 * bytes) name##4 { type x, y, z, w; }; \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }              \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
INVAD_VECTOR_TYPES(int, int, 4)
INVAD_VECTOR_TYPES(unsigned, uint, 4)
INVAD_VECTOR_TYPES(float, float, 4)
INVAD_VECTOR_TYPES(double, double, 8)
#undef INVAD_VECTOR_TYPES

using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9 };

// Kernels have run when a launch returns.
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t = nullptr) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

// Global overloads of CUDA's that C++ has in std only, or not at all.
using std::max;
using std::min;
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(x); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32);
}

namespace cuda_emulation {
template <typename To, typename From>
To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace cuda_emulation
inline unsigned __float_as_uint(float x) { return cuda_emulation::bits<unsigned>(x); }
inline int __float_as_int(float x) { return cuda_emulation::bits<int>(x); }
inline float __uint_as_float(unsigned x) { return cuda_emulation::bits<float>(x); }
inline float __int_as_float(int x) { return cuda_emulation::bits<float>(x); }

// Loads and stores with a hint for the caches are loads and stores.
template <typename T>
T __ldg(const T* from) {
  return *from;
}
template <typename T>
T __ldcs(const T* from) {
  return *from;
}
template <typename T>
void __stcs(T* to, T value) {
  *to = value;
}
template <typename T>
void __stcg(T* to, T value) {
  *to = value;
}

#include "atomics.h"
#include "block.h"
#include "ptx.h"
#include "warp.h"
