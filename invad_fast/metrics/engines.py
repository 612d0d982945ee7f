"""Which of the two engines ranks pixels: the compiled one where it was built, else NumPy's."""

from __future__ import annotations

import numpy as np

from invad_fast.metrics.native_scores import (
    NativeHeld,
    NativeHeldScores,
    NativeScores,
    native_module,
    threads,
)
from invad_fast.metrics.numpy_cells import NumpyCells
from invad_fast.metrics.numpy_scores import NumpyScores
from invad_fast.metrics.pixel_scores import Held, HeldScores, PixelScores

# Beside the maps, the native engine holds at most this share of their bytes at a time, or so many
# bytes: the less, the more often it reads the maps.
WORKING_SHARE, WORKING_BYTES = 0.28, 64 << 20


def borrow(
    maps: np.ndarray, masks: np.ndarray | None
) -> tuple[PixelScores, np.ndarray, np.ndarray]:
    """Ranks arrays where they are: (scores, N maxima, N bools as HeldScores.add returns them).

    Raises:
        ValueError: scores that are not finite.
    """
    native = native_module()
    if native is None:
        held = hold()
        return held, *held.add(maps, masks)
    borrowed = native.BorrowedScores(maps, masks, threads())
    if not borrowed.finite:
        raise ValueError("scores that are not finite")
    maxima, anomalous = borrowed.maps()
    limit = max(WORKING_SHARE * maps.nbytes, WORKING_BYTES)
    return NativeScores(borrowed, lambda *a: borrowed.rank(*a, limit)), maxima, anomalous


def hold() -> HeldScores:
    """An empty collection of pixels that keeps them all."""
    native = native_module()
    if native is None:
        return NumpyScores()
    return NativeHeldScores(native.ExactScores())


def cells(capacity: int) -> Held:
    """An empty collection of pixels that counts them in ``capacity`` cells: see cell_scores.py."""
    native = native_module()
    return NumpyCells(capacity) if native is None else NativeHeld(native.CellScores(capacity))
