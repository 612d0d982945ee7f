"""conv3x3: a 3×3 convolution to train with, by minimal filtering (Winograd) where it is faster."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops import native_libraries
from invad_fast.ops.arguments import Arguments
from invad_fast.ops.dispatch import define
from invad_fast.ops.winograd_conv import (
    filter_gradient,
    suits_winograd,
    winograd_conv,
    winograd_conv_backward,
    winograd_weight,
)

# Pixels of a batch under which transforming the filters costs more than it saves (measured).
LEAST_PIXELS = 1024


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = conv3×3(x) + bias, zero-padded, stride 1: what ``F.conv2d(…, padding=1)`` computes.

    In float32 on a CPU with AVX-512 each of the three convolutions of a training step takes a
    quarter of the multiplications, with rounding some three times as large; else it is torch's.

    Args:
        x: N×I×H×W.
        weight: O×I×3×3.
        bias: O, or None.
    """
    if not _prefers_winograd(x, weight):
        return F.conv2d(x, weight, bias, padding=1)
    return _op(x, weight, bias)


def _prefers_winograd(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and suits_winograd(weight)
        and native_libraries.has_avx512()
    )


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    of = Arguments("conv3x3")
    _check_filters(of, x, weight)
    if bias is not None:
        of.type("bias", bias, x.dtype)
        of.floats("bias", bias, weight.shape[:1], x)


def _check_filters(of: Arguments, x: Tensor, weight: Tensor) -> None:
    of.image("x", x)
    of.require(x.shape[1] > 0, lambda: f"x has no channels: {tuple(x.shape)}")
    of.image("weight", weight)
    of.type("weight", weight, x.dtype)
    of.floats("weight", weight, (weight.shape[0], x.shape[1], 3, 3), x)


def _reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = _fake(x, weight, bias)
    return y.copy_(F.conv2d(x, weight, bias, padding=1)) if y.numel() else y


def _by_winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Where that suits: float32 and enough pixels, and channels in panels and lanes."""
    enough = x.shape[0] * x.shape[2] * x.shape[3] >= LEAST_PIXELS
    if not enough or x.dtype != torch.float32 or not suits_winograd(weight):
        return _reference(x, weight, bias)
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    return winograd_conv(x, winograd_weight(weight), bias)


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    size = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _setup_context(ctx, inputs: tuple, output: Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, of_bias = ctx.needs_input_grad
    grad = grad.contiguous(memory_format=torch.channels_last)  # sums of one order, compiled too
    grad_x, grad_weight = op_backward(grad, x, weight, of_x, of_weight)
    return (
        grad_x if of_x else None,
        grad_weight if of_weight else None,
        grad.sum((0, 2, 3)) if of_bias else None,
    )


def _check_backward(grad: Tensor, x: Tensor, weight: Tensor, of_x: bool, of_weight: bool) -> None:
    of = Arguments("conv3x3_backward")
    _check_filters(of, x, weight)
    of.type("grad", grad, x.dtype)
    of.floats("grad", grad, (x.shape[0], weight.shape[0], *x.shape[2:]), x)


def _reference_backward(
    grad: Tensor, x: Tensor, weight: Tensor, of_x: bool, of_weight: bool
) -> tuple[Tensor, Tensor]:
    """The gradients by x and by the filters.

    Args:
        grad: of y, N×O×H×W.
        x, weight: as given to the op.
        of_x, of_weight: which gradients are wanted.

    Returns:
        (N×I×H×W channels last, O×I×3×3), each empty where it is not wanted
    """
    grad_x, grad_weight = _fake_backward(grad, x, weight, of_x, of_weight)
    if grad.numel() == 0:
        return grad_x.zero_(), grad_weight.zero_()
    sides = [1, 1], [1, 1], [1, 1]  # stride, padding, dilation
    wanted = [of_x, of_weight, False]
    by_x, by_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *sides, False, [0, 0], 1, wanted
    )
    return (
        grad_x.copy_(by_x) if of_x else grad_x,
        grad_weight.copy_(by_weight) if of_weight else grad_weight,
    )


def _by_winograd_backward(
    grad: Tensor, x: Tensor, weight: Tensor, of_x: bool, of_weight: bool
) -> tuple[Tensor, Tensor]:
    """x's gradient is a convolution with the turned filters, which may suit where these do not."""
    if x.dtype != torch.float32 or not suits_winograd(weight):
        return _reference_backward(grad, x, weight, of_x, of_weight)
    grad = grad.contiguous(memory_format=torch.channels_last)
    turned = weight.flip(2, 3).transpose(0, 1)
    grad_weight = x.new_empty(0)
    if of_weight:
        grad_weight = filter_gradient(winograd_conv_backward(x, grad)).contiguous()
    return _by_winograd(grad, turned, None) if of_x else x.new_empty(0), grad_weight


def _fake_backward(
    grad: Tensor, x: Tensor, weight: Tensor, of_x: bool, of_weight: bool
) -> tuple[Tensor, Tensor]:
    grad_x, grad_weight = x.new_empty(0), x.new_empty(0)
    if of_x:
        grad_x = torch.empty(
            x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
        )
    if of_weight:
        grad_weight = x.new_empty(weight.shape)
    return grad_x, grad_weight


op_backward = define(
    "conv3x3_backward(Tensor grad, Tensor x, Tensor weight, bool of_x, bool of_weight)"
    " -> (Tensor, Tensor)",
    _check_backward,
    _reference_backward,
    _fake_backward,
    of_native=(_by_winograd_backward, ("winograd_conv", "winograd_conv_backward")),
)
_op = define(
    "conv3x3(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    _check,
    _reference,
    _fake,
    _setup_context,
    _backward,
    of_native=(_by_winograd, ("winograd_conv",)),
)
