// style_modulation and its backward on every device: what they refuse, and their arguments and
// results as the kernels have them.
#pragma once

#include "statistics.h"

namespace invad {

// What makes gamma and beta: style: N x S x H x W, weight: 2C x S x 3 x 3, bias: 2C.
inline void check_convolution(const Arguments& of, const Tensor& x, const Tensor& style,
                              const Tensor& weight, const Tensor& bias) {
  of.image("style", style);
  const int64_t width = style.size(1);
  of.require(width > 0, [] { return "style has no channels"; });
  of.floats("style", style, {x.size(0), width, x.size(2), x.size(3)}, x);
  of.floats("weight", weight, {2 * x.size(1), width, 3, 3}, x);
  of.floats("bias", bias, {2 * x.size(1)}, x);
}

// The latent and the filters in x's type, the latent of any strides, the filters channels last:
// no copy where the model keeps them so. The biases keep their own type.
struct StyleConvolution {
  Tensor style, weight, bias;

  StyleConvolution() = default;
  StyleConvolution(const Tensor& x, const Tensor& style_in, const Tensor& weight_in,
                   const Tensor& bias_in)
      : style(style_in.scalar_type() == x.scalar_type()
                  ? style_in
                  : torch::stable::to(style_in, x.scalar_type())),
        weight(in_layout(weight_in, MemoryFormat::ChannelsLast, x.scalar_type())),
        bias(in_layout(bias_in, MemoryFormat::Contiguous)) {}
};

struct StyleModulation {
  MemoryFormat layout;
  Tensor x, y;  // N x C x H x W, dense in `layout`
  StyleConvolution convolution;
  Statistics statistics;

  StyleModulation(const Tensor& x_in, const Tensor& style, const Tensor& weight, const Tensor& bias,
                  double eps) {
    const Arguments of("style_modulation");
    of.image("x", x_in);
    check_convolution(of, x_in, style, weight, bias);
    check_eps(of, eps);
    layout = layout_of(x_in);
    x = in_layout(x_in, layout);
    y = empty(size_of(x), x, x.scalar_type(), layout);
    convolution = StyleConvolution(x, style, weight, bias);
    statistics = empty_statistics(x);
  }
};

struct StyleModulationBackward {
  MemoryFormat layout;
  Tensor grad, x, grad_x, grad_gamma_beta;  // N x C x H x W (2C), dense in `layout`
  StyleConvolution convolution;
  Statistics statistics;

  StyleModulationBackward(const Tensor& grad_in, const Tensor& x_in, const Tensor& style,
                          const Tensor& weight, const Tensor& bias, const Tensor& mean,
                          const Tensor& rstd) {
    const Arguments of("style_modulation_backward");
    of.image("x", x_in);
    of.floats("grad", grad_in, size_of(x_in), x_in);
    check_convolution(of, x_in, style, weight, bias);
    statistics = given_statistics(of, mean, rstd, x_in);
    layout = layout_of(x_in);
    x = in_layout(x_in, layout);
    grad = in_layout(grad_in, layout, x.scalar_type());
    grad_x = empty(size_of(x), x, x.scalar_type(), layout);
    grad_gamma_beta =
        empty({x.size(0), 2 * x.size(1), x.size(2), x.size(3)}, x, x.scalar_type(), layout);
    convolution = StyleConvolution(x, style, weight, bias);
  }
};

}  // namespace invad
