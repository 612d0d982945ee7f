"""Where of a picture a defect counts: polygons, in every place where they are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from invad_fast.errors import InputError

Polygons = tuple[tuple[tuple[float, float], ...], ...]
"""Corners as shares of width and height, from the upper left."""


@lru_cache(maxsize=32)
def inside_of(polygons: Polygons, size: tuple[int, int]) -> np.ndarray:
    """H×W bool: the pixels whose centres lie in one of the polygons (by crossings, even-odd).

    Args:
        size: (H, W).
    """
    down = (np.arange(size[0]) + 0.5)[:, None] / size[0]
    across = (np.arange(size[1]) + 0.5)[None] / size[1]
    found = np.zeros(size, bool)
    for polygon in polygons:
        odd = np.zeros(size, bool)
        for (x, y), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0])):
            between = (down < y) != (down < y2)
            crossing = x + (down - y) * (x2 - x) / ((y2 - y) or 1.0)
            odd ^= between & (across < crossing)
        found |= odd
    found.setflags(write=False)  # it is kept
    return found


@lru_cache(maxsize=32)
def largest_part(polygons: Polygons, size: tuple[int, int]) -> int:
    """Pixels of the largest connected part (8 neighbours) of the region: no defect is larger."""
    from scipy import ndimage

    labels, _ = ndimage.label(inside_of(polygons, size), np.ones((3, 3), int))
    return int(np.bincount(labels.ravel(), minlength=2)[1:].max())


def check_polygons(value: Any) -> Polygons | None:
    """Polygons, as numbers or as text "x,y x,y x,y; x,y …"; None stays None.

    Raises:
        InputError: where it is none.
    """
    if value is None:
        return None
    said = (
        "a region of interest is polygons of at least three corners, as shares of width and "
        "height: 0.1,0.1 0.9,0.1 0.9,0.9; …"
    )
    try:
        if isinstance(value, str):
            value = [[c.split(",") for c in part.split()] for part in value.split(";")]
        polygons = tuple(tuple((float(x), float(y)) for x, y in polygon) for polygon in value)
    except (TypeError, ValueError):
        raise InputError(f"{said}, not {value!r:.60}") from None
    flat: Sequence[float] = [number for p in polygons for corner in p for number in corner]
    if not polygons or min(map(len, polygons)) < 3 or not all(0 <= n <= 1 for n in flat):
        raise InputError(f"{said}, not {value!r:.60}")
    return polygons


RegionOption = Annotated[Polygons | None, BeforeValidator(check_polygons)]
"""A field of options or of a score rule."""
