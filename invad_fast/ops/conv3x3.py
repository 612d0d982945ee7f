"""conv3x3: a 3×3 convolution to train with, by minimal filtering (Winograd) where it is faster."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops import native_libraries
from invad_fast.ops.bias_leaky_relu import check_bias
from invad_fast.ops.dispatch import define
from invad_fast.ops.layout import check_image
from invad_fast.ops.winograd_conv import (
    filter_gradient,
    suits_winograd,
    winograd_conv,
    winograd_conv_backward,
    winograd_weight,
)

# torch.compile cannot look into the library: it takes the answer as given.
_has_avx512 = torch.compiler.assume_constant_result(native_libraries.has_avx512)

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
        and _has_avx512()
    )


def _reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.shape[0] * x.shape[2] * x.shape[3] < LEAST_PIXELS:
        y = F.conv2d(x, weight, bias, padding=1)
        return y.contiguous(memory_format=torch.channels_last)
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    return winograd_conv(x, winograd_weight(weight), bias)


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    check_image(x)
    torch._check(
        suits_winograd(weight) and weight.shape[1] == x.shape[1],
        lambda: f"weight {tuple(weight.shape)} must be O×{x.shape[1]}×3×3, O a multiple of 64",
    )
    y = x.new_empty((x.shape[0], weight.shape[0], *x.shape[2:]), device="meta")
    if bias is not None:
        check_bias(y, bias)
    return torch.empty_like(y, device=x.device, memory_format=torch.channels_last)


def _setup_context(ctx, inputs: tuple, output: Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, of_bias = ctx.needs_input_grad
    grad = grad.contiguous(memory_format=torch.channels_last)
    return (
        conv3x3(grad, weight.flip(2, 3).transpose(0, 1)) if of_x else None,
        filter_gradient(winograd_conv_backward(x, grad)) if of_weight else None,
        grad.sum((0, 2, 3)) if of_bias else None,
    )


_op = define(
    "conv3x3(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    _reference,
    _fake,
    _setup_context,
    _backward,
    composition="it runs as winograd_conv",
)
