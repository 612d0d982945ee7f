// The activation that follows every equalised convolution, on every device.
#pragma once

#include "stable.h"

namespace invad {

constexpr double kLeakySlope = 0.2;
constexpr double kLeakyGain = 1.4142135623730950488;

// leaky_relu(v, 0.2) * sqrt(2); NaN stays NaN.
template <typename A>
C10_HOST_DEVICE inline A leaky_relu(A v) {
  return (v > 0 ? v : v * static_cast<A>(kLeakySlope)) * static_cast<A>(kLeakyGain);
}

}  // namespace invad
