// Where bilinear resizing with align_corners=True reads; the same as invad_fast/ops/bilinear.py.
#pragma once

#include <algorithm>
#include <cstdint>

namespace invad {

// The neighbours of one of `target` positions on a side of `source` samples: `fraction` of the way
// from `first` to `second`, which is `first` again at the end of the side.
struct Tap {
  int64_t first, second;
  double fraction;

  // Position i lies at i (source - 1) / (target - 1), computed in whole numbers.
  Tap(int64_t i, int64_t source, int64_t target) {
    const int64_t steps = std::max<int64_t>(target - 1, 1), position = i * (source - 1);
    first = position / steps;
    second = std::min(first + 1, source - 1);
    fraction = static_cast<double>(position % steps) / static_cast<double>(steps);
  }
};

}  // namespace invad
