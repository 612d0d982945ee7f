// A table over the upper halves of the keys finds the bin; a search only beside a boundary.
#include "histogram.h"

#include <algorithm>

#include "keys.h"
#include "region_unit.h"

namespace invad::scores {

Bins::Bins(const float* boundaries, int64_t count) : below_(kBuckets + 1) {
  for (int64_t i = 0; i < count; ++i) keys_.push_back(key_of(boundaries[i]));
  for (uint32_t bucket = 0, at = 0; bucket <= kBuckets; ++bucket) {
    while (at < keys_.size() && bucket_of(keys_[at]) < bucket) ++at;
    below_[bucket] = at;
  }
}

int64_t Bins::of(float score) const {
  if (score != score) return size() - 1;
  const uint32_t key = key_of(score), bucket = bucket_of(key);
  const uint32_t begin = below_[bucket], end = below_[bucket + 1];
  if (begin == end) return begin;
  return std::lower_bound(keys_.begin() + begin, keys_.begin() + end, key) - keys_.begin();
}

void BinCounts::add(const BinCounts& other) {
  for (size_t i = 0; i < normal.size(); ++i) {
    normal[i] += other.normal[i];
    anomalous[i] += other.anomalous[i];
    weight[i] += other.weight[i];
  }
}

void BinCounts::add(const Bins& bins, const float* scores, const int32_t* areas, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const int64_t bin = bins.of(scores[i]);
    if (areas[i] <= 0) {
      ++normal[bin];
    } else {
      ++anomalous[bin];
      weight[bin] += static_cast<int64_t>(region_weight(static_cast<uint32_t>(areas[i])));
    }
  }
}

}  // namespace invad::scores
