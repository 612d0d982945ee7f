"""What fixes a model: its encoder and the input size, and for InvAD widths, blocks, loss weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictStr, WrapValidator
from typing_extensions import Self

from invad_fast.checked import Real, Whole, checked, unknown_name
from invad_fast.data.preparation import (
    IMAGENET,
    Interpolation,
    Preparation,
    Triple,
    preparation_for,
)
from invad_fast.errors import InputError
from invad_fast.memory.settings import MemorySettings

# Far above any model that is of use, and far below what no machine holds or builds in time.
_MOST_BLOCKS = 300
_LONGEST_SIDE = 16384
_Width = Annotated[Whole, Field(ge=1, le=65536)]
_Side = Annotated[Whole, Field(ge=1, le=_LONGEST_SIDE)]
_Index = Annotated[Whole, Field(ge=-1000, le=1000)]
_Scales = Field(max_length=64)
BlockCounts = Annotated[tuple[Annotated[Whole, Field(ge=1, le=_MOST_BLOCKS)], ...], _Scales]


def _empty_or(value: Any, check: Callable[[Any], Any]) -> Any:
    return None if value is None else check(value)


def _square_or(value: Any, check: Callable[[Any], Any]) -> Any:
    return _empty_or((value, value) if hasattr(type(value), "__index__") else value, check)


# None for what __post_init__ fills in; one number for a square.
_Sides = Annotated[tuple[_Side, _Side], WrapValidator(_square_or)]
FilledIn = WrapValidator(_empty_or)

_Share = Annotated[Real, Field(ge=0, le=1)]
_Deviation = Annotated[Real, Field(ge=1e-3, le=1e3)]


@checked
class FeatureConfig:
    """Which features of which encoder a model works on; what the configurations share.

    Scales are listed finest first: index 0 is the finest. Fields are given by name; one that is
    none, or that contradicts another, is an InputError.

    Attributes:
        encoder: name of a timm model that offers ``features_only``; None for a model that is
            given features instead of images.
        channels: feature channels of each scale. Filled in from the encoder when left empty.
        strides: pixels of the input per feature position at each scale. Filled in likewise.
        out_indices: which of the encoder's feature levels are used: stages of a convolutional
            network, blocks of a vision transformer.
        grid: (height, width) of the coarsest feature map.
        input_size: (height, width) of the images; always ``grid`` times the coarsest stride.
            One number stands for a square, here and for ``grid``.
        memory: what is kept of good parts to compare with; None for a model that remembers none.
        pixel_mean, pixel_deviation: of red, green and blue in 0..1; taken out of the images.
        interpolation: "bilinear" or "bicubic": how images come to the input size. Like mean and
            deviation what the encoder's weights were trained with, where it is left out.
    """

    encoder: Annotated[StrictStr, Field(min_length=1, max_length=200)] | None = "wide_resnet50_2"
    channels: Annotated[tuple[_Width, ...], _Scales] = ()
    strides: Annotated[tuple[_Width, ...], _Scales] = ()
    out_indices: Annotated[tuple[_Index, ...], Field(min_length=1, max_length=64)] = (1, 2, 3)
    grid: _Sides = None  # type: ignore[assignment]  # filled in by __post_init__
    input_size: _Sides = None  # type: ignore[assignment]  # likewise
    memory: MemorySettings | None = None
    pixel_mean: Annotated[tuple[_Share, _Share, _Share], FilledIn] = None  # type: ignore[assignment]
    pixel_deviation: Annotated[tuple[_Deviation, _Deviation, _Deviation], FilledIn] = None  # type: ignore[assignment]
    interpolation: Annotated[Interpolation, FilledIn] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self.channels:
            channels, strides = self._read_encoder()
            object.__setattr__(self, "channels", channels)
            object.__setattr__(self, "strides", strides)
        if not self.strides:
            finest_first = [2 ** (2 + i) for i in range(len(self.channels))]
            object.__setattr__(self, "strides", tuple(finest_first))
        self._fix_grid()
        for name, usual in _fields(preparation_for(self.encoder)).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, usual)
        self._check()

    def _read_encoder(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self.encoder is None:
            raise InputError(
                f"{type(self).__name__}(encoder=None) needs channels=(…), finest scale first"
            )
        # timm takes seconds to import: not for a model that is given features.
        from invad_fast.encoder_network import feature_channels

        return feature_channels(self.encoder, self.out_indices)

    def _fix_grid(self) -> None:
        stride = self.strides[-1]
        if self.input_size is None:
            grid = self.grid or (max(256 // stride, 1),) * 2
            object.__setattr__(self, "grid", grid)
            object.__setattr__(self, "input_size", (grid[0] * stride, grid[1] * stride))
            if max(self.input_size) > _LONGEST_SIDE:
                raise InputError(
                    f"grid {grid} at stride {stride} is an input size of {self.input_size}: at "
                    f"most {_LONGEST_SIDE} pixels a side"
                )
            return
        height, width = self.input_size
        if height % stride or width % stride:
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
        if len(self.strides) != scales:
            raise InputError(
                f"channels {self.channels} and strides {self.strides} must have one entry for each "
                "scale"
            )
        for fine, coarse in zip(self.strides, self.strides[1:]):
            if coarse not in (fine, 2 * fine):
                raise InputError(
                    f"strides {self.strides}: each scale must be as coarse as the one before or "
                    "twice as coarse; choose other out_indices"
                )

        if self.memory is not None:
            self._check_memory(self.memory.scales)

    def _check_memory(self, scales: tuple[int, ...]) -> None:
        if list(scales) != sorted({scale for scale in scales if scale < len(self.channels)}):
            raise InputError(
                f"memory scales {scales}: of {len(self.channels)} scales, 0 the finest, each once, "
                "finest first"
            )

    @property
    def block_count(self) -> int:
        """Residual blocks in all; each has weights of its own."""
        return 0

    @property
    def feature_shapes(self) -> list[tuple[int, int, int]]:
        """(C, H, W) of each scale's features."""
        height, width = self.input_size
        return [
            (channels, height // stride, width // stride)
            for channels, stride in zip(self.channels, self.strides)
        ]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `from_dict` makes the same configuration of.

        It omits ImageNet's mean and deviation, the bilinear filter and a memory that there is not,
        so that digests of models from before there were others stay valid.
        """
        usual: dict[str, Any] = {**_fields(IMAGENET), "memory": None}
        everything = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {k: v for k, v in everything.items() if k not in usual or v != usual[k]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The configuration that `to_dict` told: what it omits is ImageNet's on any encoder."""
        return cls(**{**_fields(IMAGENET), **content})

    @property
    def preparation(self) -> Preparation:
        """How pixels become the encoder's input."""
        return Preparation(self.pixel_mean, self.pixel_deviation, self.interpolation)


def _fields(preparation: Preparation) -> dict[str, Triple | Interpolation]:
    return {
        "pixel_mean": preparation.mean,
        "pixel_deviation": preparation.deviation,
        "interpolation": preparation.interpolation,
    }


@checked
class ReconstructionConfig(FeatureConfig):
    """Of a model that reconstructs the features.

    Attributes:
        blocks: residual blocks at each scale of the decoder, coarsest first.
    """

    blocks: BlockCounts = (2, 2, 2)

    def _check(self) -> None:
        super()._check()
        if len(self.blocks) != len(self.channels):
            raise InputError(
                f"channels {self.channels}, strides {self.strides} and blocks {self.blocks} "
                "must have one entry for each scale"
            )
        if self.block_count > _MOST_BLOCKS:
            raise InputError(f"blocks {self.blocks}: at most {_MOST_BLOCKS} in all")

    @property
    def block_count(self) -> int:
        return sum(self.blocks)


@checked
class MemoryConfig(FeatureConfig):
    """Configuration of a model of nearest neighbours; see :mod:`invad_fast.memory`.

    Attributes:
        memory: how many patches of which scales it keeps.
    """

    memory: MemorySettings = MemorySettings()


@checked
class InvADConfig(ReconstructionConfig):
    """Configuration of one InvAD model (paper §3; table 1 for the two published variants).

    ``blocks`` counts StyledBlocks, ``grid`` is also the learned constant's size.

    Attributes:
        style_channels: width of the style maps; each scale uses min(style_channels, channels).
        latent_channels: width of the latent style that modulates a block.
        loss_weight: factor of the training loss.
        standardized: features have their channels' mean taken out and deviation divided by, of the
            good training parts, before all else. Set by the schedule of the training, and so is
        loss: "squared" (the paper's) or "hard_cosine"; see :mod:`invad_fast.losses`.
    """

    style_channels: _Width = 64
    latent_channels: _Width = 16
    loss_weight: Annotated[Real, Field(gt=0, le=1e6)] = 1.0
    standardized: StrictBool = False
    loss: Literal["squared", "hard_cosine"] = "squared"

    def style_width(self, scale: int) -> int:
        """Channels of the style map of a scale (0 is the finest)."""
        return min(self.channels[scale], self.style_channels)

    def to_dict(self) -> dict[str, Any]:
        """See :class:`FeatureConfig`; it omits what the paper's training has, likewise."""
        usual = {"standardized": False, "loss": "squared"}
        return {k: v for k, v in super().to_dict().items() if usual.get(k, ...) != v}


PRESETS: dict[str, dict[str, Any]] = {
    "invad": {"encoder": "wide_resnet50_2", "blocks": (2, 2, 2), "loss_weight": 1.0},
    "invad-lite": {"encoder": "resnet34", "blocks": (4, 4, 4), "loss_weight": 5.0},
}


def preset(name: str, **changes: Any) -> InvADConfig:
    """The published variant ``name`` ("invad" or "invad-lite") with fields replaced."""
    if name not in PRESETS:
        raise InputError(unknown_name("preset", name, PRESETS))
    return InvADConfig(**{**PRESETS[name], **changes})
