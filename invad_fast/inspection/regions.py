"""map ─> regions: where, how large and how strong what exceeds the threshold is."""

from __future__ import annotations

from typing import Any

import numpy as np

from invad_fast.metrics.engines.native_scores import native_module
from invad_fast.metrics.region_scores import counted
from invad_fast.prediction import ScoreRule, exceeds


def regions_above(
    scores: np.ndarray,
    threshold: float,
    size: tuple[int, int],
    rule: ScoreRule | None = None,
    mm_per_pixel: float | None = None,
) -> list[dict[str, Any]]:
    """The connected regions (8 neighbours) of the map above the threshold, the strongest first.

    Args:
        scores: H×W, the anomaly map.
        threshold: pixels above it belong to a region.
        size: (height, width) of the photo, in whose pixels boxes, areas and polygons are given.
        rule: by which the score was made: regions outside of its region of interest, or smaller
            than its least area, are none.
        mm_per_pixel: scale of the photo, for the values in millimetres.

    Returns:
        For each region ``box`` [x, y, width, height], ``area`` (square pixels), ``peak`` (its
        highest score), ``polygon`` (its outline, [x, y] each), ``longest_side`` (of the smallest
        box around it at any angle, in pixels); with a scale also ``area_mm2`` and
        ``longest_side_mm``.
    """
    above = exceeds(scores, threshold)
    if rule is not None:
        above = counted(above, rule.least_area, rule.inside(scores.shape))
    if not above.any():
        return []
    scale = size[0] / scores.shape[0], size[1] / scores.shape[1]
    native = native_module()
    shapes = _plain_shapes if native is None else native.region_shapes
    boxes, areas, peaks, longest, corners, ends = shapes(
        above.astype(np.uint8), np.ascontiguousarray(scores, np.float32), *scale
    )
    down, across = scale
    edges = boxes.reshape(-1, 4) * (across, down, across, down)
    outlines = np.split((corners.reshape(-1, 2) * (across, down)).round(2), ends[:-1])
    found = []
    for i in np.argsort(-peaks, kind="stable").tolist():
        left, top, right, bottom = edges[i].tolist()
        area = float(areas[i]) * down * across
        region: dict[str, Any] = {
            "box": [round(v, 2) for v in (left, top, right - left, bottom - top)],
            "area": round(area, 2),
            "peak": float(peaks[i]),
            "polygon": outlines[i].tolist(),
            "longest_side": round(float(longest[i]), 2),
        }
        if mm_per_pixel is not None:
            region["area_mm2"] = round(area * mm_per_pixel**2, 4)
            region["longest_side_mm"] = round(float(longest[i]) * mm_per_pixel, 4)
        found.append(region)
    return found


def _plain_shapes(
    above: np.ndarray, scores: np.ndarray, down: float, across: float
) -> tuple[np.ndarray, ...]:
    """What csrc/scores/region_shapes.h says, where there is no compiler."""
    from scipy import ndimage

    labels, count = ndimage.label(above, np.ones((3, 3), int))
    # Of the pixels above alone: ndimage's own maximum sorts the whole map.
    owners = labels[above != 0] - 1
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, owners, scores[above != 0])
    boxes, outlines, longest = [], [], []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        corners = _outline(labels[rows, columns] == number) + (columns.start, rows.start)
        boxes.append((columns.start, rows.start, columns.stop, rows.stop))
        outlines.append(corners)
        longest.append(_longest_side(corners * (across, down)))
    ends = np.cumsum([len(corners) for corners in outlines])
    areas = np.bincount(owners, minlength=count)
    return np.array(boxes), areas, peaks, np.array(longest), np.concatenate(outlines), ends


def _outline(mask: np.ndarray) -> np.ndarray:
    """H×W bool, one region → the corners of its outer outline, N×2 (x, y), along pixels' edges.

    Clockwise, the region on the right. Where two pixels touch at a corner the outline goes left,
    to the other one: neighbours of 8 are one region.
    """
    inside = np.pad(mask, 1)
    ahead: dict[tuple[int, int], set[tuple[int, int]]] = {}  # corner → directions that leave it
    own = inside[1:-1, 1:-1]
    sides = {
        (1, 0): (own & ~inside[:-2, 1:-1], 0, 0),  # direction → (whose edge runs so, from where)
        (0, 1): (own & ~inside[1:-1, 2:], 1, 0),
        (-1, 0): (own & ~inside[2:, 1:-1], 1, 1),
        (0, -1): (own & ~inside[1:-1, :-2], 0, 1),
    }
    for direction, (edges, right, down) in sides.items():
        for row, column in np.argwhere(edges).tolist():
            ahead.setdefault((column + right, row + down), set()).add(direction)
    place = start = (int(mask[0].argmax()), 0)
    heading = (1, 0)
    corners = [start]
    while True:
        place = (place[0] + heading[0], place[1] + heading[1])
        if place == start:
            return np.array(corners, float)
        left = (heading[1], -heading[0])
        turns = ahead[place]
        new = left if left in turns else heading if heading in turns else (-left[0], -left[1])
        if new != heading:
            corners.append(place)
        heading = new


def _longest_side(corners: np.ndarray) -> float:
    """Of the smallest rectangle around the points, whatever its angle (rotating calipers)."""
    from scipy.spatial import ConvexHull

    hull = corners[ConvexHull(corners).vertices]
    edges = np.roll(hull, -1, 0) - hull
    along = edges / np.hypot(*edges.T)[:, None]
    across = along[:, ::-1] * (-1, 1)
    spans = np.ptp(hull @ along.T, 0), np.ptp(hull @ across.T, 0)
    area, side = spans[0] * spans[1], np.maximum(*spans)  # one of its sides lies along an edge
    return float(side[area <= area.min() * (1 + 1e-9)].min())  # of several the shortest
