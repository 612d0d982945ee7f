"""Float32 scores as integers of the same order; csrc/scores/keys.h has the same rule."""

from __future__ import annotations

import numpy as np

SIGN = np.uint32(1 << 31)


def keys_of(scores: np.ndarray) -> np.ndarray:
    """float32 → uint32 of the same order; -0 and 0 have one key."""
    bits = (scores.astype(np.float32, copy=False) + np.float32(0)).view(np.uint32)
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def scores_of(keys: np.ndarray) -> np.ndarray:
    """uint32 → float32; the inverse of ``keys_of``."""
    keys = keys.astype(np.uint32, copy=False)
    return np.where(keys & SIGN, keys ^ SIGN, ~keys).astype(np.uint32).view(np.float32)


def next_below(score: float) -> float:
    """The float32 just below one: scores of float32 that are greater are ``score`` or more."""
    with np.errstate(over="ignore"):  # below the least of all floats: minus infinity
        return float(np.nextafter(np.float32(score), np.float32(-np.inf)))
