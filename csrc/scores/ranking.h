// All that depends on how pixels are ranked, exactly: counts at thresholds, AUROC, AP, F1-max,
// the integral of the per-region overlap. Every full key of a bucket has its own counter, so
// nothing is compared and ties need no care; what lies between buckets is prefix sums.
#pragma once

#include <cstdint>
#include <vector>

#include "places.h"

namespace invad::scores {

// Integers, so that no sum depends on its order: 1 / area in units of `unit`, of which the
// weights of all regions together are no more than 2^62.
struct RegionWeights {
  uint64_t unit = 1;

  explicit RegionWeights(int64_t regions)
      : unit((uint64_t{1} << 62) / static_cast<uint64_t>(regions < 1 ? 1 : regions)) {}
  uint64_t of(uint32_t area) const { return (unit + area / 2) / area; }
};

// Pixels above something, or among something.
struct Counts {
  uint64_t anomalous = 0, normal = 0, weight = 0;
};

struct Ranking {
  Counts total;
  int64_t regions = 0;
  double auroc_wins = 0;     // of anomalous x normal pairs: 1, half where they tie
  double precision_sum = 0;  // over anomalous pixels: AP x anomalous
  double best_f1 = -1;
  uint32_t best_f1_key = 0;           // the least that is called anomalous there
  double overlap_area = 0;            // mean per-region overlap over false positives 0 .. limit
  std::vector<Counts> above;          // of each boundary: pixels with a greater key
  std::vector<uint32_t> normal_keys;  // of each wanted rank: see Question
};

struct Question {
  std::vector<uint32_t> boundaries;    // keys, rising
  std::vector<uint64_t> normal_ranks;  // rising: which normal pixel, 0 the highest; below total
  double false_positive_limit = 0;     // pixels, not a rate
};

// Ranks bucket by bucket from the highest; each call takes the next lower buckets.
class Ranker {
 public:
  // normal, anomalous: kBuckets, how many pixels are in each bucket of all parts to come; they must
  // outlive this.
  Ranker(Question question, const std::vector<uint64_t>& normal,
         const std::vector<uint64_t>& anomalous, int64_t regions, int threads);

  // The parts together hold all pixels of buckets first .. last.
  void add(const Parts& parts, uint32_t first, uint32_t last);

  Ranking finish();

 private:
  int threads_for(size_t buckets) const;

  Question question_;
  const std::vector<uint64_t>&normal_, &anomalous_;
  RegionWeights weights_;
  int threads_;
  Counts above_;  // of all buckets that were added
  Ranking ranking_;
  unsigned __int128 wins_twice_ = 0;
};

}  // namespace invad::scores
