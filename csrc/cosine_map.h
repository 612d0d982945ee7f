// What cosine_map refuses, on every device.
#pragma once

#include "arguments.h"

namespace invad {

// features, reconstructions: N x C x H x W each, alike in pairs. Whether any is float64.
inline bool check_cosine_map(const std::vector<Tensor>& features,
                             const std::vector<Tensor>& reconstructions) {
  const Arguments of("cosine_map");
  of.require(!features.empty() && features.size() == reconstructions.size(), [&] {
    return std::to_string(features.size()) + " features and " +
           std::to_string(reconstructions.size()) +
           " reconstructions: as many of both are needed, and at least one";
  });
  bool wide = false;
  for (size_t i = 0; i < features.size(); ++i) {
    const Tensor &f = features[i], &r = reconstructions[i];
    const std::string at = "[" + std::to_string(i) + "]";
    of.image("features" + at, f);
    of.size("features" + at, f, {features[0].size(0), f.size(1), f.size(2), f.size(3)});
    of.device("features" + at, f, features[0]);
    of.floats("reconstructions" + at, r, size_of(f), features[0]);
    of.require(f.size(2) > 0 && f.size(3) > 0,
               [&] { return "features" + at + " has no pixels: " + text(size_of(f)); });
    wide = wide || f.scalar_type() == ScalarType::Double || r.scalar_type() == ScalarType::Double;
  }
  return wide;
}

}  // namespace invad
