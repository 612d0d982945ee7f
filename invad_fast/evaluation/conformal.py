"""Split-conformal thresholds: what n scores of good parts promise of the next good part.

With the k-th smallest of n exchangeable scores as the threshold, a new good part exceeds it with
probability (n + 1 − k)/(n + 1) at most, and exactly so where no scores are equal (Vovk, Gammerman
and Shafer, Algorithmic Learning in a Random World, 2005, proposition 4.1). That is the mean over
draws of the n; of one draw the rate is a value of Beta(n + 1 − k, k) (Vovk, Conditional validity
of inductive conformal predictors, 2012), whose 95 % quantile is the rate that is not exceeded with
95 % confidence. Ties only lower both.
"""

from __future__ import annotations

import math
from fractions import Fraction

from invad_fast.errors import InputError

CONFIDENCE = 0.95


def check_rate(false_alarm_rate: float) -> None:
    """Refuses a rate that is none, before hours are spent on scores."""
    if not 0 <= false_alarm_rate < 1:
        raise InputError(f"a false-alarm rate lies in [0, 1), not {false_alarm_rate}")


def rank(count: int, rate: float, bound: bool = False) -> int | None:
    """Which of ``count`` scores, the k-th smallest, is the threshold; None where they are too few.

    Args:
        rate: that a good part may exceed it with: expected, k = ⌈(n + 1)(1 − α)⌉; with ``bound``
            the one that holds with 95 % confidence, the least such k. 0 takes the lowest rate that
            so many scores allow: the highest of them.
    """
    if rate == 0:
        return count
    if bound:
        if bound_rate(count, count) > rate:
            return None
        low, high = 1, count  # the rate falls as k rises
        while low < high:
            middle = (low + high) // 2
            if bound_rate(count, middle) <= rate:
                high = middle
            else:
                low = middle + 1
        return low
    # In decimals as they were written: 0.01 is no binary fraction, and 100 × 0.99 no 99.0…01.
    k = math.ceil((count + 1) * (1 - Fraction(repr(float(rate)))))
    return max(k, 1) if k <= count else None


def expected_rate(count: int, k: int) -> float:
    """The rate of false alarms in the mean: (n + 1 − k)/(n + 1)."""
    return (count + 1 - k) / (count + 1)


def bound_rate(count: int, k: int) -> float:
    """The rate that is not exceeded with 95 % confidence."""
    if k == count:
        return -math.expm1(math.log(1 - CONFIDENCE) / count)
    from scipy.special import betaincinv  # a tenth of a second that only this pays

    return float(betaincinv(count + 1 - k, k, CONFIDENCE))


def parts_needed(rate: float, bound: bool = False) -> int:
    """The least number of parts for a rate above 0."""
    if bound:
        guess = max(1, math.floor(math.log(1 - CONFIDENCE) / math.log1p(-rate)) - 1)
    else:
        guess = max(1, math.floor(1 / rate) - 2)
    while rank(guess, rate, bound) is None:
        guess += 1
    return guess


def lowest_rate(count: int, bound: bool = False) -> float:
    """The lowest rate that ``count`` parts allow, rounded up to three digits so that it works."""
    exact = bound_rate(count, count) if bound else expected_rate(count, count)
    step = 10.0 ** (math.floor(math.log10(exact)) - 2)
    rounded = math.ceil(exact / step) * step
    written = float(f"{rounded:.6g}")
    while rank(count, written, bound) is None:
        written = float(f"{written + step:.6g}")
    return written


def too_few(whose: str, count: int, rate: float, bound: bool = False) -> InputError:
    """What is said where the parts are too few for the rate."""
    needed, lowest = parts_needed(rate, bound), lowest_rate(count, bound)
    kind = "with 95 % confidence " if bound else ""
    option = f"--false-alarm-rate {lowest:g}" + (" --bound" if bound else "")
    return InputError(
        f"{whose}: {count} good parts are too few for a false-alarm rate of {rate:g} {kind}"
        f"({needed} are needed); the lowest that they allow is {lowest:g}: {option}"
    )
