// What is kept of pixels to rank them exactly later: their own arrays, or two bytes a pixel.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "buckets.h"
#include "ranking.h"
#include "summary.h"

namespace invad::scores {

// Pixels that stay where they are: nothing is copied, and little is needed beside them.
class BorrowedScores {
 public:
  // `pixels` must outlive this.
  BorrowedScores(const Pixels& pixels, int threads);

  const Summary& summary() const { return summary_; }
  MapSummary maps() const;
  // Holds `share` of the pixels' own bytes at a time; the less, the more often they are read.
  Ranking rank(const Question& question, double share) const;

 private:
  struct Chunk {
    Pixels pixels;
    Survey survey;
  };
  std::vector<Chunk> chunks_;
  Summary summary_;
  std::vector<uint64_t> normal_, anomalous_;
  int threads_;
};

// Pixels that come batch by batch and are not kept by anybody else.
class ExactScores {
 public:
  ExactScores();

  // Throws std::domain_error, and adds nothing, where a score is not finite.
  MapSummary add(const Pixels& pixels, int threads);
  // What another process sent: its whole() and summary().
  void add_part(std::shared_ptr<const Part> part, const Summary& summary);
  // All parts as one.
  Part whole() const;

  const Summary& summary() const { return summary_; }
  Ranking rank(const Question& question, int threads) const;

 private:
  void count(const Part& part);

  Parts parts_;
  Summary summary_;
  std::vector<uint64_t> normal_, anomalous_;
};

}  // namespace invad::scores
