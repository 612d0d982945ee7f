// What is known of pixels before they are ranked.
#pragma once

#include <cstdint>
#include <vector>

#include "survey.h"

namespace invad::scores {

// Of each map.
struct MapSummary {
  std::vector<float> maxima;
  std::vector<uint8_t> anomalous;  // 1 where the mask has a pixel set

  void add(const Survey& survey);
};

// Of all pixels.
struct Summary {
  uint64_t normal = 0, anomalous = 0;
  int64_t regions = 0;
  uint32_t lowest_key = ~0u, highest_key = 0;
  bool finite = true;

  void add(const Summary& other);
  void add(const Survey& survey);
};

// Consecutive maps of at most so many pixels together, one map at least.
std::vector<Pixels> chunks_of(const Pixels& pixels, int64_t most_pixels);

// Buckets first .. last hold at most `limit` bytes, or are one bucket.
struct BucketRange {
  uint32_t first, last;
};

// All buckets in ranges, the highest first; a place takes 2 bytes, and 4 for an anomalous one's
// area.
std::vector<BucketRange> ranges_of(const std::vector<uint64_t>& normal,
                                   const std::vector<uint64_t>& anomalous, double limit);

}  // namespace invad::scores
