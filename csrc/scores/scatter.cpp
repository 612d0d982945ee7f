// A place at a time would touch a line of memory each: lines are gathered in a cache and written
// whole.
#include "scatter.h"

#include <algorithm>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "keys.h"
#include "threads.h"

namespace invad::scores {
namespace {

void write_line(const uint16_t* from, uint16_t* to) {
#ifdef __SSE2__
  // Past the caches: the line is not read before it is written, and not needed soon.
  for (int i = 0; i < 4; ++i)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to) + i,
                     _mm_load_si128(reinterpret_cast<const __m128i*>(from) + i));
#else
  std::memcpy(to, from, kLine * sizeof(uint16_t));
#endif
}

// Writes one thread's normal places.
class LineWriter {
 public:
  // to.buckets must not be empty.
  explicit LineWriter(Places& to)
      : to_(to),
        first_(to.buckets.front()),
        span_(to.buckets.back() - first_),
        next_(span_ + 1),
        lines_(place_memory((span_ + uint64_t{1}) * kLine)) {
    for (size_t i = 0; i < to.buckets.size(); ++i)
      next_[to.buckets[i] - first_] = static_cast<uint32_t>(to.begins[i]);
  }

  // All keys of the buckets from the first to the last one.
  KeySpan keys() const { return {first_ << 16, span_ << 16 | 0xffff}; }

  void put(uint32_t key) {
    const uint32_t bucket = bucket_of(key) - first_;
    const uint32_t at = next_[bucket]++;
    uint16_t* line = lines_.get() + bucket * kLine;
    line[at % kLine] = place_of(key);
    if (at % kLine == kLine - 1) write_line(line, to_.places.get() + (at - at % kLine));
  }

  // Lines that are not full.
  void finish() {
    for (size_t i = 0; i < to_.buckets.size(); ++i) {
      const uint64_t begin = std::max(to_.begins[i], to_.ends[i] / kLine * kLine);
      const uint16_t* line = lines_.get() + (to_.buckets[i] - first_) * kLine;
      std::copy(line, line + (to_.ends[i] - begin), to_.places.get() + begin);
    }
#ifdef __SSE2__
    _mm_sfence();
#endif
  }

 private:
  Places& to_;
  uint32_t first_, span_;
  std::vector<uint32_t> next_;
  Memory<uint16_t> lines_;
};

// What the writer holds of `size` scores.
void put_held(const float* scores, int64_t size, LineWriter& writer) {
  constexpr int64_t kMost = 512;
  uint32_t keys[kMost];
  for (; size > 0; scores += kMost, size -= kMost) {
    const int64_t held = held_keys(scores, std::min(size, kMost), writer.keys(), keys);
    for (int64_t i = 0; i < held; ++i) writer.put(keys[i]);
  }
}

void scatter_normal(const Pixels& pixels, const ThreadSurvey& found, Places& to) {
  LineWriter writer(to);
  const KeySpan keys = writer.keys();
  const bool all = keys.holds(found.lowest_key) && keys.holds(found.highest_key);
  const auto put = [&](const float* scores, int64_t size) {
    if (all)
      each_key(scores, size, [&](uint32_t key) { writer.put(key); });
    else
      put_held(scores, size, writer);
  };
  size_t run = 0;
  for (int64_t map = found.first_map; map < found.last_map; ++map) {
    const float* scores = pixels.scores + map * pixels.map_size();
    int64_t at = 0;
    for (const size_t end = found.run_ends[map - found.first_map]; run < end; ++run) {
      put(scores + at, found.runs[run].begin - at);
      at = found.runs[run].end;
    }
    put(scores + at, pixels.map_size() - at);
  }
  writer.finish();
}

void scatter_anomalous(const Pixels& pixels, const ThreadSurvey& found, Part& to) {
  const uint32_t first = to.anomalous.buckets.front(), last = to.anomalous.buckets.back();
  const KeySpan keys{first << 16, (last - first) << 16 | 0xffff};
  std::vector<uint64_t> next(last - first + 1);
  for (size_t i = 0; i < to.anomalous.buckets.size(); ++i)
    next[to.anomalous.buckets[i] - first] = to.anomalous.begins[i];
  size_t run = 0;
  for (int64_t map = found.first_map; map < found.last_map; ++map) {
    const float* scores = pixels.scores + map * pixels.map_size();
    for (const size_t end = found.run_ends[map - found.first_map]; run < end; ++run) {
      const AnomalousRun& anomalous = found.runs[run];
      for (uint32_t i = anomalous.begin; i < anomalous.end; ++i) {
        const uint32_t key = key_of(scores[i]);
        if (!keys.holds(key)) continue;
        const uint64_t at = next[bucket_of(key) - first]++;
        to.anomalous.places[at] = place_of(key);
        to.areas[at] = anomalous.area;
      }
    }
  }
}

std::shared_ptr<const Part> scatter_share(const Pixels& pixels, const ThreadSurvey& found,
                                          uint32_t first, uint32_t last) {
  const auto part = std::make_shared<Part>();
  part->normal = Places::of(found.normal, first, last);
  part->anomalous = Places::of(found.anomalous, first, last);
  part->allocate_areas();
  if (!part->normal.buckets.empty()) scatter_normal(pixels, found, part->normal);
  if (!part->anomalous.buckets.empty()) scatter_anomalous(pixels, found, *part);
  return part;
}

}  // namespace

Parts scatter(const Pixels& pixels, const Survey& survey, uint32_t first, uint32_t last) {
  Parts parts(survey.threads.size());
  in_threads(static_cast<int>(parts.size()), [&](int thread) {
    parts[thread] = scatter_share(pixels, survey.threads[thread], first, last);
  });
  return parts;
}

}  // namespace invad::scores
