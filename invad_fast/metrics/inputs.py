"""What users give as maps, masks and labels, checked and as the arrays that the engines read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from invad_fast.errors import InputError
from invad_fast.metrics.engines import device_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """Checked maps with their masks: arrays, or tensors on one device.

    Attributes:
        maps: N×H×W float32, dense; the caller's own memory where it was that already.
        masks: N×H×W uint8 (or bool, of tensors), anomalous where not 0; None where there are none.
        labels: N bool, an array; None where they are to be taken from the masks.
    """

    maps: Any
    masks: Any | None
    labels: np.ndarray | None


def check(
    maps: ArrayLike,
    masks: ArrayLike | None,
    labels: ArrayLike | None,
    device: torch.device | None,
) -> Batch:
    """Arrays, tensors of any device, or nested lists, made one :class:`Batch`.

    Scores of float64 are rounded to float32, which keeps their order. Masks of any type are
    anomalous where they are not 0, so that 0/1, 0/255 and bool are all right.

    Args:
        device: where the batch is to be; None for arrays on the host.

    Raises:
        InputError: shapes that do not fit, masks with NaN, neither masks nor labels. Whether the
            scores are finite is seen where they are read.
    """
    scores = _scores(maps) if device is None else _score_tensor(maps, device)
    own_masks: np.ndarray | torch.Tensor | None = None
    if masks is not None:
        own_masks = _mask_bytes(masks) if device is None else _mask_tensor(masks, device)
        if own_masks.shape != scores.shape:
            raise InputError(
                f"masks {tuple(own_masks.shape)} do not fit maps {tuple(scores.shape)}: "
                "resize them first"
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


def refuse_not_finite(maps: np.ndarray | torch.Tensor) -> None:
    """Names the map that has a score that is not finite; nothing where there is none."""
    for i, scores in enumerate(maps):
        if not np.isfinite(as_array(scores)).all():
            raise InputError(f"map {i} has scores that are not finite")


def _scores(maps: ArrayLike) -> np.ndarray:
    scores = as_array(maps)
    _check_shape(scores.shape)
    if scores.dtype.kind not in "fiub":
        raise InputError(f"maps must be numbers, not {scores.dtype}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        return np.ascontiguousarray(scores, np.float32)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"maps must be N×H×W with N ≥ 1, not {tuple(shape)}")


def _mask_bytes(masks: ArrayLike) -> np.ndarray:
    marks = as_array(masks)
    if marks.dtype == np.bool_:
        return np.ascontiguousarray(marks).view(np.uint8)
    if marks.dtype == np.uint8:
        return np.ascontiguousarray(marks)
    if marks.dtype.kind not in "fiu":
        raise InputError(f"masks must be bool or numbers, not {marks.dtype}")
    if np.isnan(marks).any():
        raise InputError("masks have pixels that are not numbers (NaN)")
    return np.ascontiguousarray(marks != 0).view(np.uint8)


def _score_tensor(maps: Any, device: torch.device) -> torch.Tensor:
    import torch

    scores = maps.detach() if isinstance(maps, torch.Tensor) else torch.tensor(_scores(maps))
    _check_shape(scores.shape)
    if scores.is_complex():
        raise InputError(f"maps must be numbers, not {scores.dtype}")
    return scores.to(device, torch.float32).contiguous()


def _mask_tensor(masks: Any, device: torch.device) -> torch.Tensor:
    import torch

    if device_of(masks) is None:
        return torch.tensor(_mask_bytes(masks)).to(device)  # bytes, not what they were, travel
    marks = masks.detach()
    if marks.is_floating_point() and marks.isnan().any():
        raise InputError("masks have pixels that are not numbers (NaN)")
    marks = marks if marks.dtype in (torch.bool, torch.uint8) else marks != 0
    return marks.to(device).contiguous()
