"""Thresholds from the scores of good parts alone: a promised rate, no guessed number."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np

from invad_fast.errors import InputError
from invad_fast.evaluation.conformal import (
    bound_rate,
    check_rate,
    expected_rate,
    rank,
    too_few,
)
from invad_fast.evaluation.tail import extrapolated
from invad_fast.prediction import (
    ALL_CLASSES,
    Origin,
    ScoreRule,
    Thresholds,
    check_class_names,
    shown_class,
)

Source = Literal["training parts", "held-out parts", "test parts"]


def calibrate(
    scores: np.ndarray,
    class_names: Sequence[str],
    false_alarm_rate: float,
    rule: ScoreRule,
    source: Source = "held-out parts",
    *,
    bound: bool = False,
    extrapolate: bool = False,
    parts: Sequence[str] | None = None,
    digests: dict[str, str] | None = None,
) -> Thresholds:
    """For each class, and "*" for all: the split-conformal threshold, see `evaluation.conformal`.

    What it promises holds for parts that are made and pictured as these were, and that the model
    was not trained on: it knows its training parts, so that their scores are low. Those set a
    provisional threshold, their highest score where they are few, which promises nothing.

    Args:
        scores: N scores of pictures of good parts, made by ``rule``.
        class_names: N class names.
        false_alarm_rate: that a good part may be rejected with, in [0, 1); 0 takes the lowest that
            the parts allow.
        bound: hold it with 95 % confidence, not in the mean over all calibrations.
        extrapolate: where the parts of a class are too few, take a tail that is fitted to their
            scores (`evaluation.tail`) instead of refusing; said with the threshold.
        parts: N names: pictures of one name and class are one part, which has the worst's score.
        digests: class name → what the threshold's origin says that it was set on.

    Raises:
        InputError: for a rate that is none, scores that are not finite, a class called "*", and
            parts that are too few: the line says how many are needed, the lowest rate that these
            allow, and the option that takes it.
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
    if parts is not None:
        values, owners = worst_of_parts(values, owners, parts)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    limits, origins = {}, {}
    for name in (*sorted(set(class_names)), ALL_CLASSES):
        own = np.sort(values if name == ALL_CLASSES else values[owners == name])
        k = rank(len(own), false_alarm_rate, bound)
        said: dict[str, Any] = {
            "source": source,
            "parts": len(own),
            "false_alarm_rate": false_alarm_rate,
            "date": now,
            "digest": (digests or {}).get(name),
        }
        if source == "training parts":
            limits[name] = float(own[(k or len(own)) - 1])
        elif k is not None:
            limits[name] = float(own[k - 1])
            said |= {"expected_rate": expected_rate(len(own), k),
                     "rate_95": bound_rate(len(own), k)}  # fmt: skip
        elif extrapolate:
            limits[name] = extrapolated(own, false_alarm_rate, shown_class(name))
            said["extrapolated"] = True
        else:
            raise too_few(shown_class(name), len(own), false_alarm_rate, bound)
        origins[name] = Origin(**said)
    return Thresholds(limits, rule, origins)


def worst_of_parts(
    values: np.ndarray, owners: np.ndarray, parts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(values, owners) of parts: each has the highest of its pictures."""
    worst: dict[tuple[str, str], float] = {}
    for value, owner, part in zip(values.tolist(), owners, parts):
        worst[owner, part] = max(value, worst.get((owner, part), -np.inf))
    return np.array(list(worst.values())), np.array([o for o, _ in worst], dtype=object)
