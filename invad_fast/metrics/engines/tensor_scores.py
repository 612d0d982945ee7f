"""The engine for tensors on a GPU: pixels are counted and ranked where they are.

Only the anomalous pixels' scores are sorted. Their distinct values are the boundaries between which
``score_histogram`` counts the normal pixels; all else is prefix sums (tensor_ranking.py). Nothing
here depends on the device: the tests run it on the CPU against the other engines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invad_fast.metrics.engines.exact_state import pack, unpack
from invad_fast.metrics.engines.tensor_ranking import Curve, Tally, tally
from invad_fast.metrics.float_keys import keys_of, scores_of
from invad_fast.metrics.pixel_scores import FPR_LIMIT, PixelRanking
from invad_fast.ops import connected_regions, score_histogram

# Pixels looked at together: as many, or this share of all. They take some 20 bytes each meanwhile.
CHUNK_PIXELS, CHUNK_SHARE = 1 << 22, 1 / 16
# Anomalous pixels sorted together, some 80 bytes each meanwhile: as many, or this share of all
# pixels. The less, the more often all normal pixels are counted.
SORTED_PIXELS, SORTED_SHARE = 1 << 21, 1 / 32
# Anomalous pixels are first counted between these scores, of which two neighbours have at most
# SORTED_PIXELS distinct ones between them.
EDGES = scores_of((np.arange(5, 2044, dtype=np.int64) << 21) - 1)


@dataclass(frozen=True)
class Survey:
    """What is known of M maps before they are ranked.

    Attributes:
        ends: M×2, the least and the greatest score.
        marked: M, whether the mask has a pixel set.
        regions: one number, int64.
        anomalous: scores of the anomalous pixels.
        areas: int32, of each anomalous pixel's own region.
        normal: scores of the normal pixels, where they were asked for.
    """

    ends: Tensor
    marked: Tensor
    regions: Tensor
    anomalous: Tensor
    areas: Tensor
    normal: Tensor | None


class TensorScores(ABC):
    """Pixels on a device, and how they are ranked; subclasses say where the normal ones are."""

    def __init__(self, device: torch.device) -> None:
        self.anomalous = self.normal = self.regions = 0
        self.low, self.high = float("inf"), float("-inf")
        self._device = device
        self._anomalous: list[Tensor] = []
        self._areas: list[Tensor] = []

    def _take(
        self, maps: Tensor, masks: Tensor | None, with_normal: bool
    ) -> tuple[list[Survey], np.ndarray, np.ndarray]:
        """Adds all but the normal scores; see `Held.add` for the maxima and bools."""
        most = max(1, _share(maps.numel(), CHUNK_SHARE, CHUNK_PIXELS) // maps[0].numel())
        surveys = [
            _survey(maps[i : i + most], None if masks is None else masks[i : i + most], with_normal)
            for i in range(0, len(maps), most)
        ]
        ends = torch.cat([s.ends for s in surveys]).cpu().numpy() + np.float32(0)  # no -0
        if not np.isfinite(ends).all():
            raise ValueError("scores that are not finite")
        anomalous = sum(len(s.anomalous) for s in surveys)
        self.anomalous += anomalous
        self.normal += maps.numel() - anomalous
        self.regions += int(torch.stack([s.regions for s in surveys]).sum())
        self.low, self.high = min(self.low, float(ends.min())), max(self.high, float(ends.max()))
        self._anomalous += [s.anomalous for s in surveys]
        self._areas += [s.areas for s in surveys]
        return surveys, ends[:, 1], torch.cat([s.marked for s in surveys]).cpu().numpy()

    @abstractmethod
    def _normal_pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Scores, not all at once, and int32: 0 where these are of normal pixels."""

    def ranking(self, boundaries: np.ndarray, normal_ranks: np.ndarray) -> PixelRanking:
        unit = (1 << 62) // max(self.regions, 1)  # so that no sum of weights is too large
        limit = FPR_LIMIT * self.normal
        curve = Curve(self.normal, self.anomalous, unit * max(self.regions, 1), limit)
        rows = torch.tensor(boundaries, dtype=torch.float32, device=self._device)
        pixels_above = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        weight_above = torch.zeros_like(pixels_above)
        for low, high in self._stretches():
            own = self._tally(low, high, unit)
            pixels, weight = own.above(rows)
            pixels_above += pixels
            weight_above += weight
            if self.normal:
                curve.descend(own, self._normal_bins(own.boundaries()))
        curve.finish()
        normal_above = self._normal_bins(rows).flip(0).cumsum(0).flip(0)[1:]
        both = bool(self.normal and self.anomalous)
        nan = float("nan")
        return PixelRanking.exact(
            auroc=curve.wins / (self.anomalous * self.normal) if both else nan,
            average_precision=curve.precision / self.anomalous if both else nan,
            f1_max=curve.best_f1 if both else nan,
            f1_score=curve.best_score if both else nan,
            aupro=curve.area / limit if both else nan,
            anomalous_above=pixels_above.cpu().numpy(),
            normal_above=normal_above.cpu().numpy(),
            overlap_above=weight_above.cpu().numpy() / (unit * max(self.regions, 1)),
            normal_scores=self._normal_scores(normal_ranks),
        )

    def _stretches(self) -> list[tuple[float, float]]:
        """(above, up to): the anomalous scores from the highest down, not too many at a time."""
        if not self.anomalous:
            return []
        most = _share(self.anomalous + self.normal, SORTED_SHARE, SORTED_PIXELS)
        if self.anomalous <= most:
            return [(float("-inf"), float("inf"))]
        edges = torch.tensor(EDGES, device=self._device)
        counts = torch.zeros(len(edges) + 1, dtype=torch.int64, device=edges.device)
        for scores, areas in zip(self._anomalous, self._areas):
            counts += score_histogram(scores, areas, edges)[0][1]
        stretches, taken, high = [], 0, float("inf")
        ends = [*EDGES.tolist(), float("inf")]
        for end, count in reversed(list(zip(ends, counts.tolist()))):
            if taken and count and taken + count > most:
                stretches.append((end, high))
                taken, high = 0, end
            taken += count
        return [*stretches, (float("-inf"), high)]

    def _tally(self, low: float, high: float, unit: int) -> Tally:
        """The anomalous pixels with scores above ``low`` and up to ``high``."""
        most = _share(self.anomalous + self.normal, SORTED_SHARE, SORTED_PIXELS)
        parts: list[Tally] = []
        waiting = 0
        for scores, areas in zip(self._anomalous, self._areas):
            if (low, high) != (float("-inf"), float("inf")):
                inside = (scores > low) & (scores <= high)
                scores, areas = scores[inside], areas[inside]
            wide = areas.long()
            parts.append(Tally(scores, torch.ones_like(wide), (unit + wide // 2) // wide))
            waiting += len(scores)
            if waiting > most:  # of one bin of _stretches: no more distinct scores than can wait
                parts = [tally(parts)]
                waiting = 0
        return tally(parts)

    def _normal_bins(self, boundaries: Tensor) -> Tensor:
        """Normal pixels between K rising boundaries: K + 1, as score_histogram counts them."""
        bins = torch.zeros(len(boundaries) + 1, dtype=torch.int64, device=boundaries.device)
        for scores, areas in self._normal_pieces():
            bins += score_histogram(scores, areas, boundaries)[0][0]
        return bins

    def _normal_scores(self, ranks: np.ndarray) -> np.ndarray:
        """The score of the normal pixel of each rank, 0 the highest, by bisection of the keys."""
        if not len(ranks):
            return np.empty(0, np.float32)
        ends = keys_of(np.array([self.low, self.high], np.float32)).astype(np.int64)
        # Ranks rise, so scores fall; boundaries must rise.
        low, high = np.full(len(ranks), ends[0]), np.full(len(ranks), ends[1])
        while (low < high).any():
            middle = low + (high - low) // 2
            rising = torch.tensor(scores_of(middle)[::-1].copy(), device=self._device)
            above = self._normal_bins(rising).flip(0).cumsum(0)[:-1].cpu().numpy()
            higher = above > ranks
            low, high = np.where(higher, middle + 1, low), np.where(higher, high, middle)
        return scores_of(low)


class BorrowedTensors(TensorScores):
    """Maps and masks that stay where they are.

    Args:
        maps: N×H×W float32, dense.
        masks: N×H×W uint8 or bool, dense; None for none.
    """

    def __init__(self, maps: Tensor, masks: Tensor | None) -> None:
        super().__init__(maps.device)
        self._maps, self._masks = maps, masks
        _, self.maxima, self.marked = self._take(maps, masks, with_normal=False)

    def _normal_pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        size = _share(self._maps.numel(), CHUNK_SHARE, CHUNK_PIXELS)
        pieces = self._maps.flatten().split(size)
        if self._masks is None:
            yield from ((scores, _no_areas(scores)) for scores in pieces)
        else:
            marks = self._masks.flatten().split(size)
            yield from ((scores, (own != 0).int()) for scores, own in zip(pieces, marks))


class HeldTensors(TensorScores):
    """Pixels that come batch by batch: four bytes a normal one, eight an anomalous one."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._normal: list[Tensor] = []

    def add(self, maps: Any, masks: Any | None) -> tuple[np.ndarray, np.ndarray]:
        surveys, maxima, marked = self._take(maps, masks, with_normal=True)
        self._normal += [s.normal for s in surveys if s.normal is not None]
        return maxima, marked

    def state(self) -> dict[str, Any]:
        parts = [self._normal, self._anomalous, self._areas]
        normal, anomalous, areas = (
            torch.cat(part).cpu().numpy() if part else np.empty(0, np.float32) for part in parts
        )
        numbers = {"regions": self.regions, "low": self.low, "high": self.high}
        return pack(normal, anomalous, areas) | numbers

    def add_state(self, state: dict[str, Any]) -> None:
        normal, anomalous, areas = unpack(state)
        self._normal.append(torch.tensor(normal, device=self._device))
        self._anomalous.append(torch.tensor(anomalous, device=self._device))
        self._areas.append(torch.tensor(areas.astype(np.int32), device=self._device))
        self.normal += len(normal)
        self.anomalous += len(anomalous)
        self.regions += state["regions"]
        if len(normal) + len(anomalous):
            self.low, self.high = min(self.low, state["low"]), max(self.high, state["high"])

    def ranking(self, boundaries: np.ndarray, normal_ranks: np.ndarray) -> PixelRanking:
        # Batches are small: each would cost a launch of every kernel.
        size = _share(self.normal + self.anomalous, CHUNK_SHARE, CHUNK_PIXELS)
        for parts in (self._normal, self._anomalous, self._areas):
            parts[:] = _joined(parts, size)
        return super().ranking(boundaries, normal_ranks)

    def _normal_pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from ((scores, _no_areas(scores)) for scores in self._normal)


def pooled_maxima(maps: Tensor, k: int) -> Tensor:
    """N×H×W → N, float64: the maximum of each map's average over k×k pixels."""
    pool = torch.nn.functional.avg_pool2d
    found = [pool(pool(own.double(), (k, 1), 1), (1, k), 1).amax((1, 2)) for own in maps.split(64)]
    return torch.cat(found)


def _survey(maps: Tensor, masks: Tensor | None, with_normal: bool) -> Survey:
    """M×H×W."""
    rows = maps.flatten(1)
    ends = torch.stack(rows.aminmax(dim=1), 1)  # NaN where the map has one
    if masks is None:
        nothing = rows.new_empty(0)
        return Survey(
            ends,
            torch.zeros(len(maps), dtype=torch.bool, device=maps.device),
            torch.zeros((), dtype=torch.int64, device=maps.device),
            nothing,
            nothing.int(),
            rows.flatten().clone() if with_normal else None,
        )
    labels, areas = (found.flatten(1) for found in connected_regions(masks))
    firsts = torch.arange(1, labels.shape[1] + 1, dtype=torch.int32, device=maps.device)
    marks = areas > 0
    return Survey(
        ends,
        marks.any(1),
        (labels == firsts).sum(),
        rows[marks] + 0.0,  # no -0
        areas[marks],
        rows[~marks] if with_normal else None,
    )


def _joined(parts: list[Tensor], size: int) -> list[Tensor]:
    """Neighbours joined into parts of at least so many entries."""
    groups: list[list[Tensor]] = []
    room = 0
    for part in parts:
        if room <= 0:
            groups.append([])
            room = size
        groups[-1].append(part)
        room -= len(part)
    return [torch.cat(group) for group in groups]


def _no_areas(scores: Tensor) -> Tensor:
    return torch.zeros_like(scores, dtype=torch.int32)


def _share(pixels: int, share: float, least: int) -> int:
    return max(least, int(pixels * share))
