// CUDA's atomics. One thread of the emulation runs at a time, so plain code is atomic; what a GPU
// leaves open, the order between threads, changes with INVAD_CUDA_EMULATION_ORDER (block.h).
#pragma once

#define INVAD_ATOMIC(name, result)             \
  template <typename T>                        \
  T name(T* at, std::common_type_t<T> value) { \
    const T old = *at;                         \
    *at = result;                              \
    return old;                                \
  }
INVAD_ATOMIC(atomicAdd, old + value)
INVAD_ATOMIC(atomicSub, old - value)
INVAD_ATOMIC(atomicExch, value)
INVAD_ATOMIC(atomicMin, value < old ? value : old)
INVAD_ATOMIC(atomicMax, old < value ? value : old)
INVAD_ATOMIC(atomicAnd, old& value)
INVAD_ATOMIC(atomicOr, old | value)
INVAD_ATOMIC(atomicXor, old ^ value)
INVAD_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
#undef INVAD_ATOMIC

template <typename T>
T atomicCAS(T* at, std::common_type_t<T> expected, std::common_type_t<T> value) {
  const T old = *at;
  if (old == expected) *at = value;
  return old;
}

inline void __threadfence() {}
inline void __threadfence_block() {}
