"""What users give as maps, masks and labels, checked and as the arrays that the core reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from invad_fast.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Checked maps with their masks.

    Attributes:
        maps: N×H×W float32, dense; the caller's own array where it was that already.
        masks: N×H×W uint8, anomalous where not 0; None where there are no masks.
        labels: N bool; None where they are to be taken from the masks.
    """

    maps: np.ndarray
    masks: np.ndarray | None
    labels: np.ndarray | None


def check(maps: ArrayLike, masks: ArrayLike | None, labels: ArrayLike | None) -> Batch:
    """Arrays, tensors of any device, or nested lists, made one :class:`Batch`.

    Scores of float64 are rounded to float32, which keeps their order. Masks of any type are
    anomalous where they are not 0, so that 0/1, 0/255 and bool are all right.

    Raises:
        InputError: shapes that do not fit, masks with NaN, neither masks nor labels. Whether the
            scores are finite is seen where they are read.
    """
    scores = as_array(maps)
    if scores.ndim != 3 or scores.size == 0:
        raise InputError(f"maps must be N×H×W with N ≥ 1, not {scores.shape}")
    if scores.dtype.kind not in "fiub":
        raise InputError(f"maps must be numbers, not {scores.dtype}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        scores = np.ascontiguousarray(scores, np.float32)
    own_masks = None
    if masks is not None:
        own_masks = _mask_bytes(as_array(masks))
        if own_masks.shape != scores.shape:
            raise InputError(
                f"masks {own_masks.shape} do not fit maps {scores.shape}: resize them first"
            )
    if labels is None:
        if masks is None:
            raise InputError("without masks, labels are needed: which images are anomalous")
        return Batch(scores, own_masks, None)
    own_labels = as_array(labels) != 0
    if own_labels.shape != scores.shape[:1]:
        raise InputError(
            f"{own_labels.shape} labels do not fit {len(scores)} maps: give one for each"
        )
    return Batch(scores, own_masks, own_labels)


def as_array(values: Any) -> np.ndarray:
    """An array of what may be a tensor, also on another device or of a type NumPy has not."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
    return np.asarray(values)


def refuse_not_finite(maps: np.ndarray) -> None:
    """Names the map that has a score that is not finite; nothing where there is none."""
    for i, scores in enumerate(maps):
        if not np.isfinite(scores).all():
            raise InputError(f"map {i} has scores that are not finite")


def _mask_bytes(masks: np.ndarray) -> np.ndarray:
    if masks.dtype == np.bool_:
        return np.ascontiguousarray(masks).view(np.uint8)
    if masks.dtype == np.uint8:
        return np.ascontiguousarray(masks)
    if masks.dtype.kind not in "fiu":
        raise InputError(f"masks must be bool or numbers, not {masks.dtype}")
    if np.isnan(masks).any():
        raise InputError("masks have pixels that are not numbers (NaN)")
    return np.ascontiguousarray(masks != 0).view(np.uint8)
