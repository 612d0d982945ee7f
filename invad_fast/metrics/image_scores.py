"""One score an image, and the figures of how these rank."""

from __future__ import annotations

import numpy as np

from invad_fast.errors import InputError
from invad_fast.metrics.bounds import Bounds
from invad_fast.metrics.ranking import auroc, average_precision, f1_max, rank


def image_scores(maps: np.ndarray, pooling: int | None = None) -> np.ndarray:
    """N×H×W → N: the maximum of each map, or of its stride-1 average over pooling×pooling."""
    if pooling is None:
        return maps.max(axis=(1, 2))
    if not 1 <= pooling <= min(maps.shape[1:]):
        raise InputError(f"pooling {pooling} does not fit maps of {maps.shape[1:]}")
    return np.array([_pooled(scores, pooling).max() for scores in maps])


def image_figures(scores: np.ndarray, labels: np.ndarray) -> dict[str, Bounds]:
    """Figures of N image scores and whether the images are anomalous."""
    ranked = rank(scores, labels)
    figures = {
        "image_auroc": auroc(ranked),
        "image_ap": average_precision(ranked),
        "image_f1_max": f1_max(ranked),
    }
    return {name: Bounds(figure, figure) for name, figure in figures.items()}


def _pooled(scores: np.ndarray, k: int) -> np.ndarray:
    sums = np.pad(np.cumsum(np.cumsum(scores.astype(np.float64), 0), 1), ((1, 0), (1, 0)))
    return (sums[k:, k:] - sums[:-k, k:] - sums[k:, :-k] + sums[:-k, :-k]) / k**2
