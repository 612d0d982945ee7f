"""blur_upsample: the low-pass filter that follows a stride-2 transposed convolution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops.arguments import Arguments
from invad_fast.ops.bias_leaky_relu import GAIN, SLOPE
from invad_fast.ops.bias_leaky_relu import op_backward as bias_leaky_relu_backward
from invad_fast.ops.dispatch import define
from invad_fast.ops.memory_format import accumulation_dtype, empty_like

TAPS = (0.25, 0.75, 0.75, 0.25)  # [1, 3, 3, 1]/8·2: its outer product is [1,3,3,1]²/64·4


def blur_upsample(x: Tensor, bias: Tensor | None = None, padding: int = 1) -> Tensor:
    """The blur outer([1,3,3,1])/64·4, then leaky_relu(· + bias, 0.2)·√2 with a bias (method.md §1).

    Args:
        x: N×C×H×W, as the transposed convolution leaves it; float32, float16, bfloat16 or float64,
            computed in float32 (float64).
        bias: C, or None for the blur alone.
        padding: zeros on each side, 0 to 3: 1 after a 3×3 convolution, 2 after a 1×1.

    Returns:
        N×C×(H+2·padding−3)×(W+2·padding−3), laid out like x.

    Raises:
        RuntimeError: where nothing is left, or types, shapes or devices disagree.
    """
    return _op(x, bias, padding)


def _check(x: Tensor, bias: Tensor | None, padding: int) -> None:
    of = Arguments("blur_upsample")
    of.image("x", x)
    of.number("padding", padding, 0, 3)
    of.require(
        min(x.shape[2:]) > 0 and min(_size(x, padding)[2:]) > 0,
        lambda: f"x is smaller than the filter: {tuple(x.shape)} with padding {padding}",
    )
    if bias is not None:
        of.floats("bias", bias, x.shape[1:2], x)


def _size(x: Tensor, padding: int) -> torch.Size:
    """The output's."""
    n, c, h, w = x.shape
    grow = 2 * padding - 3
    return torch.Size((n, c, h + grow, w + grow))


def _reference(x: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Two one-dimensional passes: the kernel is an outer product."""
    y = empty_like(x, _size(x, padding))
    if y.numel() == 0:
        return y
    wide = x.to(accumulation_dtype(x))
    taps = torch.tensor(TAPS, dtype=wide.dtype, device=x.device).expand(x.shape[1], 1, -1)
    wide = F.conv2d(wide, taps[..., None], padding=(padding, 0), groups=x.shape[1])
    wide = F.conv2d(wide, taps[:, :, None], padding=(0, padding), groups=x.shape[1])
    if bias is not None:
        wide = wide + bias.to(wide.dtype).view(1, -1, 1, 1)
        wide = torch.where(wide > 0, wide, wide * SLOPE) * GAIN
    return y.copy_(wide)


def _fake(x: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    return empty_like(x, _size(x, padding))


def _setup_context(ctx, inputs, output) -> None:
    _, bias, ctx.padding = inputs
    ctx.save_for_backward(*(() if bias is None else (output, bias)))


def _backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
    grad_bias = None
    if ctx.saved_tensors:
        y, bias = ctx.saved_tensors
        grad, grad_bias = bias_leaky_relu_backward(grad, y, torch.zeros_like(bias), False)
        grad_bias = grad_bias.to(bias.dtype)
    # The kernel is symmetric: its transpose is the same blur with the complementary padding.
    return _op(grad, None, 3 - ctx.padding), grad_bias, None


_op = define(
    "blur_upsample(Tensor x, Tensor? bias, int padding) -> Tensor",
    _check,
    _reference,
    _fake,
    _setup_context,
    _backward,
)
