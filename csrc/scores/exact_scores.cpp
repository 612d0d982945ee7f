// Chunks and groups of buckets around survey(), scatter() and Ranker.
#include "exact_scores.h"

#include <algorithm>
#include <stdexcept>

#include "float_key.h"

namespace invad::scores {
namespace {

// survey() and scatter() count with 32 bits.
constexpr int64_t kChunkPixels = int64_t{1} << 30;

std::vector<Pixels> chunks_of(const Pixels& pixels) {
  const int64_t maps = std::max<int64_t>(1, kChunkPixels / std::max<int64_t>(1, pixels.map_size()));
  std::vector<Pixels> chunks;
  for (int64_t first = 0; first < pixels.maps; first += maps) {
    const int64_t at = first * pixels.map_size();
    chunks.push_back({pixels.scores + at, pixels.masks ? pixels.masks + at : nullptr,
                      std::min(maps, pixels.maps - first), pixels.height, pixels.width});
  }
  return chunks;
}

void add_summary(Summary& to, const Summary& other) {
  to.normal += other.normal;
  to.anomalous += other.anomalous;
  to.regions += other.regions;
  to.lowest_key = std::min(to.lowest_key, other.lowest_key);
  to.highest_key = std::max(to.highest_key, other.highest_key);
  to.finite = to.finite && other.finite;
}

void add_survey(const Survey& survey, Summary& summary, std::vector<uint64_t>& normal,
                std::vector<uint64_t>& anomalous) {
  Summary own;
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    normal[bucket] += survey.normal[bucket];
    anomalous[bucket] += survey.anomalous[bucket];
    own.normal += survey.normal[bucket];
    own.anomalous += survey.anomalous[bucket];
  }
  own.regions = survey.regions;
  own.lowest_key = survey.lowest_key;
  own.highest_key = survey.highest_key;
  own.finite = survey.finite;
  add_summary(summary, own);
}

}  // namespace

void MapSummary::add(const Survey& survey) {
  for (const ThreadSurvey& found : survey.threads) {
    size_t begin = 0;
    for (size_t map = 0; map < found.run_ends.size(); ++map) {
      maxima.push_back(score_of(found.highest_keys[map]));
      anomalous.push_back(found.run_ends[map] > begin);
      begin = found.run_ends[map];
    }
  }
}

BorrowedScores::BorrowedScores(const Pixels& pixels, int threads)
    : normal_(kBuckets), anomalous_(kBuckets), threads_(threads) {
  for (const Pixels& chunk : chunks_of(pixels)) {
    chunks_.push_back({chunk, survey(chunk, threads)});
    add_survey(chunks_.back().survey, summary_, normal_, anomalous_);
  }
}

MapSummary BorrowedScores::maps() const {
  MapSummary maps;
  for (const Chunk& chunk : chunks_) maps.add(chunk.survey);
  return maps;
}

Ranking BorrowedScores::rank(const Question& question, double share) const {
  const double pixels = static_cast<double>(summary_.normal + summary_.anomalous);
  const double limit = share * pixels * sizeof(float);
  Ranker ranker(question, normal_, anomalous_, summary_.regions, threads_);
  for (uint32_t last = kBuckets - 1, first;; last = first - 1) {
    // As many buckets as fit; one at least.
    double bytes = 0;
    for (first = last;; --first) {
      bytes += 2.0 * normal_[first] + 6.0 * anomalous_[first];
      if (first == 0) break;
      if (bytes + 2.0 * normal_[first - 1] + 6.0 * anomalous_[first - 1] > limit) break;
    }
    Parts parts;
    for (const Chunk& chunk : chunks_)
      parts.push_back(std::make_shared<Part>(scatter(chunk.pixels, chunk.survey, first, last)));
    ranker.add(parts, first, last);
    if (first == 0) return ranker.finish();
  }
}

ExactScores::ExactScores() : normal_(kBuckets), anomalous_(kBuckets) {}

MapSummary ExactScores::add(const Pixels& pixels, int threads) {
  std::vector<std::pair<Pixels, Survey>> surveys;
  for (const Pixels& chunk : chunks_of(pixels)) {
    surveys.emplace_back(chunk, survey(chunk, threads));
    if (!surveys.back().second.finite) throw std::domain_error("scores that are not finite");
  }
  MapSummary maps;
  for (const auto& [chunk, found] : surveys) {
    maps.add(found);
    parts_.push_back(std::make_shared<Part>(scatter(chunk, found, 0, kBuckets - 1)));
    add_survey(found, summary_, normal_, anomalous_);
  }
  return maps;
}

void ExactScores::count(const Part& part) {
  for (size_t i = 0; i < part.normal.buckets.size(); ++i)
    normal_[part.normal.buckets[i]] += part.normal.starts[i + 1] - part.normal.starts[i];
  for (size_t i = 0; i < part.anomalous.buckets.size(); ++i)
    anomalous_[part.anomalous.buckets[i]] +=
        part.anomalous.starts[i + 1] - part.anomalous.starts[i];
}

void ExactScores::add_part(std::shared_ptr<const Part> part, const Summary& summary) {
  count(*part);
  parts_.push_back(std::move(part));
  add_summary(summary_, summary);
}

Part ExactScores::whole() const {
  Part all;
  all.normal = lay_out(normal_, 0, kBuckets - 1);
  all.anomalous = lay_out(anomalous_, 0, kBuckets - 1);
  all.areas.reset(new uint32_t[all.anomalous.size()]);
  std::vector<uint64_t> next(kBuckets);
  for (const bool anomalous : {false, true}) {
    const Places& to = anomalous ? all.anomalous : all.normal;
    for (size_t i = 0; i < to.buckets.size(); ++i) next[to.buckets[i]] = to.starts[i];
    for (const auto& part : parts_) {
      const Places& from = anomalous ? part->anomalous : part->normal;
      for (size_t i = 0; i < from.buckets.size(); ++i) {
        uint64_t& at = next[from.buckets[i]];
        const uint64_t begin = from.starts[i], end = from.starts[i + 1];
        std::copy(from.places.get() + begin, from.places.get() + end, to.places.get() + at);
        if (anomalous)
          std::copy(part->areas.get() + begin, part->areas.get() + end, all.areas.get() + at);
        at += end - begin;
      }
    }
  }
  return all;
}

void ExactScores::merge(const ExactScores& other) {
  const Parts others = other.parts_;  // a copy: `other` may be this
  const Summary summary = other.summary_;
  for (const auto& part : others) {
    count(*part);
    parts_.push_back(part);
  }
  add_summary(summary_, summary);
}

Ranking ExactScores::rank(const Question& question, int threads) const {
  Ranker ranker(question, normal_, anomalous_, summary_.regions, threads);
  ranker.add(parts_, 0, kBuckets - 1);
  return ranker.finish();
}

}  // namespace invad::scores
