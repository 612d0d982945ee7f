// A place's room, and its number among those that are left over, are ranks: no table of all places
// is filled for a few pixels.
#include "cell_counting.h"

#include "../keys.h"
#include "../region_unit.h"

namespace invad::scores {

void CellCounter::add(uint32_t bucket, const BucketPixels& pixels) {
  walk_.pass(bucket, rooms_);
  if (rooms_.empty()) return append(bucket, pixels);
  rank_rooms();
  count(pixels);
  add_to_rooms();
  append(bucket, left_over(pixels));
}

void CellCounter::rank_rooms() {
  last_places_.assign(rooms_.size() + 1, 0);
  counts_.assign(rooms_.size() + 1, {});
  first_places_.clear();
  for (size_t i = 0; i < rooms_.size(); ++i) {
    const CellRange& range = rooms_[i].cell->range;
    first_places_.add(place_of(range.first()));
    last_places_[rooms_.size() - i] = place_of(range.last);
  }
}

INVAD_WIDE void CellCounter::count(const BucketPixels& pixels) {
  numbers_.resize(pixels.normal_count + pixels.anomalous_count);
  uint16_t* number = numbers_.data();
  first_places_.rank();
  const auto room_of = [&](uint16_t place) {
    const uint16_t room = first_places_.up_to(place);
    return static_cast<uint16_t>(place <= last_places_[room] ? room : 0);
  };
  for (uint64_t i = 0; i < pixels.normal_count; ++i)
    ++counts_[*number++ = room_of(pixels.normal[i])].normal;
  for (uint64_t i = 0; i < pixels.anomalous_count; ++i) {
    CellCounts& to = counts_[*number++ = room_of(pixels.anomalous[i])];
    ++to.anomalous;
    to.weight += region_weight(pixels.areas[i]);
  }
}

void CellCounter::add_to_rooms() {
  left_.assign(rooms_.size() + 1, true);
  for (size_t i = 0; i < rooms_.size(); ++i) {
    const Room& room = rooms_[i];
    const size_t number = rooms_.size() - i;
    const CellCounts& added = counts_[number];
    if (added.normal + added.anomalous == 0) continue;
    if (cost_(room.around + room.cell->counts + added, room.above) > limit_) continue;
    room.cell->counts += added;
    left_[number] = false;
  }
}

BucketPixels CellCounter::left_over(const BucketPixels& pixels) {
  normal_.resize(pixels.normal_count);
  anomalous_.resize(pixels.anomalous_count);
  areas_.resize(pixels.anomalous_count);
  uint64_t normal = 0, anomalous = 0;
  const uint16_t* number = numbers_.data();
  // No branch a pixel: what is not left over is overwritten.
  for (uint64_t i = 0; i < pixels.normal_count; ++i) {
    normal_[normal] = pixels.normal[i];
    normal += left_[*number++];
  }
  for (uint64_t i = 0; i < pixels.anomalous_count; ++i) {
    anomalous_[anomalous] = pixels.anomalous[i];
    areas_[anomalous] = pixels.areas[i];
    anomalous += left_[*number++];
  }
  return {normal_.data(), anomalous_.data(), areas_.data(), normal, anomalous};
}

INVAD_WIDE void CellCounter::append(uint32_t bucket, const BucketPixels& pixels) {
  if (pixels.normal_count + pixels.anomalous_count == 0) return;
  places_.clear();
  for (uint64_t i = 0; i < pixels.normal_count; ++i) places_.add(pixels.normal[i]);
  for (uint64_t i = 0; i < pixels.anomalous_count; ++i) places_.add(pixels.anomalous[i]);
  fresh_.resize(fresh_.size() + places_.rank());
  Cell* const end = fresh_.data() + fresh_.size();
  Cell* cell = end;
  places_.each([&](uint16_t place) { (--cell)->range.last = bucket << 16 | place; });
  const auto counts = [&](uint16_t place) -> CellCounts& {
    return (end - 1 - static_cast<uint16_t>(places_.up_to(place) - 1))->counts;
  };
  for (uint64_t i = 0; i < pixels.normal_count; ++i) ++counts(pixels.normal[i]).normal;
  for (uint64_t i = 0; i < pixels.anomalous_count; ++i) {
    CellCounts& to = counts(pixels.anomalous[i]);
    ++to.anomalous;
    to.weight += region_weight(pixels.areas[i]);
  }
}

}  // namespace invad::scores
