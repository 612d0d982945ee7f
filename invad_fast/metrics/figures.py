"""Which figures there are, and how pixels and image scores become them (method.md §3)."""

from __future__ import annotations

import numpy as np

from invad_fast.errors import InputError
from invad_fast.metrics.bounds import UNDEFINED, BoundedArray, Bounds
from invad_fast.metrics.fixed_thresholds import (
    RANGE,
    SWEEP,
    boundaries,
    range_figures,
    sweep_maxima,
)
from invad_fast.metrics.inputs import shown
from invad_fast.metrics.pixel_scores import PixelScores
from invad_fast.metrics.region_overlap import aupro, overlap_thresholds

FIGURES = (
    "image_auroc", "image_ap", "image_f1_max", "aupro", "pixel_auroc", "pixel_ap", "pixel_f1_max",
    "mf1", "macc", "miou", "iou_max", "mad_image", "mad_pixel", "mad_threshold", "mad",
)  # fmt: skip
PROTOCOLS = ("paper", "exact")

IMAGE = ("image_auroc", "image_ap", "image_f1_max")
PIXEL = ("pixel_auroc", "pixel_ap", "pixel_f1_max")
THRESHOLD = ("mf1", "macc", "miou")
MEANS = {
    "mad_image": IMAGE,
    "mad_pixel": PIXEL,
    "mad_threshold": THRESHOLD,
    "mad": (*IMAGE, "aupro", *PIXEL),  # seven: what is at fixed thresholds is not in it
}


def pixel_figures(scores: PixelScores, protocol: str) -> dict[str, Bounds]:
    """All pixel and region figures; none of them where there are not both kinds of pixels."""
    if not scores.normal or not scores.anomalous:
        return {}
    asked = [
        boundaries(scores.low, scores.high, RANGE),
        boundaries(scores.low, scores.high, SWEEP),
        overlap_thresholds(scores.low, scores.high),
    ]
    rising, places = np.unique(np.concatenate(asked), return_inverse=True)
    ranking = scores.ranking(rising, np.empty(0, np.int64))
    of_range, of_sweep, of_overlap = np.split(places, np.cumsum([len(a) for a in asked])[:-1])
    anomalous, normal = ranking.anomalous_above, ranking.normal_above
    figures = {"pixel_auroc": ranking.auroc, "pixel_ap": ranking.average_precision}
    figures |= range_figures(anomalous[of_range], normal[of_range], scores.anomalous)
    if protocol == "paper":
        figures |= sweep_maxima(anomalous[of_sweep], normal[of_sweep], scores.anomalous)
        rate = BoundedArray(normal.low / scores.normal, normal.high / scores.normal)
        figures["aupro"] = aupro(ranking.overlap_above[of_overlap], rate[of_overlap])
    else:
        f1 = ranking.f1_max
        figures["aupro"] = ranking.aupro
        figures["pixel_f1_max"] = f1
        figures["iou_max"] = Bounds(f1.low / (2 - f1.low), f1.high / (2 - f1.high))
    return figures


def complete(figures: dict[str, Bounds]) -> dict[str, Bounds]:
    """All of FIGURES: mAD of each level, and not a number for what is not there."""
    found = dict.fromkeys(FIGURES, UNDEFINED) | figures
    for name, parts in MEANS.items():
        found[name] = Bounds(
            float(np.mean([found[part].low for part in parts])),
            float(np.mean([found[part].high for part in parts])),
        )
    return found


def mean_figures(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean over the classes that have the figure; not a number where none has it.

    Raises:
        InputError: a class without one of FIGURES, or with one that is no number.
    """
    means = {}
    for key in FIGURES:
        values = []
        for name, own in figures.items():
            try:
                value = float(own[key])
            except (KeyError, TypeError, ValueError):
                raise InputError(
                    f"class {shown(name)} has no number for {key}: give what evaluate() gave of it"
                ) from None
            if not np.isnan(value):
                values.append(value)
        means[key] = float(np.mean(values)) if values else float("nan")
    return means
