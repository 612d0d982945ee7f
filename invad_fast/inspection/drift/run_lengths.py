"""Simulated lines: how long the charts are quiet while nothing changes, how soon they tell a shift.

Each run draws its own reference sample, as a line does, and then parts; all charts of a class watch
together. Since charts see ranks alone, a normal distribution stands for every continuous one.
"""

from __future__ import annotations

import numpy as np

from invad_fast.inspection.drift.charts import (
    BLOCKS,
    block_limits,
    cusum,
    decision_height,
    score_table,
)

WATCHED = ("score", "brightness", "sharpness")
"""What each part has a value of."""


def run_length(
    rng: np.random.Generator,
    reference: int,
    most: int,
    *,
    shift: float = 0.0,
    shifted: int = 1,
    after: int = 0,
    reject_rate: float = 0.02,
    new_reject_rate: float | None = None,
    height: float | None = None,
) -> int:
    """Parts until the first alarm of any chart; ``most`` where there was none by then.

    Args:
        reference: parts of the reference sample.
        shift: of the first ``shifted`` of :data:`WATCHED`, in deviations, from part ``after`` on.
        reject_rate, new_reject_rate: before and from ``after`` on; the second None for the same.
        height: of the CUSUMs' decision; that of one view where it is not given.
    """
    limit = decision_height(1) if height is None else height
    first = most
    table = score_table(reference)
    for number in range(len(WATCHED)):
        known = np.sort(rng.standard_normal(reference))
        values = rng.standard_normal(most)
        if number < shifted:
            values[after:] += shift
        scores = table[2 * np.searchsorted(known, values)]
        for signed in (scores, -scores):
            above = cusum(signed) > limit
            if above.any():
                first = min(first, int(above.argmax()) + 1)
    before = int(rng.binomial(reference, reject_rate))
    rates = np.full(most, reject_rate)
    if new_reject_rate is not None:
        rates[after:] = new_reject_rate
    rejected = rng.random(most) < rates
    for size in BLOCKS:
        low, high = block_limits(before, reference, size)
        whole = rejected[: most // size * size].reshape(-1, size)
        counts = whole.sum(1)
        out = (counts > high) | (counts < low)
        if out.any():
            first = min(first, size * (int(out.argmax()) + 1))
    return first
