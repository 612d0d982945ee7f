// Shuffles and votes: every lane named in the mask must call the same one.
#pragma once

#include <type_traits>

namespace cuda_emulation {

struct Lanes {
  uint64_t value[32];  // of the lanes in the mask
};

// Waits for the lanes of `mask` at this call; what each of them sent.
const Lanes& exchange(unsigned mask, uint64_t sent, const char* file, int line);

// Throws: `lane` is not in `mask`, so what a shuffle takes from it is not defined.
void check_in_mask(unsigned mask, int lane, const char* file, int line);

unsigned lane();

template <typename T>
T take_from(unsigned mask, T value, int source, const char* file, int line) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  uint64_t sent = 0;
  std::memcpy(&sent, &value, sizeof value);
  check_in_mask(mask, source, file, line);
  std::memcpy(&value, &exchange(mask, sent, file, line).value[source], sizeof value);
  return value;
}

template <typename F>
auto reduce(unsigned mask, uint64_t sent, F f, const char* file, int line) {
  const Lanes& lanes = exchange(mask, sent, file, line);
  uint64_t result = 0;
  bool first = true;
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) {
      result = first ? lanes.value[i] : f(result, lanes.value[i]);
      first = false;
    }
  return result;
}

}  // namespace cuda_emulation

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, INVAD_CALLED_FROM) {
  const int base = cuda_emulation::lane() & ~(width - 1);
  return cuda_emulation::take_from(mask, value, base + (source & (width - 1)), file, line);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32, INVAD_CALLED_FROM) {
  const int lane = cuda_emulation::lane(), source = lane ^ flip;
  // Reaching into a later group of `width` lanes gives a lane its own value.
  const bool own = source >= (lane & ~(width - 1)) + width;
  return cuda_emulation::take_from(mask, value, own ? lane : source, file, line);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, INVAD_CALLED_FROM) {
  const int lane = cuda_emulation::lane(), source = lane - static_cast<int>(by);
  const bool own = source < (lane & ~(width - 1));
  return cuda_emulation::take_from(mask, value, own ? lane : source, file, line);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, INVAD_CALLED_FROM) {
  const int lane = cuda_emulation::lane(), source = lane + static_cast<int>(by);
  const bool own = source >= (lane & ~(width - 1)) + width;
  return cuda_emulation::take_from(mask, value, own ? lane : source, file, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, INVAD_CALLED_FROM) {
  const uint64_t own = predicate ? uint64_t{1} << cuda_emulation::lane() : 0;
  const auto either = [](uint64_t a, uint64_t b) { return a | b; };
  return static_cast<unsigned>(cuda_emulation::reduce(mask, own, either, file, line));
}
inline int __any_sync(unsigned mask, int predicate, INVAD_CALLED_FROM) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, INVAD_CALLED_FROM) {
  return __ballot_sync(mask, predicate, file, line) == mask;
}
inline void __syncwarp(unsigned mask = 0xffffffff, INVAD_CALLED_FROM) {
  cuda_emulation::exchange(mask, 0, file, line);
}

template <typename T>
unsigned __match_any_sync(unsigned mask, T value, INVAD_CALLED_FROM) {
  uint64_t sent = 0;
  std::memcpy(&sent, &value, sizeof value);
  const cuda_emulation::Lanes& lanes = cuda_emulation::exchange(mask, sent, file, line);
  unsigned same = 0;
  for (int i = 0; i < 32; ++i)
    if ((mask >> i & 1) && lanes.value[i] == sent) same |= 1u << i;
  return same;
}

// For int and unsigned, as CUDA has them.
#define INVAD_REDUCE(name, result)                                            \
  template <typename T>                                                       \
  T name(unsigned mask, T value, INVAD_CALLED_FROM) {                         \
    static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned>);     \
    const auto f = [](uint64_t left, uint64_t right) -> uint64_t {            \
      const T a = static_cast<T>(left), b = static_cast<T>(right);            \
      return static_cast<unsigned>(result);                                   \
    };                                                                        \
    const uint64_t sent = static_cast<unsigned>(value);                       \
    return static_cast<T>(cuda_emulation::reduce(mask, sent, f, file, line)); \
  }
INVAD_REDUCE(__reduce_add_sync, a + b)
INVAD_REDUCE(__reduce_min_sync, a < b ? a : b)
INVAD_REDUCE(__reduce_max_sync, a < b ? b : a)
#undef INVAD_REDUCE
