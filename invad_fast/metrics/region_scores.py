"""The scalar that decides a part: the highest level at which a region is large enough."""

from __future__ import annotations

import numpy as np

from invad_fast.metrics.engines.native_scores import native_module


def region_scores(
    maps: np.ndarray, least_area: int, inside: np.ndarray | None = None
) -> np.ndarray:
    """Of each map the highest level t such that {map ≥ t} has a region of at least ``least_area``.

    Regions are of 8 neighbours, within the region of interest. So a score exceeds a threshold
    exactly where {map > threshold} has such a region.

    Args:
        maps: N×H×W float32, finite.
        least_area: pixels, from 1 on.
        inside: H×W bool, the region of interest; None for everywhere.

    Returns:
        N float32: values of the maps; minus infinity where the region of interest has no
        connected part so large.
    """
    maps = np.ascontiguousarray(maps, np.float32)
    if least_area > maps.shape[1] * maps.shape[2]:
        return np.full(len(maps), -np.inf, np.float32)
    native = native_module()
    if native is None:
        return np.array([_region_score(each, least_area, inside) for each in maps], np.float32)
    mask = None if inside is None else np.ascontiguousarray(inside, np.uint8)
    found: np.ndarray = native.region_scores(maps, least_area, mask)
    return found


def counted(above: np.ndarray, least_area: int, inside: np.ndarray | None = None) -> np.ndarray:
    """H×W bool: of the pixels above a threshold, those of regions that count.

    Args:
        above: H×W bool.
        least_area, inside: as for :func:`region_scores`.
    """
    kept = above if inside is None else above & inside
    if least_area == 1 or not kept.any():
        return kept
    from scipy import ndimage  # a fifth of a second at start-up that a good part need not wait for

    labels, _ = ndimage.label(kept, np.ones((3, 3), int))
    large = np.bincount(labels.ravel()) >= least_area
    large[0] = False
    found: np.ndarray = large[labels]
    return found


def _region_score(scores: np.ndarray, least: int, inside: np.ndarray | None) -> float:
    """One map, without the compiled core: the level is searched by halving."""
    from scipy import ndimage

    kept = scores if inside is None else np.where(inside, scores, -np.inf)
    levels = np.unique(kept[kept > -np.inf])

    def has_region(level: float) -> bool:
        labels, count = ndimage.label(kept >= level, np.ones((3, 3), int))
        return count > 0 and np.bincount(labels.ravel())[1:].max() >= least

    low, high = -1, len(levels) - 1  # of the levels: low has such a region, or is none
    while low < high:
        middle = (low + high + 1) // 2
        if has_region(levels[middle]):
            low = middle
        else:
            high = middle - 1
    return float(levels[low]) if low >= 0 else -np.inf
