// Memory of places, and how parts are joined.
#include "places.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "keys.h"

namespace invad::scores {
namespace {

void join(const Parts& parts, Places Part::* kind, Part& to) {
  std::vector<uint64_t> counts(kBuckets);
  for (const auto& part : parts) {
    const Places& from = (*part).*kind;
    for (size_t i = 0; i < from.buckets.size(); ++i)
      counts[from.buckets[i]] += from.ends[i] - from.begins[i];
  }
  Places& all = to.*kind = Places::of(counts, 0, kBuckets - 1);
  const bool has_areas = kind == &Part::anomalous;
  if (has_areas) to.allocate_areas();
  std::vector<uint64_t>& next = counts;
  for (size_t i = 0; i < all.buckets.size(); ++i) next[all.buckets[i]] = all.begins[i];
  for (const auto& part : parts) {
    const Places& from = (*part).*kind;
    for (size_t i = 0; i < from.buckets.size(); ++i) {
      uint64_t& at = next[from.buckets[i]];
      const uint64_t begin = from.begins[i], end = from.ends[i];
      std::copy(from.places.get() + begin, from.places.get() + end, all.places.get() + at);
      if (has_areas)
        std::copy(part->areas.get() + begin, part->areas.get() + end, to.areas.get() + at);
      at += end - begin;
    }
  }
}

}  // namespace

void FreeMemory::operator()(void* memory) const { std::free(memory); }

Memory<uint16_t> place_memory(uint64_t size) {
  constexpr size_t kHugePage = size_t{1} << 21;
  const size_t bytes = std::max<size_t>(size, kLine) * sizeof(uint16_t);
  const size_t alignment = bytes >= 4 * kHugePage ? kHugePage : kLine * sizeof(uint16_t);
  const size_t whole = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, whole);
  if (!memory) throw std::bad_alloc();
#ifdef __linux__
  // Many buckets are written at once: small pages would cost a miss for each.
  if (alignment == kHugePage) madvise(memory, whole, MADV_HUGEPAGE);
#endif
  return Memory<uint16_t>(static_cast<uint16_t*>(memory));
}

template <typename Count>
Places Places::of(const std::vector<Count>& counts, uint32_t first, uint32_t last) {
  Places to;
  if (counts.empty()) return to;
  uint64_t begin = 0;
  for (uint32_t bucket = first; bucket <= last; ++bucket) {
    if (counts[bucket] == 0) continue;
    to.buckets.push_back(bucket);
    to.begins.push_back(begin);
    to.ends.push_back(begin + counts[bucket]);
    begin = to.memory_size();
  }
  to.places = place_memory(to.memory_size());
  return to;
}

template Places Places::of(const std::vector<uint32_t>&, uint32_t, uint32_t);
template Places Places::of(const std::vector<uint64_t>&, uint32_t, uint32_t);

uint64_t Places::size() const {
  uint64_t sum = 0;
  for (size_t i = 0; i < buckets.size(); ++i) sum += ends[i] - begins[i];
  return sum;
}

std::shared_ptr<const Part> joined(const Parts& parts) {
  const auto all = std::make_shared<Part>();
  join(parts, &Part::normal, *all);
  join(parts, &Part::anomalous, *all);
  return all;
}

}  // namespace invad::scores
