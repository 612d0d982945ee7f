"""The sums that rank pixels, on the device of their tensors: see tensor_scores.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class Tally(NamedTuple):
    """Anomalous pixels by their score.

    Attributes:
        scores: K, float32.
        pixels: K, int64, how many have the score.
        weight: K, int64, the sum of their shares of their regions.
    """

    scores: Tensor
    pixels: Tensor
    weight: Tensor

    def above(self, boundaries: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels and weight above each of T boundaries; the scores must be distinct and rise."""
        places = torch.searchsorted(self.scores, boundaries, right=True)
        sums = (pad(values.cumsum(0), (1, 0)) for values in (self.pixels, self.weight))
        pixels, weight = (running[-1] - running[places] for running in sums)
        return pixels, weight

    def boundaries(self) -> Tensor:
        """2K, rising: just below each score, and at it, so that a bin of its own holds its ties."""
        below = torch.nextafter(self.scores, torch.full_like(self.scores, -torch.inf))
        return torch.stack([below, self.scores], 1).flatten()


def tally(parts: Iterable[Tally]) -> Tally:
    """The parts as one, whose scores are distinct and rise."""
    scores, pixels, weight = (torch.cat(values) for values in zip(*parts))
    rising, order = scores.sort()
    distinct, sizes = rising.unique_consecutive(return_counts=True)
    last = sizes.cumsum(0) - 1
    sums = (pad(values[order].cumsum(0)[last], (1, 0)).diff() for values in (pixels, weight))
    return Tally(distinct, *sums)


class Curve:
    """Walks down the scores of anomalous pixels, a stretch at a time, and sums up what it meets.

    Args:
        normal, anomalous: pixels of either kind, in all.
        weight: of all regions together, which is an overlap of 1.
        limit: false positives, up to which the overlap is integrated.

    Attributes:
        wins: of pairs of an anomalous and a normal pixel: 1, half where they tie.
        precision: its sum over the anomalous pixels.
        area: mean per-region overlap over false positives 0 … limit.
        best_f1, best_score: the largest F1, and the least score that it calls anomalous.
    """

    def __init__(self, normal: int, anomalous: int, weight: int, limit: float) -> None:
        self._normal, self._anomalous, self._whole = normal, anomalous, float(weight)
        self._limit = limit
        self.wins = self.precision = self.area = 0.0
        self.best_f1, self.best_score = -1.0, float("nan")
        self._hits = self._weight = self._false = 0  # above all that is still to come

    def descend(self, own: Tally, bins: Tensor) -> None:
        """Goes on down.

        Args:
            own: distinct scores, rising, all below those of the calls before.
            bins: 2K + 1, all normal pixels between ``own.boundaries()``.
        """
        scores, pixels = own.scores.flip(0), own.pixels.flip(0)
        # Entry 2i: what is above the i-th highest score; 2i + 1: what is above or at it.
        false = bins.flip(0).cumsum(0)
        above, false = false[0:-1:2], false[1::2]
        ties = false - above
        hits = self._hits + pixels.cumsum(0)
        weight = self._weight + own.weight.flip(0).cumsum(0)
        called = (hits + false).double()
        f1 = 2 * hits.double() / (called + self._anomalous)
        best = f1.argmax()
        sums = [
            (pixels * (self._normal - false + ties.double() / 2)).sum(),
            (pixels * (hits / called)).sum(),
            self._overlap_area(above, false, weight),
            f1[best],
            scores[best].double(),
        ]
        wins, precision, area, best_f1, best_score = torch.stack(sums).tolist()
        self.wins += wins
        self.precision += precision
        self.area += area
        if best_f1 > self.best_f1:
            self.best_f1, self.best_score = best_f1, best_score
        self._hits, self._weight, self._false = torch.stack(
            [hits[-1], weight[-1], false[-1]]
        ).tolist()

    def finish(self) -> None:
        """Goes down through the normal pixels that are below all anomalous ones."""
        last = min(self._normal, self._limit) - min(self._false, self._limit)
        self.area += last * self._weight / self._whole

    def _overlap_area(self, above: Tensor, false: Tensor, weight: Tensor) -> Tensor:
        """Flat between two scores; along a score's ties false positives and overlap rise."""
        after = weight.double() / self._whole
        before = pad(after[:-1], (1, 0), value=self._weight / self._whole)
        start = pad(false[:-1], (1, 0), value=self._false).double().clamp(max=self._limit)
        flat = above.double().clamp(max=self._limit) - start
        width = (false.double().clamp(max=self._limit) - above).clamp(min=0)
        part = width / (false - above).clamp(min=1)
        return (flat * before + width * (before + (after - before) * part / 2)).sum()
