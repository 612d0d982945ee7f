// Pixels in constant memory: counts in cells of 2^shift neighbouring keys, as fine as so many
// cells allow. The shift depends on all pixels together, not on their order, nor on how they were
// spread before merge(): counts of fine cells add up to those of coarse ones exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "summary.h"
#include "survey.h"

namespace invad::scores {

struct Cell {
  uint32_t key;                        // the first of the cell's keys
  uint64_t normal, anomalous, weight;  // the last: region_unit.h
};

class CellScores {
 public:
  // No more than `capacity` cells, 2 or more.
  explicit CellScores(size_t capacity) : capacity_(capacity) {}

  // Throws std::domain_error, and adds nothing, where a score is not finite.
  MapSummary add(const Pixels& pixels, int threads);
  // Cells of 2^shift keys, rising, and what is known of their pixels.
  void merge(const std::vector<Cell>& cells, int shift, const Summary& summary);

  const std::vector<Cell>& cells() const { return cells_; }
  int shift() const { return shift_; }
  const Summary& summary() const { return summary_; }

 private:
  void merge(std::vector<Cell>&& cells, int shift);

  size_t capacity_;
  int shift_ = 0;
  std::vector<Cell> cells_;  // rising
  Summary summary_;
};

}  // namespace invad::scores
