// Image scores that a region of at least a given area makes high, within a region of interest.
#pragma once

#include <cstdint>
#include <vector>

#include "survey.h"

namespace invad::scores {

// Of each map: the highest level at which the pixels at or above it, within the region of interest,
// have an 8-connected region of at least `least` pixels; minus infinity where there is none at any.
// Values are finite. inside: height x width bytes, 0 outside of the region; null for everywhere.
std::vector<float> region_scores(const Pixels& pixels, int64_t least, const uint8_t* inside);

}  // namespace invad::scores
