"""AU-PRO: per-region overlap against the pixel false-positive rate (SPEC §3)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

FPR_LIMIT = 0.3
STEPS = 100


def region_weights(masks: np.ndarray) -> np.ndarray:
    """N×H×W: 1/(area of the pixel's 8-connected region)/(number of regions), 0 if normal.

    The sum of the weights of the pixels above a threshold is the mean per-region recall.
    """
    weights = np.zeros(masks.shape, np.float64)
    regions = 0
    for mask, weight in zip(masks, weights):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
        if count:
            areas = np.bincount(labels.ravel())
            weight[mask] = 1 / areas[labels[mask]]
            regions += count
    return weights / max(regions, 1)


def aupro_paper(maps: np.ndarray, masks: np.ndarray) -> float:
    """The paper's protocol: 100 thresholds, FPR below 0.3 rescaled to [0, 1], trapezoids.

    Not a number where there is no region, no normal pixel, or fewer than two points.
    """
    low, high = maps.min(), maps.max()
    if not masks.any() or masks.all() or not high > low:
        return float("nan")
    thresholds = np.arange(low, high, (high - low) / STEPS).astype(np.float64)
    weights = region_weights(masks)[masks]
    fpr = _share_above(maps[~masks], thresholds)
    overlap = _share_above(maps[masks], thresholds, weights)
    kept = fpr < FPR_LIMIT
    fpr, overlap = fpr[kept], overlap[kept]
    if len(fpr) < 2 or fpr.max() == fpr.min():
        return float("nan")
    fpr = (fpr - fpr.min()) / (fpr.max() - fpr.min())
    return float(abs(np.trapezoid(overlap, fpr)))


def aupro_exact(maps: np.ndarray, masks: np.ndarray) -> float:
    """The integral of the overlap over FPR in [0, 0.3], every threshold used, divided by 0.3."""
    if not masks.any() or masks.all():
        return float("nan")
    scores = np.concatenate([maps[masks], maps[~masks]])
    weights = np.concatenate([region_weights(masks)[masks], np.zeros((~masks).sum())])
    false = np.arange(len(scores)) >= masks.sum()
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    fpr = np.append(0, false[order].cumsum()[last] / false.sum())
    overlap = np.append(0, weights[order].cumsum()[last])
    end = np.interp(FPR_LIMIT, fpr, overlap)
    kept = fpr < FPR_LIMIT
    fpr, overlap = np.append(fpr[kept], FPR_LIMIT), np.append(overlap[kept], end)
    return float(np.trapezoid(overlap, fpr) / FPR_LIMIT)


def _share_above(
    scores: np.ndarray, thresholds: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    if weights is None:
        weights = np.full(len(scores), 1 / len(scores))
    bins = np.searchsorted(thresholds, scores.astype(np.float64), "left")
    sums = np.bincount(bins, weights, minlength=len(thresholds) + 1)
    return sums[::-1].cumsum()[::-1][1:]
