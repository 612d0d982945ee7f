// Image scores that one pixel alone cannot make high.
#pragma once

#include <cstdint>
#include <vector>

#include "survey.h"

namespace invad::scores {

// Of each map: the maximum of its average over all windows of window x window pixels that lie
// within it. 1 <= window <= height, width.
std::vector<double> pooled_maxima(const Pixels& pixels, int64_t window, int threads);

}  // namespace invad::scores
