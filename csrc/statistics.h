// What the ops that normalise know of each sample, on every device.
#pragma once

#include <cfloat>
#include <cmath>

#include "arguments.h"

namespace invad {

// Of N samples, in float32 (float64 for float64); rstd = 1 / sqrt(variance + eps).
struct Statistics {
  Tensor mean, rstd;
};

// To be filled in; of samples without an element they are not numbers.
inline Statistics empty_statistics(const Tensor& x) {
  const auto one = [&] {
    const Tensor values = empty({x.size(0)}, x, accumulation_type(x));
    if (x.numel() == 0) torch::stable::fill_(values, NAN);
    return values;
  };
  return {one(), one()};
}

// As a forward returned them for x.
inline Statistics given_statistics(const Arguments& of, const Tensor& mean, const Tensor& rstd,
                                   const Tensor& x) {
  of.statistics("mean", mean, x);
  of.statistics("rstd", rstd, x);
  return {in_layout(mean, MemoryFormat::Contiguous), in_layout(rstd, MemoryFormat::Contiguous)};
}

inline void check_eps(const Arguments& of, double eps) { of.number("eps", eps, 0, FLT_MAX); }

}  // namespace invad
