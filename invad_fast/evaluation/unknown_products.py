"""Distances of good parts ─> the limit beyond which a part is like none of the classes.

Split-conformal (`evaluation.conformal`): the k-th smallest of n distances, so that a good part of
the class lies beyond it with the rate that was asked for at most. The limit is twice that: a
defect moves a part's descriptor too, and a defective part of a known product is to be rejected,
with the place of its defect, and not turned away as unknown. Strangers lie four to ten conformal
distances away, and nearly all defective parts less than two (docs/unknown_products.md). So the
rate that is told is a bound, and next to no good part pays for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import numpy as np

from invad_fast.errors import InputError
from invad_fast.evaluation.calibrate import Source, worst_of_parts
from invad_fast.evaluation.conformal import (
    bound_rate,
    expected_rate,
    lowest_rate,
    parts_needed,
    rank,
)
from invad_fast.prediction import Origin, Thresholds

RATE = 0.01
"""That a good part may be turned away with, where no other is asked for."""

MARGIN = 2.0
"""The limit, in conformal distances."""


def distance_limits(
    distances: np.ndarray,
    class_names: Sequence[str],
    rate: float | None = None,
    source: Source = "held-out parts",
    *,
    bound: bool = False,
    parts: Sequence[str] | None = None,
    digests: Mapping[str, str] | None = None,
) -> tuple[Thresholds, dict[str, int]]:
    """The limits of the classes, and of classes whose parts are too few for one, how many more.

    Args:
        distances: N, of good parts that the model was not trained on, to their class's mean.
        class_names: N.
        rate: that a good part may be turned away with, in [0, 1); 0 takes the lowest that the
            parts allow. None takes `RATE`, and sets none where the parts are too few.
        bound: hold it with 95 % confidence, not in the mean.
        parts: N names: pictures of one name and class are one part, which has the farthest's.
        digests: class name → what the limit's origin says that it was set on.

    Returns:
        (limits, class name → parts needed).

    Raises:
        InputError: where a rate is asked for and the parts are too few for it.
    """
    values, owners = np.asarray(distances, np.float64), np.array(class_names, dtype=object)
    if parts is not None:
        values, owners = worst_of_parts(values, owners, parts)
    asked = RATE if rate is None else rate
    if not 0 <= asked < 1:
        raise InputError(f"a rate of good parts turned away lies in [0, 1), not {rate}")
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    limits, origins, lacking = {}, {}, {}
    for name in sorted(set(owners.tolist())):
        own = np.sort(values[owners == name])
        k = rank(len(own), asked, bound)
        if k is None and rate is None:
            lacking[name] = parts_needed(asked, bound)
            continue
        if k is None:
            lowest = lowest_rate(len(own), bound)
            raise InputError(
                f"{name}: {len(own)} good parts are too few to turn away at most {asked:g} of them "
                f"as an unknown product ({parts_needed(asked, bound)} are needed); the lowest rate "
                f"that they allow is {lowest:g}: --unknown-product-rate {lowest:g}"
            )
        limits[name] = MARGIN * float(own[k - 1])
        origins[name] = Origin(
            source=source,
            parts=len(own),
            false_alarm_rate=asked,
            expected_rate=expected_rate(len(own), k),
            rate_95=bound_rate(len(own), k),
            date=now,
            digest=(digests or {}).get(name),
        )
    return Thresholds(limits, None, origins), lacking


def will_not_pass(thresholds: Thresholds, limits: Thresholds, class_name: str) -> str | None:
    """Of good parts: what is rejected, what is turned away, and their sum, in words.

    None where one of the two is not known.
    """
    own = thresholds.origins.get(class_name), limits.origins.get(class_name)
    rates = [origin.expected_rate for origin in own if origin is not None]
    if len(rates) < 2 or None in rates:
        return None
    alarms, away = (100 * (rate or 0.0) for rate in rates)
    return (
        f"good parts that will not pass: {alarms + away:.3g} % at most "
        f"({alarms:.3g} % rejected, {away:.3g} % turned away as unknown)"
    )
