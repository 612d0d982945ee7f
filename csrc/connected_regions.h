// connected_regions on every device: what it refuses, and its argument and results as the kernels
// have them.
#pragma once

#include "arguments.h"

namespace invad {

struct ConnectedRegions {
  Tensor mask;           // N x H x W bytes, dense, set where not 0
  Tensor labels, areas;  // N x H x W int32

  explicit ConnectedRegions(const Tensor& mask_in) {
    const Arguments of("connected_regions");
    const ScalarType type = mask_in.scalar_type();
    of.require(is_float(type) || type == ScalarType::Bool || type == ScalarType::Byte ||
                   type == ScalarType::Char || type == ScalarType::Short ||
                   type == ScalarType::Int || type == ScalarType::Long,
               [&] {
                 return "mask must be a dense tensor of bool, integers or floats, not " +
                        text(type);
               });
    of.require(mask_in.dim() == 3,
               [&] { return "mask must be N×H×W, not " + text(size_of(mask_in)); });
    of.require(mask_in.size(1) == 0 || mask_in.size(2) < (int64_t{1} << 31) / mask_in.size(1), [&] {
      return "a map must have fewer than 2³¹ pixels, not " + text(size_of(mask_in));
    });
    // A bool is a byte that is 0 or 1; other types are compared with 0 by becoming bools.
    const bool bytes = type == ScalarType::Byte || type == ScalarType::Bool;
    mask = in_layout(mask_in, MemoryFormat::Contiguous, bytes ? type : ScalarType::Bool);
    labels = empty(size_of(mask), mask, ScalarType::Int);
    areas = empty(size_of(mask), mask, ScalarType::Int);
  }
};

}  // namespace invad
