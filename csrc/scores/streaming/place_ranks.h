// A set of places of a bucket, and how many of them lie below or at a place, in a few kilobytes.
#pragma once

#include <array>
#include <cstdint>

#include "../keys.h"

namespace invad::scores {

class PlaceRanks {
 public:
  void clear() { bits_.fill(0); }
  void add(uint16_t place) { bits_[place / 64] |= uint64_t{1} << (place % 64); }

  // After the last add(): how many there are.
  uint32_t rank() {
    uint32_t below = 0;
    for (uint32_t word = 0; word < kWords; ++word) {
      below_[word] = static_cast<uint16_t>(below);
      below += static_cast<uint32_t>(__builtin_popcountll(bits_[word]));
    }
    return below;
  }

  // Of them, how many are `place` or below: 0 also where that is all of the 65,536.
  uint16_t up_to(uint16_t place) const {
    const uint64_t below = bits_[place / 64] << (63 - place % 64);
    return static_cast<uint16_t>(below_[place / 64] + __builtin_popcountll(below));
  }

  // f(place) for each, rising.
  template <typename F>
  void each(const F& f) const {
    for (uint32_t word = 0; word < kWords; ++word)
      for (uint64_t bits = bits_[word]; bits != 0; bits &= bits - 1)
        f(static_cast<uint16_t>(word * 64 + static_cast<uint32_t>(__builtin_ctzll(bits))));
  }

 private:
  static constexpr uint32_t kWords = kPlaces / 64;
  std::array<uint64_t, kWords> bits_;
  std::array<uint16_t, kWords> below_;
};

}  // namespace invad::scores
