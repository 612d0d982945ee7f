// Division by a number that is the same for a whole launch.
#pragma once

#include "../stable.h"

namespace invad {

// n / d for n < 2^31, as a multiplication.
struct Divider {
  unsigned divisor, shift = 31, factor;

  explicit Divider(unsigned divisor) : divisor(divisor) {
    while ((uint64_t{1} << (shift - 31)) < divisor) ++shift;
    factor = static_cast<unsigned>(((uint64_t{1} << shift) + divisor - 1) / divisor);
  }
  __device__ __forceinline__ unsigned quotient(unsigned n) const {
    return static_cast<unsigned>((static_cast<uint64_t>(n) * factor) >> shift);
  }
};

}  // namespace invad
