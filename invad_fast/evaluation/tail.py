"""A threshold beyond all scores that were seen: an extrapolation, never a promise.

Excesses over a high level follow a generalised Pareto distribution in the limit (Pickands, 1975;
Balkema and de Haan, 1974). How far the limit is, and whether the tail goes on like that, no sample
of this size can tell.
"""

from __future__ import annotations

import numpy as np

from invad_fast.errors import InputError

LEAST = 30
"""Scores below which no tail is fitted."""

_SHARE = 0.25  # of the scores, the highest, that the tail is fitted to


def extrapolated(scores: np.ndarray, rate: float, whose: str) -> float:
    """The score that a share ``rate`` of good parts exceeds if the tail goes on as it begins.

    Args:
        scores: N, ascending.
        whose: for the line where they are too few.

    Raises:
        InputError: for fewer than `LEAST` scores, or a tail of equal ones.
    """
    if len(scores) < LEAST:
        raise InputError(
            f"{whose}: {len(scores)} good parts are too few to fit a tail to: {LEAST} are needed"
        )
    from scipy.stats import genpareto

    count = max(10, int(_SHARE * len(scores)))
    level = float(scores[-count - 1])
    excesses = scores[-count:] - level
    if excesses[-1] <= 0:
        raise InputError(f"{whose}: the highest scores are equal: there is no tail to fit")
    shape, _, scale = genpareto.fit(excesses, floc=0)
    beyond = genpareto.isf(rate * len(scores) / count, shape, 0, scale)
    return max(level + float(beyond), float(scores[-1]))
