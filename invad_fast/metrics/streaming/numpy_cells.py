"""Counts in cells in NumPy, for where nothing could be compiled: csrc/scores/streaming/.

The same cells as the compiled engine's, to the last bit of every decision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from invad_fast.metrics.float_keys import keys_of
from invad_fast.metrics.region_areas import region_areas

# A region's weight: see csrc/scores/region_unit.h.
REGION_UNIT = 1 << 38
# As in csrc/scores/streaming/cell_scores.cpp.
_PIECE_PIXELS, _FRESH, _GROWTH = 1 << 20, 1 << 17, np.float32(1.25)
_STEP_BITS = 16  # csrc/scores/streaming/cell_compaction.cpp
_COUNTS = ("normal", "anomalous", "weight")
_KEYS = 1 << 32


class NumpyCells:
    """No more than ``capacity`` cells of 2^bits keys, each as narrow as the figures need it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._limit = np.float32(0)
        # In order: from the highest score down, what holds others before these.
        self._last, self._bits = np.empty(0, np.int64), np.empty(0, np.int64)
        self._counts = np.empty((3, 0), np.int64)
        self._normal = self._anomalous = self._regions = 0
        self._low, self._high = np.float32(np.inf), np.float32(-np.inf)

    def add(self, maps: np.ndarray, masks: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if not np.isfinite(maps).all():
            raise ValueError("scores that are not finite")
        anomalous = np.zeros(maps.shape, bool) if masks is None else masks != 0
        step = max(1, _PIECE_PIXELS // max(1, maps[0].size)) if len(maps) else 1
        for first in range(0, len(maps), step):
            scores, mask = maps[first : first + step], anomalous[first : first + step]
            areas, regions = region_areas(mask)
            own = np.maximum(areas.ravel().astype(np.int64), 1)
            weight = np.where(mask.ravel(), (REGION_UNIT + own // 2) // own, 0)
            counts = np.stack([~mask.ravel(), mask.ravel(), weight]).astype(np.int64)
            self._summarise(int(mask.size - mask.sum()), int(mask.sum()), regions)
            if scores.size:
                self._widen(scores.min() + 0, scores.max() + 0)
            keys = keys_of(scores.ravel()).astype(np.int64)
            while len(keys):
                fresh, left = self._count(keys, counts)
                self._merge(*fresh)
                keys, counts = keys[left], counts[:, left]
        return maps.max(axis=(1, 2)), np.asarray(anomalous.any(axis=(1, 2)))

    def state(self) -> dict[str, Any]:
        return {
            "last": self._last.astype(np.uint32),
            "bits": self._bits.astype(np.uint8),
            **dict(zip(_COUNTS, self._counts)),
            "limit": float(self._limit),
            "regions": self._regions,
            "low": float(self._low),
            "high": float(self._high),
        }

    def add_state(self, state: dict[str, Any]) -> None:
        counts = np.stack([state[name] for name in _COUNTS])
        self._summarise(int(counts[0].sum()), int(counts[1].sum()), state["regions"])
        self._limit = max(self._limit, np.float32(state["limit"]))
        if len(state["last"]):
            self._widen(np.float32(state["low"]), np.float32(state["high"]))
        self._merge(state["last"].astype(np.int64), state["bits"].astype(np.int64), counts)

    def _summarise(self, normal: int, anomalous: int, regions: int) -> None:
        self._normal += normal
        self._anomalous += anomalous
        self._regions += regions

    def _widen(self, low: np.float32, high: np.float32) -> None:
        self._low, self._high = min(self._low, low), max(self._high, high)

    def _cost(self, span: np.ndarray, above: np.ndarray) -> np.ndarray:
        """csrc/scores/streaming/cell_cost.h, in the same steps."""
        of_anomalous = 1.0 / max(self._anomalous, 1)
        of_weight = 0.5 / (float(REGION_UNIT) * max(self._regions, 1))
        normal, anomalous, weight = span.astype(np.float64)
        shares = anomalous * of_anomalous + weight * of_weight
        alarms = normal / (2.0 * max(self._anomalous, 1) + 6.0 * above[0])
        ranks = (span[0] + span[1]).astype(np.float64) / (32.0 * (above[0] + above[1] + 1))
        return (shares + alarms + ranks).astype(np.float32)

    def _count(
        self, keys: np.ndarray, counts: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
        """Adds pixels to cells that have room, bucket by bucket from the highest down.

        Returns:
            (the others, as cells of one key each: last, bits, counts;
            which pixels come in buckets below the one that made these too many)
        """
        first = self._last - (1 << self._bits) + 1
        alone = np.append(self._last[1:] < first[:-1], np.ones(len(first[:1]), bool))
        rooms = np.flatnonzero(alone & (self._bits > 0) & (self._bits <= 16))[::-1]  # rising
        fresh, room = np.ones(len(keys), bool), np.zeros(len(keys), np.int64)
        added, open_ = np.zeros((3, len(rooms)), np.int64), np.zeros(len(rooms), bool)
        if len(rooms):
            room = np.minimum(np.searchsorted(self._last[rooms], keys), len(rooms) - 1)
            within = (first[rooms[room]] <= keys) & (keys <= self._last[rooms[room]])
            for to, own in zip(added, counts):
                np.add.at(to, room[within], own[within])
            seen = _running(self._counts)
            span = self._counts[:, rooms] + added + self._around(seen, rooms, self._last[rooms])
            open_ = self._cost(span, seen[:, rooms]) <= _GROWTH * self._limit
            fresh = ~(within & open_[room])
        distinct = np.unique(keys[fresh])[::-1]
        end = distinct[_FRESH - 1] >> 16 << 16 if len(distinct) >= _FRESH else 0
        open_ &= self._last[rooms] >= end
        self._counts[:, rooms[open_]] += added[:, open_]
        distinct = distinct[distinct >= end]
        fresh &= keys >= end
        sums = np.zeros((3, len(distinct)), np.int64)
        places = np.searchsorted(-distinct, -keys[fresh])
        for to, own in zip(sums, counts):
            np.add.at(to, places, own[fresh])
        return (distinct, np.zeros_like(distinct), sums), keys < end

    def _around(self, seen: np.ndarray, begin: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Of ranges that end at ``last``: the cells before ``begin`` that are not wholly above."""
        first = self._last - (1 << self._bits) + 1
        falling = np.argsort(-first, kind="stable")
        above = np.searchsorted(-first[falling], -last)
        return seen[:, begin] - _running(self._counts[:, falling])[:, above]

    def _merge(self, last: np.ndarray, bits: np.ndarray, counts: np.ndarray) -> None:
        last, bits = np.concatenate([self._last, last]), np.concatenate([self._bits, bits])
        order, places = np.unique(_order(last, bits), return_inverse=True)
        self._counts = np.concatenate([self._counts, counts], 1)
        sums = np.zeros((3, len(order)), np.int64)
        for to, own in zip(sums, self._counts):
            np.add.at(to, places, own)
        self._last, self._bits, self._counts = _KEYS - 1 - (order >> 6), 32 - (order & 63), sums
        if len(order) > self._capacity:
            self._compact(len(order) - (self._capacity - self._capacity // 4))

    def _compact(self, excess: int) -> None:
        """Merges the neighbours whose joint ranges cost least: as cell_compaction.cpp does."""
        bits = np.maximum(self._bits[:-1], self._bits[1:])
        bits = np.maximum(bits, np.frexp((self._last[:-1] ^ self._last[1:]).astype(np.float64))[1])
        last = self._last[:-1] | ((1 << bits) - 1)
        order = _order(self._last, self._bits)
        begin = np.searchsorted(order, _order(last, bits))
        end = np.searchsorted(order >> 6, _order(last - (1 << bits) + 1, 0) >> 6, "right")
        seen = _running(self._counts)
        span = seen[:, end] - seen[:, begin] + self._around(seen, begin, last)
        costs = self._cost(span, seen[:, begin])
        steps = np.cumsum(np.bincount(costs.view(np.uint32) >> _STEP_BITS))
        step = np.searchsorted(steps, excess) + 1
        self._limit = np.array([step << _STEP_BITS], np.uint32).view(np.float32)[0]
        starts = np.flatnonzero(np.append(True, costs >= self._limit))
        joint = np.append(0, np.where(costs < self._limit, bits, 0))
        self._bits = np.maximum(self._bits[starts], np.maximum.reduceat(joint, starts))
        self._last = self._last[starts] | ((1 << self._bits) - 1)
        self._counts = np.add.reduceat(self._counts, starts, axis=1)


def _order(last: np.ndarray, bits: np.ndarray | int) -> np.ndarray:
    return (_KEYS - 1 - last) << 6 | (32 - bits)


def _running(counts: np.ndarray) -> np.ndarray:
    """Entry i: the sum of the first i."""
    return np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))
