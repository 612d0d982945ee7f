"""The engine in NumPy, for where nothing could be compiled; what the native one is checked by."""

from __future__ import annotations

from typing import Any

import numpy as np

from invad_fast.metrics.engines.exact_state import pack, unpack
from invad_fast.metrics.pixel_scores import FPR_LIMIT, PixelRanking
from invad_fast.metrics.ranking import (
    Ranking,
    auroc,
    average_precision,
    f1_max,
    f1_score,
    rank,
)
from invad_fast.metrics.region_areas import region_areas


class NumpyScores:
    """Held pixels: normal scores, anomalous ones, and the area of each anomalous one's region."""

    def __init__(self) -> None:
        self._normal: list[np.ndarray] = []
        self._anomalous: list[np.ndarray] = []
        self._areas: list[np.ndarray] = []
        self.anomalous = self.normal = self.regions = 0
        self.low, self.high = float("inf"), float("-inf")

    def add(self, maps: np.ndarray, masks: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if not np.isfinite(maps).all():
            raise ValueError("scores that are not finite")
        set_pixels = np.zeros(maps.shape, bool) if masks is None else masks != 0
        areas, regions = region_areas(set_pixels)
        # + 0: a -0 becomes the 0 that it is equal to, also where it is the least score
        self._take(maps[~set_pixels] + 0, maps[set_pixels] + 0, areas[set_pixels], regions)
        return maps.max(axis=(1, 2)), np.asarray(set_pixels.any(axis=(1, 2)))

    def _take(
        self, normal: np.ndarray, anomalous: np.ndarray, areas: np.ndarray, regions: int
    ) -> None:
        self._normal.append(normal)
        self._anomalous.append(anomalous)
        self._areas.append(areas)
        self.normal += len(normal)
        self.anomalous += len(anomalous)
        self.regions += regions
        for scores in (normal, anomalous):
            if len(scores):
                self.low = min(self.low, float(scores.min()))
                self.high = max(self.high, float(scores.max()))

    def state(self) -> dict[str, Any]:
        numbers = {"regions": self.regions, "low": self.low, "high": self.high}
        return pack(*self._pixels()) | numbers

    def add_state(self, state: dict[str, Any]) -> None:
        self._take(*unpack(state), state["regions"])

    def _pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Normal scores, anomalous scores, areas of these."""
        return (
            _joined(self._normal, np.float32),
            _joined(self._anomalous, np.float32),
            _joined(self._areas, np.uint32),
        )

    def ranking(self, boundaries: np.ndarray, normal_ranks: np.ndarray) -> PixelRanking:
        normal, anomalous, areas = self._pixels()
        weights = 1 / areas.astype(np.float64) / max(self.regions, 1)
        scores = np.concatenate([normal, anomalous])
        ranked = rank(scores, np.arange(len(scores)) >= len(normal))
        both = bool(len(normal) and len(anomalous))
        area = _overlap_area(ranked, anomalous, weights) if both else float("nan")
        falling = np.sort(normal)[::-1] if len(normal_ranks) else normal
        return PixelRanking.exact(
            auroc=auroc(ranked),
            average_precision=average_precision(ranked),
            f1_max=f1_max(ranked),
            f1_score=f1_score(ranked),
            aupro=area,
            anomalous_above=_above(anomalous, boundaries),
            normal_above=_above(normal, boundaries),
            overlap_above=_above(anomalous, boundaries, weights),
            normal_scores=falling[normal_ranks],
        )


def pooled_maximum(scores: np.ndarray, k: int) -> float:
    """The maximum of one map's average over k×k pixels, by its summed-area table."""
    sums = np.pad(np.cumsum(np.cumsum(scores.astype(np.float64), 0), 1), ((1, 0), (1, 0)))
    return float((sums[k:, k:] - sums[:-k, k:] - sums[k:, :-k] + sums[:-k, :-k]).max() / k**2)


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _above(
    scores: np.ndarray, boundaries: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    bins = np.searchsorted(boundaries, scores, "left")
    sums = np.bincount(bins, weights, minlength=len(boundaries) + 1)
    return sums[::-1].cumsum()[::-1][1:]


def _overlap_area(ranked: Ranking, anomalous: np.ndarray, weights: np.ndarray) -> float:
    """The curve rises along a tie of normal and anomalous pixels, and is flat elsewhere."""
    order = np.searchsorted(ranked.scores[::-1], anomalous)
    own = np.bincount(order, weights, minlength=len(ranked.scores))[::-1]
    overlap = np.repeat(np.concatenate([[0], np.cumsum(own)]), 2)
    false = np.stack([ranked.false_positives - ranked.ties, ranked.false_positives], 1).ravel()
    fpr = np.concatenate([[0], false, [ranked.normal]]) / ranked.normal
    end = np.searchsorted(fpr, FPR_LIMIT, "right")
    last = np.interp(FPR_LIMIT, fpr[end - 1 : end + 1], overlap[end - 1 : end + 1])
    fpr, overlap = np.append(fpr[:end], FPR_LIMIT), np.append(overlap[:end], last)
    return float(np.trapezoid(overlap, fpr) / FPR_LIMIT)
