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
        Not a number where fewer than two points remain, or all have one rate: as for a perfect
        map, whose normal pixels are all above a threshold or none, so that the rate is 0 or 1.
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

    With the rates' positions in their range, uᵢ = (fᵢ − f₀)/(fₘ − f₀), it is
    Σ (uᵢ₊₁ − uᵢ)·(oᵢ + oᵢ₊₁)/2: it rises with every overlap and, because overlaps do not fall,
    falls with every position; a position rises with its own rate and falls with both ends.
    """
    # Where all rates may be one, the figure may be none.
    if len(false.low) < 2 or false.low[-1] <= false.high[0]:
        return UNDEFINED
    earliest = _positions(false.low, false.high[0], false.high[-1])
    latest = _positions(false.high, false.low[0], false.low[-1])
    return Bounds(
        float(np.trapezoid(overlap.low, latest)), float(np.trapezoid(overlap.high, earliest))
    )


def _positions(rates: np.ndarray, first: float, last: float) -> np.ndarray:
    """Of rates between their first and their last."""
    places = np.clip((rates - first) / (last - first), 0, 1)
    places[0], places[-1] = 0, 1
    return places
