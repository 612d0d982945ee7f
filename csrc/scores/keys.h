// Float32 scores as integers of the same order, so that they can be counted by their bits: one by
// one, and many at a time with vectors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

// INVAD_WIDE before a function with simple loops: compiled also for wider vectors, chosen when it
// is first called. Nothing that it calls is, unless it is inlined. Sanitizers start too late for
// that choice.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define INVAD_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define INVAD_WIDE
#endif

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

constexpr int64_t kBlock = 64;

// scores, keys: kBlock of them.
INVAD_WIDE inline void block_keys(const float* scores, uint32_t* keys) {
  for (int64_t i = 0; i < kBlock; ++i) keys[i] = key_of(scores[i]);
}

// f(key) for each of `size` scores.
template <typename F>
inline void each_key(const float* scores, int64_t size, const F& f) {
  uint32_t keys[kBlock];
  int64_t i = 0;
  for (; i + kBlock <= size; i += kBlock) {
    block_keys(scores + i, keys);
    for (int64_t j = 0; j < kBlock; ++j) f(keys[j]);
  }
  for (; i < size; ++i) f(key_of(scores[i]));
}

struct KeyRange {
  uint32_t lowest = ~0u, highest = 0;
};

INVAD_WIDE inline KeyRange range_of(const float* scores, int64_t size) {
  // As keys: comparisons of floats would pass over NaN, whose keys lie outside of all others.
  uint32_t lowest = ~0u, highest = 0;
#pragma omp simd reduction(min : lowest) reduction(max : highest)
  for (int64_t i = 0; i < size; ++i) {
    const uint32_t key = key_of(scores[i]);
    lowest = std::min(lowest, key);
    highest = std::max(highest, key);
  }
  return {lowest, highest};
}

// Keys first .. first + span.
struct KeySpan {
  uint32_t first, span;

  bool holds(uint32_t key) const { return key - first <= span; }
};

// keys: `count` of them, of which the first are what `span` holds, in the scores' order, and the
// others are anything. Returns how many are held. No branch depends on a score.
int64_t held_keys(const float* scores, int64_t count, KeySpan span, uint32_t* keys);

}  // namespace invad::scores
