// Outlines and extents of a mask's 8-connected regions; invad_fast/inspection/regions.py says what.
#pragma once

#include <cstdint>
#include <vector>

namespace invad::scores {

// Of n regions, in the raster order of their first pixels.
struct RegionShapes {
  std::vector<int64_t> boxes;    // n x 4: left, top, right, bottom, the last two beyond it
  std::vector<int64_t> areas;    // n: pixels
  std::vector<float> peaks;      // n: the highest score
  std::vector<double> longest;   // n: side of the smallest box around the outline at any angle
  std::vector<int64_t> corners;  // m x 2: x, y of the outer outlines, one after another
  std::vector<int64_t> ends;     // n: where each one's corners end
};

// mask: height x width bytes, set where not 0; scores: as many. down, across: how long a side of a
// pixel is, for `longest`.
RegionShapes region_shapes(const uint8_t* mask, const float* scores, int64_t height, int64_t width,
                           double down, double across);

}  // namespace invad::scores
