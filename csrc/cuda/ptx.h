// What CUDA C++ has no function for. Its own matrices on the tensor cores do not say which lane
// holds which element, and an epilogue has to know.
#pragma once

#include "../stable.h"

#ifdef __CUDACC__  // elsewhere tests/cuda_emulation has the same functions
namespace invad {

// Brings the 128 bytes around `from` into the second cache, and waits for nothing.
__device__ __forceinline__ void prefetch(const void* from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(from)));
}

// x, of which the compiler no longer knows that it is the same: what depends on it is computed
// again where it is needed, and not kept in registers that something else needs.
__device__ __forceinline__ int forget(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// Two or four 8 x 8 matrices of 16-bit elements from shared memory. Lane 8 m + r says where row r
// of matrix m begins: 16 bytes, aligned. to[m] = elements 2 (lane % 4) and the next of row lane
// / 4.
template <int kMatrices>
__device__ __forceinline__ void load_matrices(const void* row, unsigned (&to)[kMatrices]) {
  static_assert(kMatrices == 2 || kMatrices == 4);
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kMatrices == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

// c += a b in float32: 16 x 8, 16 x 16 and 16 x 8. With group = lane / 4 and place = lane % 4:
// a: matrices (rows 0-7, k 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15) as load_matrices gives
// them; b: two registers, k 0-7 and 8-15 of b's transpose, whose rows are its columns; c00, c01:
// row group, columns 2 place and the next; c10, c11: of row group + 8.
template <typename T>
__device__ __forceinline__ void multiply_add(const unsigned (&a)[4], const unsigned* b, float& c00,
                                             float& c01, float& c10, float& c11) {
  static_assert(std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>);
  if constexpr (std::is_same_v<T, Half>)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c00), "+f"(c01), "+f"(c10), "+f"(c11)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c00), "+f"(c01), "+f"(c10), "+f"(c11)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace invad
#endif
