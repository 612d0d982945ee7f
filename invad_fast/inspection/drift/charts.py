"""The charts' mathematics, of one part or of arrays of simulated ones.

A value is held against a reference sample of n values by its rank: z = Φ⁻¹((r + ½)/(n + 1)), r the
number of reference values below it. So an in-control run is the same whatever the values'
distribution is, one defect with an enormous score counts as a high one, and simulations hold for
every line (`run_lengths.py`). CUSUMs are Page's (Biometrika 41, 1954); where one was last at zero
is when what it tells of began. The reject rate is counted in blocks and held against the
beta-binomial that the reference's rejects predict with Jeffreys' prior.
"""

from __future__ import annotations

import functools

import numpy as np

SLACK = 0.5
"""In deviations: a shift of twice this is what the CUSUMs find soonest."""

DECISION = 14.0
"""Height, in deviations, at which a CUSUM alarms; for one view. `docs/drift.md` has what it
gives."""

BLOCKS = (200, 1000)
"""Parts whose rejects are counted together: few tell a large change soon, many a smaller one."""

RATE = 5e-7
"""Of false alarms a part, of each side of each size of block."""

LEAST_REFERENCE = 300
"""Parts of a class that a reference takes: with fewer, errors of the reference are drift."""


def decision_height(views: int) -> float:
    """With several views there are more charts a part: each has to be rarer by so much."""
    return DECISION + float(np.log(views))


def normal_scores(reference: np.ndarray, values: np.ndarray) -> np.ndarray:
    """z of values, against a sorted reference; a value that is equal to some is in their midst."""
    low = np.searchsorted(reference, values, "left")
    high = np.searchsorted(reference, values, "right")
    return score_table(len(reference))[low + high]


@functools.cache
def score_table(count: int) -> np.ndarray:
    """z of twice the rank, from 0 to 2n."""
    from scipy.special import ndtri

    twice = np.arange(2 * count + 1)
    found: np.ndarray = ndtri((twice / 2 + 0.5) / (count + 1))
    return found


def cusum(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """The upward CUSUM after each of the scores, from zero on: C = max(0, C + z − slack)."""
    sums = np.cumsum(scores - SLACK, axis=axis)
    floor = np.minimum(np.minimum.accumulate(sums, axis=axis), 0)
    found: np.ndarray = sums - floor
    return found


def block_limits(rejects: int, count: int, size: int) -> tuple[int, int]:
    """(fewest, most) rejects of a block of ``size`` parts that are no alarm, where ``rejects`` of
    ``count`` parts of the reference were.
    """
    from scipy.special import betaln, gammaln  # scipy.stats' own sums anew for every number

    a, b = rejects + 0.5, count - rejects + 0.5
    k = np.arange(size + 1)
    ways = gammaln(size + 1) - gammaln(k + 1) - gammaln(size - k + 1)
    shares = np.exp(ways + betaln(k + a, size - k + b) - betaln(a, b))
    up_to, from_on = np.cumsum(shares), np.cumsum(shares[::-1])[::-1]
    most = int((from_on > size * RATE).sum()) - 1  # the last k with P(X ≥ k) above the rate
    fewest = int((up_to <= size * RATE).sum())
    return fewest, most
