// The joint ranges of neighbouring cells are the inner nodes of a binary tree, and no node costs
// more than one above it. So a range that is merged is a run of neighbours whose joint ranges all
// are cheap enough: one pass finds the costs, another merges.
#include "cell_compaction.h"

#include <cstring>

namespace invad::scores {
namespace {

// Cells with, instead of its own counts, the sum of all up to each: those of a run are a
// difference.
class RunningCells {
 public:
  explicit RunningCells(std::vector<Cell>& cells) : cells_(cells) {
    for (size_t i = 1; i < cells.size(); ++i) cells_[i].counts += cells_[i - 1].counts;
  }

  size_t size() const { return cells_.size(); }
  const CellRange& range(size_t i) const { return cells_[i].range; }
  CellCounts before(size_t i) const { return i > 0 ? cells_[i - 1].counts : CellCounts{}; }

 private:
  std::vector<Cell>& cells_;
};

// Joint ranges whose last cell has not been seen, each within the one before it. Two may be one
// range: a cell and the first that it holds, that and the first in the range's other half.
struct Path {
  uint32_t bits[66], first[66], neighbour[66], holders[66];
  int size = 0;
};

// Of each cell and its next: what their joint range costs.
std::vector<float> joint_costs(const RunningCells& cells, const CellCost& cost) {
  std::vector<float> costs(cells.size() - 1);
  Path path;
  // Cells that hold others, each with the counts of all before it too; the first is none.
  std::vector<Cell> holders(1);
  const auto close = [&](uint32_t last) {
    const int node = --path.size;
    const CellCounts before = cells.before(path.first[node]);
    const CellCounts span = cells.before(last + 1) - before + holders[path.holders[node]].counts;
    costs[path.neighbour[node]] = cost(span, before);
  };
  const auto count = static_cast<uint32_t>(cells.size());
  for (uint32_t i = 0; i + 1 < count; ++i) {
    const CellRange range = cells.range(i), next = cells.range(i + 1);
    const uint32_t bits = joint(range, next).bits;
    uint32_t first = i;
    while (path.size > 0 && path.bits[path.size - 1] < bits) {
      close(i);
      first = path.first[path.size];
    }
    // Both have this cell in them: if they are as wide, they are the same.
    if (path.size > 0 && path.bits[path.size - 1] == bits) first = path.first[path.size - 1];
    while (holders.size() > 1 && !holders.back().range.holds(next)) holders.pop_back();
    if (range.holds(next))
      holders.push_back({range, cells.before(i + 1) - cells.before(i) + holders.back().counts});
    const bool own = holders.size() > 1 && holders.back().range.bits == bits;
    path.bits[path.size] = bits;
    path.first[path.size] = first;
    path.neighbour[path.size] = i;
    path.holders[path.size++] = static_cast<uint32_t>(holders.size() - 1 - own);
  }
  while (path.size > 0) close(count - 1);
  return costs;
}

// Positive floats and their bits have one order: a step is 2^-7 of a power of two.
constexpr uint32_t kStepBits = 16;

// A cost, rounded up to the next step, that as many of the costs or more do not exceed.
float limit_of(const std::vector<float>& costs, size_t wanted) {
  std::vector<uint32_t> counts(size_t{1} << (31 - kStepBits));
  for (const float cost : costs) {
    uint32_t bits;
    std::memcpy(&bits, &cost, sizeof bits);
    ++counts[bits >> kStepBits];
  }
  uint32_t step = 0;
  for (size_t found = counts[0]; found < wanted; found += counts[step]) ++step;
  const uint32_t bits = (step + 1) << kStepBits;
  float limit;
  std::memcpy(&limit, &bits, sizeof limit);
  return limit;
}

}  // namespace

float compact(std::vector<Cell>& cells, size_t target, const CellCost& cost) {
  if (cells.size() <= target) return 0;
  const RunningCells running(cells);
  const std::vector<float> costs = joint_costs(running, cost);
  const float limit = limit_of(costs, cells.size() - target);
  size_t kept = 0;
  CellCounts before;
  for (size_t i = 0; i < cells.size(); ++i) {
    Cell run = cells[i];
    for (; i + 1 < cells.size() && costs[i] < limit; ++i)
      run.range = joint(run.range, cells[i + 1].range);
    const CellCounts up_to = cells[i].counts;
    cells[kept++] = {run.range, up_to - before};
    before = up_to;
  }
  cells.resize(kept);
  return limit;
}

}  // namespace invad::scores
