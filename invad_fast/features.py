"""The frozen encoder's features of the training images: kept in memory, or computed anew.

The encoder is never trained and the recipe has no augmentation, so an image's features are the
same in every epoch. Where they fit they are computed once and kept in half precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from invad_fast.anomaly_map import map_and_score
from invad_fast.data import ImageLoader, ImageTensors, Record
from invad_fast.device import autocast
from invad_fast.progress import track

if TYPE_CHECKING:
    from invad_fast.method import Method
    from invad_fast.train import TrainingOptions

ENCODING_BATCH = 16


class _Features:
    """Batches of features by index, finest scale first, on the training device.

    Subclasses give ``batches(order, start)``: the features of each batch of indices in
    ``order``, from batch ``start`` on.
    """

    def batches(self, order: list[list[int]], start: int = 0) -> Iterator[list[Tensor]]:
        raise NotImplementedError

    def __init__(self, model: Method, records: Sequence[Record], options, device) -> None:
        self.model, self.options, self.device = model, options, device
        self.images = ImageTensors(records, model.config.input_size)

    def scores(self, model: Method) -> Tensor:
        """Image scores of all records in their order, in eval mode."""
        indices = torch.arange(len(self.images)).split(ENCODING_BATCH)
        scores = []
        with torch.inference_mode():
            for features in self.batches([batch.tolist() for batch in indices]):
                with autocast(self.device, self.options.precision):
                    reconstructions = model.reconstruct(features)
                size, mode = model.config.input_size, model.map_mode
                scores.append(map_and_score(features, reconstructions, size, mode)[1].cpu())
        return torch.cat(scores)

    def _encoded(self, order: list[list[int]], workers: int) -> Iterator[list[Tensor]]:
        loader = ImageLoader(self.images, batch_sampler=order, num_workers=workers)
        for images, _ in loader:
            # Not yielded inside: a generator would leave its caller without gradients.
            with torch.no_grad(), autocast(self.device, self.options.precision):
                features = self.model.encode(images.to(self.device))
            yield features


class ComputedFeatures(_Features):
    """Decodes and encodes the images of every batch."""

    def batches(self, order: list[list[int]], start: int = 0) -> Iterator[list[Tensor]]:
        for features in self._encoded(order[start:], self.options.workers):
            yield [_as_trained(f) for f in features]


class CachedFeatures(_Features):
    """Encodes every image once and keeps its features in half precision."""

    def __init__(self, model: Method, records, options, device, show_progress: bool) -> None:
        super().__init__(model, records, options, device)
        shapes = model.config.feature_shapes
        self.kept = [torch.empty(len(records), *shape, dtype=torch.float16) for shape in shapes]
        order = [b.tolist() for b in torch.arange(len(records)).split(ENCODING_BATCH)]
        batches = self._encoded(order, options.workers)
        for indices, features in zip(order, track(batches, len(order), "encode", show_progress)):
            for kept, feature in zip(self.kept, features):
                kept[indices] = feature.to("cpu", torch.float16)

    def batches(self, order: list[list[int]], start: int = 0) -> Iterator[list[Tensor]]:
        for indices in order[start:]:
            yield [_as_trained(kept[indices].to(self.device)) for kept in self.kept]


def open_features(
    model: Method,
    records: Sequence[Record],
    options: TrainingOptions,
    device: torch.device,
    show_progress: bool,
) -> CachedFeatures | ComputedFeatures:
    """Cached features where they fit into ``options.feature_cache_gib``, else computed ones."""
    size = len(records) * sum(math.prod(shape) for shape in model.config.feature_shapes) * 2
    if size <= options.feature_cache_gib * 2**30:
        return CachedFeatures(model, records, options, device, show_progress)
    return ComputedFeatures(model, records, options, device)


def _as_trained(features: Tensor) -> Tensor:
    """float32, channels last as the model's weights are."""
    return features.to(torch.float32, memory_format=torch.channels_last)
