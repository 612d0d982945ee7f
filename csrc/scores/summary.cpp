// Sums over surveys, and how pixels are cut into pieces.
#include "summary.h"

#include <algorithm>

#include "keys.h"

namespace invad::scores {

void MapSummary::add(const Survey& survey) {
  for (const ThreadSurvey& found : survey.threads) {
    size_t begin = 0;
    for (size_t map = 0; map < found.run_ends.size(); ++map) {
      maxima.push_back(score_of(found.highest_keys[map]));
      anomalous.push_back(found.run_ends[map] > begin);
      begin = found.run_ends[map];
    }
  }
}

void Summary::add(const Summary& other) {
  normal += other.normal;
  anomalous += other.anomalous;
  regions += other.regions;
  lowest_key = std::min(lowest_key, other.lowest_key);
  highest_key = std::max(highest_key, other.highest_key);
  finite = finite && other.finite;
}

void Summary::add(const Survey& survey) {
  Summary own{0, 0, survey.regions, survey.lowest_key, survey.highest_key, survey.finite};
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    own.normal += survey.normal[bucket];
    own.anomalous += survey.anomalous[bucket];
  }
  add(own);
}

std::vector<Pixels> chunks_of(const Pixels& pixels, int64_t most_pixels) {
  const int64_t size = std::max<int64_t>(1, pixels.map_size());
  const int64_t maps = std::max<int64_t>(1, most_pixels / size);
  std::vector<Pixels> chunks;
  for (int64_t first = 0; first < pixels.maps; first += maps) {
    const int64_t at = first * pixels.map_size();
    chunks.push_back({pixels.scores + at, pixels.masks ? pixels.masks + at : nullptr,
                      std::min(maps, pixels.maps - first), pixels.height, pixels.width});
  }
  return chunks;
}

std::vector<BucketRange> ranges_of(const std::vector<uint64_t>& normal,
                                   const std::vector<uint64_t>& anomalous, double limit) {
  std::vector<BucketRange> ranges;
  double bytes = 0;
  uint32_t last = kBuckets - 1;
  for (uint32_t bucket = kBuckets; bucket-- > 0;) {
    const double own = 2.0 * normal[bucket] + 6.0 * anomalous[bucket];
    if (bytes > 0 && bytes + own > limit) {
      ranges.push_back({bucket + 1, last});
      last = bucket;
      bytes = 0;
    }
    bytes += own;
  }
  ranges.push_back({0, last});
  return ranges;
}

}  // namespace invad::scores
