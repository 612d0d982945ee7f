// Cells of neighbouring keys: all keys that share all but their last `bits` bits. Two such ranges
// lie apart or one in the other, so that cells of any widths, of one process or of many, are a
// family of nested ranges.
#pragma once

#include <algorithm>
#include <cstdint>

namespace invad::scores {

struct CellCounts {
  uint64_t normal = 0, anomalous = 0, weight = 0;  // the last: region_unit.h

  CellCounts& operator+=(const CellCounts& other) {
    normal += other.normal;
    anomalous += other.anomalous;
    weight += other.weight;
    return *this;
  }
  CellCounts operator+(const CellCounts& other) const { return CellCounts(*this) += other; }
  CellCounts operator-(const CellCounts& other) const {
    return {normal - other.normal, anomalous - other.anomalous, weight - other.weight};
  }
};

struct CellRange {
  uint32_t last = 0;  // the greatest of its 2^bits keys
  uint32_t bits = 0;  // 0 .. 32

  uint32_t first() const { return last - static_cast<uint32_t>((uint64_t{1} << bits) - 1); }
  // Of a range that comes later in order.
  bool holds(const CellRange& later) const { return first() <= later.last; }
  bool operator==(const CellRange& other) const { return last == other.last && bits == other.bits; }
};

// The order of cells: from the highest score down, what holds others before these.
inline bool before(const CellRange& a, const CellRange& b) {
  return a.last != b.last ? a.last > b.last : a.bits > b.bits;
}

// The least range that holds both.
inline CellRange joint(const CellRange& a, const CellRange& b) {
  const uint32_t differing = a.last ^ b.last;
  const uint32_t prefix = differing ? 32 - static_cast<uint32_t>(__builtin_clz(differing)) : 0;
  const uint32_t bits = std::max({a.bits, b.bits, prefix});
  return {a.last | static_cast<uint32_t>((uint64_t{1} << bits) - 1), bits};
}

struct Cell {
  CellRange range;
  CellCounts counts;
};

}  // namespace invad::scores
