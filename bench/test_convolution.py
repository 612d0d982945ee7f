"""The 3×3 convolutions of both models on a CPU: what the inference form chose, and what it did not.

oneDNN's direct convolutions in float32, bfloat16 and int8 (images quantised beforehand: that costs
it nothing here) beside `winograd_conv`; and, to train, all three convolutions of a step.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timing import DEVICE, Rounds, timed
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops import conv3x3, winograd_conv
from invad_fast.ops.winograd_conv import winograd_weight

pytestmark = pytest.mark.skipif(
    DEVICE.type != "cpu", reason="these are convolutions for a CPU; GPUs have cuDNN's"
)
# channels, side: of lite, then of InvAD
LAYERS = [(64, 64), (128, 32), (256, 16), (256, 64), (512, 32), (1024, 16)]
ROUNDS = Rounds(seconds=0.5, least=3, most=50)
SAME = ([1, 1], [1, 1], [1, 1], 1)  # padding, stride, dilation, groups


def arguments(batch: int, channels: int, side: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3) / (9 * channels) ** 0.5
    return x, weight.contiguous(memory_format=torch.channels_last)


def direct(dtype: torch.dtype) -> Callable:
    def prepared(x: Tensor, weight: Tensor) -> Callable:
        x, weight = x.to(dtype), weight.to(dtype)
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *SAME, x.shape)
        conv = torch.ops.mkldnn._convolution_pointwise
        return lambda: conv(x, packed, None, *SAME, "none", [], "")

    return prepared


def winograd(dtype: torch.dtype) -> Callable:
    def prepared(x: Tensor, weight: Tensor) -> Callable:
        x, transformed = x.to(dtype), winograd_weight(weight, dtype)
        bias = torch.zeros(weight.shape[0])
        return lambda: winograd_conv(x, transformed, bias)

    return prepared


def direct_int8(x: Tensor, weight: Tensor) -> Callable:
    ops, scale = torch.ops.onednn, 4 / 128
    x = (x / scale + 128).clamp(0, 255).to(torch.uint8)
    scales = weight.abs().amax((1, 2, 3)) / 127
    zeros = torch.zeros(weight.shape[0], dtype=torch.int32)
    weight = (weight / scales.view(-1, 1, 1, 1)).round().to(torch.int8).contiguous()
    padding, stride, dilation, groups = SAME
    form = (stride, padding, dilation, groups)
    packed = ops.qconv_prepack(weight, scales, scale, 128, *form, x.shape)
    output = (scale, 128, torch.uint8, "none", [], "")
    return lambda: ops.qconv2d_pointwise(x, scale, 128, packed, scales, zeros, None, *form, *output)


FORMS = {
    "direct fp32": direct(torch.float32),
    "winograd fp32": winograd(torch.float32),
    "direct bf16": direct(torch.bfloat16),
    "winograd bf16": winograd(torch.bfloat16),
    "direct int8": direct_int8,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("channels, side", LAYERS)
def test_forward(benchmark, channels: int, side: int, batch: int, form: str) -> None:
    with torch.inference_mode():
        function = FORMS[form](*arguments(batch, channels, side))
        function()
        group = f"conv3x3 {batch}x{channels}x{side}x{side} forward"
        timed(benchmark, group, form, "direct bf16", function, ROUNDS)


@pytest.mark.parametrize("name", ["torch", "conv3x3"])
@pytest.mark.parametrize("channels, side", LAYERS)
def test_forward_and_backward(benchmark, channels: int, side: int, name: str) -> None:
    x, weight = (a.requires_grad_() for a in arguments(8, channels, side))
    convolve = conv3x3 if name == "conv3x3" else lambda x, weight: F.conv2d(x, weight, padding=1)
    grad = torch.randn(x.shape).contiguous(memory_format=torch.channels_last)

    def step() -> tuple[Tensor, ...]:
        return torch.autograd.grad(convolve(x, weight), (x, weight), grad)

    step()
    group = f"conv3x3 8x{channels}x{side}x{side} forward and backward"
    timed(benchmark, group, f"{name} fp32", "torch fp32", step, ROUNDS)
