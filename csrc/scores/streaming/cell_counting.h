// Pixels counted into the cells there are, and into new ones.
#pragma once

#include <algorithm>
#include <vector>

#include "../places.h"
#include "cell_cost.h"
#include "cell_walk.h"
#include "cells.h"
#include "place_ranks.h"

namespace invad::scores {

// Pixels of one bucket.
struct BucketPixels {
  const uint16_t *normal = nullptr, *anomalous = nullptr;
  const uint32_t* areas = nullptr;  // of the anomalous ones' regions
  uint64_t normal_count = 0, anomalous_count = 0;
};

// Buckets come from the highest down. A pixel in a room is added to that cell if it then costs no
// more than `limit`; all others become cells of one key each.
class CellCounter {
 public:
  // `cells` in order, and not to be moved while this one is used.
  CellCounter(std::vector<Cell>& cells, const CellCost& cost, float limit)
      : cost_(cost), limit_(limit), walk_(cells) {}

  void add(uint32_t bucket, const BucketPixels& pixels);

  // The new cells, in order.
  std::vector<Cell>& fresh() { return fresh_; }

 private:
  void rank_rooms();
  void count(const BucketPixels& pixels);
  void add_to_rooms();
  BucketPixels left_over(const BucketPixels& pixels);
  void append(uint32_t bucket, const BucketPixels& pixels);

  const CellCost& cost_;
  float limit_;
  CellWalk walk_;
  std::vector<Cell> fresh_;

  // Of a bucket. Rooms have numbers from 1, the lowest first; 0 is no room.
  std::vector<Room> rooms_;
  PlaceRanks first_places_;
  std::vector<uint16_t> last_places_;  // of each number
  std::vector<CellCounts> counts_;     // of each number
  std::vector<uint8_t> left_;          // of each number: whether its pixels are left over
  std::vector<uint16_t> numbers_;      // of each pixel
  std::vector<uint16_t> normal_, anomalous_;
  std::vector<uint32_t> areas_;
  PlaceRanks places_;
};

// add(bucket, pixels) for each bucket of the part, the highest first.
template <typename Add>
void each_bucket(const Part& part, const Add& add) {
  const Places &normal = part.normal, &anomalous = part.anomalous;
  for (size_t n = normal.buckets.size(), a = anomalous.buckets.size(); n > 0 || a > 0;) {
    const uint32_t bucket =
        std::max(n > 0 ? normal.buckets[n - 1] : 0, a > 0 ? anomalous.buckets[a - 1] : 0);
    BucketPixels pixels;
    if (n > 0 && normal.buckets[n - 1] == bucket) {
      --n;
      pixels.normal = normal.places.get() + normal.begins[n];
      pixels.normal_count = normal.ends[n] - normal.begins[n];
    }
    if (a > 0 && anomalous.buckets[a - 1] == bucket) {
      --a;
      pixels.anomalous = anomalous.places.get() + anomalous.begins[a];
      pixels.areas = part.areas.get() + anomalous.begins[a];
      pixels.anomalous_count = anomalous.ends[a] - anomalous.begins[a];
    }
    add(bucket, pixels);
  }
}

}  // namespace invad::scores
