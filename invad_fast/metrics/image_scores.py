"""One score an image, and the figures of how these rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from invad_fast.errors import InputError
from invad_fast.metrics.bounds import Bounds
from invad_fast.metrics.cell_scores import RankedCells
from invad_fast.metrics.engines import cells, device_of
from invad_fast.metrics.inputs import as_array
from invad_fast.metrics.native_scores import native_module, threads
from invad_fast.metrics.ranking import auroc, average_precision, f1_max, rank

if TYPE_CHECKING:
    import torch

# Cells of image scores in streaming mode.
IMAGE_CELLS = 1 << 17


def image_scores(maps: Any, pooling: int | None = None) -> np.ndarray:
    """N×H×W → N: the maximum of each map, or of its stride-1 average over pooling×pooling."""
    if pooling is not None and not 1 <= pooling <= min(maps.shape[1:]):
        raise InputError(f"pooling {pooling} does not fit maps of {tuple(maps.shape[1:])}")
    if device_of(maps) is not None:
        there = maps.amax((1, 2)) if pooling is None else _pooled_maxima(maps, pooling)
        return there.cpu().numpy()
    maps = as_array(maps)
    if pooling is None:
        return maps.max(axis=(1, 2))
    native = native_module()
    if native is None:
        return np.array([_pooled(scores, pooling).max() for scores in maps])
    return native.pooled_maxima(np.ascontiguousarray(maps, np.float32), pooling, threads())


def image_figures(scores: np.ndarray, labels: np.ndarray) -> dict[str, Bounds]:
    """Figures of N image scores and whether the images are anomalous."""
    ranked = rank(scores, labels)
    figures = {
        "image_auroc": auroc(ranked),
        "image_ap": average_precision(ranked),
        "image_f1_max": f1_max(ranked),
    }
    return {name: Bounds(figure, figure) for name, figure in figures.items()}


class HeldImageScores:
    """Every image's score and label: some bytes an image."""

    def __init__(self) -> None:
        self._scores: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        self._scores.append(scores.astype(np.float64))
        self._labels.append(labels)

    def state(self) -> dict[str, Any]:
        return {
            "scores": np.concatenate([np.empty(0), *self._scores]),
            "labels": np.concatenate([np.empty(0, bool), *self._labels]),
        }

    def add_state(self, state: dict[str, Any]) -> None:
        self.add(state["scores"], state["labels"])

    def figures(self) -> dict[str, Bounds]:
        return image_figures(**self.state())


class StreamedImageScores:
    """Image scores in constant memory: exact up to IMAGE_CELLS distinct ones of float32.

    Args:
        rounded: whether rounding to float32 can make scores equal that are not.
    """

    def __init__(self, rounded: bool) -> None:
        self._cells = cells(IMAGE_CELLS)
        self._rounded = rounded

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        row = labels.astype(np.uint8)[None, None]
        self._cells.add(scores.astype(np.float32)[None, None], row)

    def state(self) -> dict[str, Any]:
        return self._cells.state()

    def add_state(self, state: dict[str, Any]) -> None:
        self._cells.add_state(state)

    def figures(self) -> dict[str, Bounds]:
        nothing = np.empty(0, np.float32), np.empty(0, np.int64)
        ranking = RankedCells(self.state(), self._rounded).ranking(*nothing)
        return {
            "image_auroc": ranking.auroc,
            "image_ap": ranking.average_precision,
            "image_f1_max": ranking.f1_max,
        }


def _pooled(scores: np.ndarray, k: int) -> np.ndarray:
    sums = np.pad(np.cumsum(np.cumsum(scores.astype(np.float64), 0), 1), ((1, 0), (1, 0)))
    return (sums[k:, k:] - sums[:-k, k:] - sums[k:, :-k] + sums[:-k, :-k]) / k**2


def _pooled_maxima(maps: torch.Tensor, k: int) -> torch.Tensor:
    """Of maps on a device: N, float64."""
    import torch

    pool = torch.nn.functional.avg_pool2d
    found = [pool(pool(own.double(), (k, 1), 1), (1, k), 1).amax((1, 2)) for own in maps.split(64)]
    return torch.cat(found)
