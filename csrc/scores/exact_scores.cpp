// Chunks and groups of buckets around survey(), scatter() and Ranker.
#include "exact_scores.h"

#include <algorithm>
#include <stdexcept>

#include "float_key.h"

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
  for (const BucketRange& range : ranges_of(normal_, anomalous_, limit)) {
    Parts parts;
    for (const Chunk& chunk : chunks_)
      parts.push_back(
          std::make_shared<Part>(scatter(chunk.pixels, chunk.survey, range.first, range.last)));
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
    parts_.push_back(std::make_shared<Part>(scatter(chunk, found, 0, kBuckets - 1)));
    summary_.add(found);
    invad::scores::count(found, normal_, anomalous_);
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
  summary_.add(summary);
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

Ranking ExactScores::rank(const Question& question, int threads) const {
  Ranker ranker(question, normal_, anomalous_, summary_.regions, threads);
  ranker.add(parts_, 0, kBuckets - 1);
  return ranker.finish();
}

}  // namespace invad::scores
