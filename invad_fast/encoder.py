"""image ─ encoder ─> features: the frozen timm network φI, convolutional or a transformer."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from invad_fast.data.size import Size
from invad_fast.encoder_network import channels_and_strides, is_channels_last, make_network
from invad_fast.encoder_weights import PRETRAINED, read_encoder_weights
from invad_fast.errors import InputWarning

__all__ = ["PRETRAINED", "Encoder", "warn_random"]


class Encoder(nn.Module):
    """timm features at the chosen scales; always in eval mode, never trained (method.md §1).

    Any timm model that has features: stages of a convolutional network, or blocks of a vision
    transformer, whose tokens become maps (class and register tokens are dropped). A network that
    is made for one image size is made for ``input_size``.

    Args:
        name: of a timm model.
        out_indices: the feature levels, finest first.
        input_size: (height, width) of the images.
        weights: "pretrained" for timm's hub, "package" for an installed package's, a file or a
            directory, or None for random weights; see :mod:`invad_fast.encoder_weights`.

    Attributes:
        channels, strides: of each scale's features.

    Raises:
        InputError: for a name, levels or weights that there are not.
    """

    def __init__(
        self,
        name: str,
        out_indices: tuple[int, ...],
        input_size: Size,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.net = make_network(name, out_indices, input_size)
        self.channels, self.strides = channels_and_strides(self.net)
        self.nhwc = is_channels_last(self.net)
        if weights is not None:
            self.net.load_state_dict(read_encoder_weights(self.net, name, input_size, weights))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Encoder:
        """Stays in eval mode: its batch statistics are part of the frozen features."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """N×3×H×W, normalised as the configuration says → features N×C×h×w, finest first."""
        features = list(self.net(images))
        return [f.permute(0, 3, 1, 2) for f in features] if self.nhwc else features


def warn_random(encoder: str) -> None:
    """Says that an encoder's weights are random."""
    warnings.warn(
        f"the encoder {encoder} has random weights: fine for trying things out, poor for finding "
        "defects; give encoder_weights a file, 'package', or 'pretrained' for timm's hub",
        InputWarning,
        stacklevel=4,
    )
