// A vector of one number a channel, read as whatever float type it is stored in: converting it
// first would be a launch of its own, longer than what it does.
#pragma once

#include "../stable.h"

namespace invad {

struct ChannelValues {
  const void* values = nullptr;  // C, contiguous; null where there are none
  ScalarType type = ScalarType::Float;

  ChannelValues() = default;
  // `values` must outlive this.
  explicit ChannelValues(const Tensor& values)
      : values(values.const_data_ptr()), type(values.scalar_type()) {}

  template <typename A>
  __device__ __forceinline__ A get(int channel) const {
    switch (type) {
      case ScalarType::Float:
        return static_cast<const float*>(values)[channel];
      case ScalarType::BFloat16:
        return static_cast<const BFloat16*>(values)[channel];
      case ScalarType::Half:
        return static_cast<const Half*>(values)[channel];
      default:
        return static_cast<const double*>(values)[channel];
    }
  }
};

}  // namespace invad
