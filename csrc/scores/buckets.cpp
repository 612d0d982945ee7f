// Pixels into buckets: two passes over the scores, one over the masks.
#include "buckets.h"

#include <algorithm>

#include "connected_regions.h"
#include "float_key.h"
#include "threads.h"

namespace invad::scores {
namespace {

constexpr size_t kCounters = size_t{kBuckets} * kStreams;

inline size_t counter(uint32_t key, int64_t pixel) {
  return bucket_of(key) * kStreams + (pixel & (kStreams - 1));
}

struct KeyRange {
  uint32_t lowest = ~0u, highest = 0;
};

KeyRange range_of(const float* scores, int64_t size) {
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

bool finite(const KeyRange& range) {
  return range.lowest > range.highest ||  // no pixels
         (bucket_of(range.lowest) >= kFirstFinite && bucket_of(range.highest) <= kLastFinite);
}

void survey_map(const float* scores, const uint8_t* mask, int64_t height, int64_t width,
                RegionFinder& regions, ThreadSurvey& found) {
  const int64_t size = height * width;
  const KeyRange range = range_of(scores, size);
  found.lowest_key = std::min(found.lowest_key, range.lowest);
  found.highest_key = std::max(found.highest_key, range.highest);
  found.highest_keys.push_back(range.highest);
  uint32_t* normal = found.normal.data();
  // All pixels as if they were normal, then the few anomalous ones moved: no branch a pixel.
  for (int64_t i = 0; i < size; ++i) ++normal[counter(key_of(scores[i]), i)];
  if (mask) {
    regions.find(mask, height, width);
    found.regions += regions.regions();
    if (!regions.runs().empty() && !found.has_anomalous) {
      found.has_anomalous = true;
      found.anomalous.assign(kCounters, 0);
    }
    uint32_t* anomalous = found.anomalous.data();
    for (const MaskRun& run : regions.runs()) {
      found.runs.push_back({run.begin, run.end, regions.area(run)});
      for (int64_t i = run.begin; i < run.end; ++i) {
        const size_t at = counter(key_of(scores[i]), i);
        --normal[at];
        ++anomalous[at];
      }
    }
  }
  found.run_ends.push_back(found.runs.size());
}

// Where each thread and stream writes its next place: kBuckets x kStreams for every thread.
std::vector<std::vector<uint32_t>> cursors(const Survey& survey, const Places& to,
                                           std::vector<uint32_t> ThreadSurvey::* counts) {
  std::vector<std::vector<uint32_t>> next(survey.threads.size());
  for (size_t thread = 0; thread < next.size(); ++thread)
    if (!(survey.threads[thread].*counts).empty()) next[thread].resize(kCounters);
  for (size_t i = 0; i < to.buckets.size(); ++i) {
    uint32_t at = static_cast<uint32_t>(to.starts[i]);
    for (size_t thread = 0; thread < next.size(); ++thread) {
      if (next[thread].empty()) continue;
      for (int stream = 0; stream < kStreams; ++stream) {
        const size_t own = size_t{to.buckets[i]} * kStreams + stream;
        next[thread][own] = at;
        at += (survey.threads[thread].*counts)[own];
      }
    }
  }
  return next;
}

struct Scatter {
  uint32_t first, last;
  uint16_t* normal;
  uint16_t* anomalous;
  uint32_t* areas;

  bool holds(uint32_t key) const { return bucket_of(key) - first <= last - first; }

  template <bool kAll>
  void normal_pixels(const float* scores, int64_t begin, int64_t end, uint32_t* next) const {
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t key = key_of(scores[i]);
      if (kAll || holds(key)) normal[next[counter(key, i)]++] = place_of(key);
    }
  }

  void anomalous_pixels(const float* scores, const AnomalousRun& run, uint32_t* next) const {
    for (int64_t i = run.begin; i < run.end; ++i) {
      const uint32_t key = key_of(scores[i]);
      if (!holds(key)) continue;
      const uint32_t at = next[counter(key, i)]++;
      anomalous[at] = place_of(key);
      areas[at] = run.area;
    }
  }
};

template <bool kAll>
void scatter_maps(const Pixels& pixels, const ThreadSurvey& found, const Scatter& to,
                  uint32_t* next_normal, uint32_t* next_anomalous) {
  size_t run = 0;
  for (int64_t map = found.first_map; map < found.last_map; ++map) {
    const float* scores = pixels.scores + map * pixels.map_size();
    int64_t at = 0;
    for (const size_t end = found.run_ends[map - found.first_map]; run < end; ++run) {
      const AnomalousRun& anomalous = found.runs[run];
      to.normal_pixels<kAll>(scores, at, anomalous.begin, next_normal);
      to.anomalous_pixels(scores, anomalous, next_anomalous);
      at = anomalous.end;
    }
    to.normal_pixels<kAll>(scores, at, pixels.map_size(), next_normal);
  }
}

}  // namespace

Places lay_out(const std::vector<uint64_t>& counts, uint32_t first, uint32_t last) {
  Places to;
  uint64_t start = 0;
  for (uint32_t bucket = first; bucket <= last; ++bucket) {
    if (counts[bucket] == 0) continue;
    to.buckets.push_back(bucket);
    to.starts.push_back(start);
    start += counts[bucket];
  }
  to.starts.push_back(start);
  to.places.reset(new uint16_t[start]);
  return to;
}

Survey survey(const Pixels& pixels, int threads) {
  Survey all;
  threads = static_cast<int>(std::clamp<int64_t>(pixels.maps, 1, threads));
  all.threads.resize(threads);
  in_threads(threads, [&](int thread) {
    ThreadSurvey& found = all.threads[thread];
    found.first_map = share_begin(pixels.maps, threads, thread);
    found.last_map = share_begin(pixels.maps, threads, thread + 1);
    found.normal.assign(kCounters, 0);
    RegionFinder regions;
    for (int64_t map = found.first_map; map < found.last_map; ++map) {
      const int64_t at = map * pixels.map_size();
      survey_map(pixels.scores + at, pixels.masks ? pixels.masks + at : nullptr, pixels.height,
                 pixels.width, regions, found);
    }
  });
  all.normal.assign(kBuckets, 0);
  all.anomalous.assign(kBuckets, 0);
  for (const ThreadSurvey& found : all.threads) {
    all.lowest_key = std::min(all.lowest_key, found.lowest_key);
    all.highest_key = std::max(all.highest_key, found.highest_key);
    all.regions += found.regions;
    if (found.lowest_key > found.highest_key) continue;  // no pixels
    const size_t begin = bucket_of(found.lowest_key) * size_t{kStreams};
    const size_t end = (bucket_of(found.highest_key) + 1) * size_t{kStreams};
    for (size_t i = begin; i < end; ++i) all.normal[i / kStreams] += found.normal[i];
    if (!found.has_anomalous) continue;
    for (size_t i = begin; i < end; ++i) all.anomalous[i / kStreams] += found.anomalous[i];
  }
  all.finite = finite({all.lowest_key, all.highest_key});
  return all;
}

bool all_finite(const Pixels& pixels, int threads) {
  const int64_t size = pixels.maps * pixels.map_size();
  std::atomic<bool> all{true};
  in_threads(threads, [&](int thread) {
    const int64_t begin = share_begin(size, threads, thread);
    const int64_t end = share_begin(size, threads, thread + 1);
    if (!finite(range_of(pixels.scores + begin, end - begin))) all = false;
  });
  return all;
}

Part scatter(const Pixels& pixels, const Survey& survey, uint32_t first, uint32_t last) {
  Part part;
  part.normal = lay_out(survey.normal, first, last);
  part.anomalous = lay_out(survey.anomalous, first, last);
  part.areas.reset(new uint32_t[part.anomalous.size()]);
  const Scatter to{first, last, part.normal.places.get(), part.anomalous.places.get(),
                   part.areas.get()};
  auto next_normal = cursors(survey, part.normal, &ThreadSurvey::normal);
  auto next_anomalous = cursors(survey, part.anomalous, &ThreadSurvey::anomalous);
  const bool all = first <= bucket_of(survey.lowest_key) && bucket_of(survey.highest_key) <= last;
  in_threads(static_cast<int>(survey.threads.size()), [&](int thread) {
    const auto maps = all ? scatter_maps<true> : scatter_maps<false>;
    maps(pixels, survey.threads[thread], to, next_normal[thread].data(),
         next_anomalous[thread].data());
  });
  return part;
}

}  // namespace invad::scores
