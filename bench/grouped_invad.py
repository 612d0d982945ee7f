"""InvAD straight from method.md, computed as the reference does: the baseline of every claim.

Nothing is folded, shared or fused here. Each modulated weight is repeated for every sample and run
as a grouped convolution, the learned constant is repeated for the batch, γ and β are two
convolutions, batch norms and skips are layers of their own. The parameters are those of an
`invad_fast.InvAD`, so both can be compared and trained side by side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invad_fast import InvAD
from invad_fast.decoder import StyledBlock, StyledConv
from invad_fast.layers import ConvLayer, EqualConv2d


class GroupedInvAD(nn.Module):
    """Computes what ``model`` computes; shares its parameters."""

    def __init__(self, model: InvAD) -> None:
        super().__init__()
        self.model = model
        self.config = model.config

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """N×3×H×W → (features, reconstructions), finest first."""
        features = self.model.encode(images)
        return features, self.reconstruct(features)

    def reconstruct(self, features: list[Tensor]) -> list[Tensor]:
        """Features, finest first → reconstructions of the same shapes; differentiable."""
        return decode(self.model.decoder, fuse(self.model.fuser, features))


def fuse(fuser: nn.Module, features: list[Tensor]) -> list[Tensor]:
    """Style maps, finest first."""
    aligned = [level.norm(level.conv(f)) for level, f in zip(fuser.aggregate, features)]
    style = torch.relu(fuser.merge.norm(fuser.merge.conv(torch.cat(aligned, 1))))
    style = fuser.bottleneck(style)
    styles: list[Tensor] = []
    for first, second in fuser.rescale:
        style = conv_layer(second, conv_layer(first, style))
        styles.insert(0, style)
    return styles


def decode(decoder: nn.Module, styles: list[Tensor]) -> list[Tensor]:
    """Reconstructions, finest first."""
    x = conv_layer(decoder.stem, decoder.constant.repeat(styles[0].shape[0], 1, 1, 1))
    reconstructions: list[Tensor] = []
    for (to_style, to_latent), blocks, style in zip(
        decoder.translators, decoder.scales, reversed(styles)
    ):
        latent = conv_layer(to_latent, conv_layer(to_style, style))
        for block in blocks:
            x = styled_block(block, x, latent)
        reconstructions.insert(0, x)
    return reconstructions


def styled_block(block: StyledBlock, x: Tensor, latent: Tensor) -> Tensor:
    skip = conv_layer(block.skip, x)
    if isinstance(block.resample, ConvLayer):
        y = conv_layer(block.resample, x)
    elif block.resample is not None:
        y = modulated_conv(normalize(x), block.resample.conv, upsample=True)
        y = activate(y, block.resample.bias)
    else:
        y = styled_conv(block.styled1, x, latent)
    y = styled_conv(block.styled2, y, latent)
    return (y + skip) / math.sqrt(2)


def styled_conv(styled: StyledConv, x: Tensor, latent: Tensor) -> Tensor:
    y = normalize(x) * equal_conv(styled.gamma, latent) + equal_conv(styled.beta, latent)
    return activate(modulated_conv(y, styled.conv), styled.bias)


def normalize(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[1:], eps=1e-5)


def modulated_conv(x: Tensor, conv: EqualConv2d, upsample: bool = False) -> Tensor:
    """A weight that could be of the sample, and is the same for all: one group a sample."""
    n, channels, height, width = x.shape
    weight = (conv.weight * conv.scale).repeat(n, 1, 1, 1, 1)  # N×O×I×k×k
    x = x.reshape(1, n * channels, height, width)
    if upsample:
        weight = weight.transpose(1, 2).flatten(0, 1)
        y = F.conv_transpose2d(x, weight, stride=2, groups=n)
    else:
        y = F.conv2d(x, weight.flatten(0, 1), padding=weight.shape[-1] // 2, groups=n)
    y = y.view(n, -1, *y.shape[2:])
    return blur(y, padding=1) if upsample else y


def conv_layer(layer: ConvLayer, x: Tensor) -> Tensor:
    if layer.upsample:
        weight = layer.conv.weight * layer.conv.scale
        y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        y = blur(y, padding=2 - weight.shape[-1] // 2)
    else:
        y = equal_conv(layer.conv, x)
    return y if layer.bias is None else activate(y, layer.bias)


def equal_conv(conv: EqualConv2d, x: Tensor) -> Tensor:
    bias = None if conv.bias is None else conv.bias * conv.lr_mul
    return F.conv2d(x, conv.weight * conv.scale, bias, padding=conv.weight.shape[-1] // 2)


def blur(x: Tensor, padding: int) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps) / 64 * 4
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 4, 4), padding=padding, groups=x.shape[1])


def activate(x: Tensor, bias: Tensor) -> Tensor:
    return F.leaky_relu(x + bias.view(1, -1, 1, 1), 0.2) * math.sqrt(2)
