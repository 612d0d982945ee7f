// blur_upsample on every device: what it refuses, and its arguments and result as the kernels have
// them.
#pragma once

#include "arguments.h"

namespace invad {

struct BlurUpsample {
  MemoryFormat layout;
  Tensor x,
      y;  // N x C x H x W and N x C x H + 2 padding - 3 x W + 2 padding - 3, dense in `layout`
  std::optional<Tensor> bias;  // C, of its own type

  BlurUpsample(const Tensor& x_in, const std::optional<Tensor>& bias_in, int64_t padding) {
    const Arguments of("blur_upsample");
    of.image("x", x_in);
    of.number("padding", static_cast<double>(padding), 0, 3);
    const int64_t height = x_in.size(2), width = x_in.size(3), grow = 2 * padding - 3;
    of.require(height > 0 && width > 0 && height + grow > 0 && width + grow > 0, [&] {
      return "x is smaller than the filter: " + text(size_of(x_in)) + " with padding " +
             std::to_string(padding);
    });
    if (bias_in) of.floats("bias", *bias_in, {x_in.size(1)}, x_in);
    layout = layout_of(x_in);
    x = in_layout(x_in, layout);
    if (bias_in) bias = in_layout(*bias_in, MemoryFormat::Contiguous);
    y = empty({x.size(0), x.size(1), height + grow, width + grow}, x, x.scalar_type(), layout);
  }
};

}  // namespace invad
