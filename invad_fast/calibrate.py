"""Thresholds from the scores of good parts: a false-alarm rate instead of a guessed number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from invad_fast.errors import InputError


def check_rate(false_alarm_rate: float) -> None:
    """Refuses a rate that is none, before hours are spent on scores."""
    if not 0 <= false_alarm_rate < 1:
        raise InputError(f"a false-alarm rate lies in [0, 1), not {false_alarm_rate}")


def calibrate(
    scores: Tensor, class_names: Sequence[str], false_alarm_rate: float
) -> dict[str, float]:
    """For each class, and "*" for all: the score that this share of good parts exceeds.

    Calibrate on good parts that the model was not trained on: it knows its training parts, so
    their scores are lower, and the rate on new parts will be higher than asked.

    Args:
        scores: N image scores of good parts.
        class_names: N class names.
        false_alarm_rate: share of good parts that may be called anomalous, in [0, 1).
    """
    check_rate(false_alarm_rate)
    quantile = 1 - false_alarm_rate
    scores = scores.double()
    thresholds = {"*": torch.quantile(scores, quantile, interpolation="higher").item()}
    for name in sorted(set(class_names)):
        own = scores[torch.tensor([n == name for n in class_names])]
        thresholds[name] = torch.quantile(own, quantile, interpolation="higher").item()
    return thresholds
