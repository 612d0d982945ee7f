"""One score an image, and the figures of how these rank."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from invad_fast.metrics.bounds import Bounds
from invad_fast.metrics.engines import cells, device_of, pooled_maxima
from invad_fast.metrics.inputs import check_maps, refuse_not_finite, window
from invad_fast.metrics.ranking import auroc, average_precision, f1_max, rank
from invad_fast.metrics.streaming.ranked_cells import RankedCells

# Cells of image scores in streaming mode.
IMAGE_CELLS = 1 << 17


def image_scores(maps: ArrayLike, pooling: int | None = None) -> np.ndarray:
    """The score of each image, as all figures and thresholds take it.

    Args:
        maps: N×H×W, array or tensor.
        pooling: width of a window; None for none.

    Returns:
        N, float32, as maps are: the maximum of each map, or of its stride-1 average over
        pooling×pooling pixels.

    Raises:
        InputError: as for :func:`invad_fast.metrics.evaluate`.
    """
    checked = check_maps(maps, device_of(maps))
    scores = maxima_of(checked, window(pooling, *checked.shape[1:]))
    refuse_not_finite(checked)
    return scores


def maxima_of(maps: Any, pooling: int | None) -> np.ndarray:
    """``image_scores`` of maps and a window that were checked.

    Averages are summed in float64 and rounded once: windows of the same pixels tie whatever sums
    they were part of, in every engine and in the float32 keys of streaming cells.
    """
    if pooling is not None:
        return pooled_maxima(maps, pooling).astype(np.float32)
    return (
        maps.max(axis=(1, 2)) if isinstance(maps, np.ndarray) else maps.amax((1, 2)).cpu().numpy()
    )


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
        self._scores.append(scores)
        self._labels.append(labels)

    def state(self) -> dict[str, Any]:
        return {
            "scores": np.concatenate([np.empty(0, np.float32), *self._scores]),
            "labels": np.concatenate([np.empty(0, bool), *self._labels]),
        }

    def add_state(self, state: dict[str, Any]) -> None:
        self.add(state["scores"], state["labels"])

    def figures(self) -> dict[str, Bounds]:
        return image_figures(**self.state())


class StreamedImageScores:
    """Image scores in constant memory: exact up to IMAGE_CELLS distinct ones."""

    def __init__(self) -> None:
        self._cells = cells(IMAGE_CELLS)

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        row = labels.astype(np.uint8)[None, None]
        self._cells.add(scores[None, None], row)

    def state(self) -> dict[str, Any]:
        return self._cells.state()

    def add_state(self, state: dict[str, Any]) -> None:
        self._cells.add_state(state)

    def figures(self) -> dict[str, Bounds]:
        nothing = np.empty(0, np.float32), np.empty(0, np.int64)
        ranking = RankedCells(self.state()).ranking(*nothing)
        return {
            "image_auroc": ranking.auroc,
            "image_ap": ranking.average_precision,
            "image_f1_max": ranking.f1_max,
        }
