"""Pixels counted in a fixed number of cells: every figure between rigorous bounds.

A cell holds pixels whose float32 scores lie in one range of 2^bits neighbouring ones; ranges lie
apart or one in the other. How the pixels lie within their range is not known, so at every
threshold there are certain pixels above, whose range is wholly above it, and possible ones, whose
range reaches above it. Each figure is computed for the best and for the worst case: these bounds
hold for any cells. How far apart they are is for csrc/scores/streaming/cell_scores.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from invad_fast.metrics.bounds import UNDEFINED, BoundedArray, Bounds
from invad_fast.metrics.float_keys import keys_of, scores_of
from invad_fast.metrics.pixel_scores import FPR_LIMIT, PixelRanking
from invad_fast.metrics.streaming.numpy_cells import REGION_UNIT

# Sums of a quarter of a million doubles, each below 1, err less than this.
ROUNDING = 1e-10


class _Above:
    """Sums of what the cells hold, from the highest score down; entry 0 is 0.

    Attributes:
        certain: of the cells in the order of their first keys; ``possible``: of their last keys.
    """

    def __init__(self, own: np.ndarray, by_first: np.ndarray) -> None:
        self.certain, self.possible = (
            np.concatenate([[0], np.cumsum(values)]) for values in (own[by_first], own)
        )


class RankedCells:
    """Cells of a test set, ready to be ranked.

    Args:
        state: of the native CellScores or of NumpyCells.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.low, self.high, self.regions = state["low"], state["high"], state["regions"]
        bits = state["bits"]
        ends = keys_of(np.array([self.low, self.high], np.float32))
        first = state["last"] - ((np.uint64(1) << bits) - np.uint64(1)).astype(np.uint32)
        # The last keys fall.
        self._first, self._last = np.maximum(first, ends[0]), np.minimum(state["last"], ends[1])
        # Scores of such a cell are known to be equal.
        self._equal = bits == 0
        self._exact = bool(self._equal.all())
        self._own = {name: state[name] for name in ("normal", "anomalous", "weight")}
        # Of cells with one first key, single keys come first: overlap rises along their ties.
        self._by_first = np.lexsort((bits, ~self._first))
        self._normal, self._anomalous, self._weight = (
            _Above(own, self._by_first) for own in self._own.values()
        )
        self.normal, self.anomalous = (
            int(above.certain[-1]) for above in (self._normal, self._anomalous)
        )

    def ranking(self, boundaries: np.ndarray, normal_ranks: np.ndarray) -> PixelRanking:
        scale = 1 / (REGION_UNIT * max(self.regions, 1))
        slack = self.anomalous * scale / 2  # half a unit of every pixel's weight was rounded
        overlap = self._above(boundaries, self._weight)
        ranks = np.searchsorted(self._normal.possible[1:], normal_ranks, "right")
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
            self._above(boundaries, self._anomalous),
            self._above(boundaries, self._normal),
            BoundedArray(
                np.maximum(overlap.low * scale - slack, 0),
                np.minimum(overlap.high * scale + slack, 1),
            ),
            scores_of(self._last[ranks]),
        )

    def _firsts(self, keys: np.ndarray, side: str) -> np.ndarray:
        """How many cells begin above each key ("right"), or not below it ("left")."""
        rising = self._first[self._by_first[::-1]]
        return len(rising) - np.searchsorted(rising, keys, side)  # type: ignore[call-overload]

    def _lasts(self, keys: np.ndarray, side: str) -> np.ndarray:
        """How many cells end above each key ("right"), or not below it ("left")."""
        rising = self._last[::-1]
        return len(rising) - np.searchsorted(rising, keys, side)  # type: ignore[call-overload]

    def _above(self, boundaries: np.ndarray, sums: _Above) -> BoundedArray:
        keys = keys_of(boundaries)
        low = sums.certain[self._firsts(keys, "right")]
        high = sums.possible[self._lasts(keys, "right")]
        return BoundedArray(low.astype(np.float64), high.astype(np.float64))

    def _auroc(self) -> Bounds:
        """Of a pair that need not be a tie, and may lie either way, nothing or all counts."""
        own, ties = self._own["anomalous"], np.where(self._equal, self._own["normal"] / 2, 0)
        least = self.normal - self._normal.possible[self._lasts(self._first, "left")] + ties
        pairs = float(self.anomalous) * self.normal
        low = high = float((own * least).sum()) / pairs
        if not self._exact:
            most = self.normal - self._normal.certain[self._firsts(self._last, "right")] - ties
            high = float((own * most).sum()) / pairs
        return self._bounds(low, high)

    def _average_precision(self) -> Bounds:
        """At best a cell's anomalous pixels tie above its normal ones; at worst all differ below.

        The k-th of these has precision (T + k)/(T + k + F); 1/x is convex, so that its sum over
        c + 1 … c + a is no more than ln((c + a + ½)/(c + ½)).
        """
        own, equal = self._own["anomalous"].astype(np.float64), self._equal
        ends = self._lasts(self._first, "left")
        false = self._normal.possible[ends]  # at most
        hits = self._anomalous.certain[self._firsts(self._first, "left")]  # at least, with its own
        tied = own * (hits / np.maximum(hits + false, 1))
        if self._exact:
            exact = float(tied.sum()) / self.anomalous
            return Bounds(exact, exact)
        above = self._firsts(self._last, "right")
        differing = own - false * np.log1p(own / (self._anomalous.certain[above] + false + 0.5))
        low = np.where(equal, tied, differing).sum()
        hits = self._anomalous.possible[ends]
        false = self._normal.certain[above] + np.where(equal, self._own["normal"], 0)
        high = (own * (hits / np.maximum(hits + false, 1))).sum()
        return self._bounds(float(low) / self.anomalous, float(high) / self.anomalous)

    def _f1(self) -> tuple[Bounds, float]:
        """Reached at a cell's first key; no more than with all hits and no alarm that may be."""
        hits = self._anomalous.certain[self._firsts(self._first, "left")]
        false = self._normal.possible[self._lasts(self._first, "left")]
        reached = 2 * hits / (hits + false + self.anomalous)
        best = int(reached.argmax())
        score = float(scores_of(self._first[best : best + 1])[0])
        low = high = float(reached[best])
        if not self._exact:
            hits = self._anomalous.possible[self._lasts(self._last, "left")]
            false = self._normal.certain[self._firsts(self._last, "right")]
            false = false + np.where(self._equal, self._own["normal"], 0)
            high = float((2 * hits / (hits + false + self.anomalous)).max())
        return self._bounds(low, high), score

    def _aupro(self, scale: float, slack: float) -> Bounds:
        """A cell's overlap rises where it ends before its false positives do where it begins.

        At worst the other way round; along a tie both rise together.
        """
        above = self._weight.certain[self._firsts(self._last, "right")]
        low = high = self._area(self._normal.possible, slice(None), above, scale)
        if not self._exact:
            above = self._weight.possible[self._lasts(self._first, "left")]
            above = above - np.where(self._equal, self._own["weight"], 0)
            high = self._area(self._normal.certain, self._by_first, above, scale)
        return self._bounds(low, high, slack)

    def _area(
        self, false: np.ndarray, order: np.ndarray | slice, above: np.ndarray, scale: float
    ) -> float:
        """Under the curve, up to the limit.

        Args:
            false: false positives, running over the cells in ``order``.
            above: of each cell, the weight before its own tie.
        """
        limit = FPR_LIMIT * self.normal
        width = np.diff(np.minimum(false, limit))
        part = width / np.maximum(self._own["normal"][order], 1)  # of the tie, up to the limit
        tie = np.where(self._equal, self._own["weight"], 0)[order]
        return float((width * ((above[order] + tie * part / 2) * scale)).sum()) / limit

    def _bounds(self, low: float, high: float, slack: float = 0.0) -> Bounds:
        slack += 0 if self._exact else ROUNDING
        return Bounds(max(low - slack, 0.0), min(high + slack, 1.0)) if slack else Bounds(low, high)
