// normalize_modulate and its backward on every device: what they refuse, and their arguments and
// results as the kernels have them.
#pragma once

#include "statistics.h"

namespace invad {

inline void check_gamma_beta(const Arguments& of, const std::optional<Tensor>& gamma_beta,
                             const Tensor& x) {
  if (gamma_beta)
    of.floats("gamma_beta", *gamma_beta, {x.size(0), 2 * x.size(1), x.size(2), x.size(3)}, x);
}

struct NormalizeModulate {
  MemoryFormat layout;
  Tensor x, y;                       // N x C x H x W, dense in `layout`
  std::optional<Tensor> gamma_beta;  // N x 2C x H x W, like x
  Statistics statistics;

  NormalizeModulate(const Tensor& x_in, const std::optional<Tensor>& gamma_beta_in, double eps) {
    const Arguments of("normalize_modulate");
    of.image("x", x_in);
    check_gamma_beta(of, gamma_beta_in, x_in);
    check_eps(of, eps);
    layout = layout_of(x_in);
    x = in_layout(x_in, layout);
    if (gamma_beta_in) gamma_beta = in_layout(*gamma_beta_in, layout, x.scalar_type());
    y = empty(size_of(x), x, x.scalar_type(), layout);
    statistics = empty_statistics(x);
  }
};

struct NormalizeModulateBackward {
  MemoryFormat layout;
  Tensor grad, x, grad_x;                             // N x C x H x W, dense in `layout`
  std::optional<Tensor> gamma_beta, grad_gamma_beta;  // N x 2C x H x W, both or neither
  Statistics statistics;

  NormalizeModulateBackward(const Tensor& grad_in, const Tensor& x_in,
                            const std::optional<Tensor>& gamma_beta_in, const Tensor& mean,
                            const Tensor& rstd) {
    const Arguments of("normalize_modulate_backward");
    of.image("x", x_in);
    of.floats("grad", grad_in, size_of(x_in), x_in);
    check_gamma_beta(of, gamma_beta_in, x_in);
    statistics = given_statistics(of, mean, rstd, x_in);
    layout = layout_of(x_in);
    x = in_layout(x_in, layout);
    grad = in_layout(grad_in, layout, x.scalar_type());
    grad_x = empty(size_of(x), x, x.scalar_type(), layout);
    if (!gamma_beta_in) return;
    gamma_beta = in_layout(*gamma_beta_in, layout, x.scalar_type());
    grad_gamma_beta = empty(size_of(*gamma_beta), x, x.scalar_type(), layout);
  }

  // What the op returns: an empty tensor stands for a gradient that there is not.
  std::tuple<Tensor, Tensor> results() const {
    return {grad_x, grad_gamma_beta ? *grad_gamma_beta : empty({0}, x, x.scalar_type())};
  }
};

}  // namespace invad
