// What one thread moves at once: 16 bytes, the widest access there is, or a single element where
// memory does not lie at multiples of 16 bytes.
#pragma once

#include "../stable.h"

namespace invad {

// Elements of T in 16 bytes. float64 is for checks, not for speed: it takes the plain path.
template <typename T>
constexpr int kVector = std::is_same_v<T, double> ? 1 : 16 / sizeof(T);

template <typename T, int N>
struct alignas(N * sizeof(T)) Vector {
  T element[N];
};

// to = from[0 .. N), as numbers to compute with.
template <int N, typename T>
__device__ __forceinline__ void load(const T* from, Accumulate<T> (&to)[N]) {
  const auto vector = *reinterpret_cast<const Vector<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = static_cast<Accumulate<T>>(vector.element[i]);
}

// to[0 .. N) = from, rounded to T.
template <int N, typename T>
__device__ __forceinline__ void store(T* to, const Accumulate<T> (&from)[N]) {
  Vector<T, N> vector;
#pragma unroll
  for (int i = 0; i < N; ++i) vector.element[i] = static_cast<T>(from[i]);
  *reinterpret_cast<Vector<T, N>*>(to) = vector;
}

inline bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// Calls f with the number of elements to move at once, as a type: N where rows of `length` elements
// stay aligned and so are all `pointers` (null is); else 1.
template <typename T, int N = kVector<T>, typename F, typename... Pointers>
void with_vectors(int64_t length, F&& f, const Pointers*... pointers) {
  if constexpr (N > 1) {
    if (length % N == 0 && (aligned(pointers) && ...)) return f(std::integral_constant<int, N>{});
  }
  f(std::integral_constant<int, 1>{});
}

}  // namespace invad
