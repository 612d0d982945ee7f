// What is known of each sample once it is normalised, on every device.
#pragma once

#include <cmath>
#include <utility>

#include "stable.h"

namespace invad {

// Mean and 1 / standard deviation of N samples of x, to be filled in; of samples without an element
// they are not numbers.
template <typename T>
std::pair<Tensor, Tensor> empty_statistics(const Tensor& x) {
  const auto one = [&] {
    const Tensor values = empty({x.size(0)}, x, kScalarType<Accumulate<T>>);
    if (x.numel() == 0) torch::stable::fill_(values, NAN);
    return values;
  };
  return {one(), one()};
}

}  // namespace invad
