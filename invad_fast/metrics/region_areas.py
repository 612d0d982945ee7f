"""The regions of masks, found in NumPy and SciPy."""

from __future__ import annotations

import numpy as np


def region_areas(masks: np.ndarray) -> tuple[np.ndarray, int]:
    """N×H×W bool → N×H×W uint32, the area of each pixel's 8-connected region; how many regions."""
    from scipy import ndimage  # a fifth of a second that only this fallback waits for

    areas, regions = np.zeros(masks.shape, np.uint32), 0
    for mask, area in zip(masks, areas):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
        if count:
            area[mask] = np.bincount(labels.ravel())[labels[mask]]
            regions += count
    return areas, regions
