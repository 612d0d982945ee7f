// A region's weight, shared by its pixels: 1 / area in units of 2^-38, so that no sum depends on
// its order. The sum over 2^25 regions fits 64 bits; a region's own differs from 1 by no more than
// its area x 2^-39.
#pragma once

#include <cstdint>

namespace invad::scores {

constexpr uint64_t kRegionUnit = uint64_t{1} << 38;

#ifdef __CUDACC__
__host__ __device__
#endif
    inline uint64_t region_weight(uint32_t area) {
  return (kRegionUnit + area / 2) / area;
}

}  // namespace invad::scores
