// Where bilinear resizing with align_corners=True reads, on the device; csrc/bilinear.h for sizes
// whose product fits 31 bits, which check_sizes makes sure of.
#pragma once

#include "../stable.h"

namespace invad {

template <typename A>
struct DeviceTap {
  int first, second;
  A fraction;

  __device__ __forceinline__ DeviceTap(int i, int source, int target) {
    const int steps = target > 1 ? target - 1 : 1, position = i * (source - 1);
    first = position / steps;
    second = first + 1 < source ? first + 1 : source - 1;
    fraction = static_cast<A>(position % steps) / static_cast<A>(steps);
  }
};

inline void check_sizes(int64_t source, int64_t target, const char* op) {
  STD_TORCH_CHECK(source < (int64_t{1} << 31) / target, op, ": a map is too large");
}

}  // namespace invad
