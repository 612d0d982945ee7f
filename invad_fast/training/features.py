"""The frozen encoder's features of the training images: kept, or computed anew in every epoch.

The encoder is never trained and the schedule has no augmentation, so an image's features are the
same in every epoch. Where they fit they are computed once and kept in half precision: in memory,
or with a cache folder on disk, from where the next run and the machine's other processes take
them. Where they do not fit, a cache folder keeps the resized images.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invad_fast.data import (
    ImageLoader,
    ImageTensors,
    Record,
    build_cache,
    find_unreadable,
    unreadable_error,
)
from invad_fast.device import autocast
from invad_fast.distributed import World
from invad_fast.feature_predictor import FeaturePredictor
from invad_fast.progress import counter
from invad_fast.training.feature_rows import (
    FeatureRow,
    encoder_key,
    fits_on_disk,
    in_memory,
    on_disk,
)
from invad_fast.training.options import TrainingOptions


class Features(ABC):
    """Batches of features by index, finest scale first, on the training device.

    Attributes:
        seconds_per_image: what decoding and encoding one took; None where none was.
        resized: whether the cache folder keeps resized images, and not the features.
    """

    seconds_per_image: float | None = None
    resized = False

    def __init__(self, options: TrainingOptions, device: torch.device) -> None:
        self.options, self.device = options, device

    @abstractmethod
    def batches(self, order: list[list[int]], start: int = 0) -> Iterator[list[Tensor]]:
        """The features of each batch of indices in ``order``, from batch ``start`` on."""


class ComputedFeatures(Features):
    """Decodes and encodes the images of every batch."""

    def __init__(
        self,
        model: FeaturePredictor,
        images: ImageTensors,
        options: TrainingOptions,
        device: torch.device,
    ) -> None:
        super().__init__(options, device)
        self.model, self.tensors = model, images

    def batches(self, order: list[list[int]], start: int = 0) -> Iterator[list[Tensor]]:
        for features in self.encode(order[start:]):
            yield [f.to(torch.float32, memory_format=torch.channels_last) for f in features]

    def encode(self, order: Iterable[list[int]]) -> Iterator[list[Tensor]]:
        """The features of each batch of indices, as the encoder gives them.

        Raises:
            InputError: listing all images that cannot be read, once one is met.
        """
        for batch in ImageLoader(self.tensors, order, self.options.workers, "collect"):
            if batch.unreadable:
                raise unreadable_error(
                    find_unreadable(self.tensors, self.options.workers), len(self.tensors)
                )
            # Not yielded inside: a generator would leave its caller without gradients.
            with torch.no_grad(), autocast(self.device, self.options.precision):
                features = self.model.encode(batch.images.to(self.device))
            yield features


class KeptFeatures(Features):
    """Takes the features from rows of half precision, in memory or mapped from disk."""

    def __init__(
        self,
        rows: np.ndarray,
        layout: FeatureRow,
        options: TrainingOptions,
        device: torch.device,
    ) -> None:
        super().__init__(options, device)
        self.rows, self.layout = rows, layout

    def batches(self, order: list[list[int]], start: int = 0) -> Iterator[list[Tensor]]:
        for indices in order[start:]:
            yield self.layout.unpack(self.rows[indices], self.device)


def open_features(
    model: FeaturePredictor,
    records: Sequence[Record],
    options: TrainingOptions,
    device: torch.device,
    show_progress: bool,
    world: World,
) -> Features:
    """Features kept on disk or in memory where they fit the options' bounds, else computed ones.

    Several processes share what is on disk; each would need a memory of its own, so that without
    a cache folder they compute.
    """
    layout = FeatureRow.of(model)
    preparation = model.preparation
    images = ImageTensors(
        records, model.config.input_size, levels=options.levels, preparation=preparation
    )
    computed = ComputedFeatures(model, images, options, device)
    in_bytes = layout.row_bytes * len(records)
    disk_bytes = int(options.cache_gib * 2**30)
    keep = options.feature_cache_gib > 0
    started = time.monotonic()
    if keep and options.cache and fits_on_disk(layout, records, disk_bytes):
        key = encoder_key(model, options.precision, options.levels)
        with counter("encode", show_progress) as progress:
            mapped = on_disk(
                layout, records, computed.encode, key, Path(options.cache), disk_bytes,
                progress, world,
            )  # fmt: skip
        return KeptFeatures(mapped.rows.view(np.float16), layout, options, device)
    if keep and world.size == 1 and in_bytes <= options.feature_cache_gib * 2**30:
        with counter("encode", show_progress) as progress:
            rows = in_memory(layout, len(records), computed.encode, progress)
        kept = KeptFeatures(rows, layout, options, device)
        kept.seconds_per_image = (time.monotonic() - started) / len(records)
        return kept
    if options.cache:
        size = model.config.input_size
        with counter("decode", show_progress) as progress:
            cache = build_cache(
                records, size, options.cache, disk_bytes, progress, world=world,
                levels=options.levels, interpolation=preparation.interpolation,
            )  # fmt: skip
        images = ImageTensors(records, size, cache, levels=options.levels, preparation=preparation)
        computed = ComputedFeatures(model, images, options, device)
        computed.resized = True
    return computed
