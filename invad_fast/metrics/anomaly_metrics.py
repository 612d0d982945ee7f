"""Figures of maps that come batch by batch, in one process or in many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from invad_fast.errors import InputError
from invad_fast.metrics.bounds import Bounds
from invad_fast.metrics.engines import hold
from invad_fast.metrics.evaluate import check_protocol
from invad_fast.metrics.figures import complete, pixel_figures
from invad_fast.metrics.image_scores import image_figures, image_scores
from invad_fast.metrics.inputs import check, refuse_not_finite


class AnomalyMetrics:
    """SPEC §3's figures of one class, from any number of batches.

    The figures do not depend on the order or the sizes of the batches, nor on how they were
    spread over processes before ``merge``: everything that is summed is an integer.

        metrics = AnomalyMetrics()
        for maps, masks in batches:
            metrics.update(maps, masks)
        metrics.compute()["pixel_auroc"]

    Args:
        mode: "exact" keeps two bytes a normal pixel and six an anomalous one.
        protocol, pooling: as for :func:`invad_fast.metrics.evaluate`.
    """

    def __init__(
        self, mode: str = "exact", protocol: str = "paper", pooling: int | None = None
    ) -> None:
        check_protocol(protocol)
        if mode not in MODES:
            raise InputError(f"no mode {mode!r}: choose {' or '.join(MODES)}")
        self.mode, self.protocol, self.pooling = mode, protocol, pooling
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self._pixels = hold()
        self._image_scores: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._has_masks: bool | None = None

    def update(
        self, maps: ArrayLike, masks: ArrayLike | None = None, labels: ArrayLike | None = None
    ) -> None:
        """Adds N maps; arguments and errors as for :func:`invad_fast.metrics.evaluate`.

        Masks are given with every batch or with none. What is refused has added nothing.
        """
        batch = check(maps, masks, labels)
        has_masks = batch.masks is not None
        if self._has_masks not in (None, has_masks):
            raise InputError("give masks with every batch, or with none")
        pooled = None if self.pooling is None else image_scores(batch.maps, self.pooling)
        try:
            maxima, anomalous = self._pixels.add(batch.maps, batch.masks)
        except ValueError:
            refuse_not_finite(batch.maps)
            raise
        self._has_masks = has_masks
        self._image_scores.append((maxima if pooled is None else pooled).astype(np.float64))
        self._labels.append(anomalous if batch.labels is None else batch.labels)

    def compute(self) -> dict[str, float]:
        """The figures, as :func:`invad_fast.metrics.evaluate` returns them."""
        return {name: bounds.value for name, bounds in self._bounds().items()}

    def errors(self) -> dict[str, float]:
        """How far each figure of ``compute`` can be from the exact one: 0 in exact mode."""
        return {name: bounds.error for name, bounds in self._bounds().items()}

    def merge(self, other: AnomalyMetrics) -> None:
        """Adds what another one has seen."""
        self.merge_state(other.state())

    def state(self) -> dict[str, Any]:
        """Everything seen, as plain numbers and arrays that can be sent and stored."""
        return {
            "settings": (self.mode, self.protocol, self.pooling),
            "has_masks": self._has_masks,
            "pixels": self._pixels.state(),
            "image_scores": np.concatenate([np.empty(0), *self._image_scores]),
            "labels": np.concatenate([np.empty(0, bool), *self._labels]),
        }

    def merge_state(self, state: dict[str, Any]) -> None:
        """Adds the ``state`` of another one, which had the same settings.

        Raises:
            InputError: other settings, or masks there and none here.
        """
        own = (self.mode, self.protocol, self.pooling)
        if tuple(state["settings"]) != own:
            raise InputError(f"cannot merge metrics of {tuple(state['settings'])} into {own}")
        if None not in (state["has_masks"], self._has_masks) and (
            state["has_masks"] != self._has_masks
        ):
            raise InputError("cannot merge metrics with masks and metrics without")
        if state["has_masks"] is not None:
            self._has_masks = state["has_masks"]
        self._pixels.add_state(state["pixels"])
        self._image_scores.append(state["image_scores"])
        self._labels.append(state["labels"])

    def __getstate__(self) -> dict[str, Any]:
        return self.state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.mode, self.protocol, self.pooling = state["settings"]
        self.reset()
        self.merge_state(state)

    def _bounds(self) -> dict[str, Bounds]:
        scores = np.concatenate([np.empty(0), *self._image_scores])
        labels = np.concatenate([np.empty(0, bool), *self._labels])
        figures = image_figures(scores, labels)
        if self._has_masks:
            figures |= pixel_figures(self._pixels, self.protocol)
        return complete(figures)


MODES = ("exact",)
