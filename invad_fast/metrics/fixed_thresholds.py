"""Figures at fixed thresholds on min-max-normalised pixel scores (method.md §3, paper protocol)."""

from __future__ import annotations

import numpy as np

from invad_fast.metrics.bounds import BoundedArray, Bounds
from invad_fast.metrics.float_keys import keys_of, scores_of

TINY = 1e-8  # the reference adds it to every denominator
RANGE = np.arange(0.2, 0.801, 0.1)
SWEEP = np.arange(0, 1.001, 0.05)


def boundaries(low: float, high: float, thresholds: np.ndarray) -> np.ndarray:
    """The raw score of each threshold: greater ones, and only those, are above it.

    The reference moves the scores to [0, 1] in float32 and compares them with float64 thresholds.
    Both steps keep the order of scores, so the greatest score that is not above a threshold can be
    found by bisection, with the reference's own arithmetic: no threshold is rounded.

    Args:
        low, high: the least and the greatest score of the class, of float32.
        thresholds: T, float64.

    Returns:
        T, float32.
    """
    least, greatest = np.float32(low), np.float32(high)
    ends = keys_of(np.array([least, greatest])).astype(np.int64)
    inside, outside = np.full(len(thresholds), ends[0]), np.full(len(thresholds), ends[1] + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        span = greatest - least
        while (outside - inside > 1).any():
            middle = inside + (outside - inside) // 2
            normalized = (scores_of(middle) - least) / span
            above = normalized.astype(np.float64) > thresholds
            inside, outside = np.where(above, inside, middle), np.where(above, middle, outside)
    return scores_of(inside)


def range_figures(anomalous: BoundedArray, normal: BoundedArray, total: int) -> dict[str, Bounds]:
    """mF1, mAcc and mIoU from the pixels above each of RANGE; ``total`` are anomalous."""
    f1, recall, iou = _figures(anomalous, normal, total)
    return {
        "mf1": Bounds(float(f1.low.mean()), float(f1.high.mean())),
        "macc": Bounds(float(recall.low.mean()), float(recall.high.mean())),
        "miou": Bounds(float(iou.low.mean()), float(iou.high.mean())),
    }


def sweep_maxima(anomalous: BoundedArray, normal: BoundedArray, total: int) -> dict[str, Bounds]:
    """F1-max and IoU-max from the pixels above each of SWEEP."""
    f1, _, iou = _figures(anomalous, normal, total)
    return {
        "pixel_f1_max": Bounds(float(f1.low.max()), float(f1.high.max())),
        "iou_max": Bounds(float(iou.low.max()), float(iou.high.max())),
    }


def _figures(anomalous: BoundedArray, normal: BoundedArray, total: int) -> list[BoundedArray]:
    """F1, recall and IoU: each rises with the hits and falls with the false alarms."""
    low = _at(anomalous.low, normal.high, total)
    high = _at(anomalous.high, normal.low, total)
    return [BoundedArray(a, b) for a, b in zip(low, high)]


def _at(tp: np.ndarray, fp: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    fn = total - tp
    precision, recall = tp / (tp + fp + TINY), tp / (tp + fn + TINY)
    f1 = 2 * precision * recall / (precision + recall + TINY)
    return f1, recall, tp / (tp + fp + fn + TINY)
