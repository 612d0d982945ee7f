"""Real-IAD: one ``<class>.json`` per class beside the images of five views.

The JSON files lie in ``realiad_jsons`` (possibly one folder deeper), or in the root itself; the
images in ``realiad_1024``, ``realiad_512``, ``realiad_256`` or ``realiad_raw`` (the first that
is there), or in the root. An entry has ``image_path``, ``mask_path`` and ``anomaly_class``
(``OK`` is normal); the paths are below the class's folder. Every view is a record of its own.
Anomalous images among the training ones (the noisy protocols) are read, but never trained on.
"""

from pathlib import Path
from typing import Any

from invad_fast.data.json_file import read_json
from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import ListedFiles, require_files, subfolders
from invad_fast.data.layouts.names import is_good
from invad_fast.data.record import GOOD, Record, Split
from invad_fast.errors import InputError

INDEX_FOLDERS = ("realiad_jsons/realiad_jsons", "realiad_jsons", ".")
SPLITS: tuple[Split, ...] = ("train", "test")
IMAGE_FOLDERS = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw", ".")


def matches(root: Path) -> bool:
    """Whether ``root`` has a JSON file for a class whose folder of images is there too."""
    return bool(_indices(root))


def read(root: Path, outside: bool) -> Found:
    """What every JSON file says that has its images; they must exist, below the root unless
    ``outside``."""
    found = Found()
    for index, images in _indices(root):
        if images is None:
            found.notes.append(f"the images that {index.relative_to(root)} lists are not there")
            continue
        content = read_json(index)
        files = ListedFiles(root, images, index, outside)
        try:
            normal = content.get("meta", {}).get("normal_class", "OK")
            records = [
                _record(files, split, entry, normal) for split in SPLITS for entry in content[split]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{index}: not Real-IAD's index, {error} is missing or of another kind; an entry "
                "has image_path, mask_path, anomaly_class"
            ) from None
        require_files([r.image for r in records], index)
        require_files([r.mask for r in records if isinstance(r.mask, Path)], index)
        found.records += records
    return found


def _indices(root: Path) -> list[tuple[Path, Path | None]]:
    """(JSON file, folder of images or None) for every class, from the first folder that has any."""
    image_roots = [root / name for name in IMAGE_FOLDERS if (root / name).is_dir()]
    for name in INDEX_FOLDERS:
        found: list[tuple[Path, Path | None]] = []
        for index in sorted((root / name).glob("*.json")):
            folders = (images / index.stem for images in image_roots)
            found.append((index, next((f for f in folders if subfolders(f)), None)))
        if any(images for _, images in found):
            return found if name != "." else [pair for pair in found if pair[1]]
    return []


def _record(files: ListedFiles, split: Split, entry: Any, normal: str) -> Record:
    kind = entry["anomaly_class"]
    if not isinstance(kind, str) or not kind.strip():
        raise TypeError(f"an anomaly_class that is {kind!r}")
    anomalous = kind != normal and not is_good(kind)
    mask = entry.get("mask_path") if anomalous else None
    return Record(
        files.path(entry["image_path"]),
        files.index.stem,
        split,
        kind if anomalous else GOOD,
        anomalous,
        files.path(mask) if mask else None,
    )
