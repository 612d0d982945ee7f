// Sixteen keys at a time where there is AVX-512, which packs those that are held.
#include "keys.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define INVAD_PACKS_16
#endif

namespace invad::scores {
namespace {

int64_t one_by_one(const float* scores, int64_t count, KeySpan span, uint32_t* keys) {
  int64_t held = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t key = key_of(scores[i]);
    keys[held] = key;
    held += span.holds(key);
  }
  return held;
}

#ifdef INVAD_PACKS_16
__attribute__((target("avx512f"))) int64_t by_sixteen(const float* scores, int64_t count,
                                                      KeySpan span, uint32_t* keys) {
  const __m512i first = _mm512_set1_epi32(static_cast<int>(span.first));
  const __m512i most = _mm512_set1_epi32(static_cast<int>(span.span));
  const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  int64_t held = 0, i = 0;
  for (; i + 16 <= count; i += 16) {
    // key_of()
    const __m512 score = _mm512_add_ps(_mm512_loadu_ps(scores + i), _mm512_setzero_ps());
    const __m512i bits = _mm512_castps_si512(score);
    const __m512i flipped = _mm512_or_si512(_mm512_srai_epi32(bits, 31), sign);
    const __m512i key = _mm512_xor_si512(bits, flipped);
    const __mmask16 inside = _mm512_cmple_epu32_mask(_mm512_sub_epi32(key, first), most);
    // Packed in a register: packing into memory is slow on Zen 4.
    _mm512_storeu_si512(keys + held, _mm512_maskz_compress_epi32(inside, key));
    held += __builtin_popcount(inside);
  }
  return held + one_by_one(scores + i, count - i, span, keys + held);
}
#endif

}  // namespace

int64_t held_keys(const float* scores, int64_t count, KeySpan span, uint32_t* keys) {
#ifdef INVAD_PACKS_16
  static const bool packs = __builtin_cpu_supports("avx512f");
  if (packs) return by_sixteen(scores, count, span, keys);
#endif
  return one_by_one(scores, count, span, keys);
}

}  // namespace invad::scores
