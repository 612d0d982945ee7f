"""ADer's ``meta.json``, in which Uni-Medical and our COCO-AD builds also come.

``{"train": {class: [entry, ...]}, "test": {class: [entry, ...]}}``, an entry having ``img_path``,
``mask_path`` (empty for a normal part), ``cls_name``, ``specie_name`` (the defect type) and
``anomaly`` (0 or 1); the paths are relative to the file's folder. `coco_ad` adds ``mask_rle``
(``{"size": [height, width], "counts": "..."}``) to entries whose mask is not written as PNG.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from invad_fast.data.json_file import listed_path, read_json
from invad_fast.data.listing import require_files
from invad_fast.data.mask_source import MaskRuns
from invad_fast.data.record import GOOD, Record
from invad_fast.errors import InputError

INDEX = "meta.json"


def matches(root: Path) -> bool:
    """Whether ``root`` has the index."""
    return (root / INDEX).is_file()


def read(root: Path) -> Iterator[Record]:
    """The records of every entry, whose files must exist."""
    index = root / INDEX
    content = read_json(index)
    if not isinstance(content, dict) or not isinstance(content.get("test"), dict):
        raise InputError(f"{index}: not ADer's index: no object 'test' of classes")
    records = []
    for split in ("train", "test"):
        classes = content.get(split, {})
        if not isinstance(classes, dict):
            raise InputError(f"{index}: {split!r} is not an object of classes")
        for name, entries in classes.items():
            if not isinstance(entries, list):
                raise InputError(f"{index}: {split}/{name} is not a list of entries")
            for number, entry in enumerate(entries):
                where = f"{index}: {split}/{name}, entry {number}"
                records.append(_record(root, name, split, entry, where))
    require_files([r.image for r in records], index)
    require_files([r.mask for r in records if isinstance(r.mask, Path)], index)
    yield from records


def _record(root: Path, name: str, split: str, entry: Any, where: str) -> Record:
    try:
        image = listed_path(root, entry["img_path"])
        anomalous = bool(int(entry["anomaly"]))
        defect = str(entry.get("specie_name") or "anomaly") if anomalous else GOOD
        runs = entry.get("mask_rle")
        mask: Path | MaskRuns | None = None
        if anomalous and entry.get("mask_path"):
            mask = listed_path(root, entry["mask_path"])
        elif anomalous and runs:
            mask = MaskRuns(int(runs["size"][0]), int(runs["size"][1]), str(runs["counts"]))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{where} lacks or garbles {error}; needed are img_path, mask_path, anomaly"
        ) from None
    return Record(image, name, "train" if split == "train" else "test", defect, anomalous, mask)
