"""timm's networks as encoders: made by name, and what features they give. Knows timm alone."""

from __future__ import annotations

import difflib
import functools
from typing import Any

import timm
import torch
from timm.layers import Format
from torch import nn

from invad_fast.checked import unknown_name
from invad_fast.data.size import Size
from invad_fast.errors import InputError, first_line


def make_network(encoder: str, out_indices: tuple[int, ...], input_size: Size | None) -> nn.Module:
    """timm's network of that name, with random weights, that gives features.

    Args:
        encoder: a timm name, with or without a tag of its weights.
        out_indices: which feature levels, finest first.
        input_size: (height, width) for a network that is made for one size; None for its own.

    Raises:
        InputError: for a name that timm does not know, naming the closest, and for a network
            that has no such features.
    """
    check_name(encoder)
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
    except Exception as error:  # timm's networks raise many kinds
        why = first_line(error)
        if (levels := _levels(encoder)) and not all(-levels <= i < levels for i in out_indices):
            why = f"it has {levels}, 0 to {levels - 1}"
        raise InputError(
            f"timm's {encoder} offers no features at out_indices {out_indices}: {why}"
        ) from None


def _levels(encoder: str) -> int:
    """How many feature levels a network has; 0 where it gives no features at all."""
    try:
        with torch.device("meta"):  # no memory and no time for weights
            network: Any = timm.create_model(encoder, features_only=True)
            return len(network.feature_info.info)
    except Exception:
        return 0


@functools.lru_cache
def feature_channels(
    encoder: str, out_indices: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(channels, strides) of an encoder's features, finest first, without its weights."""
    with torch.device("meta"):
        return channels_and_strides(make_network(encoder, out_indices, None))


def channels_and_strides(network: nn.Module) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(channels, strides) of the features that :func:`make_network`'s result gives."""
    info: Any = network.feature_info
    return tuple(info.channels()), tuple(info.reduction())


def is_channels_last(network: nn.Module) -> bool:
    """Whether its features are N×h×w×C: some transformers, such as Swin, keep channels last."""
    return Format(getattr(network, "output_fmt", None) or Format.NCHW) == Format.NHWC


def check_name(encoder: str) -> None:
    """InputError, with the closest names, where timm has no such network or no such weights."""
    architecture, _, tag = encoder.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), 3, 0.6)
        advice = f"did you mean {' or '.join(close)}?" if close else (
            "timm.list_models() lists them all"
        )  # fmt: skip
        raise InputError(f"timm has no model named {architecture!r}: {advice}")
    try:
        timm.get_pretrained_cfg(encoder)
    except RuntimeError:
        known = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
        raise InputError(
            f"timm's {architecture} has " + unknown_name("weights", tag, known)
        ) from None
