// A piece of the pixels becomes cells bucket by bucket; these are merged into the ones held.
#include "cell_scores.h"

#include <algorithm>
#include <stdexcept>

#include "float_key.h"
#include "region_unit.h"
#include "scatter.h"

namespace invad::scores {
namespace {

// Small enough that a piece's cells are a few megabytes.
constexpr int64_t kPiecePixels = int64_t{1} << 19;

uint32_t first_of_cell(uint32_t key, int shift) { return key >> shift << shift; }

void add(Cell& to, const Cell& from) {
  to.normal += from.normal;
  to.anomalous += from.anomalous;
  to.weight += from.weight;
}

// Counts the places of one bucket after another; empty between two.
class BucketCells {
 public:
  BucketCells(const Part& part, int shift)
      : part_(part),
        shift_(shift),
        counts_(kPlaces >> shift),
        occupied_(((kPlaces >> shift) + 63) / 64) {}

  // Rising cells of one bucket: entries of part.normal and part.anomalous, or -1.
  void append(uint32_t bucket, int64_t normal, int64_t anomalous, std::vector<Cell>& cells) {
    if (normal >= 0) {
      const uint64_t end = part_.normal.ends[normal];
      for (uint64_t i = part_.normal.begins[normal]; i < end; ++i)
        ++at(part_.normal.places[i]).normal;
    }
    if (anomalous >= 0) {
      const uint64_t end = part_.anomalous.ends[anomalous];
      for (uint64_t i = part_.anomalous.begins[anomalous]; i < end; ++i) {
        Cell& cell = at(part_.anomalous.places[i]);
        ++cell.anomalous;
        cell.weight += region_weight(part_.areas[i]);
      }
    }
    for (uint32_t word = 0; word < occupied_.size(); ++word) {
      for (uint64_t bits = occupied_[word]; bits != 0; bits &= bits - 1) {
        const uint32_t index = word * 64 + static_cast<uint32_t>(__builtin_ctzll(bits));
        cells.push_back(counts_[index]);
        cells.back().key = bucket << 16 | index << shift_;
        counts_[index] = {};
      }
      occupied_[word] = 0;
    }
  }

 private:
  Cell& at(uint16_t place) {
    const uint32_t index = place >> shift_;
    occupied_[index / 64] |= uint64_t{1} << (index % 64);
    return counts_[index];
  }

  const Part& part_;
  int shift_;
  std::vector<Cell> counts_;
  std::vector<uint64_t> occupied_;
};

// Cells are no wider than a bucket here; merge() makes them wider where the shift asks for it.
std::vector<Cell> cells_of(const Part& part, int shift) {
  std::vector<Cell> cells;
  BucketCells bucket_cells(part, std::min(shift, 16));
  const auto& normal = part.normal.buckets;
  const auto& anomalous = part.anomalous.buckets;
  for (size_t n = 0, a = 0; n < normal.size() || a < anomalous.size();) {
    const bool has_normal =
        n < normal.size() && (a == anomalous.size() || normal[n] <= anomalous[a]);
    const bool has_anomalous =
        a < anomalous.size() && (n == normal.size() || anomalous[a] <= normal[n]);
    const uint32_t bucket = has_normal ? normal[n] : anomalous[a];
    bucket_cells.append(bucket, has_normal ? static_cast<int64_t>(n) : -1,
                        has_anomalous ? static_cast<int64_t>(a) : -1, cells);
    n += has_normal;
    a += has_anomalous;
  }
  return cells;
}

// In place; `cells` rising.
void to_shift(std::vector<Cell>& cells, int shift) {
  size_t kept = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    Cell cell = cells[i];
    cell.key = first_of_cell(cell.key, shift);
    if (kept > 0 && cells[kept - 1].key == cell.key)
      add(cells[kept - 1], cell);
    else
      cells[kept++] = cell;
  }
  cells.resize(kept);
}

}  // namespace

MapSummary CellScores::add(const Pixels& pixels, int threads) {
  if (!all_finite(pixels, threads)) throw std::domain_error("scores that are not finite");
  MapSummary maps;
  for (const Pixels& chunk : chunks_of(pixels, kPiecePixels)) {
    const Survey found = survey(chunk, threads);
    maps.add(found);
    summary_.add(found);
    for (const BucketRange& range : ranges_of(found.normal, found.anomalous, 2.0 * kPiecePixels)) {
      const auto part = joined(scatter(chunk, found, range.first, range.last));
      merge(cells_of(*part, shift_), std::min(shift_, 16));
    }
  }
  return maps;
}

void CellScores::merge(const std::vector<Cell>& cells, int shift, const Summary& summary) {
  merge(std::vector<Cell>(cells), shift);
  summary_.add(summary);
}

void CellScores::merge(std::vector<Cell>&& others, int shift) {
  if (shift < shift_) to_shift(others, shift_);
  if (shift > shift_) to_shift(cells_, shift);
  shift_ = std::max(shift_, shift);
  // From the back, into the same memory: what is written is never before what is still to be read.
  size_t own = cells_.size(), other = others.size(), to = own + other;
  cells_.resize(to);
  while (other > 0) {
    if (own > 0 && cells_[own - 1].key > others[other - 1].key) {
      cells_[--to] = cells_[--own];
    } else {
      Cell cell = others[--other];
      if (own > 0 && cells_[own - 1].key == cell.key) invad::scores::add(cell, cells_[--own]);
      cells_[--to] = cell;
    }
  }
  cells_.erase(cells_.begin() + static_cast<int64_t>(own),
               cells_.begin() + static_cast<int64_t>(to));
  while (cells_.size() > capacity_) to_shift(cells_, ++shift_);
}

}  // namespace invad::scores
