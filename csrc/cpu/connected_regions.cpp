// 8-connected regions of every map, by the metrics' core: run-length union-find.
#include "../scores/connected_regions.h"

#include "parallel.h"

namespace invad {
namespace {

// mask: N x H x W, set where not 0. Returns labels and areas, N x H x W int32.
std::tuple<Tensor, Tensor> connected_regions(const Tensor& mask_in) {
  STD_TORCH_CHECK(mask_in.dim() == 3, "connected_regions: mask must be N x H x W");
  const int64_t maps = mask_in.size(0), height = mask_in.size(1), width = mask_in.size(2);
  STD_TORCH_CHECK(height * width < int64_t{1} << 31,
                  "connected_regions: a map must have fewer than 2^31 pixels");
  Tensor mask = torch::stable::contiguous(mask_in);
  // A bool is a byte that is 0 or 1; other types are compared with 0 by becoming bools.
  if (mask.scalar_type() != ScalarType::Byte && mask.scalar_type() != ScalarType::Bool)
    mask = torch::stable::to(mask, ScalarType::Bool);
  const std::vector<int64_t> size = size_of(mask);
  const Tensor labels = empty(size, mask, ScalarType::Int);
  const Tensor areas = empty(size, mask, ScalarType::Int);
  const uint8_t* from = data<uint8_t>(mask);
  int32_t* to_labels = mutable_data<int32_t>(labels);
  int32_t* to_areas = mutable_data<int32_t>(areas);
  torch::stable::parallel_for(0, maps, 1, [&](int64_t begin, int64_t end) {
    for (int64_t map = begin; map < end; ++map) {
      const int64_t at = map * height * width;
      scores::label_regions(from + at, height, width, to_labels + at, to_areas + at);
    }
  });
  return {labels, areas};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("connected_regions", TORCH_BOX(&invad::connected_regions));
}
