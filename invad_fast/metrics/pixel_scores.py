"""The pixels of a test set, ranked: what the figures ask, whoever answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from invad_fast.metrics.bounds import BoundedArray, Bounds

FPR_LIMIT = 0.3


@dataclass(frozen=True)
class PixelRanking:
    """Counts of pixels and figures of their ranks, each between bounds that are equal if exact.

    Attributes:
        auroc, average_precision, f1_max: as their names say, ties included; not numbers where
            they are not defined.
        aupro: the integral of the mean per-region overlap over a false-positive rate of
            0 … FPR_LIMIT, divided by it.
        f1_score: the least score that is called anomalous where F1 is largest: any threshold is
            right that is below it, and not below the next lower score.
        anomalous_above, normal_above: pixels with a score greater than each boundary, float64.
        overlap_above: mean per-region recall there.
        normal_scores: of each wanted rank, the score of that normal pixel, or one above it.
    """

    auroc: Bounds
    average_precision: Bounds
    f1_max: Bounds
    aupro: Bounds
    f1_score: float
    anomalous_above: BoundedArray
    normal_above: BoundedArray
    overlap_above: BoundedArray
    normal_scores: np.ndarray

    @classmethod
    def exact(
        cls,
        *,
        auroc: float,
        average_precision: float,
        f1_max: float,
        aupro: float,
        f1_score: float,
        anomalous_above: np.ndarray,
        normal_above: np.ndarray,
        overlap_above: np.ndarray,
        normal_scores: np.ndarray,
    ) -> PixelRanking:
        def counts(numbers: np.ndarray) -> BoundedArray:
            wide = numbers.astype(np.float64)
            return BoundedArray(wide, wide)

        return cls(
            Bounds(auroc, auroc),
            Bounds(average_precision, average_precision),
            Bounds(f1_max, f1_max),
            Bounds(aupro, aupro),
            f1_score,
            counts(anomalous_above),
            counts(normal_above),
            counts(overlap_above),
            normal_scores,
        )


class PixelScores(Protocol):
    """Pixels that can be ranked. ``low`` and ``high`` are their least and greatest score."""

    @property
    def anomalous(self) -> int: ...
    @property
    def normal(self) -> int: ...
    @property
    def regions(self) -> int: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...

    def ranking(self, boundaries: np.ndarray, normal_ranks: np.ndarray) -> PixelRanking:
        """Args:
        boundaries: float32, rising.
        normal_ranks: int64, rising: 0 is the normal pixel with the highest score.
        """
        ...


class Held(Protocol):
    """Pixels that come batch by batch."""

    def add(self, maps: Any, masks: Any | None) -> tuple[np.ndarray, np.ndarray]:
        """Adds N×H×W maps, arrays or tensors as `inputs.check` makes them.

        Returns:
            (N maxima, N bools: whether the mask has a pixel set)

        Raises:
            ValueError: scores that are not finite; nothing was added then.
        """
        ...

    def state(self) -> dict[str, Any]:
        """All of it as plain numbers and arrays on the host."""
        ...

    def add_state(self, state: dict[str, Any]) -> None:
        """Adds what another one holds, whichever engine's it is; of cells, of as many."""
        ...


class HeldScores(Held, PixelScores, Protocol):
    """All of them, ready to be ranked."""
