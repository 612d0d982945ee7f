// What is kept of pixels to rank them exactly later: their own arrays, or two bytes a pixel.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ranking.h"
#include "summary.h"
#include "survey.h"

namespace invad::scores {

// Pixels that stay where they are: nothing is copied, and little is needed beside them.
class BorrowedScores {
 public:
  // `pixels` must outlive this.
  BorrowedScores(const Pixels& pixels, int threads);

  const Summary& summary() const { return summary_; }
  MapSummary maps() const;
  // Holds places of about `limit` bytes at a time; the less, the more often the pixels are read.
  Ranking rank(const Question& question, double limit) const;

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
  std::shared_ptr<const Part> whole() const { return joined(parts_); }

  const Summary& summary() const { return summary_; }
  Ranking rank(const Question& question, int threads) const;

 private:
  void keep(const Parts& parts);

  // The last `small_` of them are of few pixels each: they are joined before they become many.
  Parts parts_;
  size_t small_ = 0;
  Summary summary_;
  std::vector<uint64_t> normal_, anomalous_;
};

}  // namespace invad::scores
