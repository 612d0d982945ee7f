// A piece of the pixels is counted; the cells that it adds are merged into the ones held.
#include "cell_scores.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "../scatter.h"
#include "cell_compaction.h"
#include "cell_cost.h"
#include "cell_counting.h"

namespace invad::scores {
namespace {

// Pixels are counted so many at a time, and the places of at most so many bytes.
constexpr int64_t kPiecePixels = int64_t{1} << 20;
constexpr double kPlaceBytes = 1 << 21;

// New cells are merged into the others when there are so many, and at the end of a piece. A bucket
// may add 2^16 to them.
constexpr size_t kFresh = size_t{1} << 17;

// Cells may grow somewhat beyond the costs they were merged at: what comes evenly is then counted
// where it belongs, though chance has it that a cell gets more than its share.
constexpr float kGrowth = 1.25f;

}  // namespace

MapSummary CellScores::add(const Pixels& pixels, int threads) {
  if (!all_finite(pixels, threads)) throw std::domain_error("scores that are not finite");
  MapSummary maps;
  for (const Pixels& chunk : chunks_of(pixels, kPiecePixels)) {
    const Survey found = survey(chunk, threads);
    maps.add(found);
    summary_.add(found);
    const CellCost cost(summary_);
    std::optional<CellCounter> counter(std::in_place, cells_, cost, kGrowth * limit_);
    for (const BucketRange& range : ranges_of(found.normal, found.anomalous, kPlaceBytes)) {
      const auto part = joined(scatter(chunk, found, range.first, range.last));
      each_bucket(*part, [&](uint32_t bucket, const BucketPixels& pixels) {
        counter->add(bucket, pixels);
        if (counter->fresh().size() < kFresh) return;
        merge(counter->fresh());
        counter.emplace(cells_, cost, kGrowth * limit_);
      });
    }
    merge(counter->fresh());
  }
  return maps;
}

void CellScores::merge(const std::vector<Cell>& cells, float limit, const Summary& summary) {
  summary_.add(summary);
  limit_ = std::max(limit_, limit);
  merge(cells);
}

void CellScores::merge(const std::vector<Cell>& others) {
  // From the back, into the same memory: what is written is never before what is still to be read.
  size_t own = cells_.size(), other = others.size(), to = own + other;
  cells_.resize(to);
  while (other > 0) {
    if (own > 0 && before(others[other - 1].range, cells_[own - 1].range)) {
      cells_[--to] = cells_[--own];
    } else {
      Cell cell = others[--other];
      if (own > 0 && cells_[own - 1].range == cell.range) cell.counts += cells_[--own].counts;
      cells_[--to] = cell;
    }
  }
  cells_.erase(cells_.begin() + static_cast<int64_t>(own),
               cells_.begin() + static_cast<int64_t>(to));
  if (cells_.size() > capacity_)
    limit_ = compact(cells_, capacity_ - capacity_ / 4, CellCost(summary_));
}

}  // namespace invad::scores
