"""AU-PRO in the paper's protocol: per-region overlap against the pixel false-positive rate."""

from __future__ import annotations

import numpy as np

from invad_fast.metrics.bounds import UNDEFINED, BoundedArray, Bounds
from invad_fast.metrics.pixel_scores import FPR_LIMIT

STEPS = 100


def overlap_thresholds(low: float, high: float) -> np.ndarray:
    """The protocol's float32 thresholds from the least to the greatest score; none if equal."""
    least, greatest = np.float32(low), np.float32(high)
    with np.errstate(over="ignore", under="ignore"):
        step = (greatest - least) / STEPS
    if not np.isfinite(step) or step <= 0:  # no two scores, or no step in float32
        return np.empty(0, np.float32)
    return np.arange(least, greatest, step).astype(np.float32)


def aupro(overlap: BoundedArray, false: BoundedArray) -> Bounds:
    """FPR below 0.3 rescaled to [0, 1] by its own range, trapezoids.

    Args:
        overlap, false: mean per-region recall and false-positive rate above each threshold.

    Returns:
        Not a number where fewer than two points remain, or all have one rate.
    """
    # From the highest threshold: rates and overlaps rise.
    overlap, false = overlap[::-1], false[::-1]
    least, most = (int((rate < FPR_LIMIT).sum()) for rate in (false.high, false.low))
    found = [_area(overlap[:kept], false[:kept]) for kept in range(least, most + 1)]
    if any(np.isnan(bounds.low) for bounds in found):
        return UNDEFINED
    return Bounds(min(b.low for b in found), max(b.high for b in found))


def _area(overlap: BoundedArray, false: BoundedArray) -> Bounds:
    """Mean height of the curve.

    Area = Σ (fᵢ₊₁ − fᵢ)·(oᵢ + oᵢ₊₁)/2 rises with every overlap and with the last rate, and falls
    with every other rate, because overlaps do not fall: so its bounds are at corners.
    """
    if len(false.low) < 2:
        return UNDEFINED
    width_low, width_high = false.low[-1] - false.high[0], false.high[-1] - false.low[0]
    if width_high <= 0:
        return UNDEFINED
    right, left = false.high.copy(), false.low.copy()
    right[-1], left[-1] = false.low[-1], false.high[-1]
    low = max(0.0, float(np.trapezoid(overlap.low, right))) / width_high
    high = float(np.trapezoid(overlap.high, left)) / width_low if width_low > 0 else 1.0
    # A mean height lies between the curve's least and greatest.
    low = max(low, float(overlap.low[0]))
    return Bounds(low, max(low, min(high, float(overlap.high[-1]))))
