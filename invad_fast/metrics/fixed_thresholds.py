"""Figures at fixed thresholds on min-max-normalised pixel scores (SPEC §3, paper protocol)."""

from __future__ import annotations

import numpy as np

TINY = 1e-8  # the reference adds it to every denominator
RANGE = np.arange(0.2, 0.801, 0.1)
SWEEP = np.arange(0, 1.001, 0.05)


def normalized(maps: np.ndarray) -> np.ndarray:
    """Scores moved to [0, 1] over the class's whole test set, in float32 as the reference does."""
    maps = maps.astype(np.float32, copy=False)
    low, high = maps.min(), maps.max()
    return (maps - low) / (high - low) if high > low else np.zeros_like(maps)


def counts_above(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """For each of T sorted float64 thresholds, how many scores are greater; one pass."""
    # A float64 comparison of float32 scores: rounding a threshold to float32 can move a count.
    bins = np.searchsorted(thresholds, scores.astype(np.float64), "left")
    counts = np.bincount(bins, minlength=len(thresholds) + 1)
    return counts[::-1].cumsum()[::-1][1:]


def threshold_figures(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """mF1, mAcc, mIoU over 0.2 … 0.8, and F1-max and IoU-max over 0, 0.05 … 1.

    Args:
        maps: N×H×W raw scores of one class.
        masks: N×H×W bool.
    """
    scores = normalized(maps)
    anomalous, normal = scores[masks], scores[~masks]

    def figures(thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tp = counts_above(anomalous, thresholds).astype(np.float64)
        fp = counts_above(normal, thresholds).astype(np.float64)
        fn = len(anomalous) - tp
        precision, recall = tp / (tp + fp + TINY), tp / (tp + fn + TINY)
        f1 = 2 * precision * recall / (precision + recall + TINY)
        return f1, recall, tp / (tp + fp + fn + TINY)

    f1, recall, iou = figures(RANGE)
    sweep_f1, _, sweep_iou = figures(SWEEP)
    return {
        "pixel_f1_max": float(sweep_f1.max()),
        "mf1": float(f1.mean()),
        "macc": float(recall.mean()),
        "miou": float(iou.mean()),
        "iou_max": float(sweep_iou.max()),
    }
