"""ADer's ``meta.json``, in which Uni-Medical and our COCO-AD builds also come.

``{"train": {class: [entry, ...]}, "test": {class: [entry, ...]}}``, an entry having ``img_path``,
``mask_path`` (empty for a normal part), ``cls_name``, ``specie_name`` (the defect type) and
``anomaly`` (0 or 1); the paths are relative to the file's folder. `coco_ad` adds ``mask_rle``
(``{"size": [height, width], "counts": "..."}``) to entries whose mask is not written as PNG.
"""

from pathlib import Path
from typing import Any

from invad_fast.data.json_file import GARBLED, read_json
from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import ListedFiles, listed_class, require_files
from invad_fast.data.layouts.names import is_good, split_of
from invad_fast.data.mask_source import MaskRuns
from invad_fast.data.record import GOOD, Record, Split
from invad_fast.errors import InputError

INDEX = "meta.json"
_ANOMALY = {0: False, 1: True, "0": False, "1": True}


def matches(root: Path) -> bool:
    """Whether ``root`` has the index."""
    return (root / INDEX).is_file()


def read(root: Path, outside: bool) -> Found:
    """What the entries say; their files must exist, below the root unless ``outside``."""
    index = root / INDEX
    content = read_json(index)
    if not isinstance(content, dict) or not isinstance(content.get("test"), dict):
        raise InputError(f"{index}: not ADer's index: no object 'test' of classes")
    files = ListedFiles(root, root, index, outside)
    records: list[Record] = []
    listed: set[str] = set()
    for key, classes in content.items():
        split = split_of(key)
        if split is None:
            continue
        if not isinstance(classes, dict):
            raise InputError(f"{index}: {key!r} is not an object of classes")
        for name, entries in classes.items():
            listed.add(listed_class(name, f"{index}: {key}"))
            if not isinstance(entries, list):
                raise InputError(f"{index}: {key}/{name} is not a list of entries")
            for number, entry in enumerate(entries):
                where = f"{index}: {key}/{name}, entry {number}"
                records.append(_record(files, name, split, entry, where))
    require_files([r.image for r in records], index)
    require_files([r.mask for r in records if isinstance(r.mask, Path)], index)
    empty = sorted(listed - {record.class_name for record in records})
    notes = [f"{INDEX} lists no image of class {name!r}" for name in empty]
    return Found(records, notes=notes)


def _record(files: ListedFiles, name: str, split: Split, entry: Any, where: str) -> Record:
    try:
        image = files.path(entry["img_path"])
        anomalous = _ANOMALY[entry["anomaly"]]
        species = entry.get("specie_name") or "anomaly"
        if not isinstance(species, str):
            raise TypeError(f"a specie_name that is {species!r}")
        if anomalous and is_good(species):
            raise InputError(f"{where}: anomaly is 1, but specie_name is {species!r}")
        runs = entry.get("mask_rle")
        mask: Path | MaskRuns | None = None
        if anomalous and entry.get("mask_path"):
            mask = files.path(entry["mask_path"])
        elif anomalous and runs:
            mask = MaskRuns(int(runs["size"][0]), int(runs["size"][1]), str(runs["counts"]))
    except InputError:
        raise
    except GARBLED as error:
        raise InputError(
            f"{where} lacks or garbles {error}; needed are img_path, mask_path, anomaly (0 or 1)"
        ) from None
    return Record(image, name, split, species if anomalous else GOOD, anomalous, mask)
