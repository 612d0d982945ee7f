"""Recall of each anomalous image at false-positive rates so low that an operator can live with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from invad_fast.errors import InputError
from invad_fast.metrics.engines import borrow
from invad_fast.metrics.inputs import check, rate, refuse_not_finite

POINTS = 300


def per_image_recall(
    maps: ArrayLike, masks: ArrayLike, least: float = 1e-5, most: float = 1e-4
) -> np.ndarray:
    """AUPIMO (arXiv 2401.01984): for each image the mean recall over false-positive rates.

    Thresholds come from the pixels of normal images alone, so that no labelling of anomalous
    ones can blur them; the mean is over the logarithm of the rate, by trapezoids.

    Args:
        maps, masks: as for :func:`invad_fast.metrics.evaluate`.
        least, most: the rates, 0 < least < most ≤ 1.

    Returns:
        N: in [0, 1], not a number for images without anomalous pixels.

    Raises:
        InputError: as ``evaluate``; rates out of order; no normal image.
    """
    least, most = rate(least, "the least rate"), rate(most, "the greatest rate")
    if not 0 < least < most:
        raise InputError(f"false-positive rates must rise within (0, 1], not {least} … {most}")
    if masks is None:
        raise InputError(
            "per-image recall needs masks: it is of the pixels of each anomalous image"
        )
    batch = check(maps, masks, None, None)
    assert batch.masks is not None
    set_pixels = batch.masks != 0
    anomalous = set_pixels.any(axis=(1, 2))
    normal_maps = batch.maps[~anomalous]
    if not len(normal_maps):
        raise InputError("there is no normal image to take false-positive rates from")
    try:
        normal, *_ = borrow(normal_maps, None)
    except ValueError:
        refuse_not_finite(batch.maps)
        raise
    rates = np.geomspace(most, least, POINTS)
    ranks = np.minimum((rates * normal.normal).astype(np.int64), normal.normal - 1)[::-1]
    thresholds = normal.ranking(np.empty(0, np.float32), ranks).normal_scores[::-1]  # rising
    recall = np.full(len(batch.maps), np.nan)
    for i in np.flatnonzero(anomalous):
        scores = batch.maps[i][set_pixels[i]]
        above = np.bincount(np.searchsorted(thresholds, scores, "left"), minlength=POINTS + 1)
        curve = above[::-1].cumsum()[::-1][1:] / len(scores)
        recall[i] = np.trapezoid(curve[::-1], np.log(rates[::-1])) / np.log(most / least)
    return recall
