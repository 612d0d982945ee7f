// Keys of the scores that lie within a range, of many scores at a time.
#pragma once

#include <cstdint>

namespace invad::scores {

// Keys first .. first + span.
struct KeySpan {
  uint32_t first, span;

  bool holds(uint32_t key) const { return key - first <= span; }
};

// keys: `count` of them, of which the first are what `span` holds, in the scores' order, and the
// others are anything. Returns how many are held. No branch depends on a score.
int64_t held_keys(const float* scores, int64_t count, KeySpan span, uint32_t* keys);

}  // namespace invad::scores
