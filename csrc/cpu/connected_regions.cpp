// 8-connected regions of every map, by the metrics' core: run-length union-find.
#include "../connected_regions.h"

#include "../scores/connected_regions.h"
#include "parallel.h"

namespace invad {
namespace {

// mask: N x H x W, set where not 0. Returns labels and areas, N x H x W int32.
std::tuple<Tensor, Tensor> connected_regions(const Tensor& mask) {
  const ConnectedRegions of(mask);
  const int64_t height = mask.size(1), width = mask.size(2);
  const uint8_t* from = data<uint8_t>(of.mask);
  int32_t* labels = mutable_data<int32_t>(of.labels);
  int32_t* areas = mutable_data<int32_t>(of.areas);
  torch::stable::parallel_for(0, mask.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t map = begin; map < end; ++map) {
      const int64_t at = map * height * width;
      scores::label_regions(from + at, height, width, labels + at, areas + at);
    }
  });
  return {of.labels, of.areas};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("connected_regions", TORCH_BOX(&invad::connected_regions));
}
