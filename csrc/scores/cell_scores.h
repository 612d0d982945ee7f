// Pixels in constant memory: counts in cells, each as wide as the figures allow. Until there are
// more distinct scores than cells, every cell is a single key and nothing depends on the order of
// the pixels, nor on how they were spread before merge().
//
// A cell that has grown too heavy to take more pixels is not split, for where its pixels lie is
// forgotten: it stays, and pixels that come later within its range have finer cells of their own
// beside it. So no cluster of scores is ever lost in a cell that was wide before it came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cells.h"
#include "summary.h"
#include "survey.h"

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
