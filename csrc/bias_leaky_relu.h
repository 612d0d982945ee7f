// bias_leaky_relu and its backward on every device: what they refuse, and their arguments and
// results as the kernels have them.
#pragma once

#include "arguments.h"

namespace invad {

struct BiasLeakyRelu {
  MemoryFormat layout;
  Tensor x, bias, y;           // x, y: N x C x H x W, dense in `layout`; bias: C, of its own type
  std::optional<Tensor> skip;  // like x

  BiasLeakyRelu(const Tensor& x_in, const Tensor& bias_in, const std::optional<Tensor>& skip_in) {
    const Arguments of("bias_leaky_relu");
    of.image("x", x_in);
    of.floats("bias", bias_in, {x_in.size(1)}, x_in);
    if (skip_in) of.floats("skip", *skip_in, size_of(x_in), x_in);
    layout = layout_of(x_in);
    x = in_layout(x_in, layout);
    bias = in_layout(bias_in, MemoryFormat::Contiguous);
    if (skip_in) skip = in_layout(*skip_in, layout, x.scalar_type());
    y = empty(size_of(x), x, x.scalar_type(), layout);
  }
};

struct BiasLeakyReluBackward {
  MemoryFormat layout;
  Tensor grad, source, bias;  // grad, source: N x C x H x W, dense in `layout`; bias: C
  Tensor grad_x, grad_bias;   // like source; C, in float32 (float64 for float64)

  BiasLeakyReluBackward(const Tensor& grad_in, const Tensor& source_in, const Tensor& bias_in) {
    const Arguments of("bias_leaky_relu_backward");
    of.image("source", source_in);
    of.floats("grad", grad_in, size_of(source_in), source_in);
    of.floats("bias", bias_in, {source_in.size(1)}, source_in);
    layout = layout_of(source_in);
    source = in_layout(source_in, layout);
    grad = in_layout(grad_in, layout, source.scalar_type());
    bias = in_layout(bias_in, MemoryFormat::Contiguous);
    grad_x = empty(size_of(source), source, source.scalar_type(), layout);
    grad_bias = empty({source.size(1)}, source, accumulation_type(source));
    if (source.numel() == 0) torch::stable::zero_(grad_bias);
  }
};

}  // namespace invad
