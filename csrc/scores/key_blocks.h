// Keys of many scores at a time, computed with vectors.
#pragma once

#include <algorithm>
#include <cstdint>

#include "float_key.h"
#include "wide.h"

namespace invad::scores {

constexpr int64_t kBlock = 64;

// scores, keys: kBlock of them.
INVAD_WIDE inline void block_keys(const float* scores, uint32_t* keys) {
  for (int64_t i = 0; i < kBlock; ++i) keys[i] = key_of(scores[i]);
}

// f(key) for each of `size` scores.
template <typename F>
inline void each_key(const float* scores, int64_t size, const F& f) {
  uint32_t keys[kBlock];
  int64_t i = 0;
  for (; i + kBlock <= size; i += kBlock) {
    block_keys(scores + i, keys);
    for (int64_t j = 0; j < kBlock; ++j) f(keys[j]);
  }
  for (; i < size; ++i) f(key_of(scores[i]));
}

struct KeyRange {
  uint32_t lowest = ~0u, highest = 0;
};

INVAD_WIDE inline KeyRange range_of(const float* scores, int64_t size) {
  // As keys: comparisons of floats would pass over NaN, whose keys lie outside of all others.
  uint32_t lowest = ~0u, highest = 0;
#pragma omp simd reduction(min : lowest) reduction(max : highest)
  for (int64_t i = 0; i < size; ++i) {
    const uint32_t key = key_of(scores[i]);
    lowest = std::min(lowest, key);
    highest = std::max(highest, key);
  }
  return {lowest, highest};
}

}  // namespace invad::scores
