// anomaly_score on every device: what it refuses, and its results as the kernels have them.
#pragma once

#include "arguments.h"

namespace invad {

// Of a result's side and of the Gaussian, in pixels: far beyond any image, and their filter's
// matrix still fits a machine.
constexpr int64_t kMostSide = 1 << 14;
constexpr double kMostSigma = 1000;

struct AnomalyScore {
  int64_t samples, height, width;
  Tensor map, score;  // N x H x W and N, in float32 (float64 where any map is)

  // maps: N x h x w each; size: H, W.
  AnomalyScore(const std::vector<Tensor>& maps, const std::vector<int64_t>& size, double sigma) {
    const Arguments of("anomaly_score");
    of.require(!maps.empty(), [] { return "there are no maps"; });
    ScalarType type = ScalarType::Float;
    for (size_t i = 0; i < maps.size(); ++i) {
      const Tensor& m = maps[i];
      const std::string name = "maps[" + std::to_string(i) + "]";
      of.is_float(name, m);
      of.require(
          m.dim() == 3 && m.size(0) == maps[0].size(0) && m.size(1) > 0 && m.size(2) > 0, [&] {
            return name + " must be N×H×W with pixels and one N for all, not " + text(size_of(m));
          });
      of.device(name, m, maps[0]);
      if (m.scalar_type() == ScalarType::Double) type = ScalarType::Double;
    }
    of.require(size.size() == 2, [&] { return "size must be (H, W), not " + text(size); });
    for (int64_t side : size)
      of.number("a side of size", static_cast<double>(side), 1, static_cast<double>(kMostSide));
    of.number("sigma", sigma, 0, kMostSigma);
    samples = maps[0].size(0);
    height = size[0];
    width = size[1];
    map = empty({samples, height, width}, maps[0], type);
    score = empty({samples}, maps[0], type);
  }
};

}  // namespace invad
