// Pixels sorted into buckets by the upper half of their scores' keys: the lower half, two bytes a
// pixel, is all that is kept. Within its bucket a place is an index (ranking.h), so nothing needs
// to be sorted any further.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace invad::scores {

// Places begin at a multiple of so many: a cache line.
constexpr uint64_t kLine = 32;

struct FreeMemory {
  void operator()(void* memory) const;
};
template <typename T>
using Memory = std::unique_ptr<T[], FreeMemory>;

// Not initialised, and on a cache line.
Memory<uint16_t> place_memory(uint64_t size);

// One kind of pixel: the occupied buckets, rising, and where the places of each are.
struct Places {
  std::vector<uint32_t> buckets;
  std::vector<uint64_t> begins, ends;
  Memory<uint16_t> places;

  // Memory for counts[bucket] places of each bucket among first .. last; buckets lie in order, on
  // cache lines of their own.
  template <typename Count>
  static Places of(const std::vector<Count>& counts, uint32_t first, uint32_t last);

  uint64_t memory_size() const {
    return ends.empty() ? 0 : (ends.back() + kLine - 1) / kLine * kLine;
  }
  uint64_t size() const;
};

struct Part {
  Places normal, anomalous;
  std::unique_ptr<uint32_t[]> areas;  // beside each anomalous place: its region's

  // Memory for the anomalous places' areas.
  void allocate_areas() { areas.reset(new uint32_t[anomalous.memory_size()]); }
};

using Parts = std::vector<std::shared_ptr<const Part>>;

// All places of the parts in one.
std::shared_ptr<const Part> joined(const Parts& parts);

}  // namespace invad::scores
