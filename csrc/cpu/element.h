// Reads and writes tensor elements of any type as numbers, in forms that compilers vectorise.
#pragma once

#include <cstdint>
#include <cstring>

#include "../stable.h"

namespace invad {

inline uint32_t bits_of(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

inline double load(const double* x, int64_t i) { return x[i]; }
inline float load(const float* x, int64_t i) { return x[i]; }
inline float load(const BFloat16* x, int64_t i) {
  return float_of(static_cast<uint32_t>(x[i].x) << 16);
}
inline float load(const Half* x, int64_t i) {
  // The exponent is moved to float32's place and its bias corrected by a multiplication, which is
  // right for subnormal numbers too; infinities and NaN keep a full exponent.
  const uint32_t half = x[i].x, magnitude = (half & 0x7fff) << 13;
  const uint32_t scaled = bits_of(float_of(magnitude) * 0x1p112f);
  const uint32_t special = magnitude | 0x7f800000;
  return float_of(((half & 0x8000) << 16) | (magnitude < 0x0f800000 ? scaled : special));
}

inline void store(double* y, int64_t i, double v) { y[i] = v; }
inline void store(float* y, int64_t i, float v) { y[i] = v; }
inline void store(BFloat16* y, int64_t i, float v) {
  const uint32_t bits = bits_of(v), nearest_even = bits + 0x7fff + ((bits >> 16) & 1);
  y[i].x = static_cast<uint16_t>(v == v ? nearest_even >> 16 : 0x7fc0);
}
inline void store(Half* y, int64_t i, float v) {
  const uint32_t bits = bits_of(v), magnitude = bits & 0x7fffffff;
  // Normal numbers: round to nearest even at bit 13, the exponent rebased; the carry may reach
  // infinity, as it should.
  const uint32_t normal = (magnitude - 0x38000000 + 0x0fff + ((bits >> 13) & 1)) >> 13;
  // Subnormal numbers: adding 0.5 lines their bits up with the end of the mantissa.
  const uint32_t small = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000;
  const uint32_t large = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;
  const uint32_t half = magnitude < 0x38800000 ? small : magnitude < 0x47800000 ? normal : large;
  y[i].x = static_cast<uint16_t>(half | ((bits >> 16) & 0x8000));
}

}  // namespace invad
