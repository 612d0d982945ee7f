"""style_modulation: the whole Space-aware Style Modulation, γ and β never written to memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops.arguments import FLOAT_MAX, Arguments
from invad_fast.ops.dispatch import define
from invad_fast.ops.memory_format import accumulation_dtype, empty_like
from invad_fast.ops.normalize_modulate import op as normalize_modulate
from invad_fast.ops.normalize_modulate import op_backward as normalize_modulate_backward


def style_modulation(
    x: Tensor, style: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> Tensor:
    """y = x̂·γ + β with (γ, β) = conv3×3(style) and x̂ = (x − mean)/√(var + eps) (method.md §1).

    Steps 1 and 2 of the Space-aware Style Modulation in one (paper §3.3). The reference is a
    convolution and :func:`normalize_modulate`; a fused kernel computes γ and β as it needs them.

    Args:
        x: N×C×H×W, float32, float16, bfloat16 or float64. Mean and biased variance are over C×H×W
            of each sample, in at least float32.
        style: N×S×H×W, the latent style; taken to x's dtype where it has another.
        weight: 2C×S×3×3, γ's filters first, scaled (no equalised factor is applied here).
        bias: 2C.
        eps: added to the variance; not negative.

    Returns:
        Shaped and laid out like x.

    Raises:
        RuntimeError: where types, shapes or devices disagree, or eps is no such number.
    """
    return _op(x, style, weight, bias, eps)[0]


def _check(x: Tensor, style: Tensor, weight: Tensor, bias: Tensor, eps: float) -> None:
    of = Arguments("style_modulation")
    of.image("x", x)
    _check_convolution(of, x, style, weight, bias)
    of.number("eps", eps, 0, FLOAT_MAX)


def _check_convolution(
    of: Arguments, x: Tensor, style: Tensor, weight: Tensor, bias: Tensor
) -> None:
    of.image("style", style)
    (n, c, h, w), width = x.shape, style.shape[1]
    of.require(width > 0, lambda: "style has no channels")
    of.floats("style", style, (n, width, h, w), x)
    of.floats("weight", weight, (2 * c, width, 3, 3), x)
    of.floats("bias", bias, (2 * c,), x)


def _gamma_beta(x: Tensor, style: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(style.to(x.dtype), weight.to(x.dtype), bias.to(x.dtype), padding=1)


def _reference(
    x: Tensor, style: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """y, and mean and 1/√(var + eps) of each sample for the backward."""
    return normalize_modulate(x, _gamma_beta(x, style, weight, bias), eps)


def _fake(
    x: Tensor, style: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.new_empty(x.shape[0], dtype=accumulation_dtype(x))
    return empty_like(x), mean, torch.empty_like(mean)


def _setup_context(ctx, inputs, output) -> None:
    x, style, weight, bias, _ = inputs
    _, mean, rstd = output
    ctx.mark_non_differentiable(mean, rstd)
    ctx.save_for_backward(x, style, weight, bias, mean, rstd)


def _backward(ctx, grad: Tensor, *_) -> tuple[Tensor | None, ...]:
    """γ is computed again from the style: keeping it would cost twice x's memory."""
    x, style, weight, bias, mean, rstd = ctx.saved_tensors
    grad_x, grad_gamma_beta = op_backward(grad, x, style, weight, bias, mean, rstd)
    needed = list(ctx.needs_input_grad[1:4])
    grads = torch.ops.aten.convolution_backward(
        grad_gamma_beta, style.to(x.dtype), weight.to(x.dtype), [bias.shape[0]],
        [1, 1], [1, 1], [1, 1], False, [0, 0], 1, needed,
    )  # fmt: skip
    given = zip(needed, grads, (style, weight, bias))
    own = [g.to(of.dtype) if wanted else None for wanted, g, of in given]
    return grad_x, *own, None


def _check_backward(
    grad: Tensor,
    x: Tensor,
    style: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    rstd: Tensor,
) -> None:
    of = Arguments("style_modulation_backward")
    of.image("x", x)
    of.floats("grad", grad, x.shape, x)
    _check_convolution(of, x, style, weight, bias)
    of.statistics("mean", mean, x)
    of.statistics("rstd", rstd, x)


def _reference_backward(
    grad: Tensor,
    x: Tensor,
    style: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, Tensor]:
    """Of x and of what the convolution gave; a convolution's own gradients are the rest.

    Args:
        grad: of y, N×C×H×W.
        x, style, weight, bias: as given to the op.
        mean, rstd: N, as returned by it.

    Returns:
        (N×C×H×W laid out like x, N×2C×H×W in x's dtype, γ's first)
    """
    gamma_beta = _gamma_beta(x, style, weight, bias)
    return normalize_modulate_backward(grad, x, gamma_beta, mean, rstd)


def _fake_backward(grad: Tensor, x: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    n, c, h, w = x.shape
    return empty_like(x), empty_like(x, (n, 2 * c, h, w))


_op = define(
    "style_modulation(Tensor x, Tensor style, Tensor weight, Tensor bias, float eps)"
    " -> (Tensor, Tensor, Tensor)",
    _check,
    _reference,
    _fake,
    _setup_context,
    _backward,
    composition="it runs as a convolution and normalize_modulate",
)
op_backward = define(
    "style_modulation_backward(Tensor grad, Tensor x, Tensor style, Tensor weight, Tensor bias,"
    " Tensor mean, Tensor rstd) -> (Tensor, Tensor)",
    _check_backward,
    _reference_backward,
    _fake_backward,
    composition="it runs as a convolution and normalize_modulate_backward",
)
