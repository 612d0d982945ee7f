"""From COCO's segmentations to the mask of an image: the union of them, in run lengths."""

import math
from typing import Any

from invad_fast.data.json_file import GARBLED
from invad_fast.data.mask_source import MaskRuns, run_lengths
from invad_fast.errors import InputError

Point = tuple[float, float]


def require_pycocotools() -> Any:
    """pycocotools' mask module; `InputError` where the extra is not installed."""
    try:
        from pycocotools import mask
    except ImportError:
        raise InputError(
            "COCO-AD needs pycocotools, which is not installed: pip install 'invad-fast[coco]'"
        ) from None
    return mask


def union_mask(segmentations: list[Any], size: tuple[int, int], where: str) -> tuple[MaskRuns, int]:
    """The union of ``segmentations`` in an image of ``size`` (height, width), and how many of
    their parts were dropped as degenerate.

    A segmentation is a list of polygons (x, y, x, y, ...), or run lengths, compressed or not
    (COCO's crowds). A polygon of fewer than three points, or with coordinates that are no finite
    numbers, covers nothing and is dropped; one that leaves the image is cut at its border. Run
    lengths of another size than the image raise `InputError`, which begins with ``where``.
    """
    coder = require_pycocotools()
    height, width = size
    runs = [coder.frPyObjects({"counts": [height * width], "size": [height, width]}, *size)]
    dropped = 0
    for segmentation in segmentations:
        if isinstance(segmentation, dict):
            runs.append(_from_runs(coder, segmentation, size, where))
        elif isinstance(segmentation, list):
            polygons = [p for polygon in segmentation if (p := _polygon(polygon, size))]
            dropped += max(1, len(segmentation)) - len(polygons)
            if polygons:
                runs += coder.frPyObjects(polygons, *size)
        else:
            dropped += 1
    union = coder.merge(runs)
    return MaskRuns(height, width, union["counts"].decode("ascii")), dropped


def _from_runs(coder: Any, segmentation: dict[str, Any], size: tuple[int, int], where: str) -> Any:
    try:
        counts = segmentation["counts"]
        stated = tuple(int(side) for side in segmentation["size"])
        lengths = [int(c) for c in counts] if isinstance(counts, list) else run_lengths(counts)
    except GARBLED:
        raise InputError(f"{where}: a run-length mask lacks its size or counts") from None
    if stated != size:
        raise InputError(
            f"{where}: a run-length mask of {stated[::-1]} in an image of {size[::-1]}"
        )
    if min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
        raise InputError(f"{where}: a run-length mask whose runs do not add up to the image")
    return coder.frPyObjects({"counts": lengths, "size": list(size)}, *size)


def _polygon(coordinates: Any, size: tuple[int, int]) -> list[float] | None:
    """The polygon as pycocotools takes it, or None where it covers nothing.

    pycocotools takes four numbers for a box, and needs memory in proportion to a polygon's
    extent: it must see neither degenerate nor far-flung ones.
    """
    try:
        values = [float(value) for value in coordinates]
    except GARBLED:
        return None
    if len(values) < 6 or len(values) % 2 or not all(map(math.isfinite, values)):
        return None
    height, width = size
    near = ((values[::2], width), (values[1::2], height))
    if all(-extent <= min(v) and max(v) <= 2 * extent for v, extent in near):
        return values
    points = list(zip(values[::2], values[1::2], strict=True))
    for axis, extent in ((0, width), (1, height)):
        points = _cut(points, axis, -1.0, at_least=True)
        points = _cut(points, axis, extent + 1.0, at_least=False)
    return [value for point in points for value in point] if len(points) > 2 else None


def _cut(points: list[Point], axis: int, limit: float, at_least: bool) -> list[Point]:
    """The part of a polygon on one side of a line across ``axis`` (Sutherland and Hodgman)."""

    def inside(point: Point) -> bool:
        return point[axis] >= limit if at_least else point[axis] <= limit

    kept: list[Point] = []
    for before, point in zip(points[-1:] + points[:-1], points, strict=True):
        if inside(before) != inside(point):
            share = (limit - before[axis]) / (point[axis] - before[axis])
            crossing = [b + share * (p - b) for b, p in zip(before, point, strict=True)]
            crossing[axis] = limit
            kept.append((crossing[0], crossing[1]))
        if inside(point):
            kept.append(point)
    return kept
