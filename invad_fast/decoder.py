"""style ─ decoder ─> reconstruction: the style translator φS and the feature decoder φO."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from invad_fast.config import InvADConfig
from invad_fast.layers import ConvLayer, EqualConv2d, upsample_conv
from invad_fast.ops import bias_leaky_relu, blur_upsample, conv3x3, normalize_modulate

NORM_EPS = 1e-5


class StyledConv(nn.Module):
    """Space-aware Style Modulation, then a 3×3 convolution (paper §3.3; method.md §1 "styled").

    x̂ = (x − mean)/√(var + 1e-5) over C×H×W of each sample; y = x̂·γ(z) + β(z) with full C×H×W
    maps γ and β; 3×3 convolution; bias + leaky ReLU(0.2)·√2. The activation is left to the block,
    which may add the skip in the same pass.
    """

    def __init__(self, channels: int, latent_channels: int) -> None:
        super().__init__()
        self.gamma = EqualConv2d(latent_channels, channels, 3, bias=1.0)
        self.beta = EqualConv2d(latent_channels, channels, 3, bias=0.0)
        self.conv = EqualConv2d(channels, channels, 3)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        weight = torch.cat([self.gamma.scaled_weight(), self.beta.scaled_weight()])
        biases = [self.gamma.scaled_bias(), self.beta.scaled_bias()]
        bias = torch.cat([b for b in biases if b is not None])
        gamma_beta = conv3x3(latent, weight, bias)
        return self.conv(normalize_modulate(x, gamma_beta, NORM_EPS))


class UpsamplingConv(nn.Module):
    """A block's upsampling 3×3 convolution: normalisation without modulation (method.md §1)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = EqualConv2d(in_channels, out_channels, 3)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        x = normalize_modulate(x, None, NORM_EPS)
        return blur_upsample(upsample_conv(x, self.conv.scaled_weight()), self.bias, padding=1)


class StyledBlock(nn.Module):
    """( styled2(styled1(x, z), z) + skip(x) ) / √2; the first of a finer scale upsamples."""

    def __init__(self, in_channels: int, channels: int, latent_channels: int, upsample: bool):
        super().__init__()
        self.resample: UpsamplingConv | ConvLayer | None = None
        self.styled1: StyledConv | None = None
        if upsample:
            self.resample = UpsamplingConv(in_channels, channels)
        elif in_channels != channels:
            self.resample = ConvLayer(in_channels, channels, 3)
        else:
            self.styled1 = StyledConv(channels, latent_channels)
        self.styled2 = StyledConv(channels, latent_channels)
        self.skip = ConvLayer(in_channels, channels, 1, upsample=upsample, activate=False)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        if self.resample is not None:
            y = self.resample(x)
        else:
            assert self.styled1 is not None
            y = bias_leaky_relu(self.styled1(x, latent), self.styled1.bias)
        y = self.styled2(y, latent)
        return bias_leaky_relu(y, self.styled2.bias, skip=self.skip(x))


class Decoder(nn.Module):
    """Style maps, finest first → reconstructions, finest first (method.md §1 "Decoder")."""

    def __init__(self, config: InvADConfig) -> None:
        super().__init__()
        coarsest = len(config.channels) - 1
        channels = config.channels[coarsest]
        self.constant = nn.Parameter(torch.randn(1, channels, *config.grid))
        self.stem = ConvLayer(channels, channels, 3)
        self.translators = nn.ModuleList()  # coarsest first, as are the blocks
        self.scales = nn.ModuleList()
        for scale, count in zip(range(coarsest, -1, -1), config.blocks):
            width, latent = config.style_width(scale), config.latent_channels
            self.translators.append(
                nn.Sequential(ConvLayer(width, width, 3), ConvLayer(width, latent, 3))
            )
            upsample = scale < coarsest and config.strides[scale] < config.strides[scale + 1]
            blocks = nn.ModuleList()
            for index in range(count):
                out = config.channels[scale]
                blocks.append(StyledBlock(channels, out, latent, upsample and index == 0))
                channels = out
            self.scales.append(blocks)

    def forward(self, styles: list[Tensor]) -> list[Tensor]:
        # The constant's own layer does not see the image: run it once, for the whole batch.
        x = self.stem(self.constant).expand(styles[-1].shape[0], -1, -1, -1)
        reconstructions: list[Tensor] = []
        for translate, blocks, style in zip(self.translators, self.scales, reversed(styles)):
            latent = translate(style)
            for block in blocks:  # type: ignore[attr-defined]  # a ModuleList in a ModuleList
                x = block(x, latent)
            reconstructions.insert(0, x)
        return reconstructions
