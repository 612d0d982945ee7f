"""COCO's annotation files, reduced to what COCO-AD asks: which classes an image holds, and where.

A full instances_train2017.json is 450 MB, most of it polygons that no training image needs. They
are cut out before the file is parsed, and what is left never becomes Python objects whole.
"""

import json
import os
import re
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PureWindowsPath
from typing import Any

from invad_fast.data.json_file import GARBLED
from invad_fast.errors import InputError

CLASSES = 80
_MOST_PIXELS = 2**32 - 1  # what a run length holds
# Polygons: brackets and numbers as far as the next quote or brace, less what follows the last
# bracket. Within a string the quotes would be escaped, so nothing else matches.
_POLYGONS = re.compile(rb'"segmentation"\s*:\s*\[[][0-9eE.,+\s-]*\]')


@dataclass
class CocoImage:
    """One image: its file, its size (None where the file says none), and its annotations.

    ``segments`` has (category id, segmentation) of every annotation where they were asked for,
    as they stand in the file: a list of polygons or a run-length object.
    """

    file_name: str
    size: tuple[int, int] | None
    annotation_count: int = 0
    categories: set[int] = field(default_factory=set)
    segments: list[tuple[int, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class CocoAnnotations:
    """What one annotation file says. ``content`` is its hash; ``strays`` counts the annotations
    of images that it does not list, as files cut down by hand have them."""

    path: Path
    content: str
    images: dict[int, CocoImage]
    categories: dict[int, str]
    frequency: dict[int, int]
    strays: int

    def annotated(self) -> list[CocoImage]:
        """The images that have annotations, in the order of their file names."""
        found = (image for image in self.images.values() if image.annotation_count)
        return sorted(found, key=lambda image: image.file_name)


def read_annotations(path: Path, with_segments: bool) -> CocoAnnotations:
    """Reads ``path``; ``InputError`` names a file that is not one of COCO's with 80 classes."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); COCO-AD needs COCO 2017's annotations"
        ) from None
    digest = blake2b(data, digest_size=16).hexdigest()
    try:
        if not with_segments:
            data = _POLYGONS.sub(b'"segmentation":0', data)
        content = json.loads(data, object_hook=None if with_segments else _without_segments)
        del data
        return _collect(path, digest, content, with_segments)
    except (*GARBLED, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise InputError(f"{path}: not a COCO annotation file ({reason})") from None


def _without_segments(item: dict[str, Any]) -> Any:
    """Called for every JSON object as it is parsed: an annotation becomes its two ids."""
    if "category_id" in item:
        return item["image_id"], item["category_id"]
    return item


def _collect(path: Path, digest: str, content: Any, with_segments: bool) -> CocoAnnotations:
    names = {int(entry["id"]): _class_name(path, entry["name"]) for entry in content["categories"]}
    if len(names) != CLASSES:
        raise InputError(f"{path}: {len(names)} classes; COCO-AD splits the {CLASSES} of COCO 2017")
    categories = dict(sorted(names.items()))
    images = {
        int(entry["id"]): CocoImage(_file_name(path, entry["file_name"]), _size(path, entry))
        for entry in content["images"]
    }
    frequency = dict.fromkeys(categories, 0)
    strays = 0
    for entry in content["annotations"]:
        if with_segments:
            image_id, category, segment = (
                entry["image_id"],
                entry["category_id"],
                entry.get("segmentation"),
            )
        else:
            image_id, category = entry
        if category not in frequency:
            raise InputError(f"{path}: an annotation of class {category}, which is not listed")
        image = images.get(image_id)
        if image is None:
            strays += 1
            continue
        frequency[category] += 1
        image.annotation_count += 1
        image.categories.add(category)
        if with_segments:
            image.segments.append((category, segment))
    return CocoAnnotations(path, digest, images, categories, frequency, strays)


def _class_name(path: Path, name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{path}: a class needs a name, not {name!r}")
    return name


def _file_name(path: Path, name: Any) -> str:
    """The image's path below the folder of images, from which it must not lead out."""
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{path}: an image needs a file_name, not {name!r}")
    windows = PureWindowsPath(name)
    inside = os.path.normpath(windows.as_posix())
    if windows.anchor or inside.split("/")[0] == "..":
        raise InputError(f"{path}: the image {name!r} lies outside the folder of images")
    return inside


def _size(path: Path, entry: dict[str, Any]) -> tuple[int, int] | None:
    height, width = int(entry.get("height") or 0), int(entry.get("width") or 0)
    if min(height, width) > 0 and height * width > _MOST_PIXELS:
        raise InputError(f"{path}: the image {entry['file_name']!r} is said to be larger than any")
    return (height, width) if height > 0 and width > 0 else None
