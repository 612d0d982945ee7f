// One pass over the scores and one over the masks.
#include "survey.h"

#include <algorithm>

#include "connected_regions.h"
#include "keys.h"
#include "threads.h"

namespace invad::scores {
namespace {

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
  each_key(scores, size, [&](uint32_t key) { ++normal[bucket_of(key)]; });
  if (mask) {
    regions.find(mask, height, width);
    found.regions += regions.regions();
    if (!regions.runs().empty()) found.anomalous.resize(kBuckets);
    uint32_t* anomalous = found.anomalous.data();
    for (const MaskRun& run : regions.runs()) {
      found.runs.push_back({run.begin, run.end, regions.area(run)});
      for (int64_t i = run.begin; i < run.end; ++i) {
        const uint32_t at = bucket_of(key_of(scores[i]));
        --normal[at];
        ++anomalous[at];
      }
    }
  }
  found.run_ends.push_back(found.runs.size());
}

}  // namespace

Survey survey(const Pixels& pixels, int threads) {
  Survey all;
  threads = static_cast<int>(std::clamp<int64_t>(pixels.maps, 1, threads));
  all.threads.resize(threads);
  in_threads(threads, [&](int thread) {
    ThreadSurvey& found = all.threads[thread];
    found.first_map = share_begin(pixels.maps, threads, thread);
    found.last_map = share_begin(pixels.maps, threads, thread + 1);
    found.normal.resize(kBuckets);
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
    for (uint32_t bucket = 0; bucket < kBuckets; ++bucket)
      all.normal[bucket] += found.normal[bucket];
    if (found.anomalous.empty()) continue;
    for (uint32_t bucket = 0; bucket < kBuckets; ++bucket)
      all.anomalous[bucket] += found.anomalous[bucket];
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

}  // namespace invad::scores
