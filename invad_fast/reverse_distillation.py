"""RD, the yardstick: features ─ embedding ─> one-class code ─ student decoder ─> reconstructions.

H. Deng, X. Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022.
Written from the paper alone. A frozen teacher's features of three scales are fused and squeezed to
half the coarsest grid; a student, the teacher's mirror, grows them back. What the code has no room
for, a defect, the student cannot make.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import timm
import torch
from pydantic import Field, StrictBool
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from invad_fast.checked import Real, Whole, checked
from invad_fast.config import BlockCounts, FilledIn, ReconstructionConfig
from invad_fast.encoder import PRETRAINED
from invad_fast.errors import InputError
from invad_fast.method import TrainedMethod
from invad_fast.training.schedule import Schedule


class Mirror(NamedTuple):
    """What the student takes from the teacher's architecture; see :class:`RDConfig`."""

    blocks: tuple[int, ...]
    embedding_blocks: int
    inner_ratio: float
    rectified: bool


@functools.lru_cache
def mirror_of(encoder: str | None, scales: int) -> Mirror:
    """The reverse of a timm ResNet; two basic blocks a scale for any other encoder.

    The stage that squeezes is the ResNet's fourth; the student's stages have the counts of the
    stages that they undo (ResNet-34's 3, 4, 6, 3 blocks give 3, 6, 4).
    """
    if encoder is not None and timm.is_model(encoder) and scales == 3:
        with torch.device("meta"):
            net: Any = timm.create_model(encoder, pretrained=False)
        if isinstance(net, ResNet):
            stages: list[Any] = [net.layer4, net.layer3, net.layer2]
            last, inner = stages[0][-1], 0.0
            if isinstance(last, Bottleneck):
                inner = last.conv2.out_channels / last.conv3.out_channels
            return Mirror(tuple(len(s) for s in stages), len(stages[0]), inner, rectified=True)
    return Mirror((2,) * scales, 2, 0.0, False)


@checked
class RDConfig(ReconstructionConfig):
    """Configuration of one RD model; fields left empty are the encoder's mirror (paper §3.2).

    Attributes:
        blocks: residual blocks of the student at each scale, coarsest first.
        embedding_blocks: residual blocks that make the one-class embedding.
        inner_ratio: width inside a bottleneck block over its output's; 0 for basic blocks.
        rectified: the teacher's features come out of a ReLU, so the student's do too.
    """

    blocks: BlockCounts = ()
    # None for what __post_init__ fills in.
    embedding_blocks: Annotated[Whole, Field(ge=1, le=300), FilledIn] = None  # type: ignore[assignment]
    inner_ratio: Annotated[Real, Field(ge=0, le=16), FilledIn] = None  # type: ignore[assignment]
    rectified: Annotated[StrictBool, FilledIn] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        empty = [name for name in Mirror._fields if getattr(self, name) in (None, ())]
        if empty:
            mirror = mirror_of(self.encoder, len(self.channels) or len(self.out_indices))
            for name in empty:
                object.__setattr__(self, name, getattr(mirror, name))
        super().__post_init__()

    @property
    def block_count(self) -> int:
        return super().block_count + self.embedding_blocks

    def _check(self) -> None:
        super()._check()
        if any(side % 2 for side in self.grid):
            height, width = self.input_size
            raise InputError(
                f"rd halves the coarsest grid, and {self.grid[0]}x{self.grid[1]} has an odd side: "
                f"choose an input size divisible by {2 * self.strides[-1]}, not {height}x{width}"
            )


class ReverseDistillation(TrainedMethod):
    """RD on any timm encoder.

    Args:
        config: an RDConfig; None for the paper's: wide_resnet50_2 at 256×256.
        encoder_weights: "pretrained" for timm's hub, "package", a file or a directory, None for
            random ones.
        **changes: fields of RDConfig, where ``config`` is None.
    """

    method = "rd"
    map_mode = "per_scale"
    config_type = RDConfig
    schedules = {
        "paper": Schedule(
            epochs=200, batch_size=16, learning_rate=0.005, rate_batch=None, betas=(0.5, 0.999)
        )
    }

    def __init__(
        self,
        config: RDConfig | None = None,
        encoder_weights: str | Path | None = PRETRAINED,
        **changes: Any,
    ) -> None:
        if config is not None and changes:
            raise InputError("change fields with dataclasses.replace(config, …), or give no config")
        super().__init__(RDConfig(**changes) if config is None else config, encoder_weights)

    def _build(self, config: RDConfig, encoder_weights: str | Path | None) -> None:
        super()._build(config, encoder_weights)
        self.embedding = OneClassEmbedding(config)
        self.student = Student(config)
        for part in (self.embedding, self.student):
            part.apply(_initialize)

    def reconstruct(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features, finest first → reconstructions of the same shapes; differentiable."""
        self._check_features(features)
        code = self.embedding(list(features))
        return self.student(code)

    def loss(
        self, features: Sequence[Tensor], reconstructions: Sequence[Tensor], progress: float = 1.0
    ) -> Tensor:
        """Σᵢ mean over images and positions of 1 − cosine, in float32 (paper eq. 1 and 2)."""
        distances = [
            (1 - F.cosine_similarity(f.float(), r.float(), dim=1)).mean()
            for f, r in zip(features, reconstructions)
        ]
        return torch.stack(distances).sum()


class OneClassEmbedding(nn.Module):
    """Features, finest first → code N×2C×h/2×w/2, C and h×w the coarsest's (paper §3.3, fig. 4).

    Every scale comes to the coarsest grid by 3×3 convolutions of stride 2, each with batch norm
    and ReLU; they are concatenated and merged by a 1×1 convolution; a residual stage of stride 2
    squeezes them.
    """

    def __init__(self, config: RDConfig) -> None:
        super().__init__()
        self.align = nn.ModuleList()
        merged = 0
        for scale, channels in enumerate(config.channels):
            steps = nn.Sequential()
            for finer, coarser in zip(
                range(scale, len(config.channels)), range(scale + 1, len(config.channels))
            ):
                if config.strides[coarser] > config.strides[finer]:
                    steps.extend(_conv(channels, config.channels[coarser], 3, stride=2))
                    channels = config.channels[coarser]
            self.align.append(steps)
            merged += channels
        width = config.channels[-1]
        self.merge = _conv(merged, width, 1)
        ratio = config.inner_ratio
        self.squeeze = nn.Sequential(ResidualBlock(width, 2 * width, ratio, "down"))
        for _ in range(config.embedding_blocks - 1):
            self.squeeze.append(ResidualBlock(2 * width, 2 * width, ratio))

    def forward(self, features: list[Tensor]) -> Tensor:
        aligned = [align(feature) for align, feature in zip(self.align, features)]
        return self.squeeze(self.merge(torch.cat(aligned, dim=1)))


class Student(nn.Module):
    """Code → reconstructions, finest first: the teacher's stages in reverse (paper §3.2)."""

    def __init__(self, config: RDConfig) -> None:
        super().__init__()
        self.scales = nn.ModuleList()  # coarsest first
        width, stride = 2 * config.channels[-1], 2 * config.strides[-1]
        for scale, count in zip(reversed(range(len(config.channels))), config.blocks):
            blocks = nn.Sequential()
            for index in range(count):
                up = index == 0 and config.strides[scale] < stride
                bare = index == count - 1 and not config.rectified
                out = config.channels[scale]
                blocks.append(
                    ResidualBlock(width, out, config.inner_ratio, "up" if up else None, not bare)
                )
                width = out
            stride = config.strides[scale]
            self.scales.append(blocks)

    def forward(self, code: Tensor) -> list[Tensor]:
        reconstructions: list[Tensor] = []
        for blocks in self.scales:
            code = blocks(code)
            reconstructions.insert(0, code)
        return reconstructions


class ResidualBlock(nn.Module):
    """A ResNet block, basic or bottleneck, that keeps, halves ("down") or doubles ("up") H×W.

    Halving is a stride of 2, as in the teacher; doubling, its mirror, a transposed convolution of
    kernel and stride 2 (paper §3.2).

    Args:
        inner_ratio: inner width of a bottleneck over ``out_channels``; 0 for a basic block.
        resample: "down", "up" or None.
        activate: ReLU at the end.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        inner_ratio: float,
        resample: str | None = None,
        activate: bool = True,
    ) -> None:
        super().__init__()
        if inner_ratio:
            inner = max(round(out_channels * inner_ratio), 1)
            first = [*_conv(in_channels, inner, 1), *_resampling(inner, inner, 3, resample)]
            last = _conv(inner, out_channels, 1)
        else:
            first = [*_resampling(in_channels, out_channels, 3, resample)]
            last = _conv(out_channels, out_channels, 3)
        self.body = nn.Sequential(*first, *last[:-1])  # the ReLU comes after the sum
        self.skip: nn.Module = nn.Identity()
        if resample or in_channels != out_channels:
            self.skip = _resampling(in_channels, out_channels, 1, resample)[:-1]
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x) + self.skip(x)
        return torch.relu(y) if self.activate else y


def _resampling(
    in_channels: int, out_channels: int, kernel_size: int, resample: str | None
) -> nn.Sequential:
    """Convolution that keeps, halves or doubles H×W → batch norm → ReLU."""
    if resample == "up":
        up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False)
        return nn.Sequential(up, nn.BatchNorm2d(out_channels), nn.ReLU())
    return _conv(in_channels, out_channels, kernel_size, stride=2 if resample == "down" else 1)


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Convolution → batch norm → ReLU."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def _initialize(module: nn.Module) -> None:
    """He initialisation for ReLU, as ResNets are."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
