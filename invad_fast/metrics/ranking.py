"""Figures that depend only on how scores are ranked: AUROC, AP, F1-max (method.md §3).

Only the anomalous scores are sorted; the normal ones are counted into the gaps between them.
One rule decides everywhere: a sample is called anomalous where its score > the threshold. What is
counted at a score is therefore what a threshold just below it calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranking:
    """Counts at every distinct anomalous score, in falling order of the score.

    Attributes:
        scores: K distinct anomalous scores, highest first.
        true_positives: K anomalous samples with that score or a higher one.
        false_positives: K normal samples with that score or a higher one.
        ties: K normal samples with exactly that score.
        anomalous: how many samples are anomalous.
        normal_scores: of the normal samples, in no order.
    """

    scores: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    ties: np.ndarray
    anomalous: int
    normal_scores: np.ndarray

    @property
    def normal(self) -> int:
        """How many samples are normal."""
        return len(self.normal_scores)


def rank(scores: np.ndarray, labels: np.ndarray) -> Ranking:
    """Ranks ``scores`` (N, float) of ``labels`` (N, true where anomalous)."""
    values, counts = np.unique(scores[labels], return_counts=True)
    normal = scores[~labels]
    from_value = np.bincount(np.searchsorted(values, normal, "right"), minlength=len(values) + 1)
    above = np.bincount(np.searchsorted(values, normal, "left"), minlength=len(values) + 1)
    # from_value[k]: normal scores in [values[k-1], values[k]); above[k]: in (v[k-1], v[k]].
    false_positives = np.cumsum(from_value[::-1])[:-1]
    strictly = np.cumsum(above[::-1])[:-1]
    return Ranking(
        values[::-1],
        np.cumsum(counts[::-1]),
        false_positives,
        false_positives - strictly,
        int(counts.sum()),
        normal,
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
    """The largest F1 over all thresholds; it is reached just below an anomalous score."""
    if not ranking.anomalous or not ranking.normal:
        return float("nan")
    return float(_f1(ranking).max())


def f1_score(ranking: Ranking) -> float:
    """The least score that is called anomalous where F1 is largest, the highest if several are."""
    if not ranking.anomalous or not ranking.normal:
        return float("nan")
    return float(ranking.scores[_f1(ranking).argmax()])


def f1_threshold(ranking: Ranking) -> float:
    """A threshold with the largest F1: calling the samples with ``score > threshold`` reaches it.

    Returns:
        Half-way between the lowest score that is called and the highest that is not, as a number
        of the scores' own type: so there is room on both sides for scores that are computed
        again, in another way, and still the very samples that were counted are called. The next
        lower number where all are called, or where there is no number in between. Not a number
        without both kinds.
    """
    called = f1_score(ranking)
    if np.isnan(called):
        return called
    lower = np.concatenate([ranking.scores, ranking.normal_scores])
    lower = lower[lower < called]
    kind = lower.dtype.type
    if not len(lower):
        with np.errstate(over="ignore"):  # below the least of all floats: minus infinity
            return float(np.nextafter(kind(called), kind(-np.inf)))
    highest = lower.max()
    # Halves first, so that nothing overflows; rounded, it may be either end.
    middle = kind(highest / 2 + kind(called) / 2)
    return float(middle if highest <= middle < called else highest)


def _f1(ranking: Ranking) -> np.ndarray:
    called = ranking.true_positives + ranking.false_positives
    return 2 * ranking.true_positives / (called + ranking.anomalous)
