#include "region_scores.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

namespace invad::scores {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr int64_t kSampled = 1024;  // pixels by which the level of a share is guessed

// A pixel's value and place in one number that sorts as the value does, the highest last.
uint64_t key_of(float value, uint32_t place) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits = bits >> 31 ? ~bits : bits | 0x80000000u;
  return uint64_t{bits} << 32 | place;
}

// Regions of pixels that come one after another.
class GrowingRegions {
 public:
  GrowingRegions(int64_t height, int64_t width)
      : height_(height), width_(width), parent_(height * width), area_(height * width) {}

  void clear() { std::fill(parent_.begin(), parent_.end(), -1); }

  // The area of the region that the pixel is then in.
  int32_t add(uint32_t place) {
    int32_t own = static_cast<int32_t>(place);
    parent_[own] = own;
    area_[own] = 1;
    const int64_t row = place / width_, column = place % width_;
    const int64_t first = std::max<int64_t>(column - 1, 0);
    const int64_t last = std::min(column + 1, width_ - 1);
    for (int64_t r = std::max<int64_t>(row - 1, 0); r <= std::min(row + 1, height_ - 1); ++r)
      for (int64_t c = first; c <= last; ++c) {
        const int64_t beside = r * width_ + c;
        if (beside != place && parent_[beside] >= 0)
          own = join(own, root(static_cast<int32_t>(beside)));
      }
    return area_[own];
  }

 private:
  int32_t root(int32_t place) {
    while (parent_[place] != place) place = parent_[place] = parent_[parent_[place]];
    return place;
  }

  int32_t join(int32_t one, int32_t other) {
    if (one == other) return one;
    if (area_[one] < area_[other]) std::swap(one, other);
    parent_[other] = one;
    area_[one] += area_[other];
    return one;
  }

  const int64_t height_, width_;
  std::vector<int32_t> parent_, area_;  // -1: the pixel has not come yet
};

class RegionScore {
 public:
  RegionScore(int64_t height, int64_t width, int64_t least, const uint8_t* inside)
      : size_(height * width), least_(least), inside_(inside), regions_(height, width) {}

  // The highest pixels decide, as a rule: so only those above a guessed level are sorted, and more
  // where they do not suffice.
  float of(const float* map) {
    for (int64_t wanted = std::max<int64_t>(4 * least_, 256);; wanted *= 8) {
      const float level = wanted < size_ / 2 ? guess_level(map, wanted) : kNone;
      const float found = highest(map, level);
      if (found != kNone || level == kNone) return found;
    }
  }

 private:
  // Above which there are about twice as many pixels as wanted.
  float guess_level(const float* map, int64_t wanted) {
    const int64_t step = std::max<int64_t>(size_ / kSampled, 1) | 1;  // no column of the map
    sample_.clear();
    for (int64_t i = 0; i < size_; i += step)
      if (!inside_ || inside_[i]) sample_.push_back(map[i]);
    const auto count = static_cast<int64_t>(sample_.size());
    const int64_t rank = 2 * wanted / step + 1;
    if (rank >= count) return kNone;
    std::nth_element(sample_.begin(), sample_.begin() + rank, sample_.end(), std::greater<>());
    return sample_[rank];
  }

  // The score, if a level above `level` has it.
  float highest(const float* map, float level) {
    keys_.clear();
    for (int64_t i = 0; i < size_; ++i)
      if (map[i] > level && (!inside_ || inside_[i]))
        keys_.push_back(key_of(map[i], static_cast<uint32_t>(i)));
    if (static_cast<int64_t>(keys_.size()) < least_) return kNone;
    std::sort(keys_.begin(), keys_.end(), std::greater<>());
    regions_.clear();
    for (const uint64_t key : keys_) {
      const auto place = static_cast<uint32_t>(key);
      if (regions_.add(place) >= least_) return map[place];
    }
    return kNone;
  }

  const int64_t size_, least_;
  const uint8_t* const inside_;
  GrowingRegions regions_;
  std::vector<uint64_t> keys_;
  std::vector<float> sample_;
};

}  // namespace

std::vector<float> region_scores(const Pixels& pixels, int64_t least, const uint8_t* inside) {
  const int64_t size = pixels.height * pixels.width;
  RegionScore score(pixels.height, pixels.width, least, inside);
  std::vector<float> found(pixels.maps);
  for (int64_t i = 0; i < pixels.maps; ++i) found[i] = score.of(pixels.scores + i * size);
  return found;
}

}  // namespace invad::scores
