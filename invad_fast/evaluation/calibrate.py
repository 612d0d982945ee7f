"""Thresholds from the scores of good parts: a false-alarm rate instead of a guessed number."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Literal

import numpy as np

from invad_fast.errors import InputError
from invad_fast.prediction import ALL_CLASSES, Origin, ScoreRule, Thresholds, check_class_names


def check_rate(false_alarm_rate: float) -> None:
    """Refuses a rate that is none, before hours are spent on scores."""
    if not 0 <= false_alarm_rate < 1:
        raise InputError(f"a false-alarm rate lies in [0, 1), not {false_alarm_rate}")


def calibrate(
    scores: np.ndarray,
    class_names: Sequence[str],
    false_alarm_rate: float,
    rule: ScoreRule,
    source: Literal["training parts", "held-out parts"] = "held-out parts",
) -> Thresholds:
    """For each class, and "*" for all: the score that this share of good parts exceeds.

    Calibrate on good parts that the model was not trained on: it knows its training parts, so
    their scores are lower, and the rate on new parts will be higher than asked.

    Args:
        scores: N image scores of good parts, made by ``rule``.
        class_names: N class names.
        false_alarm_rate: share of good parts that may be called anomalous, in [0, 1).

    Raises:
        InputError: for a rate that is none, for scores that are not finite, and for a class
            called "*".
    """
    check_rate(false_alarm_rate)
    check_class_names(class_names)
    values = np.asarray(scores, np.float64)
    owners = np.array(class_names, dtype=object)
    if not np.isfinite(values).all():
        broken = owners[~np.isfinite(values)]
        raise InputError(
            f"{len(broken)} of {len(values)} scores are not finite, the first of class "
            f"{broken[0]!r}: the model is damaged, or its precision overflows"
        )
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    limits, origins = {}, {}
    for name in (ALL_CLASSES, *sorted(set(class_names))):
        own = values if name == ALL_CLASSES else values[owners == name]
        limits[name] = float(np.quantile(own, 1 - false_alarm_rate, method="higher"))
        origins[name] = Origin(
            source=source, parts=len(own), false_alarm_rate=false_alarm_rate, date=now
        )
    return Thresholds(limits, rule, origins)
