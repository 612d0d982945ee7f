// Pixels between boundaries, by the metrics' core; integers, so that threads may share the work
// in any way.
#include <algorithm>
#include <mutex>

#include "../scores/histogram.h"
#include "../scores/region_unit.h"
#include "parallel.h"

namespace invad {
namespace {

// scores, areas: of one shape; boundaries: K. Returns 2 x (K + 1) int64 and K + 1 float64.
std::tuple<Tensor, Tensor> score_histogram(const Tensor& scores_in, const Tensor& areas_in,
                                           const Tensor& boundaries_in) {
  STD_TORCH_CHECK(same_size(scores_in, areas_in) && areas_in.scalar_type() == ScalarType::Int,
                  "score_histogram: areas must be int32, and have the shape of scores");
  STD_TORCH_CHECK(boundaries_in.dim() == 1 && boundaries_in.scalar_type() == ScalarType::Float,
                  "score_histogram: boundaries must be one row of float32");
  const Tensor scores = in_layout(scores_in, MemoryFormat::Contiguous, ScalarType::Float);
  const Tensor areas = torch::stable::contiguous(areas_in);
  const Tensor boundaries = torch::stable::contiguous(boundaries_in);
  const scores::Bins bins(data<float>(boundaries), boundaries.size(0));
  scores::BinCounts total(bins.size());
  std::mutex mutex;
  // Each part has counters of its own, which must be worth it.
  const int64_t grain = std::max<int64_t>(kGrainElements, 4 * bins.size());
  torch::stable::parallel_for(0, scores.numel(), grain, [&](int64_t begin, int64_t end) {
    scores::BinCounts own(bins.size());
    own.add(bins, data<float>(scores) + begin, data<int32_t>(areas) + begin, end - begin);
    const std::lock_guard<std::mutex> lock(mutex);
    total.add(own);
  });
  const Tensor counts = empty({2, bins.size()}, scores, ScalarType::Long);
  const Tensor overlap = empty({bins.size()}, scores, ScalarType::Double);
  int64_t* to = mutable_data<int64_t>(counts);
  std::copy(total.normal.begin(), total.normal.end(), to);
  std::copy(total.anomalous.begin(), total.anomalous.end(), to + bins.size());
  for (int64_t i = 0; i < bins.size(); ++i)
    mutable_data<double>(overlap)[i] =
        static_cast<double>(total.weight[i]) / static_cast<double>(scores::kRegionUnit);
  return {counts, overlap};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("score_histogram", TORCH_BOX(&invad::score_histogram));
}
