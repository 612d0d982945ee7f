"""Features of the frozen encoder as rows of half precision, one an image, in memory or on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invad_fast.data import Record
from invad_fast.data.cache.mapped_rows import (
    MappedRows,
    Progress,
    RowWriter,
    fitting_rows,
    keep_rows,
)
from invad_fast.data.images import decoding
from invad_fast.data.levels import Levels
from invad_fast.data.preparation import IMAGENET
from invad_fast.distributed import World
from invad_fast.errors import InputError
from invad_fast.feature_predictor import FeaturePredictor
from invad_fast.training.trainable import encoder_digest

ENCODING_BATCH = 16

Encode = Callable[[Iterable[list[int]]], Iterator[list[Tensor]]]
"""Batches of indices → the features of each, N×C×H×W, finest scale first."""


@dataclass(frozen=True)
class FeatureRow:
    """How a row holds an image's features: float16, one scale after another, each H×W×C.

    Attributes:
        shapes: (C, H, W) of every scale, finest first.
    """

    shapes: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, model: FeaturePredictor) -> FeatureRow:
        return cls(tuple(model.config.feature_shapes))

    @property
    def values(self) -> int:
        """Values in a row."""
        return sum(c * h * w for c, h, w in self.shapes)

    @property
    def row_bytes(self) -> int:
        return 2 * self.values

    def pack(self, features: Sequence[Tensor]) -> np.ndarray:
        """Features N×C×H×W of every scale → N rows, float16.

        Raises:
            InputError: where a feature lies beyond float16's 65504.
        """
        parts = [f.permute(0, 2, 3, 1).flatten(1).to("cpu", torch.float16) for f in features]
        rows = torch.cat(parts, 1)
        if not rows.isfinite().all():
            raise InputError(
                "this encoder's features are too large for half precision: compute them in every "
                "epoch (feature_cache_gib=0, --feature-cache-gib 0)"
            )
        return rows.numpy()

    def unpack(self, rows: np.ndarray, device: torch.device) -> list[Tensor]:
        """N rows → features N×C×H×W on ``device``, float32, channels last as the weights are."""
        flat = torch.from_numpy(rows).to(device)
        sizes = [c * h * w for c, h, w in self.shapes]
        return [
            part.view(-1, h, w, c)
            .permute(0, 3, 1, 2)
            .to(torch.float32, memory_format=torch.channels_last)
            for part, (c, h, w) in zip(flat.split(sizes, 1), self.shapes)
        ]


def in_memory(layout: FeatureRow, images: int, encode: Encode, progress: Progress) -> np.ndarray:
    """The rows of all images, computed now, kept in memory: images × values, float16."""
    rows = np.empty((images, layout.values), np.float16)
    batches = _batches(range(images))
    for batch, features in zip(batches, encode(batches)):
        rows[batch] = layout.pack(features)
        progress(batch[-1] + 1, images)
    return rows


def fits_on_disk(layout: FeatureRow, records: Sequence[Record], max_bytes: int) -> bool:
    """Whether all rows fit into a cache of ``max_bytes``."""
    paths = [os.path.abspath(record.image) for record in records]
    return fitting_rows(paths, layout.row_bytes, max_bytes) == len(paths)


def on_disk(
    layout: FeatureRow,
    records: Sequence[Record],
    encode: Encode,
    encoder: str,
    folder: Path,
    max_bytes: int,
    progress: Progress,
    world: World,
) -> MappedRows:
    """The rows of all images in ``folder``: what is new or changed is computed, the rest kept.

    Args:
        encoder: `encoder_key`, all that fixes the features besides the images.
    """
    paths = [os.path.abspath(record.image) for record in records]

    def compute(indices: list[int], writer: RowWriter) -> None:
        batches = _batches(indices)

        def opening() -> Iterator[list[int]]:
            for batch in batches:
                for index in batch:
                    with suppress(InputError):  # met again, and listed, where it is decoded
                        writer.opening(index)
                yield batch

        for batch, features in zip(batches, encode(opening())):
            for index, row in zip(batch, layout.pack(features)):
                writer.store(index, row)

    return keep_rows(
        folder, f"features-{encoder}", paths, layout.row_bytes, compute,
        max_bytes=max_bytes, progress=progress, world=world,
    )  # fmt: skip


def encoder_key(model: FeaturePredictor, precision: str, levels: Levels | None = None) -> str:
    """All that fixes the features besides the images: the encoder, its weights, the reading.

    Args:
        levels: of images of more than 8 bits, see `invad_fast.data.load_image`.
    """
    config = model.config
    given = config.preparation
    reading = decoding(levels, given.interpolation)
    parts: tuple[object, ...] = (
        config.encoder,
        config.out_indices,
        config.input_size,
        precision,
        reading,
    )
    if (given.mean, given.deviation) != (IMAGENET.mean, IMAGENET.deviation):
        parts += (given.mean, given.deviation)  # features kept before there were others stay valid
    return f"{' '.join(map(str, parts))} {encoder_digest(model)}"


def _batches(indices: Sequence[int]) -> list[list[int]]:
    starts = range(0, len(indices), ENCODING_BATCH)
    return [list(indices[start : start + ENCODING_BATCH]) for start in starts]
