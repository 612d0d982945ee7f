// What is to be known of pixels before they are put into buckets: how many go into each, where the
// regions of the masks are, the least and the greatest score.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace invad::scores {

struct Pixels {
  const float* scores;   // maps x height x width
  const uint8_t* masks;  // the same; null: all are normal
  int64_t maps, height, width;

  int64_t map_size() const { return height * width; }
};

// Anomalous pixels begin .. end - 1 of a map, all of one region with `area` pixels.
struct AnomalousRun {
  uint32_t begin, end, area;
};

// What one thread found in its share of the maps.
struct ThreadSurvey {
  int64_t first_map, last_map;
  std::vector<AnomalousRun> runs;
  std::vector<size_t> run_ends;             // of each map, in `runs`
  std::vector<uint32_t> highest_keys;       // of each map
  std::vector<uint32_t> normal, anomalous;  // kBuckets; empty where there is nothing
  uint32_t lowest_key = ~0u, highest_key = 0;
  int64_t regions = 0;
};

struct Survey {
  std::vector<ThreadSurvey> threads;
  std::vector<uint64_t> normal, anomalous;  // kBuckets
  uint32_t lowest_key = ~0u, highest_key = 0;
  int64_t regions = 0;
  bool finite = true;
};

// Fewer than 2^31 pixels at a time.
Survey survey(const Pixels& pixels, int threads);

// Whether no score is NaN or infinite.
bool all_finite(const Pixels& pixels, int threads);

}  // namespace invad::scores
