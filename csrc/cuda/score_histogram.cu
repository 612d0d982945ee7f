// Pixels between boundaries. Every block counts in its own shared memory and adds to the result
// once, because pixels of one bin by the million would queue at one address; only where the bins
// are too many for that, and so the queues short, is the result counted in directly.
#include <algorithm>

#include "../score_histogram.h"
#include "../scores/region_unit.h"
#include "launch.h"

namespace invad {
namespace {

using Count = unsigned long long;  // what atomicAdd takes

constexpr int kMostShared = 2048;  // bins: 40 KB of counters and boundaries
constexpr int kMostBlocks = 1024;

// How many of the rising boundaries are below the score; all for NaN.
__device__ int bin_of(float score, const float* boundaries, int count) {
  if (score != score) return count;
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (boundaries[middle] < score)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// scores, areas: size; boundaries: count; normal, anomalous, weight: count + 1, weight in 2^-38.
template <bool kShared>
__global__ void __launch_bounds__(kThreads)
    histogram(const float* __restrict__ scores, const int* __restrict__ areas, int64_t size,
              const float* __restrict__ boundaries, int count, Count* normal, Count* anomalous,
              Count* weight) {
  const int bins = count + 1, thread = threadIdx.x;
  Count* own_weight = reinterpret_cast<Count*>(dynamic_shared);
  unsigned* own_normal = reinterpret_cast<unsigned*>(own_weight + bins);
  unsigned* own_anomalous = own_normal + bins;
  float* own_boundaries = reinterpret_cast<float*>(own_anomalous + bins);
  if (kShared) {
    for (int i = thread; i < bins; i += kThreads) {
      own_weight[i] = own_normal[i] = own_anomalous[i] = 0;
      if (i < count) own_boundaries[i] = boundaries[i];
    }
    __syncthreads();
  }
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + thread; i < size; i += step) {
    const int bin = bin_of(scores[i], kShared ? own_boundaries : boundaries, count);
    const int area = areas[i];
    const Count share = area > 0 ? scores::region_weight(static_cast<uint32_t>(area)) : 0;
    if (kShared) {
      atomicAdd((area > 0 ? own_anomalous : own_normal) + bin, 1u);
      if (area > 0) atomicAdd(own_weight + bin, share);
    } else {
      atomicAdd((area > 0 ? anomalous : normal) + bin, Count{1});
      if (area > 0) atomicAdd(weight + bin, share);
    }
  }
  if (!kShared) return;
  __syncthreads();
  for (int i = thread; i < bins; i += kThreads) {
    if (own_normal[i]) atomicAdd(normal + i, static_cast<Count>(own_normal[i]));
    if (!own_anomalous[i]) continue;
    atomicAdd(anomalous + i, static_cast<Count>(own_anomalous[i]));
    atomicAdd(weight + i, own_weight[i]);
  }
}

// weight, overlap: bins.
__global__ void __launch_bounds__(kThreads)
    to_overlap(const Count* __restrict__ weight, double* __restrict__ overlap, int bins) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < bins)
    overlap[i] = static_cast<double>(weight[i]) / static_cast<double>(scores::kRegionUnit);
}

// scores, areas: of one shape; boundaries: K. Returns 2 x (K + 1) int64 and K + 1 float64.
std::tuple<Tensor, Tensor> score_histogram(const Tensor& scores, const Tensor& areas,
                                           const Tensor& boundaries) {
  const ScoreHistogram of(scores, areas, boundaries);
  const CurrentStream stream(scores);
  STD_TORCH_CHECK(of.boundaries.size(0) < (int64_t{1} << 30),
                  "score_histogram: there are too many boundaries");
  const int count = static_cast<int>(of.boundaries.size(0)), bins = count + 1;
  Tensor counts = of.counts, weight = empty({bins}, of.scores, ScalarType::Long);
  torch::stable::zero_(counts);
  torch::stable::zero_(weight);
  Count* normal = mutable_data<Count>(counts);
  if (of.scores.numel() > 0) {
    const int64_t blocks = std::min<int64_t>(kMostBlocks, ceil_div(of.scores.numel(), kThreads));
    const bool shared = bins <= kMostShared;
    const size_t bytes = shared ? bins * (sizeof(Count) + 3 * sizeof(unsigned)) : 0;
    const Launch launch{dim3(static_cast<unsigned>(blocks)), dim3(kThreads), bytes};
    launch(stream, shared ? histogram<true> : histogram<false>, data<float>(of.scores),
           data<int>(of.areas), of.scores.numel(), data<float>(of.boundaries), count, normal,
           normal + bins, mutable_data<Count>(weight));
  }
  const Launch launch{dim3(static_cast<unsigned>(ceil_div(bins, kThreads))), dim3(kThreads)};
  launch(stream, to_overlap, data<Count>(weight), mutable_data<double>(of.overlap), bins);
  return {counts, of.overlap};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CUDA, m) {
  m.impl("score_histogram", TORCH_BOX(&invad::score_histogram));
}
