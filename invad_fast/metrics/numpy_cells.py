"""Counts in cells in NumPy, for where nothing could be compiled: csrc/scores/cell_scores.h."""

from __future__ import annotations

from typing import Any

import numpy as np

from invad_fast.metrics.float_keys import keys_of
from invad_fast.metrics.numpy_scores import region_areas

# A region's weight: see csrc/scores/cell_scores.h.
REGION_UNIT = 1 << 38
_COUNTS = ("normal", "anomalous", "weight")


class NumpyCells:
    """No more than ``capacity`` cells of 2^shift keys, the shift as small as that allows."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._shift = 0
        self._keys = np.empty(0, np.uint32)
        self._counts = np.empty((3, 0), np.int64)
        self._regions = 0
        self._low, self._high = np.float32(np.inf), np.float32(-np.inf)

    def add(self, maps: np.ndarray, masks: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if not np.isfinite(maps).all():
            raise ValueError("scores that are not finite")
        anomalous = np.zeros(maps.shape, bool) if masks is None else masks != 0
        for scores, mask in zip(maps, anomalous):
            areas, regions = region_areas(mask[None])
            own = np.maximum(areas.ravel().astype(np.int64), 1)
            weight = np.where(mask.ravel(), (REGION_UNIT + own // 2) // own, 0)
            counts = np.stack([~mask.ravel(), mask.ravel(), weight]).astype(np.int64)
            self._merge(keys_of(scores.ravel()), counts, 0)
            self._regions += regions
            self._widen(scores.min() + 0, scores.max() + 0)
        return maps.max(axis=(1, 2)), np.asarray(anomalous.any(axis=(1, 2)))

    def state(self) -> dict[str, Any]:
        return {
            "keys": self._keys,
            **dict(zip(_COUNTS, self._counts)),
            "shift": self._shift,
            "regions": self._regions,
            "low": float(self._low),
            "high": float(self._high),
        }

    def add_state(self, state: dict[str, Any]) -> None:
        counts = np.stack([state[name] for name in _COUNTS])
        self._merge(state["keys"], counts, state["shift"])
        self._regions += state["regions"]
        if len(state["keys"]):
            self._widen(np.float32(state["low"]), np.float32(state["high"]))

    def _widen(self, low: np.float32, high: np.float32) -> None:
        self._low, self._high = min(self._low, low), max(self._high, high)

    def _merge(self, keys: np.ndarray, counts: np.ndarray, shift: int) -> None:
        self._shift = max(self._shift, shift)
        keys = np.concatenate([self._keys, keys])
        counts = np.concatenate([self._counts, counts], 1)
        while True:
            cells = (keys >> np.uint32(self._shift)) << np.uint32(self._shift)
            self._keys, places = np.unique(cells, return_inverse=True)
            if len(self._keys) <= self._capacity:
                break
            self._shift += 1
        self._counts = np.zeros((3, len(self._keys)), np.int64)
        for own, more in zip(self._counts, counts):
            np.add.at(own, places, more)
