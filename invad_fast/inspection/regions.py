"""map ─> regions: where, how large and how strong what exceeds the threshold is."""

from __future__ import annotations

import numpy as np

from invad_fast.prediction import exceeds


def regions_above(scores: np.ndarray, threshold: float, size: tuple[int, int]) -> list[dict]:
    """The connected regions (8 neighbours) of the map above the threshold, the strongest first.

    Args:
        scores: H×W, the anomaly map.
        threshold: pixels above it belong to a region.
        size: (height, width) of the photo, in whose pixels boxes and areas are given.

    Returns:
        For each region ``box`` [x, y, width, height], ``area`` (square pixels) and ``peak`` (its
        highest score).
    """
    above = exceeds(scores, threshold)
    if not above.any():
        return []
    from scipy import ndimage  # a fifth of a second at start-up that a good part need not wait for

    labels, count = ndimage.label(above, np.ones((3, 3), int))
    down, across = size[0] / scores.shape[0], size[1] / scores.shape[1]
    numbers = np.arange(1, count + 1)
    areas = ndimage.sum_labels(np.ones_like(scores), labels, numbers) * down * across
    peaks = ndimage.maximum(scores, labels, numbers)
    found = []
    for (rows, columns), area, peak in zip(ndimage.find_objects(labels), areas, peaks):
        top, left = rows.start * down, columns.start * across
        width, height = columns.stop * across - left, rows.stop * down - top
        box = [round(float(v), 2) for v in (left, top, width, height)]
        found.append({"box": box, "area": round(float(area), 2), "peak": float(peak)})
    return sorted(found, key=lambda region: -region["peak"])
