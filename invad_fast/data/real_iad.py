"""Real-IAD: one ``<class>.json`` per class beside the images of five views.

The JSON files lie in ``realiad_jsons`` (possibly one folder deeper), or in the root itself; the
images in ``realiad_1024``, ``realiad_512``, ``realiad_256`` or ``realiad_raw`` (the first that
is there), or in the root. An entry has ``image_path``, ``mask_path`` and ``anomaly_class``
(``OK`` is normal); the paths are below the class's folder. Every view is a record of its own.
Anomalous images among the training ones (the noisy protocols) are read, but never trained on.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from invad_fast.data.json_file import listed_path, read_json
from invad_fast.data.listing import require_files, subfolders
from invad_fast.data.record import GOOD, Record
from invad_fast.errors import InputError

INDEX_FOLDERS = ("realiad_jsons/realiad_jsons", "realiad_jsons", ".")
IMAGE_FOLDERS = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw", ".")


def matches(root: Path) -> bool:
    """Whether ``root`` has a JSON file for a class whose folder of images is there too."""
    return bool(_indices(root))


def read(root: Path) -> Iterator[Record]:
    """The records of every class that has both its JSON file and its images."""
    for index, images in _indices(root):
        content = read_json(index)
        try:
            normal = content.get("meta", {}).get("normal_class", "OK")
            records = [
                _record(index.stem, images, split, entry, normal)
                for split in ("train", "test")
                for entry in content[split]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{index}: not Real-IAD's index, {error} is missing or of another kind; an entry "
                "has image_path, mask_path, anomaly_class"
            ) from None
        require_files([r.image for r in records], index)
        require_files([r.mask for r in records if isinstance(r.mask, Path)], index)
        yield from records


def _indices(root: Path) -> list[tuple[Path, Path]]:
    """(JSON file, folder of images) for every class, from the first folder that has any."""
    image_roots = [root / name for name in IMAGE_FOLDERS if (root / name).is_dir()]
    for name in INDEX_FOLDERS:
        found = []
        for index in sorted((root / name).glob("*.json")):
            folders = (images / index.stem for images in image_roots)
            images = next((folder for folder in folders if subfolders(folder)), None)
            if images is not None:
                found.append((index, images))
        if found:
            return found
    return []


def _record(name: str, images: Path, split: str, entry: Any, normal: str) -> Record:
    anomalous = entry["anomaly_class"] != normal
    mask = entry.get("mask_path") if anomalous else None
    return Record(
        listed_path(images, entry["image_path"]),
        name,
        "train" if split == "train" else "test",
        str(entry["anomaly_class"]) if anomalous else GOOD,
        anomalous,
        listed_path(images, mask) if mask else None,
    )
