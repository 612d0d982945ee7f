"""Figures that depend only on how scores are ranked: AUROC, AP, F1-max (SPEC §3).

Only the anomalous scores are sorted; the normal ones are counted into the gaps between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranking:
    """Counts at every distinct anomalous score, in falling order of the score.

    Attributes:
        thresholds: K distinct anomalous scores, highest first.
        true_positives: K anomalous samples at or above each.
        false_positives: K normal samples at or above each.
        ties: K normal samples exactly at each.
        anomalous, normal: how many samples there are of each kind.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    ties: np.ndarray
    anomalous: int
    normal: int


def rank(scores: np.ndarray, labels: np.ndarray) -> Ranking:
    """Ranks ``scores`` (N, float) of ``labels`` (N, true where anomalous)."""
    values, counts = np.unique(scores[labels], return_counts=True)
    normal = scores[~labels]
    at_or_above = np.bincount(np.searchsorted(values, normal, "right"), minlength=len(values) + 1)
    above = np.bincount(np.searchsorted(values, normal, "left"), minlength=len(values) + 1)
    # at_or_above[k]: normal scores in [values[k-1], values[k]); above[k]: in (v[k-1], v[k]].
    false_positives = np.cumsum(at_or_above[::-1])[:-1]
    strictly = np.cumsum(above[::-1])[:-1]
    return Ranking(
        values[::-1],
        np.cumsum(counts[::-1]),
        false_positives,
        false_positives - strictly,
        int(counts.sum()),
        len(normal),
    )


def auroc(ranking: Ranking) -> float:
    """Area under the ROC curve, ties counted half; not a number without both kinds."""
    if not ranking.anomalous or not ranking.normal:
        return float("nan")
    own = np.diff(ranking.true_positives, prepend=0).astype(np.float64)
    below = ranking.normal - ranking.false_positives
    wins = (own * (below + 0.5 * ranking.ties)).sum()
    return float(wins / (ranking.anomalous * ranking.normal))


def average_precision(ranking: Ranking) -> float:
    """Σ (Rₙ − Rₙ₋₁)·Pₙ over falling thresholds; not a number without anomalous samples."""
    if not ranking.anomalous or not ranking.normal:
        return float("nan")
    own = np.diff(ranking.true_positives, prepend=0)
    precision = ranking.true_positives / (ranking.true_positives + ranking.false_positives)
    return float((own * precision).sum() / ranking.anomalous)


def f1_max(ranking: Ranking) -> float:
    """The largest F1 over all thresholds; it is reached at an anomalous score."""
    if not ranking.anomalous or not ranking.normal:
        return float("nan")
    return float(_f1(ranking).max())


def f1_threshold(ranking: Ranking) -> float:
    """The threshold with the largest F1: scores at or above it are called anomalous."""
    return float(ranking.thresholds[_f1(ranking).argmax()])


def _f1(ranking: Ranking) -> np.ndarray:
    called = ranking.true_positives + ranking.false_positives
    return 2 * ranking.true_positives / (called + ranking.anomalous)
