"""All of method.md §3's figures of a class, or of several and their mean, from arrays at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from invad_fast.metrics.engines import borrow, device_of
from invad_fast.metrics.figures import PROTOCOLS, complete, mean_figures, pixel_figures
from invad_fast.metrics.image_scores import image_figures, maxima_of
from invad_fast.metrics.inputs import Batch, check, chosen, class_names, refuse_not_finite, window


def evaluate(
    maps: ArrayLike,
    masks: ArrayLike | None,
    protocol: str = "paper",
    pooling: int | None = None,
    labels: ArrayLike | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Image, pixel and region figures of one class's test set (method.md §3), as fractions of one.

    Dense float32 maps and bool or uint8 masks are read where they are, on a GPU too; beside them it
    takes some quarter of the maps' memory, whatever the number of thresholds.

    Args:
        maps: N×H×W anomaly maps, array or tensor; float64 is rounded to float32.
        masks: N×H×W, anything but 0 is anomalous; None where there are no masks: the pixel and
            region figures are then not numbers, and ``labels`` are needed.
        protocol: "paper" reproduces the published protocol; "exact" takes ``pixel_f1_max``,
            ``iou_max`` and ``aupro`` over every threshold instead of 21, 21 and 100.
        pooling: image score = maximum of the map averaged over a window this wide.
        labels: N bools (or 1 and 0), true where the image is anomalous; from the masks where None.
        classes: N class names; the result is then {"classes": {name: figures}, "mean": figures}.

    Returns:
        The figures named in FIGURES. Not a number where a figure is not defined, such as an
        AUROC of a class without anomalous images. The paper's AU-PRO is not defined for perfect
        maps: of its 100 thresholds none below a false-positive rate of 0.3 then has another rate
        than the others (0), so that there is no curve, and ``mad`` is not a number either. "exact"
        gives 1.

    Raises:
        InputError: shapes that do not fit, scores that are not finite, labels that are neither
            true nor false, tensors without values of their own (sparse, meta, float8 …), an
            unknown protocol, a pooling that does not fit; one line says which and what to do.
    """
    chosen(protocol, PROTOCOLS, "protocol")
    batch = check(maps, masks, labels, device_of(maps))
    pooling = window(pooling, *batch.maps.shape[1:])
    if classes is None:
        return _one_class(batch, protocol, pooling)
    places: dict[str, list[int]] = {}
    for i, name in enumerate(class_names(classes, len(batch.maps))):
        places.setdefault(name, []).append(i)
    figures = {}
    for name in sorted(places):
        own = _selection(np.array(places[name]))
        part = Batch(
            batch.maps[own],
            None if batch.masks is None else batch.masks[own],
            None if batch.labels is None else batch.labels[own],
        )
        figures[name] = _one_class(part, protocol, pooling)
    return {"classes": figures, "mean": mean_figures(figures)}


def _selection(positions: np.ndarray) -> np.ndarray | slice:
    """A slice, which copies nothing, where a class's maps lie together."""
    first, last = int(positions[0]), int(positions[-1])
    return slice(first, last + 1) if last - first + 1 == len(positions) else positions


def _one_class(batch: Batch, protocol: str, pooling: int | None) -> dict[str, float]:
    try:
        pixels, maxima, anomalous = borrow(batch.maps, batch.masks)
    except ValueError:
        refuse_not_finite(batch.maps)
        raise
    scores = maxima if pooling is None else maxima_of(batch.maps, pooling)
    labels = anomalous if batch.labels is None else batch.labels
    figures = image_figures(scores, labels)
    if batch.masks is not None:
        figures |= pixel_figures(pixels, protocol)
    return {name: bounds.value for name, bounds in complete(figures).items()}
