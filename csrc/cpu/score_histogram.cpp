// Pixels between boundaries, by the metrics' core; integers, so that threads may share the work
// in any way.
#include "../score_histogram.h"

#include <algorithm>
#include <mutex>

#include "../scores/histogram.h"
#include "../scores/region_unit.h"
#include "parallel.h"

namespace invad {
namespace {

// scores, areas: of one shape; boundaries: K. Returns 2 x (K + 1) int64 and K + 1 float64.
std::tuple<Tensor, Tensor> score_histogram(const Tensor& scores, const Tensor& areas,
                                           const Tensor& boundaries) {
  const ScoreHistogram of(scores, areas, boundaries);
  const scores::Bins bins(data<float>(of.boundaries), of.boundaries.size(0));
  scores::BinCounts total(bins.size());
  std::mutex mutex;
  // Each part has counters of its own, which must be worth it.
  const int64_t grain = std::max<int64_t>(kGrainElements, 4 * bins.size());
  torch::stable::parallel_for(0, of.scores.numel(), grain, [&](int64_t begin, int64_t end) {
    scores::BinCounts own(bins.size());
    own.add(bins, data<float>(of.scores) + begin, data<int32_t>(of.areas) + begin, end - begin);
    const std::lock_guard<std::mutex> lock(mutex);
    total.add(own);
  });
  int64_t* counts = mutable_data<int64_t>(of.counts);
  std::copy(total.normal.begin(), total.normal.end(), counts);
  std::copy(total.anomalous.begin(), total.anomalous.end(), counts + bins.size());
  double* overlap = mutable_data<double>(of.overlap);
  for (int64_t i = 0; i < bins.size(); ++i)
    overlap[i] = static_cast<double>(total.weight[i]) / static_cast<double>(scores::kRegionUnit);
  return {of.counts, of.overlap};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("score_histogram", TORCH_BOX(&invad::score_histogram));
}
