// 8-connected regions of a mask, found on its runs: stretches of set pixels within a row.
#pragma once

#include <cstdint>
#include <vector>

namespace invad::scores {

// Pixels begin .. end - 1 of a map, counted in raster order.
struct MaskRun {
  uint32_t begin, end;
  uint32_t region;  // the first run of the region that it belongs to
};

class RegionFinder {
 public:
  // mask: height x width bytes, set where not 0; fewer than 2^31 of them.
  void find(const uint8_t* mask, int64_t height, int64_t width);

  // In raster order.
  const std::vector<MaskRun>& runs() const { return runs_; }
  // The number of pixels in the run's region.
  uint32_t area(const MaskRun& run) const { return areas_[run.region]; }
  int64_t regions() const { return regions_; }

 private:
  uint32_t root(uint32_t run);
  void append_runs(const uint8_t* row, uint32_t offset, uint32_t width);

  std::vector<MaskRun> runs_;
  std::vector<uint32_t> areas_;
  int64_t regions_ = 0;
};

// labels, areas: height x width. A label is 1 + its region's first pixel in raster order, an area
// the number of pixels of the pixel's own region; both 0 outside of the mask. Returns how many
// regions there are.
int64_t label_regions(const uint8_t* mask, int64_t height, int64_t width, int32_t* labels,
                      int32_t* areas);

}  // namespace invad::scores
