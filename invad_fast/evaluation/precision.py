"""precision="auto" where thresholds are set: a faster arithmetic, if it judges as fp32 does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from invad_fast.prediction import ALL_CLASSES, Thresholds, exceeds, shown_class

FASTER: Final = "bf16"
"""The precision that is faster wherever a device has a unit for it (docs/measured.md)."""

MOST = 0.01
"""How far a score may be from fp32's, as a share of threshold minus median."""


def disagreement(
    exact: np.ndarray,
    exact_limits: Thresholds,
    other: np.ndarray,
    other_limits: Thresholds,
    class_names: Sequence[str],
) -> str | None:
    """In what the other precision's scores judge otherwise; None where they may stand for fp32's.

    Args:
        exact, other: N scores of the same pictures, in fp32 and in the other precision.
        exact_limits, other_limits: the thresholds that were made of each.
        class_names: N.
    """
    owners = np.array(class_names, dtype=object)
    for name in sorted(exact_limits):
        own = np.ones(len(owners), bool) if name == ALL_CLASSES else owners == name
        before, after = exact[own], other[own]
        limit = exact_limits[name]
        changed = int((exceeds(before, limit) != exceeds(after, other_limits[name])).sum())
        if changed:
            return f"{changed} of {len(before)} verdicts on {shown_class(name)} are others"
        gap, room = float(np.abs(after - before).max()), limit - float(np.median(before))
        if not gap <= MOST * room:  # a score that is not a number is no agreement
            return (
                f"scores of {shown_class(name)} differ by up to {gap:.2g}, and threshold minus "
                f"median is {room:.2g}"
            )
    return None
