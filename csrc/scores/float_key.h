// Float32 scores as integers of the same order, so that they can be counted by their bits.
#pragma once

#include <cstdint>
#include <cstring>

namespace invad::scores {

// Rises with the score over all floats; -0 and +0, which are equal, have one key.
inline uint32_t key_of(float score) {
  const float plus_zero = score + 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &plus_zero, sizeof bits);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}

inline float score_of(uint32_t key) {
  const uint32_t bits = key ^ ((key & 0x80000000u) ? 0x80000000u : 0xffffffffu);
  float score;
  std::memcpy(&score, &bits, sizeof score);
  return score;
}

// A key's upper half names its bucket, its lower half the place in it: 128 buckets an octave.
constexpr uint32_t kBuckets = 1u << 16;
constexpr uint32_t kPlaces = 1u << 16;

inline uint32_t bucket_of(uint32_t key) { return key >> 16; }
inline uint16_t place_of(uint32_t key) { return static_cast<uint16_t>(key); }

// The buckets below and above those that hold nothing but finite scores.
constexpr uint32_t kFirstFinite = 0x0080, kLastFinite = 0xff7f;

}  // namespace invad::scores
