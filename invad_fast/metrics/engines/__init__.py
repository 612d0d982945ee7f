"""Which engine ranks pixels: torch's on a GPU, else the compiled one, else NumPy's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from invad_fast.metrics.engines.native_scores import (
    NativeHeld,
    NativeHeldScores,
    NativeScores,
    native_module,
    threads,
)
from invad_fast.metrics.engines.numpy_scores import NumpyScores, pooled_maximum
from invad_fast.metrics.pixel_scores import Held, HeldScores, PixelScores
from invad_fast.metrics.streaming.numpy_cells import NumpyCells

if TYPE_CHECKING:
    import torch

# Beside the maps, the native engine holds at most this share of their bytes at a time, or so many
# bytes: the less, the more often it reads the maps.
WORKING_SHARE, WORKING_BYTES = 0.27, 8 << 20

# Types of devices that count the pixels of their own tensors.
COUNTED_THERE = ("cuda",)


def device_of(values: Any) -> torch.device | None:
    """The GPU that a tensor's pixels are counted on; None for all that is counted on the host."""
    device = getattr(values, "device", None)  # a str, of NumPy's arrays
    return device if getattr(device, "type", None) in COUNTED_THERE else None


def borrow(maps: Any, masks: Any | None) -> tuple[PixelScores, np.ndarray, np.ndarray]:
    """Ranks arrays or tensors where they are.

    Returns:
        (scores, N maxima, N bools as HeldScores.add returns them)

    Raises:
        ValueError: scores that are not finite.
    """
    if not isinstance(maps, np.ndarray):
        from invad_fast.metrics.engines.tensor_scores import BorrowedTensors

        tensors = BorrowedTensors(maps, masks)
        return tensors, tensors.maxima, tensors.marked
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


def hold(device: torch.device | None = None) -> HeldScores:
    """An empty collection of pixels that keeps them all, on the host or a device."""
    if device is not None:
        from invad_fast.metrics.engines.tensor_scores import HeldTensors

        return HeldTensors(device)
    native = native_module()
    if native is None:
        return NumpyScores()
    return NativeHeldScores(native.ExactScores())


def cells(capacity: int) -> Held:
    """An empty collection of pixels that counts them in ``capacity`` cells: see streaming/."""
    native = native_module()
    return NumpyCells(capacity) if native is None else NativeHeld(native.CellScores(capacity))


def pooled_maxima(maps: Any, window: int) -> np.ndarray:
    """N×H×W float32 → N float64: the maximum of each map's average over window×window pixels."""
    if not isinstance(maps, np.ndarray):
        from invad_fast.metrics.engines import tensor_scores

        return tensor_scores.pooled_maxima(maps, window).cpu().numpy()
    native = native_module()
    if native is None:
        return np.array([pooled_maximum(scores, window) for scores in maps])
    return native.pooled_maxima(maps, window, threads())
