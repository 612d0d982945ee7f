"""What fixes a model: its encoder and the input size, and for InvAD widths, blocks, loss weight."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from invad_fast.errors import InputError

Size = tuple[int, int]


@dataclass(frozen=True)
class FeatureConfig:
    """Which features of which encoder a model works on; what the configurations share.

    Scales are listed finest first: index 0 is the finest.

    Attributes:
        encoder: name of a timm model that offers ``features_only``; None for a model that is
            given features instead of images.
        channels: feature channels of each scale. Filled in from the encoder when left empty.
        strides: pixels of the input per feature position at each scale. Filled in likewise.
        out_indices: which of the encoder's feature levels are used: stages of a convolutional
            network, blocks of a vision transformer.
        grid: (height, width) of the coarsest feature map.
        blocks: residual blocks at each scale of the decoder, coarsest first.
        input_size: (height, width) of the images; always ``grid`` times the coarsest stride.
            One number stands for a square, here and for ``grid``.
    """

    encoder: str | None = "wide_resnet50_2"
    channels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    out_indices: tuple[int, ...] = (1, 2, 3)
    grid: Size = None  # type: ignore[assignment]  # filled in by __post_init__
    blocks: tuple[int, ...] = (2, 2, 2)
    input_size: Size = None  # type: ignore[assignment]  # likewise

    def __post_init__(self) -> None:
        for name in ("grid", "input_size"):
            if isinstance(getattr(self, name), int):
                object.__setattr__(self, name, (getattr(self, name),) * 2)
        for name in ("channels", "strides", "out_indices", "grid", "blocks", "input_size"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(int(v) for v in value))
        if not self.channels:
            channels, strides = self._read_encoder()
            object.__setattr__(self, "channels", channels)
            object.__setattr__(self, "strides", strides)
        if not self.strides:
            finest_first = [2 ** (2 + i) for i in range(len(self.channels))]
            object.__setattr__(self, "strides", tuple(finest_first))
        self._fix_grid()
        self._check()

    def _read_encoder(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self.encoder is None:
            raise InputError(
                f"{type(self).__name__}(encoder=None) needs channels=(…), finest scale first"
            )
        from invad_fast.encoder import feature_layout

        return feature_layout(self.encoder, self.out_indices)

    def _fix_grid(self) -> None:
        stride = self.strides[-1]
        if self.input_size is None:
            grid = self.grid or (256 // stride, 256 // stride)
            object.__setattr__(self, "grid", grid)
            object.__setattr__(self, "input_size", (grid[0] * stride, grid[1] * stride))
            return
        height, width = self.input_size
        if height % stride or width % stride or height <= 0 or width <= 0:
            raise InputError(
                f"input size {height}x{width} is not divisible by the stride {stride} of the "
                "coarsest features: choose a multiple"
            )
        grid = (height // stride, width // stride)
        if self.grid is not None and self.grid != grid:
            raise InputError(
                f"grid {self.grid} contradicts input size {height}x{width} at stride {stride} "
                f"(which gives {grid}): give only one of them"
            )
        object.__setattr__(self, "grid", grid)

    def _check(self) -> None:
        scales = len(self.channels)
        if scales < 1 or len(self.strides) != scales or len(self.blocks) != scales:
            raise InputError(
                f"channels {self.channels}, strides {self.strides} and blocks {self.blocks} "
                "must have one entry for each scale"
            )
        for fine, coarse in zip(self.strides, self.strides[1:]):
            if coarse not in (fine, 2 * fine):
                raise InputError(
                    f"strides {self.strides}: each scale must be as coarse as the one before or "
                    "twice as coarse; choose other out_indices"
                )
        if min(*self.channels, *self.blocks, *self.grid) < 1:
            raise InputError(f"every width, block count and grid side must be positive: {self}")

    @property
    def feature_shapes(self) -> list[tuple[int, int, int]]:
        """(C, H, W) of each scale's features."""
        height, width = self.input_size
        return [
            (channels, height // stride, width // stride)
            for channels, stride in zip(self.channels, self.strides)
        ]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary that this class makes the same configuration of."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class InvADConfig(FeatureConfig):
    """Configuration of one InvAD model (paper §3; table 1 for the two published variants).

    ``blocks`` counts StyledBlocks, ``grid`` is also the learned constant's size.

    Attributes:
        style_channels: width of the style maps; each scale uses min(style_channels, channels).
        latent_channels: width of the latent style that modulates a block.
        loss_weight: factor of the training loss.
    """

    style_channels: int = 64
    latent_channels: int = 16
    loss_weight: float = 1.0

    def _check(self) -> None:
        super()._check()
        if min(self.style_channels, self.latent_channels) < 1:
            raise InputError(f"every width must be positive: {self}")

    def style_width(self, scale: int) -> int:
        """Channels of the style map of a scale (0 is the finest)."""
        return min(self.channels[scale], self.style_channels)


PRESETS: dict[str, dict[str, Any]] = {
    "invad": {"encoder": "wide_resnet50_2", "blocks": (2, 2, 2), "loss_weight": 1.0},
    "invad-lite": {"encoder": "resnet34", "blocks": (4, 4, 4), "loss_weight": 5.0},
}


def preset(name: str, **changes: Any) -> InvADConfig:
    """The published variant ``name`` ("invad" or "invad-lite") with fields replaced."""
    if name not in PRESETS:
        raise InputError(f"no preset named {name!r}: choose {' or '.join(PRESETS)}")
    return InvADConfig(**{**PRESETS[name], **changes})
