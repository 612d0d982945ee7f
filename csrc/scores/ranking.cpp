// Counts every place of a bucket in a table, then walks the table from the highest place down.
#include "ranking.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "keys.h"
#include "threads.h"

namespace invad::scores {
namespace {

// What one bucket adds to the ranking.
struct BucketResult {
  unsigned __int128 wins_twice = 0;
  double precision = 0, overlap_area = 0, best_f1 = -1;
  uint32_t best_f1_key = 0;
};

// A bucket to rank: what lies above it, which of the question's entries fall into it.
struct Task {
  uint32_t bucket;
  Counts above;
  size_t boundary_begin, boundary_end, rank_begin, rank_end;
  BucketResult result;
};

// The curve of overlap over false positives, cut off at a limit.
struct OverlapArea {
  double limit, sum = 0;

  void flat(uint64_t from, uint64_t to, uint64_t overlap) {
    const double a = std::min<double>(from, limit), b = std::min<double>(to, limit);
    sum += (b - a) * static_cast<double>(overlap);
  }

  void rising(uint64_t from, uint64_t to, uint64_t overlap_from, uint64_t overlap_to) {
    const double a = from, low = overlap_from;
    if (to == from || a >= limit) return;
    const double width = std::min<double>(to, limit) - a;
    const double rise = static_cast<double>(overlap_to - overlap_from);
    sum += width * (low + rise * width / static_cast<double>(to - from) / 2);
  }
};

// One part's pixels of one bucket.
struct Segment {
  const uint16_t* places;
  const uint32_t* areas;
  uint64_t size;
};

// Finds buckets in many parts, from the highest bucket down.
class Segments {
 public:
  Segments(const Parts& parts, bool anomalous) : parts_(parts), anomalous_(anomalous) {
    for (const auto& part : parts) cursors_.push_back(places(*part).buckets.size());
  }

  const std::vector<Segment>& of(uint32_t bucket) {
    found_.clear();
    for (size_t i = 0; i < parts_.size(); ++i) {
      const Places& from = places(*parts_[i]);
      size_t& at = cursors_[i];
      while (at > 0 && from.buckets[at - 1] > bucket) --at;
      if (at == 0 || from.buckets[at - 1] != bucket) continue;
      const uint64_t begin = from.begins[at - 1];
      found_.push_back({from.places.get() + begin,
                        anomalous_ ? parts_[i]->areas.get() + begin : nullptr,
                        from.ends[at - 1] - begin});
    }
    return found_;
  }

 private:
  const Places& places(const Part& part) const { return anomalous_ ? part.anomalous : part.normal; }

  const Parts& parts_;
  bool anomalous_;
  std::vector<size_t> cursors_;
  std::vector<Segment> found_;
};

// Places are looked through in words of so many: a word of the bitmap of anomalous places.
constexpr uint32_t kWord = 64;

// table: kPlaces; sums: of each word.
INVAD_WIDE void sum_words(const uint32_t* table, uint32_t* sums) {
  for (uint32_t word = 0; word < kPlaces / kWord; ++word) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < kWord; ++i) sum += table[word * kWord + i];
    sums[word] = sum;
  }
}

// Ranks one bucket after another; its tables are empty between two.
class BucketRanker {
 public:
  BucketRanker(const Parts& parts, const Counts& total, const RegionWeights& weights,
               const Question& question)
      : normal_segments_(parts, false),
        anomalous_segments_(parts, true),
        total_(total),
        weights_(weights),
        question_(question),
        normal_(kPlaces),
        sums_(kPlaces / kWord),
        anomalous_(kPlaces),
        weight_(kPlaces),
        occupied_(kPlaces / kWord) {}

  void rank(Task& task, Ranking& ranking) {
    count(task.bucket);
    result_ = {};
    bucket_ = task.bucket;
    place_ = kPlaces;
    above_ = task.above;
    flat_from_ = above_.normal;
    OverlapArea area{question_.false_positive_limit};
    for (size_t i = task.boundary_end; i-- > task.boundary_begin;) {
      descend(place_of(question_.boundaries[i]) + 1u, area);
      ranking.above[i] = above_;
    }
    descend(0, area);
    if (above_.anomalous > task.above.anomalous)
      area.flat(flat_from_, above_.normal, above_.weight);
    result_.overlap_area = area.sum;
    task.result = result_;
    uint64_t seen = task.above.normal;
    uint32_t place = kPlaces;
    for (size_t i = task.rank_begin; i < task.rank_end; ++i) {
      while (seen <= question_.normal_ranks[i]) seen += normal_[--place];
      ranking.normal_keys[i] = task.bucket << 16 | place;
    }
    std::fill(normal_.begin(), normal_.end(), 0);
  }

 private:
  void count(uint32_t bucket) {
    for (const Segment& segment : normal_segments_.of(bucket))
      for (uint64_t i = 0; i < segment.size; ++i) ++normal_[segment.places[i]];
    sum_words(normal_.data(), sums_.data());
    for (const Segment& segment : anomalous_segments_.of(bucket)) {
      for (uint64_t i = 0; i < segment.size; ++i) {
        const uint16_t place = segment.places[i];
        ++anomalous_[place];
        weight_[place] += weights_.of(segment.areas[i]);
        occupied_[place / kWord] |= uint64_t{1} << (place % kWord);
      }
    }
  }

  // Goes on down to place `end`, included.
  void descend(uint32_t end, OverlapArea& area) {
    while (place_ > end) {
      const uint32_t word = (place_ - 1) / kWord, begin = std::max(end, word * kWord);
      if (occupied_[word] == 0 && place_ - begin == kWord) {
        above_.normal += sums_[word];
        place_ = begin;
        continue;
      }
      for (const uint64_t bits = occupied_[word]; place_ > begin;) {
        --place_;
        if (bits >> (place_ % kWord) & 1)
          anomalous_place(area);
        else
          above_.normal += normal_[place_];
      }
      if (begin == word * kWord) occupied_[word] = 0;
    }
  }

  // One score of anomalous pixels, and of the normal ones that tie with them.
  void anomalous_place(OverlapArea& area) {
    const uint64_t own = std::exchange(anomalous_[place_], 0);
    const uint64_t weight = std::exchange(weight_[place_], 0), tied = normal_[place_];
    area.flat(flat_from_, above_.normal, above_.weight);
    area.rising(above_.normal, above_.normal + tied, above_.weight, above_.weight + weight);
    above_.anomalous += own;
    above_.normal += tied;
    above_.weight += weight;
    flat_from_ = above_.normal;
    const unsigned __int128 below_twice = 2 * (total_.normal - above_.normal) + tied;
    result_.wins_twice += own * below_twice;
    const double hits = static_cast<double>(above_.anomalous);
    const double called = static_cast<double>(above_.anomalous + above_.normal);
    result_.precision += static_cast<double>(own) * (hits / called);
    const double f1 = 2 * hits / (called + static_cast<double>(total_.anomalous));
    if (f1 > result_.best_f1) {
      result_.best_f1 = f1;
      result_.best_f1_key = bucket_ << 16 | place_;
    }
  }

  Segments normal_segments_, anomalous_segments_;
  const Counts& total_;
  const RegionWeights& weights_;
  const Question& question_;
  std::vector<uint32_t> normal_, sums_, anomalous_;
  std::vector<uint64_t> weight_, occupied_;

  // Where the walk through a bucket is.
  BucketResult result_;
  uint32_t bucket_ = 0, place_ = 0;
  Counts above_;
  uint64_t flat_from_ = 0;
};

}  // namespace

Ranker::Ranker(Question question, const std::vector<uint64_t>& normal,
               const std::vector<uint64_t>& anomalous, int64_t regions, int threads)
    : question_(std::move(question)),
      normal_(normal),
      anomalous_(anomalous),
      weights_(regions),
      threads_(threads) {
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (std::max(normal_[bucket], anomalous_[bucket]) > 0xffffffffu)
      throw std::overflow_error("more than 2^32 pixels have nearly the same score");
    ranking_.total.normal += normal_[bucket];
    ranking_.total.anomalous += anomalous_[bucket];
  }
  ranking_.regions = regions;
  ranking_.above.resize(question_.boundaries.size());
  ranking_.normal_keys.resize(question_.normal_ranks.size());
}

void Ranker::add(const Parts& parts, uint32_t first, uint32_t last) {
  // The weight in every bucket, before anything can be known above it.
  std::vector<uint32_t> occupied;
  for (uint32_t bucket = last + 1; bucket-- > first;)
    if (anomalous_[bucket]) occupied.push_back(bucket);
  std::vector<uint64_t> weight(occupied.size());
  std::atomic<size_t> next{0};
  in_threads(threads_for(occupied.size()), [&](int) {
    Segments segments(parts, true);
    for (size_t i; (i = next++) < occupied.size();)
      for (const Segment& segment : segments.of(occupied[i]))
        for (uint64_t j = 0; j < segment.size; ++j) weight[i] += weights_.of(segment.areas[j]);
  });
  auto next_weight = weight.begin();

  std::vector<Task> tasks;
  OverlapArea area{question_.false_positive_limit};
  size_t boundary = question_.boundaries.size(), rank = 0;
  const auto bucket_of_boundary = [&](size_t i) { return bucket_of(question_.boundaries[i]); };
  while (boundary > 0 && bucket_of_boundary(boundary - 1) > last) --boundary;
  while (rank < question_.normal_ranks.size() && question_.normal_ranks[rank] < above_.normal)
    ++rank;
  for (uint32_t bucket = last + 1; bucket-- > first;) {
    Task task{bucket, above_, boundary, boundary, rank, rank, {}};
    while (boundary > 0 && bucket_of_boundary(boundary - 1) == bucket) --boundary;
    task.boundary_begin = boundary;
    const uint64_t normal_end = above_.normal + normal_[bucket];
    while (rank < question_.normal_ranks.size() && question_.normal_ranks[rank] < normal_end)
      ++rank;
    task.rank_end = rank;
    if (anomalous_[bucket] || task.boundary_begin < task.boundary_end ||
        task.rank_begin < task.rank_end)
      tasks.push_back(task);
    if (!anomalous_[bucket]) area.flat(above_.normal, normal_end, above_.weight);
    above_.anomalous += anomalous_[bucket];
    above_.normal = normal_end;
    if (anomalous_[bucket]) above_.weight += *next_weight++;
  }
  ranking_.overlap_area += area.sum;

  next = 0;
  in_threads(threads_for(tasks.size()), [&](int) {
    BucketRanker ranker(parts, ranking_.total, weights_, question_);
    for (size_t i; (i = next++) < tasks.size();) ranker.rank(tasks[i], ranking_);
  });
  for (const Task& task : tasks) {
    wins_twice_ += task.result.wins_twice;
    ranking_.precision_sum += task.result.precision;
    ranking_.overlap_area += task.result.overlap_area;
    if (task.result.best_f1 > ranking_.best_f1) {
      ranking_.best_f1 = task.result.best_f1;
      ranking_.best_f1_key = task.result.best_f1_key;
    }
  }
}

int Ranker::threads_for(size_t buckets) const {
  return static_cast<int>(std::clamp<size_t>(buckets, 1, threads_));
}

Ranking Ranker::finish() {
  ranking_.total.weight = above_.weight;
  ranking_.auroc_wins = static_cast<double>(wins_twice_) / 2;
  const double unit = static_cast<double>(weights_.unit);
  ranking_.overlap_area /= unit * static_cast<double>(std::max<int64_t>(ranking_.regions, 1));
  return std::move(ranking_);
}

}  // namespace invad::scores
