// Chunks and groups of buckets around survey(), scatter() and Ranker.
#include "exact_scores.h"

#include <algorithm>
#include <stdexcept>

#include "keys.h"
#include "scatter.h"

namespace invad::scores {
namespace {

// survey() and scatter() count with 32 bits.
constexpr int64_t kChunkPixels = int64_t{1} << 30;

void count(const Survey& survey, std::vector<uint64_t>& normal, std::vector<uint64_t>& anomalous) {
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    normal[bucket] += survey.normal[bucket];
    anomalous[bucket] += survey.anomalous[bucket];
  }
}

}  // namespace

BorrowedScores::BorrowedScores(const Pixels& pixels, int threads)
    : normal_(kBuckets), anomalous_(kBuckets), threads_(threads) {
  for (const Pixels& chunk : chunks_of(pixels, kChunkPixels)) {
    chunks_.push_back({chunk, survey(chunk, threads)});
    summary_.add(chunks_.back().survey);
    count(chunks_.back().survey, normal_, anomalous_);
    chunks_.back().survey.normal = chunks_.back().survey.anomalous = {};  // counted, and large
  }
}

MapSummary BorrowedScores::maps() const {
  MapSummary maps;
  for (const Chunk& chunk : chunks_) maps.add(chunk.survey);
  return maps;
}

Ranking BorrowedScores::rank(const Question& question, double limit) const {
  Ranker ranker(question, normal_, anomalous_, summary_.regions, threads_);
  for (const BucketRange& range : ranges_of(normal_, anomalous_, limit)) {
    Parts parts;
    for (const Chunk& chunk : chunks_) {
      const Parts more = scatter(chunk.pixels, chunk.survey, range.first, range.last);
      parts.insert(parts.end(), more.begin(), more.end());
    }
    ranker.add(parts, range.first, range.last);
  }
  return ranker.finish();
}

ExactScores::ExactScores() : normal_(kBuckets), anomalous_(kBuckets) {}

MapSummary ExactScores::add(const Pixels& pixels, int threads) {
  std::vector<std::pair<Pixels, Survey>> surveys;
  for (const Pixels& chunk : chunks_of(pixels, kChunkPixels)) {
    surveys.emplace_back(chunk, survey(chunk, threads));
    if (!surveys.back().second.finite) throw std::domain_error("scores that are not finite");
  }
  MapSummary maps;
  for (const auto& [chunk, found] : surveys) {
    maps.add(found);
    keep(scatter(chunk, found, 0, kBuckets - 1));
    summary_.add(found);
    count(found, normal_, anomalous_);
  }
  return maps;
}

void ExactScores::keep(const Parts& parts) {
  // A part of few pixels takes more for its buckets than for its places.
  constexpr uint64_t kSmall = 1 << 18;
  constexpr size_t kMany = 64;
  uint64_t pixels = 0;
  for (const auto& part : parts) pixels += part->normal.size() + part->anomalous.size();
  const bool small = pixels < kSmall;
  parts_.insert(small ? parts_.end() : parts_.end() - static_cast<int64_t>(small_), parts.begin(),
                parts.end());
  if (small) small_ += parts.size();
  if (small_ < kMany) return;
  const Parts last(parts_.end() - static_cast<int64_t>(small_), parts_.end());
  parts_.resize(parts_.size() - small_);
  parts_.push_back(joined(last));
  small_ = 0;
}

void ExactScores::add_part(std::shared_ptr<const Part> part, const Summary& summary) {
  for (const auto& [places, counts] :
       {std::pair(&part->normal, &normal_), std::pair(&part->anomalous, &anomalous_)})
    for (size_t i = 0; i < places->buckets.size(); ++i)
      (*counts)[places->buckets[i]] += places->ends[i] - places->begins[i];
  keep({std::move(part)});
  summary_.add(summary);
}

Ranking ExactScores::rank(const Question& question, int threads) const {
  Ranker ranker(question, normal_, anomalous_, summary_.regions, threads);
  ranker.add(parts_, 0, kBuckets - 1);
  return ranker.finish();
}

}  // namespace invad::scores
