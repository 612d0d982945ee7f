// Sorts pixels into buckets by the upper half of their scores' keys: two bytes a pixel remain.
//
// survey() reads the pixels once and counts; scatter() reads them again and writes each bucket's
// places, as many buckets at a time as memory allows. Nothing is sorted any further: within its
// bucket a place is an index (ranking.h).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace invad::scores {

// Neighbouring pixels have nearly the same score: each of so many in turn has counters of its own,
// so that no increment waits for the one before.
constexpr int kStreams = 4;

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
  std::vector<size_t> run_ends;        // of each map, in `runs`
  std::vector<uint32_t> highest_keys;  // of each map
  // kBuckets x kStreams
  std::vector<uint32_t> normal, anomalous;
  uint32_t lowest_key = ~0u, highest_key = 0;
  int64_t regions = 0;
  bool has_anomalous = false;
};

struct Survey {
  std::vector<ThreadSurvey> threads;
  std::vector<uint64_t> normal, anomalous;  // kBuckets
  uint32_t lowest_key = ~0u, highest_key = 0;
  int64_t regions = 0;
  bool finite = true;
};

// One kind of pixel, its occupied buckets in rising order.
struct Places {
  std::vector<uint32_t> buckets;
  std::vector<uint64_t> starts;  // buckets + 1
  std::unique_ptr<uint16_t[]> places;

  uint64_t size() const { return starts.empty() ? 0 : starts.back(); }
};

// The occupied buckets among first .. last of kBuckets counts, with room for as many places.
Places lay_out(const std::vector<uint64_t>& counts, uint32_t first, uint32_t last);

struct Part {
  Places normal, anomalous;
  std::unique_ptr<uint32_t[]> areas;  // of each anomalous place's region
};

// Fewer than 2^31 pixels at a time.
Survey survey(const Pixels& pixels, int threads);

// Whether no score is NaN or infinite.
bool all_finite(const Pixels& pixels, int threads);

// Buckets first .. last, both included.
Part scatter(const Pixels& pixels, const Survey& survey, uint32_t first, uint32_t last);

}  // namespace invad::scores
