// The metrics' core under AddressSanitizer and UBSan: random pixels through every door of it, the
// counts checked by brute force. tests/test_metrics_sanitized.py builds and runs it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "connected_regions.h"
#include "exact_scores.h"
#include "histogram.h"
#include "keys.h"
#include "pooling.h"
#include "region_scores.h"
#include "region_shapes.h"
#include "streaming/cell_scores.h"

using namespace invad::scores;

void check_frames(std::mt19937& random);  // sanitized_frames.cpp

namespace {

void expect(bool right, const char* what) {
  if (right) return;
  std::printf("wrong: %s\n", what);
  std::exit(1);
}

struct Sample {
  std::vector<float> scores;
  std::vector<uint8_t> masks;
  int64_t maps, height, width;

  explicit Sample(std::mt19937& random)
      : maps(random() % 4), height(1 + random() % 40), width(1 + random() % 150) {
    const float scale = std::vector<float>{1e-40f, 1, -3, 1e38f}[random() % 4];
    const uint32_t levels = std::vector<uint32_t>{1, 3, 1000, 1u << 24}[random() % 4];
    const uint32_t density = random() % 11;
    for (int64_t i = 0; i < maps * height * width; ++i) {
      scores.push_back(scale *
                       (static_cast<float>(random() % levels) / static_cast<float>(levels)));
      masks.push_back(random() % 10 < density ? 255 : 0);
    }
  }
  Pixels pixels() const { return {scores.data(), masks.data(), maps, height, width}; }
};

void check_ranking(const Sample& sample, const Ranking& ranking, const Question& question) {
  for (size_t b = 0; b < question.boundaries.size(); ++b) {
    uint64_t normal = 0, anomalous = 0;
    for (size_t i = 0; i < sample.scores.size(); ++i)
      if (key_of(sample.scores[i]) > question.boundaries[b])
        ++(sample.masks[i] ? anomalous : normal);
    expect(ranking.above[b].normal == normal, "normal pixels above a boundary");
    expect(ranking.above[b].anomalous == anomalous, "anomalous pixels above a boundary");
  }
}

void check(std::mt19937& random) {
  const Sample sample(random);
  const int threads = 1 + random() % 3;
  Question question;
  for (int i = 0; i < 5 && !sample.scores.empty(); ++i)
    question.boundaries.push_back(key_of(sample.scores[random() % sample.scores.size()]));
  question.boundaries.push_back(0);
  question.boundaries.push_back(~0u);
  std::sort(question.boundaries.begin(), question.boundaries.end());

  const BorrowedScores borrowed(sample.pixels(), threads);
  question.false_positive_limit = 0.3 * static_cast<double>(borrowed.summary().normal);
  if (borrowed.summary().normal > 0) question.normal_ranks = {0, borrowed.summary().normal - 1};
  const Ranking exact = borrowed.rank(question, 1e9);
  check_ranking(sample, exact, question);
  const Ranking pieces = borrowed.rank(question, 100);
  check_ranking(sample, pieces, question);
  expect(exact.auroc_wins == pieces.auroc_wins, "the same ranks, a range of buckets at a time");

  const int64_t window = 1 + random() % std::min(sample.height, sample.width);
  const std::vector<double> pooled = pooled_maxima(sample.pixels(), window, threads);
  const std::vector<float> maxima = borrowed.maps().maxima;
  for (size_t i = 0; i < pooled.size(); ++i)
    expect(pooled[i] <= maxima[i] + 1e-6 * std::abs(maxima[i]), "an average above the maximum");

  std::vector<uint8_t> inside(sample.height * sample.width, 1);
  for (auto& byte : inside) byte = random() % 8 != 0;
  for (const int64_t least : {int64_t{1}, int64_t{2}, sample.height * sample.width}) {
    const std::vector<float> everywhere = region_scores(sample.pixels(), least, nullptr);
    const std::vector<float> within = region_scores(sample.pixels(), least, inside.data());
    for (size_t i = 0; i < within.size(); ++i)
      expect(within[i] <= everywhere[i] && everywhere[i] <= maxima[i],
             "no score above the maximum");
  }

  ExactScores held, sent;
  held.add(sample.pixels(), threads);
  for (int i = 0; i < 70; ++i) held.add({sample.scores.data(), nullptr, 0, 1, 1}, threads);
  Summary summary = held.summary();
  sent.add_part(held.whole(), summary);
  expect(sent.rank(question, threads).auroc_wins == exact.auroc_wins, "ranks of what was sent");

  for (const size_t capacity : {2, 50, 1 << 18}) {
    CellScores cells(capacity), more(capacity);
    cells.add(sample.pixels(), threads);
    more.add(sample.pixels(), threads);
    more.merge(cells.cells(), cells.limit(), cells.summary());
    uint64_t pixels = 0;
    for (const Cell& cell : more.cells()) pixels += cell.counts.normal + cell.counts.anomalous;
    expect(more.cells().size() <= capacity, "no more cells than there may be");
    expect(pixels == 2 * sample.scores.size(), "every pixel in a cell");
  }

  std::vector<int32_t> labels(sample.scores.size()), areas(sample.scores.size());
  for (int64_t map = 0; map < sample.maps; ++map) {
    const int64_t at = map * sample.height * sample.width;
    label_regions(sample.masks.data() + at, sample.height, sample.width, labels.data() + at,
                  areas.data() + at);
    const RegionShapes shapes = region_shapes(sample.masks.data() + at, sample.scores.data() + at,
                                              sample.height, sample.width, 0.5, 2);
    int64_t set = 0;
    for (const int64_t area : shapes.areas) set += area;
    expect(set == std::count_if(sample.masks.begin() + at,
                                sample.masks.begin() + at + sample.height * sample.width,
                                [](uint8_t pixel) { return pixel != 0; }),
           "every pixel of the mask in a region");
  }
  std::vector<float> boundaries;
  for (const uint32_t key : question.boundaries)
    if (key > key_of(-3e38f) && key < key_of(3e38f)) boundaries.push_back(score_of(key));
  const Bins bins(boundaries.data(), static_cast<int64_t>(boundaries.size()));
  BinCounts counts(bins.size());
  counts.add(bins, sample.scores.data(), areas.data(), static_cast<int64_t>(sample.scores.size()));
  int64_t counted = 0;
  for (int64_t bin = 0; bin < bins.size(); ++bin)
    counted += counts.normal[bin] + counts.anomalous[bin];
  expect(counted == static_cast<int64_t>(sample.scores.size()), "every pixel in a bin");
}

}  // namespace

// How many samples.
int main(int, char** arguments) {
  std::mt19937 random(0);
  for (int i = 0; i < std::atoi(arguments[1]); ++i) check(random);
  std::vector<float> bad = {1, std::numeric_limits<float>::quiet_NaN()};
  expect(!BorrowedScores({bad.data(), nullptr, 1, 1, 2}, 1).summary().finite, "NaN is not finite");
  check_frames(random);
  std::puts("all right");
}
