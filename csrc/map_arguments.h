// What cosine_map and anomaly_score refuse, on every device.
#pragma once

#include <cmath>

#include "stable.h"

namespace invad {

// Whether x is float64; refuses what is no float tensor.
inline bool is_double(const Tensor& x, const char* op) {
  bool wide = false;
  dispatch_float(x, op, [&](auto type) { wide = std::is_same_v<decltype(type), double>; });
  return wide;
}

// features, reconstructions: N x C x H x W each, alike in pairs. Whether any is float64.
inline bool check_scales(const std::vector<Tensor>& features,
                         const std::vector<Tensor>& reconstructions) {
  STD_TORCH_CHECK(!features.empty() && features.size() == reconstructions.size(),
                  "cosine_map: as many features as reconstructions are needed, at least one");
  bool wide = false;
  for (size_t i = 0; i < features.size(); ++i) {
    const Tensor &f = features[i], &r = reconstructions[i];
    STD_TORCH_CHECK(f.dim() == 4 && same_size(f, r) && f.size(0) == features[0].size(0),
                    "cosine_map: features and reconstructions must be N x C x H x W, alike in "
                    "pairs and with one N");
    STD_TORCH_CHECK(f.size(2) > 0 && f.size(3) > 0, "cosine_map: a feature map has no pixels");
    wide = is_double(f, "cosine_map") || wide;
    wide = is_double(r, "cosine_map") || wide;
  }
  return wide;
}

// maps: N x h x w each; size: H, W. Whether any is float64.
inline bool check_maps(const std::vector<Tensor>& maps, const std::vector<int64_t>& size,
                       double sigma) {
  STD_TORCH_CHECK(!maps.empty(), "anomaly_score: no maps");
  STD_TORCH_CHECK(size.size() == 2 && size[0] > 0 && size[1] > 0,
                  "anomaly_score: size must be two positive numbers");
  STD_TORCH_CHECK(sigma >= 0 && sigma < INFINITY,
                  "anomaly_score: sigma must be finite and not negative, not ", sigma);
  bool wide = false;
  for (const Tensor& m : maps) {
    STD_TORCH_CHECK(m.dim() == 3 && m.size(0) == maps[0].size(0) && m.size(1) > 0 && m.size(2) > 0,
                    "anomaly_score: maps must be N x H x W with pixels and one N");
    wide = is_double(m, "anomaly_score") || wide;
  }
  return wide;
}

}  // namespace invad
