"""All of SPEC §3's figures of a class, or of several and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from invad_fast.errors import InputError
from invad_fast.metrics.fixed_thresholds import threshold_figures
from invad_fast.metrics.ranking import auroc, average_precision, f1_max, iou_max, rank
from invad_fast.metrics.region_overlap import aupro_exact, aupro_paper

FIGURES = (
    "image_auroc", "image_ap", "image_f1_max", "aupro", "pixel_auroc", "pixel_ap", "pixel_f1_max",
    "mf1", "macc", "miou", "iou_max", "mad_image", "mad_pixel", "mad_threshold", "mad",
)  # fmt: skip
PROTOCOLS = ("paper", "exact")


def evaluate(
    maps: ArrayLike,
    masks: ArrayLike | None,
    protocol: str = "paper",
    pooling: int | None = None,
    labels: ArrayLike | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Image, pixel and region figures of one class's test set (SPEC §3), as fractions of one.

    Args:
        maps: N×H×W anomaly maps, array or tensor.
        masks: N×H×W, anything but 0 is anomalous; None where there are no masks: the pixel and
            region figures are then not numbers, and ``labels`` are needed.
        protocol: "paper" reproduces the published protocol; "exact" takes ``pixel_f1_max``,
            ``iou_max`` and ``aupro`` over every threshold instead of 21, 21 and 100.
        pooling: image score = maximum of the map averaged over a window this wide.
        labels: N, true where the image is anomalous; from the masks where None.
        classes: N class names; the result is then {"classes": {name: figures}, "mean": figures}.

    Returns:
        The figures named in FIGURES. Not a number where a figure is not defined, such as an
        AUROC of a class without anomalous images.

    Raises:
        InputError: shapes that do not fit, scores that are not finite, an unknown protocol.
    """
    maps, masks, labels = _checked(maps, masks, labels, protocol)
    if classes is None:
        return _one_class(maps, masks, labels, protocol, pooling)
    names = np.asarray(classes)
    if names.shape != labels.shape:
        raise InputError(f"{len(names)} class names for {len(labels)} maps: give one for each")
    figures = {}
    for name in sorted(set(names.tolist())):
        own = names == name
        own_masks = None if masks is None else masks[own]
        figures[name] = _one_class(maps[own], own_masks, labels[own], protocol, pooling)
    return {"classes": figures, "mean": mean_figures(figures)}


def mean_figures(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean over the classes that have the figure; not a number where none has it."""
    means = {}
    for key in FIGURES:
        values = [f[key] for f in figures.values() if not np.isnan(f[key])]
        means[key] = float(np.mean(values)) if values else float("nan")
    return means


def image_scores(maps: np.ndarray, pooling: int | None = None) -> np.ndarray:
    """N×H×W → N: the maximum of each map, or of its stride-1 average over pooling×pooling."""
    if pooling is None:
        return maps.max(axis=(1, 2))
    if not 1 <= pooling <= min(maps.shape[1:]):
        raise InputError(f"pooling {pooling} does not fit maps of {maps.shape[1:]}")
    sums = np.cumsum(np.cumsum(maps.astype(np.float64), 1), 2)
    sums = np.pad(sums, ((0, 0), (1, 0), (1, 0)))
    k = pooling
    window = sums[:, k:, k:] - sums[:, :-k, k:] - sums[:, k:, :-k] + sums[:, :-k, :-k]
    return window.max(axis=(1, 2)) / k**2


def _checked(maps, masks, labels, protocol):
    if protocol not in PROTOCOLS:
        raise InputError(f"no protocol {protocol!r}: choose {' or '.join(PROTOCOLS)}")
    maps = np.asarray(maps)
    if maps.ndim != 3 or maps.size == 0:
        raise InputError(f"maps must be N×H×W with N ≥ 1, not {maps.shape}")
    finite = np.isfinite(maps).all(axis=(1, 2))
    if not finite.all():
        raise InputError(f"map {int(finite.argmin())} has scores that are not finite")
    if masks is not None:
        masks = np.asarray(masks) != 0
        if masks.shape != maps.shape:
            raise InputError(f"masks {masks.shape} do not fit maps {maps.shape}: resize them first")
    if labels is None:
        if masks is None:
            raise InputError("without masks, labels are needed: which images are anomalous")
        labels = masks.any(axis=(1, 2))
    labels = np.asarray(labels) != 0
    if labels.shape != maps.shape[:1]:
        raise InputError(f"{labels.shape} labels do not fit {len(maps)} maps: give one for each")
    return maps, masks, labels


def _one_class(maps, masks, labels, protocol, pooling) -> dict[str, float]:
    images = rank(image_scores(maps, pooling), labels)
    figures = dict.fromkeys(FIGURES, float("nan"))
    figures["image_auroc"] = auroc(images)
    figures["image_ap"] = average_precision(images)
    figures["image_f1_max"] = f1_max(images)
    if masks is not None and masks.any() and not masks.all():
        pixels = rank(maps.ravel(), masks.ravel())
        figures["pixel_auroc"] = auroc(pixels)
        figures["pixel_ap"] = average_precision(pixels)
        figures.update(threshold_figures(maps, masks))
        if protocol == "paper":
            figures["aupro"] = aupro_paper(maps, masks)
        else:
            figures["aupro"] = aupro_exact(maps, masks)
            figures["pixel_f1_max"] = f1_max(pixels)
            figures["iou_max"] = iou_max(pixels)
    _add_means(figures)
    return figures


def _add_means(figures: dict[str, float]) -> None:
    """mAD of each level: a mean is defined where all its parts are."""
    parts = {
        "mad_image": ("image_auroc", "image_ap", "image_f1_max"),
        "mad_pixel": ("pixel_auroc", "pixel_ap", "pixel_f1_max"),
        "mad_threshold": ("mf1", "macc", "miou"),
    }
    for name, keys in parts.items():
        figures[name] = float(np.mean([figures[k] for k in keys]))
    seven = (*parts["mad_image"], "aupro", *parts["mad_pixel"])
    figures["mad"] = float(np.mean([figures[k] for k in (*seven, *parts["mad_threshold"])]))
