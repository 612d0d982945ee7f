"""The frozen encoder's features of the training images: kept, or computed anew in every epoch.

The encoder is never trained and the recipe has no augmentation, so an image's features are the
same in every epoch. Where they fit they are computed once and kept in half precision: in memory,
or with a cache folder on disk, from where the next run and the machine's other processes take
them. Where they do not fit, a cache folder keeps the resized images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from invad_fast.anomaly_map import map_and_score
from invad_fast.data import ImageLoader, ImageTensors, Record, build_cache
from invad_fast.device import autocast
from invad_fast.distributed import World
from invad_fast.feature_rows import (
    ENCODING_BATCH,
    FeatureLayout,
    encoder_key,
    fits_on_disk,
    in_memory,
    on_disk,
)
from invad_fast.progress import counter

if TYPE_CHECKING:
    from invad_fast.method import Method
    from invad_fast.train import TrainingOptions


class Features(ABC):
    """Batches of features by index, finest scale first, on the training device."""

    def __init__(self, images: int, options: TrainingOptions, device: torch.device) -> None:
        self.images, self.options, self.device = images, options, device

    @abstractmethod
    def batches(self, order: list[list[int]], start: int = 0) -> Iterator[list[Tensor]]:
        """The features of each batch of indices in ``order``, from batch ``start`` on."""

    def scores(self, model: Method, world: World) -> Tensor:
        """Image scores of all images in their order, in eval mode."""
        own = torch.tensor(list(world.own(range(self.images))), dtype=torch.long)
        scores = [torch.empty(0)]
        with torch.inference_mode():
            for features in self.batches([b.tolist() for b in own.split(ENCODING_BATCH)]):
                with autocast(self.device, self.options.precision):
                    reconstructions = model.reconstruct(features)
                size, mode = model.config.input_size, model.map_mode
                found = map_and_score(features, reconstructions, size, mode)[1]
                scores.append(found.float().cpu())
            return world.interleave(torch.cat(scores), self.images)


class ComputedFeatures(Features):
    """Decodes and encodes the images of every batch."""

    def __init__(
        self, model: Method, images: ImageTensors, options: TrainingOptions, device: torch.device
    ) -> None:
        super().__init__(len(images), options, device)
        self.model, self.tensors = model, images

    def batches(self, order: list[list[int]], start: int = 0) -> Iterator[list[Tensor]]:
        for features in self.encode(order[start:]):
            yield [f.to(torch.float32, memory_format=torch.channels_last) for f in features]

    def encode(self, order: Iterable[list[int]]) -> Iterator[list[Tensor]]:
        """The features of each batch of indices, as the encoder gives them."""
        workers = self.options.workers
        for images, _ in ImageLoader(self.tensors, batch_sampler=order, num_workers=workers):
            # Not yielded inside: a generator would leave its caller without gradients.
            with torch.no_grad(), autocast(self.device, self.options.precision):
                features = self.model.encode(images.to(self.device))
            yield features


class KeptFeatures(Features):
    """Takes the features from rows of half precision, in memory or mapped from disk."""

    def __init__(
        self,
        rows: np.ndarray,
        layout: FeatureLayout,
        options: TrainingOptions,
        device: torch.device,
    ) -> None:
        super().__init__(len(rows), options, device)
        self.rows, self.layout = rows, layout

    def batches(self, order: list[list[int]], start: int = 0) -> Iterator[list[Tensor]]:
        for indices in order[start:]:
            yield self.layout.unpack(self.rows[indices], self.device)


def open_features(
    model: Method,
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
    layout = FeatureLayout.of(model)
    images = ImageTensors(records, model.config.input_size)
    computed = ComputedFeatures(model, images, options, device)
    in_bytes = layout.row_bytes * len(records)
    disk_bytes = int(options.cache_gib * 2**30)
    keep = options.feature_cache_gib > 0
    if keep and options.cache and fits_on_disk(layout, records, disk_bytes):
        key = encoder_key(model, options.precision)
        with counter("encode", show_progress) as progress:
            mapped = on_disk(
                layout, records, computed.encode, key, Path(options.cache), disk_bytes,
                progress, world,
            )  # fmt: skip
        return KeptFeatures(mapped.rows.view(np.float16), layout, options, device)
    if keep and world.size == 1 and in_bytes <= options.feature_cache_gib * 2**30:
        with counter("encode", show_progress) as progress:
            rows = in_memory(layout, len(records), computed.encode, progress)
        return KeptFeatures(rows, layout, options, device)
    if options.cache:
        size = model.config.input_size
        with counter("decode", show_progress) as progress:
            cache = build_cache(records, size, options.cache, disk_bytes, progress, world=world)
        images = ImageTensors(records, size, cache)
        return ComputedFeatures(model, images, options, device)
    return computed
