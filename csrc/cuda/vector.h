// What one thread moves at once: 16 bytes, the widest access there is, or a single element where
// memory does not lie at multiples of 16 bytes.
#pragma once

#include <cstring>

#include "../stable.h"

namespace invad {

// Elements of T in 16 bytes. float64 is for checks, not for speed: it takes the plain path.
template <typename T>
constexpr int kVector = std::is_same_v<T, double> ? 1 : 16 / sizeof(T);

// What an access of so many bytes is for the compiler.
template <int kBytes>
struct Word;
// Four float64: two accesses.
template <>
struct Word<32> {
  struct Type {
    uint4 low, high;
  };
};
template <>
struct Word<16> {
  using Type = uint4;
};
template <>
struct Word<8> {
  using Type = uint2;
};
template <>
struct Word<4> {
  using Type = uint32_t;
};
template <>
struct Word<2> {
  using Type = uint16_t;
};

// to = from[0 .. N), as numbers to compute with.
template <int N, typename T>
__device__ __forceinline__ void load(const T* from, Accumulate<T> (&to)[N]) {
  const auto word = *reinterpret_cast<const typename Word<N * sizeof(T)>::Type*>(from);
  T element[N];
  memcpy(element, &word, sizeof word);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = static_cast<Accumulate<T>>(element[i]);
}

// to[0 .. N) = from, rounded to T.
template <int N, typename T>
__device__ __forceinline__ void store(T* to, const Accumulate<T> (&from)[N]) {
  T element[N];
#pragma unroll
  for (int i = 0; i < N; ++i) element[i] = static_cast<T>(from[i]);
  typename Word<N * sizeof(T)>::Type word;
  memcpy(&word, element, sizeof word);
  *reinterpret_cast<typename Word<N * sizeof(T)>::Type*>(to) = word;
}

// to[0 .. N) = from[0 .. N). An assignment would be split into four stores, as store's would be
// where the compiler sees that its values are only copied.
template <int N, typename T>
__device__ __forceinline__ void copy(T* to, const T* from) {
  using W = typename Word<N * sizeof(T)>::Type;
  __stcg(reinterpret_cast<W*>(to), *reinterpret_cast<const W*>(from));
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
