// What it costs the figures not to know how pixels lie within a range of scores.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cells.h"
#include "region_unit.h"
#include "summary.h"

namespace invad::scores {

// No less than what the pixels `span`, which may lie on either side of a threshold, do to the
// error of a figure at that threshold: recall and overlap lose a share of all, F1 and IoU by false
// alarms the share f / (2A + 6F) or less, for F normal pixels above and A anomalous ones now or
// later. Every term falls as pixels are added: what was cheap once stays cheap.
class CellCost {
 public:
  explicit CellCost(const Summary& all)
      : of_anomalous_(1.0 / static_cast<double>(std::max<uint64_t>(all.anomalous, 1))),
        of_weight_(0.5 / (static_cast<double>(kRegionUnit) *
                          static_cast<double>(std::max<int64_t>(all.regions, 1)))),
        all_(2.0 * static_cast<double>(std::max<uint64_t>(all.anomalous, 1))) {}

  // numpy_cells.py computes it in the same steps. In float, whose rounding keeps its order.
  float operator()(const CellCounts& span, uint64_t normal_above) const {
    return static_cast<float>(wide(span.anomalous) * of_anomalous_ +
                              wide(span.weight) * of_weight_ +
                              wide(span.normal) / (all_ + 6.0 * wide(normal_above)));
  }

 private:
  static double wide(uint64_t count) { return static_cast<double>(static_cast<int64_t>(count)); }

  double of_anomalous_, of_weight_, all_;
};

}  // namespace invad::scores
