"""image ─ encoder ─> features: the frozen timm network φI, convolutional or a transformer."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import Format
from torch import Tensor, nn

from invad_fast.config import FeatureConfig, Size
from invad_fast.encoder_weights import PRETRAINED, one_line, read_encoder_weights
from invad_fast.errors import InputError

__all__ = ["PRETRAINED", "Encoder", "feature_layout", "warn_random"]


class Encoder(nn.Module):
    """timm features at the configured scales; always in eval mode, never trained (SPEC §1).

    Any timm model that has features: stages of a convolutional network, or blocks of a vision
    transformer, whose tokens become maps (class and register tokens are dropped). A network that
    is made for one image size is made for the configured one.

    Args:
        config: gives the timm name, the feature levels and the input size.
        weights: "pretrained" for timm's hub, a file or a directory, or None for random weights;
            see :mod:`invad_fast.encoder_weights`.
    """

    def __init__(self, config: FeatureConfig, weights: str | Path | None = None) -> None:
        super().__init__()
        assert config.encoder is not None, "a model that is given features has no Encoder"
        self.net = _create(config.encoder, config.out_indices, config.input_size)
        self.nhwc = _format(self.net) == Format.NHWC
        if weights is not None:
            self.net.load_state_dict(
                read_encoder_weights(self.net, config.encoder, config.input_size, weights)
            )
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Encoder:
        """Stays in eval mode: its batch statistics are part of the frozen features."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """N×3×H×W, ImageNet-normalised → features N×C×h×w, finest first."""
        features = list(self.net(images))
        return [f.permute(0, 3, 1, 2) for f in features] if self.nhwc else features


@functools.lru_cache
def feature_layout(
    encoder: str, out_indices: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and strides of a timm encoder's features, finest first, without its weights."""
    with torch.device("meta"):
        info: Any = _create(encoder, out_indices, None).feature_info
    return tuple(info.channels()), tuple(info.reduction())


def warn_random(encoder: str) -> None:
    """Says that an encoder's weights are random."""
    warnings.warn(
        f"the encoder {encoder} has random weights: fine for trying things out, poor for finding "
        "defects; give encoder_weights a file, or 'pretrained' for timm's hub",
        stacklevel=4,
    )


def _create(encoder: str, out_indices: tuple[int, ...], input_size: Size | None) -> nn.Module:
    if not timm.is_model(encoder):
        close = ", ".join(timm.list_models(f"*{encoder.split('.')[0][:6]}*")[:5])
        raise InputError(
            f"timm has no model named {encoder!r}; "
            + (f"close to it: {close}" if close else "timm.list_models() lists them all")
        )
    options: dict[str, Any] = {"features_only": True, "out_indices": out_indices}
    try:
        if input_size is not None:
            # Transformers have a position for every token of one image size; others refuse it.
            try:
                return timm.create_model(encoder, img_size=input_size, **options)
            except TypeError as error:
                if "img_size" not in str(error):
                    raise
        return timm.create_model(encoder, **options)
    except (RuntimeError, IndexError, AssertionError, TypeError, AttributeError) as error:
        raise InputError(
            f"timm's {encoder} offers no features at out_indices {out_indices}: {one_line(error)}"
        ) from None


def _format(net: nn.Module) -> Format:
    """NCHW or NHWC: some transformers, such as Swin, keep channels last."""
    return Format(getattr(net, "output_fmt", None) or Format.NCHW)
