"""What a state of AnomalyMetrics may be.

A state comes from another process, or from a file: whatever is to be merged is held against what
``state()`` gives, field by field, before anything is added. Redundant fields make most damage
visible: regions and areas, weights and counts, least and greatest scores must agree.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from invad_fast.errors import InputError
from invad_fast.metrics.float_keys import keys_of
from invad_fast.metrics.inputs import shown
from invad_fast.metrics.streaming.numpy_cells import REGION_UNIT

# Of states: raised whenever their fields change. 2: image scores are float32 throughout.
VERSION = 2
# Keys of the least and the greatest finite float32: csrc/scores/keys.h.
_FINITE = 0x0080_0000, 0xFF7F_FFFF
_MOST = (1 << 63) - 1


def checked_state(state: Any, settings: tuple[str, str, int | None]) -> dict[str, Any]:
    """The same state, its arrays of the types that the engines read.

    Args:
        settings: mode, protocol and pooling, which must be the state's own.

    Raises:
        InputError: another version or other settings, a field that is missing, unknown, of
            another type, or contradicts the others.
    """
    version = state.get("version") if isinstance(state, Mapping) else None
    if isinstance(version, int) and version != VERSION:
        raise InputError(
            f"this is a state of version {shown(version)}, not {VERSION}: compute its figures with "
            "the release of invad_fast that made it"
        )
    fields = _Fields(state, "", ("version", "settings", "has_masks", "pixels", "images"))
    if not isinstance(version, int):
        fields.refuse("version", f"is {shown(version)}, no whole number")
    found = fields["settings"]
    plain = isinstance(found, (tuple, list)) and all(
        isinstance(part, (str, int, type(None))) for part in found
    )
    if not plain or tuple(found) != settings:
        raise InputError(f"cannot merge metrics of {shown(found)} into {settings}")
    has_masks = fields["has_masks"]
    if has_masks is not None and not isinstance(has_masks, (bool, np.bool_)):
        fields.refuse("has_masks", "is neither true, false, nor None")
    exact = settings[0] == "exact"
    pixels = _exact_pixels(fields) if exact else _cells(fields, "pixels")
    images = _held_images(fields) if exact else _cells(fields, "images")
    highest = images.pop("highest") if exact else images["high"]
    pixel_count, image_count = pixels.pop("count"), images.pop("count")
    if (has_masks is None) != (pixel_count == 0) or (image_count == 0) != (pixel_count == 0):
        fields.refuse("has_masks", f"does not fit {image_count} images of {pixel_count} pixels")
    if image_count > pixel_count:
        fields.refuse("images", f"are {image_count}, of only {pixel_count} pixels")
    if settings[2] is None and image_count and highest != pixels["high"]:
        fields.refuse("images", f"score {highest} at most, of pixels up to {pixels['high']}")
    if has_masks is False and pixels["regions"]:
        fields.refuse("pixels", "are anomalous, though there were no masks")
    return {
        "version": VERSION,
        "settings": settings,
        "has_masks": None if has_masks is None else bool(has_masks),
        "pixels": pixels,
        "images": images,
    }


class _Fields:
    """The fields of a mapping, of known names, each asked for with what it must be."""

    def __init__(self, values: Any, path: str, names: tuple[str, ...]) -> None:
        self._path = path
        if not isinstance(values, Mapping):
            self.refuse("", f"is {type(values).__name__}, no dict")
        for name in names:
            if name not in values:
                self.refuse(name, "is missing")
        for name in values:
            if name not in names:
                self.refuse("", f"has the field {shown(name)}, which is unknown")
        self._values = values

    def refuse(self, name: str, why: str) -> NoReturn:
        where = ".".join(filter(None, (self._path, name)))
        where = f"the state's {where}" if where else "the state"
        raise InputError(f"{where} {why}: merge only what AnomalyMetrics.state() gave, unchanged")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def part(self, name: str, names: tuple[str, ...]) -> _Fields:
        return _Fields(self[name], ".".join(filter(None, (self._path, name))), names)

    def whole(self, name: str, most: int = _MOST) -> int:
        try:
            value = operator.index(self[name])
        except TypeError:
            self.refuse(name, f"is {shown(self[name])}, no whole number")
        if not 0 <= value <= most:
            self.refuse(name, f"is {shown(value)}, not in 0 … {most}")
        return value

    def number(self, name: str) -> float:
        """One that float32 holds."""
        value = self[name]
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
            self.refuse(name, f"is {shown(value)}, no number")
        try:
            with np.errstate(over="ignore"):
                kept = float(np.float32(float(value)))
        except OverflowError:
            kept = float("inf")
        if kept != value or not np.isfinite(kept):
            self.refuse(name, f"is {shown(value)}, no finite float32")
        return kept

    def key(self, name: str) -> int:
        """Of a score."""
        return int(keys_of(np.array([self.number(name)], np.float32))[0])

    def array(self, name: str, kind: Any) -> np.ndarray:
        """One dimension, of a type whose values are all kept by ``kind``."""
        values = self[name]
        if not isinstance(values, np.ndarray) or values.ndim != 1:
            self.refuse(name, "is no array of one dimension")
        whole = np.dtype(kind).kind in "iu"
        if values.dtype.kind not in ("iu" if whole else np.dtype(kind).kind):
            self.refuse(name, f"holds {values.dtype}, not {np.dtype(kind)}")
        if len(values) and whole:
            bounds = np.iinfo(kind)
            if int(values.min()) < bounds.min or int(values.max()) > bounds.max:
                self.refuse(name, f"holds numbers that are no {np.dtype(kind)}")
        if not whole and len(values) and values.dtype.kind == "f" and not np.isfinite(values).all():
            self.refuse(name, "holds numbers that are not finite")
        return np.ascontiguousarray(values, kind)

    def ends(self, low: tuple[int, int], high: tuple[int, int]) -> dict[str, float]:
        """The least and the greatest score, whose keys must lie in these ranges."""
        for name, (first, last) in (("low", low), ("high", high)):
            if not first <= self.key(name) <= last:
                self.refuse(name, f"is {self[name]}, which is not that of the scores")
        return {"low": self.number("low"), "high": self.number("high")}


# Of the state of no pixels.
_NO_ENDS = {"low": float("inf"), "high": float("-inf")}


def _exact_pixels(state: _Fields) -> dict[str, Any]:
    fields = state.part("pixels", ("normal", "anomalous", "areas", "regions", "low", "high"))
    found: dict[str, Any] = {}
    lowest, highest = 1 << 32, -1
    for kind in ("normal", "anomalous"):
        found[kind], first, last = _places(fields.part(kind, ("buckets", "sizes", "places")))
        lowest, highest = min(lowest, first), max(highest, last)
    areas = found["areas"] = fields.array("areas", np.uint32)
    if len(areas) != len(found["anomalous"]["places"]):
        fields.refuse("areas", "are not as many as the anomalous pixels")
    if len(areas) and not areas.all():
        fields.refuse("areas", "hold a 0")
    regions = found["regions"] = fields.whole("regions")
    # Each of a region's pixels has its area.
    if abs(float((1 / areas.astype(np.float64)).sum()) - regions) > 0.01:
        fields.refuse("regions", f"are {regions}, which is not what the areas add up to")
    count = len(areas) + len(found["normal"]["places"])
    ends = fields.ends((lowest, lowest), (highest, highest)) if count else _NO_ENDS
    return found | ends | {"count": count}


def _places(fields: _Fields) -> tuple[dict[str, np.ndarray], int, int]:
    """(buckets, sizes, places; the least and the greatest key)."""
    buckets = fields.array("buckets", np.uint32)
    sizes = fields.array("sizes", np.uint64)
    places = fields.array("places", np.uint16)
    if len(buckets) != len(sizes) or (len(buckets) > 1 and not (buckets[1:] > buckets[:-1]).all()):
        fields.refuse("buckets", "do not rise, or are not as many as their sizes")
    if not sizes.all() or sum(sizes.tolist()) != len(places):
        fields.refuse("sizes", "are not those of the places")
    found = {"buckets": buckets, "sizes": sizes, "places": places}
    if not len(buckets):
        return found, 1 << 32, -1
    first, last = places[: int(sizes[0])], places[len(places) - int(sizes[-1]) :]
    lowest = (int(buckets[0]) << 16) + int(first.min())
    highest = (int(buckets[-1]) << 16) + int(last.max())
    if lowest < _FINITE[0] or highest > _FINITE[1]:
        fields.refuse("buckets", "hold scores that are not finite")
    return found, lowest, highest


def _held_images(state: _Fields) -> dict[str, Any]:
    fields = state.part("images", ("scores", "labels"))
    scores, labels = fields.array("scores", np.float32), fields.array("labels", np.bool_)
    if len(scores) != len(labels):
        fields.refuse("labels", f"are {len(labels)}, of {len(scores)} scores")
    highest = float(scores.max(initial=-np.inf))
    return {"scores": scores, "labels": labels, "count": len(scores), "highest": highest}


def _cells(state: _Fields, name: str) -> dict[str, Any]:
    counted = ("normal", "anomalous", "weight")
    fields = state.part(name, ("last", "bits", *counted, "limit", "regions", "low", "high"))
    last, bits = fields.array("last", np.uint32), fields.array("bits", np.uint8)
    counts = {name: fields.array(name, np.int64) for name in counted}
    for name, values in {"bits": bits, **counts}.items():
        if len(values) != len(last):
            fields.refuse(name, f"are {len(values)}, of {len(last)} cells")
    if len(bits) and bits.max() > 32:
        fields.refuse("bits", "are more than 32")
    wide, inside = last.astype(np.int64), (np.int64(1) << bits.astype(np.int64)) - 1
    order = -wide * 64 - bits  # the highest first, what holds others before these
    if ((wide & inside) != inside).any() or (order[1:] <= order[:-1]).any():
        fields.refuse("last", "are not the last keys of cells in order")
    for name, values in counts.items():
        if len(values) and (values.min() < 0 or values.sum(dtype=np.float64) > 0.999 * _MOST):
            fields.refuse(name, "holds negative numbers, or too large ones")
    normal, anomalous, weight = counts.values()
    if (normal + anomalous == 0).any() or ((weight > 0) != (anomalous > 0)).any():
        fields.refuse("last", "are of cells that hold nothing, or anomalous pixels of no region")
    regions, total = fields.whole("regions"), int(anomalous.sum())
    # Each anomalous pixel's share of its region was rounded, by a half at most.
    if 2 * abs(int(weight.sum()) - regions * REGION_UNIT) > total:
        fields.refuse("regions", f"are {regions}, which is not what the weights add up to")
    limit = fields.number("limit")
    if limit < 0:
        fields.refuse("limit", f"is {limit}")
    found = {"last": last, "bits": bits, **counts, "limit": limit, "regions": regions}
    ends = _NO_ENDS
    if len(last):
        # Every cell holds a score: it ends at the least one or above, and begins at the greatest
        # one or below.
        first = wide - inside
        low, high = (int(first.min()), int(wide.min())), (int(first.max()), int(wide.max()))
        ends = fields.ends(low, high)
    return found | ends | {"count": int(normal.sum()) + total}
