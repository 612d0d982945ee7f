// What it costs the figures not to know how pixels lie within a range of scores.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../region_unit.h"
#include "../summary.h"
#include "cells.h"

namespace invad::scores {

// What the pixels `span`, which may lie on either side of a threshold, can do to the error of a
// figure at that threshold, with A anomalous pixels in all, T of them and F normal ones above:
// recall and overlap lose a share of all; F1 and IoU, by n false alarms, n / (2A + 6F) or less,
// whatever A becomes; the mean precision, to which all scores contribute alike that lie between a
// number of pixels and twice that number, asks for more where few are above. Every term falls as
// pixels are added: what was cheap once stays cheap.
class CellCost {
 public:
  explicit CellCost(const Summary& all)
      : of_anomalous_(1.0 / wide(std::max<uint64_t>(all.anomalous, 1))),
        of_weight_(0.5 /
                   (wide(kRegionUnit) * static_cast<double>(std::max<int64_t>(all.regions, 1)))),
        all_(2.0 * wide(std::max<uint64_t>(all.anomalous, 1))) {}

  // metrics/streaming/numpy_cells.py computes it in the same steps. In float, whose rounding keeps
  // its order.
  float operator()(const CellCounts& span, const CellCounts& above) const {
    const double shares = wide(span.anomalous) * of_anomalous_ + wide(span.weight) * of_weight_;
    const double alarms = wide(span.normal) / (all_ + 6.0 * wide(above.normal));
    const double ranks =
        wide(span.normal + span.anomalous) / (32.0 * wide(above.normal + above.anomalous + 1));
    return static_cast<float>(shares + alarms + ranks);
  }

 private:
  static double wide(uint64_t count) { return static_cast<double>(static_cast<int64_t>(count)); }

  double of_anomalous_, of_weight_, all_;
};

}  // namespace invad::scores
