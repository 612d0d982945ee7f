// Through cells in order, beside the buckets that pixels come in.
#pragma once

#include <vector>

#include "../keys.h"
#include "cells.h"

namespace invad::scores {

// A cell that pixels may be added to: no wider than a bucket, and it holds no other.
struct Room {
  Cell* cell;
  CellCounts around;  // of the cells that hold it
  CellCounts above;   // of all cells before it
};

class CellWalk {
 public:
  explicit CellWalk(std::vector<Cell>& cells) : next_(cells.data()), end_(next_ + cells.size()) {}

  // To the end of a bucket, below the last one; `rooms` become those within, in order.
  void pass(uint32_t bucket, std::vector<Room>& rooms) {
    rooms.clear();
    const uint32_t first = bucket << 16, last = first | 0xffff;
    while (next_ != end_ && next_->range.last > last) step();
    while (next_ != end_ && next_->range.last >= first) {
      const uint32_t bits = next_->range.bits;
      if (bits > 0 && bits <= 16 && !holds_next()) {
        leave_holders();
        rooms.emplace_back();
        rooms.back().cell = next_;
        rooms.back().above = above_;
        if (!holders_.empty()) rooms.back().around = holders_.back().counts;
      }
      step();
    }
  }

 private:
  bool holds_next() const { return next_ + 1 != end_ && next_->range.holds(next_[1].range); }

  void leave_holders() {
    while (!holders_.empty() && !holders_.back().range.holds(next_->range)) holders_.pop_back();
  }

  void step() {
    if (next_->range.bits > 0 && holds_next()) {
      leave_holders();
      holders_.push_back(*next_);
      if (holders_.size() > 1) holders_.back().counts += holders_[holders_.size() - 2].counts;
    }
    above_ += next_->counts;
    ++next_;
  }

  Cell *next_, *end_;
  CellCounts above_;
  std::vector<Cell> holders_;  // each with the counts of all that hold it too
};

}  // namespace invad::scores
