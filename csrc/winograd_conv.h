// winograd_conv and its backward on every device: what they refuse, and their arguments and results
// as the kernels have them.
#pragma once

#include <cfloat>

#include "arguments.h"

namespace invad {

constexpr int64_t kPositions = 36, kLanes = 16, kPanel = 64;

struct WinogradConv {
  int64_t in, out;             // channels
  Tensor x, y;                 // N x I x H x W and N x O x H x W, channels last
  Tensor weight, bias;         // 36 x O/64 x I x 64, or I/2 x 128 of bfloat16; O
  std::optional<Tensor> plus;  // like y

  WinogradConv(const Tensor& x_in, const Tensor& weight_in, const Tensor& bias_in,
               const std::optional<Tensor>& plus_in, double slope) {
    const Arguments of("winograd_conv");
    const ScalarType type = x_in.scalar_type(), factors = weight_in.scalar_type();
    of.image("x", x_in);
    of.require(type == ScalarType::Float || type == ScalarType::BFloat16,
               [&] { return "x must be float32 or bfloat16, not " + text(type); });
    of.require(factors == ScalarType::Float || factors == type, [&] {
      return "weight must be a dense tensor of float32 or, like x, bfloat16, not " + text(factors);
    });
    const int64_t paired = factors == ScalarType::Float ? 1 : 2;
    in = x_in.size(1);
    of.require(in > 0 && in % kLanes == 0,
               [&] { return "x must have a multiple of 16 channels, not " + text(size_of(x_in)); });
    of.require(weight_in.dim() == 4,
               [&] { return "weight must be winograd_weight's, not " + text(size_of(weight_in)); });
    of.size("weight", weight_in, {kPositions, weight_in.size(1), in / paired, paired * kPanel});
    of.device("weight", weight_in, x_in);
    out = weight_in.size(1) * kPanel;
    of.type("bias", bias_in, ScalarType::Float);
    of.floats("bias", bias_in, {out}, x_in);
    const std::vector<int64_t> size = {x_in.size(0), out, x_in.size(2), x_in.size(3)};
    if (plus_in) {
      of.type("plus", *plus_in, type);
      of.floats("plus", *plus_in, size, x_in);
    }
    of.number("slope", slope, -FLT_MAX, FLT_MAX);
    x = in_layout(x_in, MemoryFormat::ChannelsLast);
    weight = in_layout(weight_in, MemoryFormat::Contiguous);
    bias = in_layout(bias_in, MemoryFormat::Contiguous);
    if (plus_in) plus = in_layout(*plus_in, MemoryFormat::ChannelsLast);
    y = empty(size, x, type, MemoryFormat::ChannelsLast);
  }
};

struct WinogradConvBackward {
  int64_t in, out;     // channels
  Tensor x, grad;      // N x I x H x W and N x O x H x W, float32, channels last
  Tensor grad_weight;  // 36 x O/64 x I x 64

  WinogradConvBackward(const Tensor& x_in, const Tensor& grad_in) {
    const Arguments of("winograd_conv_backward");
    of.image("x", x_in);
    of.type("x", x_in, ScalarType::Float);
    of.image("grad", grad_in);
    of.type("grad", grad_in, ScalarType::Float);
    in = x_in.size(1);
    out = grad_in.size(1);
    of.require(in > 0 && in % kLanes == 0,
               [&] { return "x must have a multiple of 16 channels, not " + text(size_of(x_in)); });
    of.require(out % kPanel == 0, [&] {
      return "grad must have a multiple of 64 channels, not " + text(size_of(grad_in));
    });
    of.size("grad", grad_in, {x_in.size(0), out, x_in.size(2), x_in.size(3)});
    of.device("grad", grad_in, x_in);
    x = in_layout(x_in, MemoryFormat::ChannelsLast);
    grad = in_layout(grad_in, MemoryFormat::ChannelsLast);
    grad_weight = empty({kPositions, out / kPanel, in, kPanel}, x, ScalarType::Float);
  }
};

}  // namespace invad
