// score_histogram on every device: what it refuses, and its arguments and results as the kernels
// have them.
#pragma once

#include "arguments.h"

namespace invad {

struct ScoreHistogram {
  Tensor scores, areas;    // of one shape, dense; float32 and int32
  Tensor boundaries;       // K, float32
  Tensor counts, overlap;  // 2 x (K + 1) int64 and K + 1 float64

  ScoreHistogram(const Tensor& scores_in, const Tensor& areas_in, const Tensor& boundaries_in) {
    const Arguments of("score_histogram");
    of.is_float("scores", scores_in);
    of.type("areas", areas_in, ScalarType::Int);
    of.size("areas", areas_in, size_of(scores_in));
    of.device("areas", areas_in, scores_in);
    of.type("boundaries", boundaries_in, ScalarType::Float);
    of.require(boundaries_in.dim() == 1,
               [&] { return "boundaries must be one row, not " + text(size_of(boundaries_in)); });
    of.device("boundaries", boundaries_in, scores_in);
    scores = in_layout(scores_in, MemoryFormat::Contiguous, ScalarType::Float);
    areas = in_layout(areas_in, MemoryFormat::Contiguous);
    boundaries = in_layout(boundaries_in, MemoryFormat::Contiguous);
    counts = empty({2, boundaries.size(0) + 1}, scores, ScalarType::Long);
    overlap = empty({boundaries.size(0) + 1}, scores, ScalarType::Double);
  }
};

}  // namespace invad
