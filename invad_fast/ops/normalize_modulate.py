"""normalize_modulate: steps 1 and 2 of the Space-aware Style Modulation, γ and β given."""

from __future__ import annotations

import torch
from torch import Tensor

from invad_fast.ops.arguments import FLOAT_MAX, Arguments
from invad_fast.ops.dispatch import define
from invad_fast.ops.memory_format import accumulation_dtype, empty_like


def normalize_modulate(x: Tensor, gamma_beta: Tensor | None, eps: float = 1e-5) -> Tensor:
    """y = x̂·γ + β with x̂ = (x − mean)/√(var + eps) over C×H×W of each sample (method.md §1).

    Args:
        x: N×C×H×W, float32, float16, bfloat16 or float64. Mean and biased variance are taken in
            at least float32 (float64 on the CPU) and kept in float32 (float64 for float64).
        gamma_beta: N×2C×H×W, γ first, taken to x's dtype; None leaves x̂ as it is. Read without a
            copy where it has that and x's layout.
        eps: added to the variance; not negative.

    Returns:
        Shaped and laid out like x.

    Raises:
        RuntimeError: where types, shapes or devices disagree, or eps is no such number.
    """
    return op(x, gamma_beta, eps)[0]


def _check(x: Tensor, gamma_beta: Tensor | None, eps: float) -> None:
    of = Arguments("normalize_modulate")
    of.image("x", x)
    _check_gamma_beta(of, gamma_beta, x)
    of.number("eps", eps, 0, FLOAT_MAX)


def _check_gamma_beta(of: Arguments, gamma_beta: Tensor | None, x: Tensor) -> None:
    if gamma_beta is not None:
        n, c, h, w = x.shape
        of.floats("gamma_beta", gamma_beta, (n, 2 * c, h, w), x)


def _reference(x: Tensor, gamma_beta: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """y, and mean and 1/√(var + eps) of each sample for the backward."""
    wide = x.to(accumulation_dtype(x))
    mean = wide.mean((1, 2, 3), keepdim=True)
    centred = wide - mean
    rstd = torch.rsqrt(centred.square().mean((1, 2, 3), keepdim=True) + eps)
    y = centred * rstd
    if gamma_beta is not None:
        gamma, beta = gamma_beta.to(x.dtype).to(wide.dtype).chunk(2, dim=1)
        y = y * gamma + beta
    return empty_like(x).copy_(y), mean.flatten(), rstd.flatten()


def _fake(x: Tensor, gamma_beta: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.new_empty(x.shape[0], dtype=accumulation_dtype(x))
    return empty_like(x), mean, torch.empty_like(mean)


def _setup_context(ctx, inputs, output) -> None:
    x, gamma_beta, _ = inputs
    _, mean, rstd = output
    ctx.mark_non_differentiable(mean, rstd)
    ctx.save_for_backward(x, gamma_beta, mean, rstd)


def _backward(ctx, grad: Tensor, *_) -> tuple[Tensor, Tensor | None, None]:
    x, gamma_beta, mean, rstd = ctx.saved_tensors
    grad_x, grad_gamma_beta = op_backward(grad, x, gamma_beta, mean, rstd)
    if gamma_beta is None:
        return grad_x, None, None
    return grad_x, grad_gamma_beta.to(gamma_beta.dtype), None


def _check_backward(
    grad: Tensor, x: Tensor, gamma_beta: Tensor | None, mean: Tensor, rstd: Tensor
) -> None:
    of = Arguments("normalize_modulate_backward")
    of.image("x", x)
    of.floats("grad", grad, x.shape, x)
    _check_gamma_beta(of, gamma_beta, x)
    of.statistics("mean", mean, x)
    of.statistics("rstd", rstd, x)


def _reference_backward(
    grad: Tensor, x: Tensor, gamma_beta: Tensor | None, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """With h = grad·γ: grad_x = rstd·(h − mean(h) − x̂·mean(h·x̂)), grad_γ = grad·x̂, grad_β = grad.

    Args:
        grad: of y, N×C×H×W.
        x, gamma_beta: as given to the op.
        mean, rstd: N, as returned by it: float32 (float64 for float64), of any stride but 0.

    Returns:
        (N×C×H×W laid out like x, N×2C×H×W in x's dtype, or empty where gamma_beta is None)
    """
    mean, rstd = mean.view(-1, 1, 1, 1), rstd.view(-1, 1, 1, 1)
    normal = (x.to(mean.dtype) - mean) * rstd
    h = grad.to(x.dtype).to(mean.dtype)
    grad_gamma_beta = x.new_empty(0)
    if gamma_beta is not None:
        grad_gamma_beta = empty_like(x, gamma_beta.shape).copy_(torch.cat([h * normal, h], 1))
        h = h * gamma_beta[:, : x.shape[1]].to(x.dtype)
    # x̂'s gradient needs two sums a sample: of the gradient, and of the gradient times x̂.
    mean_h = h.mean((1, 2, 3), keepdim=True)
    mean_projection = (h * normal).mean((1, 2, 3), keepdim=True)
    grad_x = (h - mean_h - normal * mean_projection) * rstd
    return empty_like(x).copy_(grad_x), grad_gamma_beta


def _fake_backward(
    grad: Tensor, x: Tensor, gamma_beta: Tensor | None, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    empty = x.new_empty(0) if gamma_beta is None else empty_like(x, gamma_beta.shape)
    return empty_like(x), empty


op_backward = define(
    "normalize_modulate_backward(Tensor grad, Tensor x, Tensor? gamma_beta, Tensor mean,"
    " Tensor rstd) -> (Tensor, Tensor)",
    _check_backward,
    _reference_backward,
    _fake_backward,
)
op = define(
    "normalize_modulate(Tensor x, Tensor? gamma_beta, float eps) -> (Tensor, Tensor, Tensor)",
    _check,
    _reference,
    _fake,
    _setup_context,
    _backward,
)
