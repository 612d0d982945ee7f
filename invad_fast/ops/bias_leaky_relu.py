"""bias_leaky_relu: the activation after every equalised convolution, with the block's sum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invad_fast.ops.arguments import Arguments
from invad_fast.ops.dispatch import define
from invad_fast.ops.memory_format import accumulation_dtype, empty_like

SLOPE = 0.2
GAIN = math.sqrt(2)


def bias_leaky_relu(x: Tensor, bias: Tensor, skip: Tensor | None = None) -> Tensor:
    """y = leaky_relu(x + bias, 0.2)·√2; with a skip, (y + skip)/√2 (method.md §1).

    Args:
        x: N×C×H×W, float32, float16, bfloat16 or float64; computed in float32 (float64).
        bias: C, of any float type.
        skip: shaped like x, taken to its dtype; read without a copy where it has that and x's
            layout.

    Returns:
        Shaped and laid out like x.

    Raises:
        RuntimeError: where types, shapes or devices disagree.
    """
    return _op(x, bias, skip)


def _check(x: Tensor, bias: Tensor, skip: Tensor | None = None) -> None:
    of = Arguments("bias_leaky_relu")
    of.image("x", x)
    of.floats("bias", bias, x.shape[1:2], x)
    if skip is not None:
        of.floats("skip", skip, x.shape, x)


def _reference(x: Tensor, bias: Tensor, skip: Tensor | None = None) -> Tensor:
    wide = accumulation_dtype(x)
    y = x.to(wide) + bias.to(wide).view(1, -1, 1, 1)
    y = torch.where(y > 0, y, y * SLOPE) * GAIN
    if skip is not None:
        y = (y + skip.to(x.dtype).to(wide)) / math.sqrt(2)
    return empty_like(x).copy_(y)


def _fake(x: Tensor, bias: Tensor, skip: Tensor | None = None) -> Tensor:
    return empty_like(x)


def _setup_context(ctx, inputs, output) -> None:
    x, bias, skip = inputs
    # y has the sign of x + bias, and the next layer keeps it anyway: x need not be kept. The sum
    # with a skip has lost that sign.
    ctx.has_skip = skip is not None
    ctx.save_for_backward(x if ctx.has_skip else output, bias)


def _backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    source, bias = ctx.saved_tensors
    shift = bias if ctx.has_skip else torch.zeros_like(bias)
    grad_x, grad_bias = op_backward(grad, source, shift, ctx.has_skip)
    grad_skip = grad * (1 / math.sqrt(2)) if ctx.has_skip else None
    return grad_x, grad_bias.to(bias.dtype), grad_skip


def _check_backward(grad: Tensor, source: Tensor, bias: Tensor, has_skip: bool) -> None:
    of = Arguments("bias_leaky_relu_backward")
    of.image("source", source)
    of.floats("grad", grad, source.shape, source)
    of.floats("bias", bias, source.shape[1:2], source)


def _reference_backward(
    grad: Tensor, source: Tensor, bias: Tensor, has_skip: bool
) -> tuple[Tensor, Tensor]:
    """grad_x and grad_bias; source + bias is the pre-activation, or has its sign.

    Args:
        grad: of y, N×C×H×W.
        source: x, or y where ``bias`` is zero; N×C×H×W.
        bias: C, of any float type.
        has_skip: whether y was (… + skip)/√2.

    Returns:
        (N×C×H×W laid out like source, C in float32 or float64)
    """
    wide = accumulation_dtype(source)
    gain = 1.0 if has_skip else GAIN
    active = source.to(wide) + bias.to(wide).view(1, -1, 1, 1) > 0
    grad_x = grad.to(source.dtype).to(wide) * gain
    grad_x = torch.where(active, grad_x, grad_x * SLOPE)
    return empty_like(source).copy_(grad_x), grad_x.sum((0, 2, 3))


def _fake_backward(
    grad: Tensor, source: Tensor, bias: Tensor, has_skip: bool
) -> tuple[Tensor, Tensor]:
    return empty_like(source), bias.new_empty(bias.shape, dtype=accumulation_dtype(source))


op_backward = define(
    "bias_leaky_relu_backward(Tensor grad, Tensor source, Tensor bias, bool has_skip)"
    " -> (Tensor, Tensor)",
    _check_backward,
    _reference_backward,
    _fake_backward,
)
_op = define(
    "bias_leaky_relu(Tensor x, Tensor bias, Tensor? skip=None) -> Tensor",
    _check,
    _reference,
    _fake,
    _setup_context,
    _backward,
)
