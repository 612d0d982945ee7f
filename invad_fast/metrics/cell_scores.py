"""Pixels counted in a fixed number of cells: every figure between rigorous bounds.

A cell holds the pixels of 2^shift neighbouring float32 scores. How these lie within their cell is
not known, so each figure is computed for the best and for the worst case. The shift grows with the
number of distinct scores only: as long as these fit, it is 0 and every figure exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from invad_fast.metrics.bounds import UNDEFINED, BoundedArray, Bounds
from invad_fast.metrics.float_keys import keys_of, scores_of
from invad_fast.metrics.numpy_cells import REGION_UNIT
from invad_fast.metrics.pixel_scores import FPR_LIMIT, PixelRanking

# Sums of a quarter of a million doubles, each below 1, err less than this.
ROUNDING = 1e-10


class RankedCells:
    """Cells of a test set, from the highest score down, ready to be ranked.

    Args:
        state: of the native CellScores or of NumpyCells.
        rounded: whether the scores were rounded to float32: equal ones need not have been equal.
    """

    def __init__(self, state: dict[str, Any], rounded: bool = False) -> None:
        self.low, self.high, self.regions = state["low"], state["high"], state["regions"]
        self._keys = state["keys"]  # rising
        self._last_keys = self._keys | np.uint32((1 << state["shift"]) - 1)
        self._wide = state["shift"] > 0 or rounded
        # Entry i: what lies above the i-th highest cell; the last entry is the total.
        self._tp, self._fp, self._weight = (
            np.concatenate([[0], np.cumsum(state[name][::-1])])
            for name in ("anomalous", "normal", "weight")
        )
        self.normal, self.anomalous = int(self._fp[-1]), int(self._tp[-1])

    def ranking(self, boundaries: np.ndarray, normal_ranks: np.ndarray) -> PixelRanking:
        scale = 1 / (REGION_UNIT * max(self.regions, 1))
        slack = self.anomalous * scale / 2  # half a unit of every pixel's weight was rounded
        overlap = self._above(boundaries, self._weight)
        ranks = np.searchsorted(self._fp[1:], normal_ranks, "right")
        auroc = average_precision = f1 = aupro = UNDEFINED
        f1_score = float("nan")
        if self.normal and self.anomalous:
            auroc, average_precision = self._auroc(), self._average_precision()
            f1, f1_score = self._f1()
            aupro = self._aupro(scale, slack)
        return PixelRanking(
            auroc,
            average_precision,
            f1,
            aupro,
            f1_score,
            self._above(boundaries, self._tp),
            self._above(boundaries, self._fp),
            BoundedArray(
                np.maximum(overlap.low * scale - slack, 0),
                np.minimum(overlap.high * scale + slack, 1),
            ),
            scores_of(self._last_keys[::-1][ranks]),
        )

    def _above(self, boundaries: np.ndarray, running: np.ndarray) -> BoundedArray:
        """A boundary inside of a cell is above none or all of what that holds."""
        keys = keys_of(boundaries)
        below = np.searchsorted(self._keys, keys, "right")  # cells that begin at the key or below
        above = len(self._keys) - below
        cut = (below > 0) & (self._last_keys[np.maximum(below, 1) - 1] > keys)
        low, high = running[above], running[above + cut]
        ends = keys_of(np.array([self.low, self.high], np.float32))
        low, high = (np.where(keys < ends[0], running[-1], side) for side in (low, high))
        return BoundedArray(
            low.astype(np.float64), np.where(keys >= ends[1], 0, high).astype(np.float64)
        )

    def _auroc(self) -> Bounds:
        """Pairs within a cell count half, give or take half where they may not be ties."""
        own, normal = np.diff(self._tp).astype(np.float64), np.diff(self._fp)
        pairs = float(self.anomalous) * self.normal
        middle = float((own * (self.normal - self._fp[:-1] - normal / 2)).sum()) / pairs
        inside = float((own * normal).sum()) / pairs / 2 if self._wide else 0.0
        return self._bounds(middle, middle, inside)

    def _average_precision(self) -> Bounds:
        """At best a cell's anomalous pixels tie above its normal ones; at worst all differ below.

        The k-th of these has precision (T + k)/(T + k + F); 1/x is convex, so that its sum over
        c + 1 … c + a is no more than ln((c + a + ½)/(c + ½)).
        """
        own = np.diff(self._tp).astype(np.float64)
        hits, false = self._tp[1:], self._fp[1:]
        if not self._wide:
            exact = float((own * (hits / np.maximum(hits + false, 1))).sum()) / self.anomalous
            return Bounds(exact, exact)
        high = (own * (hits / np.maximum(hits + self._fp[:-1], 1))).sum()
        low = (own - false * np.log1p(own / (self._tp[:-1] + false + 0.5))).sum()
        return self._bounds(float(low) / self.anomalous, float(high) / self.anomalous)

    def _f1(self) -> tuple[Bounds, float]:
        """A cell's lower end is a threshold; one within has no more hits and alarms no fewer."""
        hits, false = self._tp[1:], self._fp[1:]
        reached = 2 * hits / (hits + false + self.anomalous)
        best = int(reached.argmax())
        score = float(scores_of(self._keys[::-1][best : best + 1])[0])
        low = float(reached[best])
        if not self._wide:
            return Bounds(low, low), score
        high = float((2 * hits / (hits + self._fp[:-1] + self.anomalous)).max())
        return self._bounds(low, high), score

    def _aupro(self, scale: float, slack: float) -> Bounds:
        """A cell's overlap rises before its false positives do, or after; with them in a tie."""
        limit = FPR_LIMIT * self.normal
        width = np.diff(np.minimum(self._fp, limit))
        before, after = self._weight[:-1] * scale, self._weight[1:] * scale
        if self._wide:
            low, high = (width * before).sum(), (width * after).sum()
        else:
            part = width / np.maximum(np.diff(self._fp), 1)  # of the tie, up to the limit
            low = high = (width * (before + (after - before) * part / 2)).sum()
        return self._bounds(float(low) / limit, float(high) / limit, slack)

    def _bounds(self, low: float, high: float, slack: float = 0.0) -> Bounds:
        slack += ROUNDING if self._wide else 0
        return Bounds(max(low - slack, 0.0), min(high + slack, 1.0)) if slack else Bounds(low, high)
