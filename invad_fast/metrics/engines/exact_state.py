"""What all pixels are sent and stored as, from whichever engine held them: csrc/scores/places.h.

The upper half of a score's key names its bucket; the lower half, two bytes, is its place there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from invad_fast.metrics.float_keys import keys_of, scores_of


def pack(normal: np.ndarray, anomalous: np.ndarray, areas: np.ndarray) -> dict[str, Any]:
    """Scores of both kinds, float32, and the area of each anomalous one's region, uint32."""
    keys = keys_of(anomalous)
    order = np.argsort(keys, kind="stable")
    return {
        "normal": _places(np.sort(keys_of(normal))),
        "anomalous": _places(keys[order]),
        "areas": areas[order].astype(np.uint32, copy=False),
    }


def unpack(state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arguments of ``pack``, in the order of their buckets."""
    return _scores(state["normal"]), _scores(state["anomalous"]), state["areas"]


def _places(rising: np.ndarray) -> dict[str, np.ndarray]:
    buckets, sizes = np.unique(rising >> 16, return_counts=True)
    return {
        "buckets": buckets.astype(np.uint32),
        "sizes": sizes.astype(np.uint64),
        "places": rising.astype(np.uint16),
    }


def _scores(places: dict[str, np.ndarray]) -> np.ndarray:
    buckets = np.repeat(places["buckets"].astype(np.uint32), places["sizes"].astype(np.int64))
    return scores_of(buckets << np.uint32(16) | places["places"])
