// Pixels in constant memory: counts in cells, each as wide as the figures allow. Until there are
// more distinct scores than cells, every cell is a single key and nothing depends on the order of
// the pixels, nor on how they were spread before merge(). Beyond it must: whatever shares a cell
// then, for any fixed choice, all later pixels could be of those very scores.
//
// A cell that has grown too heavy to take more pixels is not split, for where its pixels lie is
// forgotten: it stays, and pixels that come later within its range have finer cells of their own
// beside it. So no cluster of scores is ever lost in a cell that was wide before it came.
//
// What is guaranteed, with K cells, of which a compaction leaves 3/4:
// - At every threshold, all pixels that may lie on either side of it cost 1.25 x limit() at most
//   (cell_cost.h); after merge() twice that, until pixels have been added. Recall and overlap err
//   by no more than that, F1 by no more, IoU by no more than 9/8 of it.
// - limit() <= S / m for pixels that came at once, where m (33 - log2 m) = 3/4 K, and S is the sum
//   of all costs, 1.5 + ln(1 + 3N/A) / 6 + ln(N + A) / 32, near 3: every range that was not merged
//   costs limit() or more, and m ranges that lie apart have no more than m (33 - log2 m) ranges of
//   the binary tree of 32 levels around them. That is 3e-4 for 2^18 cells, where every score has
//   satellites at all scales; evenly spread scores have a tenth of it.
// - For orders made to break it there is no such proof: tests/test_metrics_adversaries.py tries.
//   What the error is, is known at any time: metrics/streaming/ranked_cells.py computes it from the
//   cells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../summary.h"
#include "../survey.h"
#include "cells.h"

namespace invad::scores {

class CellScores {
 public:
  // No more than `capacity` cells, 2 or more.
  explicit CellScores(size_t capacity) : capacity_(capacity) {}

  // Throws std::domain_error, and adds nothing, where a score is not finite.
  MapSummary add(const Pixels& pixels, int threads);
  // What another one holds: its cells, limit and summary.
  void merge(const std::vector<Cell>& cells, float limit, const Summary& summary);

  const std::vector<Cell>& cells() const { return cells_; }  // in order
  // The greatest cost of a range that was merged: 0 as long as all cells are single keys.
  float limit() const { return limit_; }
  const Summary& summary() const { return summary_; }

 private:
  void merge(const std::vector<Cell>& others);

  size_t capacity_;
  float limit_ = 0;
  std::vector<Cell> cells_;
  Summary summary_;
};

}  // namespace invad::scores
