"""Figures of maps that come batch by batch, in one process or in many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from invad_fast.errors import InputError
from invad_fast.metrics.bounds import Bounds
from invad_fast.metrics.engines import cells, device_of, hold
from invad_fast.metrics.figures import PROTOCOLS, complete, pixel_figures
from invad_fast.metrics.float_keys import next_below
from invad_fast.metrics.image_scores import HeldImageScores, StreamedImageScores, maxima_of
from invad_fast.metrics.inputs import check, chosen, rate, refuse_not_finite, window
from invad_fast.metrics.pixel_scores import Held, HeldScores, PixelScores
from invad_fast.metrics.states import VERSION, checked_state
from invad_fast.metrics.streaming.ranked_cells import RankedCells

if TYPE_CHECKING:
    import torch

MODES = ("exact", "streaming")
# Cells of pixels in streaming mode: with what adds to them and the figures' sums, under 64 MB.
CELLS = 1 << 18


class AnomalyMetrics:
    """method.md §3's figures of one class, from any number of batches.

    The figures do not depend on the order or the sizes of the batches, nor on how they were
    spread over processes before ``merge``, because everything that is summed is an integer. In
    streaming mode that ends where there are more distinct scores than cells: which of them share
    a cell depends on the order, and so do the figures then, within their bounds.

        metrics = AnomalyMetrics()
        for maps, masks in batches:
            metrics.update(maps, masks)
        metrics.compute()["pixel_auroc"]

    Args:
        mode: "exact" keeps two bytes a normal pixel and six an anomalous one. "streaming" takes
            constant memory for any number of images and needs no range of scores. It is exact up
            to CELLS distinct scores; beyond, a figure may be wrong by what ``errors`` says, and
            never by more.
        protocol, pooling: as for :func:`invad_fast.metrics.evaluate`.
    """

    _pixels: Held | HeldScores
    _images: HeldImageScores | StreamedImageScores

    def __init__(
        self, mode: str = "exact", protocol: str = "paper", pooling: int | None = None
    ) -> None:
        self.mode = chosen(mode, MODES, "mode")
        self.protocol = chosen(protocol, PROTOCOLS, "protocol")
        self.pooling = window(pooling)
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        if self.mode == "exact":
            self._pixels, self._images = hold(), HeldImageScores()
        else:
            self._pixels = cells(CELLS)
            self._images = StreamedImageScores()
        self._device: torch.device | None = None
        self._has_masks: bool | None = None

    def update(
        self, maps: ArrayLike, masks: ArrayLike | None = None, labels: ArrayLike | None = None
    ) -> None:
        """Adds N maps; arguments and errors as for :func:`invad_fast.metrics.evaluate`.

        Masks are given with every batch or with none. What is refused has added nothing. In exact
        mode the first batch decides where pixels are kept: those of a GPU stay there.
        """
        first = self._has_masks is None and self.mode == "exact"
        device = device_of(maps) if first else self._device
        batch = check(maps, masks, labels, device)
        has_masks = batch.masks is not None
        if self._has_masks not in (None, has_masks):
            raise InputError("give masks with every batch, or with none")
        pooling = window(self.pooling, *batch.maps.shape[1:])
        pooled = None if pooling is None else maxima_of(batch.maps, pooling)
        pixels = hold(device) if first else self._pixels
        try:
            maxima, anomalous = pixels.add(batch.maps, batch.masks)
        except ValueError:
            refuse_not_finite(batch.maps)
            raise
        self._pixels, self._device, self._has_masks = pixels, device, has_masks
        self._images.add(
            maxima if pooled is None else pooled,
            anomalous if batch.labels is None else batch.labels,
        )

    def compute(self) -> dict[str, float]:
        """The figures, as :func:`invad_fast.metrics.evaluate` returns them."""
        return {name: bounds.value for name, bounds in self.bounds().items()}

    def errors(self) -> dict[str, float]:
        """How far each figure of ``compute`` can be from the exact one: 0 in exact mode.

        Rigorous for any pixels. In streaming mode, beyond CELLS distinct scores, it is of the order
        of 1e-5; scores and orders made to make it large have not brought it to 1e-4, for which
        there is a proof of 3e-4 where all came at once, and none for every order. One figure
        jumps, and may then be known no better than its jump: the paper's AU-PRO, which ends at the
        last of 100 thresholds with a false-positive rate below 0.3, where one has just that rate.
        """
        return {name: bounds.error for name, bounds in self.bounds().items()}

    def bounds(self) -> dict[str, Bounds]:
        """Each figure's least and greatest possible value; ``compute`` gives the middle."""
        figures = self._images.figures()
        if self._has_masks:
            figures |= pixel_figures(self._ranked(), self.protocol)
        return complete(figures)

    def pixel_threshold(self, false_positive_rate: float | None = None) -> float:
        """A threshold for pixels: those with a score > it, a float32, are called anomalous.

        Args:
            false_positive_rate: the least threshold that calls no larger share of the normal
                pixels anomalous; None for one with the largest F1 of all. In streaming mode the
                least one may be higher than need be: by the width of the cell it ends.

        Returns:
            Not a number where there are no normal pixels, or for F1 no anomalous ones.
        """
        allowed_rate = None
        if false_positive_rate is not None:
            allowed_rate = rate(false_positive_rate, "a false-positive rate")
        pixels = self._ranked()
        if not pixels.normal:
            return float("nan")
        if allowed_rate is None:
            ranking = pixels.ranking(np.empty(0, np.float32), np.empty(0, np.int64))
            return next_below(ranking.f1_score)
        allowed = int(allowed_rate * pixels.normal)
        allowed += (allowed + 1) / pixels.normal <= allowed_rate  # 0.29 × 100 is a little less
        if allowed == pixels.normal:
            return next_below(pixels.low)
        # Of the normal pixels, so many at most are greater than the next one.
        ranking = pixels.ranking(np.empty(0, np.float32), np.array([allowed]))
        return float(ranking.normal_scores[0])

    def merge(self, other: AnomalyMetrics) -> None:
        """Adds what another one, of the same settings, has seen."""
        if not isinstance(other, AnomalyMetrics):
            raise InputError(
                f"only AnomalyMetrics can be merged, not {type(other).__name__}: a state is for "
                "merge_state()"
            )
        self.merge_state(other.state())

    def state(self) -> dict[str, Any]:
        """Everything seen, as plain numbers and arrays that can be sent and stored."""
        return {
            "version": VERSION,
            "settings": self._settings,
            "has_masks": self._has_masks,
            "pixels": self._pixels.state(),
            "images": self._images.state(),
        }

    def merge_state(self, state: dict[str, Any]) -> None:
        """Adds the ``state`` of another one, which had the same settings.

        Raises:
            InputError: other settings, masks there and none here, another version, or anything
                that ``state`` does not give; nothing was added then.
        """
        found = checked_state(state, self._settings)
        has_masks = found["has_masks"]
        if None not in (has_masks, self._has_masks) and has_masks != self._has_masks:
            raise InputError("cannot merge metrics with masks and metrics without")
        self._has_masks = self._has_masks if has_masks is None else has_masks
        self._pixels.add_state(found["pixels"])
        self._images.add_state(found["images"])

    @property
    def _settings(self) -> tuple[str, str, int | None]:
        return self.mode, self.protocol, self.pooling

    def __getstate__(self) -> dict[str, Any]:
        return self.state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["settings"])  # type: ignore[misc]
        self.merge_state(state)

    def _ranked(self) -> PixelScores:
        if self.mode == "streaming":
            return RankedCells(self._pixels.state())
        return self._pixels  # type: ignore[return-value]  # hold() ranks what it holds
