"""style ─ decoder ─> reconstruction, folded."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invad_fast.decoder import NORM_EPS, Decoder, StyledBlock, StyledConv
from invad_fast.inference.convolution import (
    ActivatedConv,
    FoldedConv,
    Target,
    UpsamplingConv,
    upsample,
)
from invad_fast.inference.folding import layer, scaled, scaled_bias
from invad_fast.layers import ConvLayer
from invad_fast.ops import bias_leaky_relu, normalize_modulate, style_modulation
from invad_fast.ops.bias_leaky_relu import SLOPE


class Modulation(nn.Module):
    """x̂·γ(z) + β(z) of one styled convolution (method.md §1, "styled" steps 1 and 2).

    On a CPU γ and β are one convolution, then one op; elsewhere they are one op.
    """

    def __init__(self, styled: StyledConv, target: Target) -> None:
        super().__init__()
        weight = torch.cat([scaled(styled.gamma), scaled(styled.beta)])
        bias = torch.cat([scaled_bias(styled.gamma), scaled_bias(styled.beta)])
        self.gamma_beta = FoldedConv(weight, bias, target)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """N×C×H×W, N×S×H×W → N×C×H×W."""
        conv = self.gamma_beta
        if conv.fused:
            return normalize_modulate(x, conv(latent), NORM_EPS)
        assert conv.bias is not None
        return style_modulation(x, latent, conv.weight, conv.bias, NORM_EPS)

    def of_normalized(self, x: Tensor, latent: Tensor) -> Tensor:
        """The same for x that has been normalised: 1×C×H×W, N×S×H×W → N×C×H×W."""
        gamma, beta = self.gamma_beta(latent).chunk(2, dim=1)
        return torch.addcmul(beta, x, gamma)


class FoldedBlock(nn.Module):
    """Computes what ``block`` computes: ( styled2( styled1(x, z), z ) + skip(x) ) / √2."""

    bias: Tensor

    def __init__(self, block: StyledBlock, target: Target) -> None:
        super().__init__()
        self.modulation1 = None
        if block.styled1 is not None:
            self.modulation1 = Modulation(block.styled1, target)
            first = (scaled(block.styled1.conv), block.styled1.bias.double())
            self.conv1: nn.Module = ActivatedConv(*first, target)
        elif isinstance(block.resample, ConvLayer):
            self.conv1 = ActivatedConv(*layer(block.resample), target)
        else:
            assert block.resample is not None
            first = (scaled(block.resample.conv), block.resample.bias.double())
            self.conv1 = UpsamplingConv(*first, target)
        self.upsamples = isinstance(self.conv1, UpsamplingConv)
        self.modulation2 = Modulation(block.styled2, target)
        self.fused = target.fused
        weight, bias = scaled(block.styled2.conv), block.styled2.bias.double()
        skip = scaled(block.skip.conv)
        if self.fused:
            # The activation's √2 and the sum's 1/√2 cancel; the skip keeps its own.
            self.conv2 = FoldedConv(weight, bias, target, slope=SLOPE)
            self.skip = FoldedConv(skip / math.sqrt(2), None, target)
        else:
            self.conv2 = FoldedConv(weight, None, target)
            self.skip = FoldedConv(skip, None, target)
        self.register_buffer("bias", bias.float().to(target.device))

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """N×C×H×W, N×S×H'×W' → N×C'×H'×W'."""
        if self.modulation1 is not None:
            y = self.modulation1(x, latent)
        else:
            y = normalize_modulate(x, None, NORM_EPS) if self.upsamples else x
        y = self.conv2(self.modulation2(self.conv1(y), latent))
        return self._join(y, x)

    def _join(self, y: Tensor, x: Tensor) -> Tensor:
        """y is conv2's: with bias and activation where those are fused."""
        if self.fused and not self.upsamples:
            return self.skip(x, y, in_place=True)
        # A 1×1 convolution commutes with the upsampling: it runs on a quarter of the pixels.
        skip = upsample(self.skip(x)) if self.upsamples else self.skip(x)
        return y.add_(skip) if self.fused else bias_leaky_relu(y, self.bias, skip)


class FirstBlock(FoldedBlock):
    """The coarsest scale's first block: its x is the same for every image.

    What depends on x alone is computed here, once: its normalisation and its skip.

    Args:
        block: the block.
        x: 1×C×H×W, what the decoder's stem makes of the learned constant; float64.
        target: where it runs.
    """

    x: Tensor
    skipped: Tensor

    def __init__(self, block: StyledBlock, x: Tensor, target: Target) -> None:
        super().__init__(block, target)
        skip = F.conv2d(x, scaled(block.skip.conv))
        self.register_buffer("x", target.place(F.layer_norm(x, x.shape[1:], eps=NORM_EPS)))
        self.register_buffer("skipped", target.place(skip / math.sqrt(2) if self.fused else skip))
        del self.skip

    def forward(self, latent: Tensor) -> Tensor:  # type: ignore[override]  # x is known
        """N×S×H×W → N×C×H×W."""
        assert self.modulation1 is not None  # the coarsest scale does not change its width
        y = self.modulation1.of_normalized(self.x, latent)
        y = self.conv2(self.modulation2(self.conv1(y), latent))
        if self.fused:
            return y.add_(self.skipped)
        return bias_leaky_relu(y, self.bias, self.skipped.expand_as(y))


class FoldedDecoder(nn.Module):
    """Computes what ``decoder`` computes."""

    def __init__(self, decoder: Decoder, target: Target) -> None:
        super().__init__()
        weight, bias = layer(decoder.stem)
        x = F.conv2d(decoder.constant.double(), weight, padding=1)
        x = F.leaky_relu(x + bias.view(1, -1, 1, 1), SLOPE) * math.sqrt(2)
        translators: Any = decoder.translators
        scales: Any = decoder.scales
        self.translators = nn.ModuleList(
            nn.Sequential(*(ActivatedConv(*layer(step), target) for step in steps))
            for steps in translators
        )
        self.first = FirstBlock(scales[0][0], x, target)
        others = [list(scales[0])[1:], *scales[1:]]
        self.scales = nn.ModuleList(
            nn.ModuleList(FoldedBlock(block, target) for block in blocks) for blocks in others
        )

    def forward(self, styles: list[Tensor]) -> list[Tensor]:
        """Style maps, finest first → reconstructions, finest first."""
        reconstructions: list[Tensor] = []
        x = None
        for translate, blocks, style in zip(self.translators, self.scales, reversed(styles)):
            latent = translate(style)
            x = self.first(latent) if x is None else x
            for block in blocks:  # type: ignore[attr-defined]  # a ModuleList in a ModuleList
                x = block(x, latent)
            reconstructions.insert(0, x)
        return reconstructions
