"""Equalised convolutions, the layers that the fuser and the decoder are built from (method.md §1).

Equalised learning rate: a weight is stored with unit variance and scaled by 1/√fan_in at every
use (Karras et al., "Progressive Growing of GANs", §4.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invad_fast.ops import bias_leaky_relu, blur_upsample, conv3x3


def upsample_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Stride-2 transposed convolution, N×I×H×W → N×O×(2H−2+k)×(2W−2+k); blur it afterwards.

    Args:
        x: N×I×H×W.
        weight: O×I×k×k, stored like an ordinary convolution's.
    """
    return F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)


class EqualConv2d(nn.Module):
    """Convolution with an equalised weight: w · lr_mul/√(I·k²), bias · lr_mul.

    Args:
        in_channels, out_channels: I and O.
        kernel_size: k, odd; the output keeps H×W.
        bias: initial value of the bias; None for no bias.
        lr_mul: multiplier of the learning rate, undone in the initial weight.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: float | None = None,
        lr_mul: float = 1.0,
    ) -> None:
        super().__init__()
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        weight = torch.randn(shape)
        # Dividing by 1 would be a third of the time that sizes alone take (`unfilled_weights`).
        self.weight = nn.Parameter(weight if lr_mul == 1 else weight / lr_mul)
        self.bias = None if bias is None else nn.Parameter(torch.full((out_channels,), bias))
        self.scale = lr_mul / math.sqrt(in_channels * kernel_size**2)
        self.lr_mul = lr_mul

    def scaled_weight(self) -> Tensor:
        """The weight as used, O×I×k×k."""
        return self.weight * self.scale

    def scaled_bias(self) -> Tensor | None:
        """The bias as used, O, or None."""
        return None if self.bias is None else self.bias * self.lr_mul

    def forward(self, x: Tensor) -> Tensor:
        kernel_size = self.weight.shape[-1]
        if kernel_size == 3:
            return conv3x3(x, self.scaled_weight(), self.scaled_bias())
        return F.conv2d(x, self.scaled_weight(), self.scaled_bias(), padding=kernel_size // 2)


class ConvLayer(nn.Module):
    """EqualConv2d → bias + leaky ReLU(0.2)·√2; with ``upsample`` it doubles H and W.

    With ``activate=False`` both the bias and the activation are absent.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        upsample: bool = False,
        activate: bool = True,
        lr_mul: float = 1.0,
    ) -> None:
        super().__init__()
        self.conv = EqualConv2d(in_channels, out_channels, kernel_size, lr_mul=lr_mul)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if activate else None
        self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample:
            kernel_size = self.conv.weight.shape[-1]
            x = upsample_conv(x, self.conv.scaled_weight())
            return blur_upsample(x, self.bias, padding=2 - kernel_size // 2)
        x = self.conv(x)
        return x if self.bias is None else bias_leaky_relu(x, self.bias)
