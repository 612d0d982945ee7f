// Pixels counted between sorted boundaries, as many as there may be, in one pass.
#pragma once

#include <cstdint>
#include <vector>

namespace invad::scores {

// Bin i holds scores above boundary i - 1 and not above boundary i; NaN is above all.
class Bins {
 public:
  // Rising, without NaN.
  Bins(const float* boundaries, int64_t count);

  int64_t size() const { return static_cast<int64_t>(keys_.size()) + 1; }
  int64_t of(float score) const;

 private:
  std::vector<uint32_t> keys_;
  // Of each bucket of keys: how many boundaries are below it. Where none is inside, that is the
  // bin.
  std::vector<uint32_t> below_;
};

struct BinCounts {
  // Of each bin: normal and anomalous pixels, and 1 / area of these in units of 2^-38.
  std::vector<int64_t> normal, anomalous, weight;

  explicit BinCounts(int64_t bins) : normal(bins), anomalous(bins), weight(bins) {}
  void add(const BinCounts& other);
  // areas: of the pixel's own region, 0 where it is normal.
  void add(const Bins& bins, const float* scores, const int32_t* areas, int64_t size);
};

}  // namespace invad::scores
