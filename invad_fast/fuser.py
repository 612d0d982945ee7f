"""features ─ fuser ─> style: aggregation on the coarsest grid, then the re-scaling upsampler φR."""

from __future__ import annotations

import torch
from timm.models.resnet import Bottleneck
from torch import Tensor, nn

from invad_fast.config import InvADConfig
from invad_fast.layers import ConvLayer


class Aggregate(nn.Module):
    """One scale onto the coarsest grid: convolution with kernel = stride, then batch norm."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, reduction, stride=reduction)
        self.norm = nn.BatchNorm2d(channels, eps=1e-6)

    def forward(self, feature: Tensor) -> Tensor:
        return self.norm(self.conv(feature))


class Merge(nn.Module):
    """Concatenated scales → 1×1 convolution → batch norm → ReLU: the paper's F^f."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(features)))


class Fuser(nn.Module):
    """Features, finest first → style maps, finest first (paper §3.2; method.md §1 "Fuser")."""

    def __init__(self, config: InvADConfig) -> None:
        super().__init__()
        coarsest = len(config.channels) - 1
        width = config.style_width(coarsest)
        self.aggregate = nn.ModuleList(
            Aggregate(channels, config.strides[-1] // stride)
            for channels, stride in zip(config.channels, config.strides)
        )
        self.merge = Merge(sum(config.channels), width)
        self.bottleneck = Bottleneck(width, width // Bottleneck.expansion)
        self.rescale = nn.ModuleList()  # coarsest first
        for scale in range(coarsest, -1, -1):
            out = config.style_width(scale)
            upsample = scale < coarsest and config.strides[scale] < config.strides[scale + 1]
            # 0.01 in the upsampling layers only: method.md §1, "Equalised layers".
            first = ConvLayer(width, out, 3, upsample=upsample, lr_mul=0.01 if upsample else 1.0)
            self.rescale.append(nn.Sequential(first, ConvLayer(out, out, 3)))
            width = out

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        aligned = [aggregate(f) for aggregate, f in zip(self.aggregate, features)]
        style = self.bottleneck(self.merge(torch.cat(aligned, dim=1)))
        styles: list[Tensor] = []
        for rescale in self.rescale:
            style = rescale(style)
            styles.insert(0, style)
        return styles
