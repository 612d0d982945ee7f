"""Algebra on weights: linear layers that follow each other are one layer. All in float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from invad_fast.layers import ConvLayer, EqualConv2d


def scaled(conv: EqualConv2d) -> Tensor:
    """The weight as used, O×I×k×k."""
    return conv.weight.double() * conv.scale


def scaled_bias(conv: EqualConv2d) -> Tensor:
    """The bias as used, O."""
    assert conv.bias is not None
    return conv.bias.double() * conv.lr_mul


def layer(conv_layer: ConvLayer) -> tuple[Tensor, Tensor]:
    """Weight O×I×k×k and bias O of a ConvLayer that activates."""
    assert conv_layer.bias is not None
    return scaled(conv_layer.conv), conv_layer.bias.double()


def with_batch_norm(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """norm(conv(x)) as one convolution: its weight O×I×k×k and bias O.

    norm(y) = (y − mean)·s + shift with s = gain/√(var + eps), the running mean and variance.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = torch.rsqrt(variance + norm.eps)
    shift = torch.zeros_like(mean)
    if norm.affine:
        scale, shift = scale * norm.weight.double(), norm.bias.double()
    offset = -mean if bias is None else bias.double() - mean
    return weight.double() * scale.view(-1, 1, 1, 1), offset * scale + shift


def then_pointwise(weight: Tensor, bias: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """A convolution followed by a 1×1 convolution without bias, as one.

    Args:
        weight, bias: M×I×k×k and M, of the first.
        after: O×M, of the second.

    Returns:
        O×I×k×k, O
    """
    return torch.einsum("om,mikl->oikl", after, weight), after @ bias
