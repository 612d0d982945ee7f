"""VisA: the table ``split_csv/1cls.csv`` says which image is what.

Columns ``object, split, label, image, mask``: the class, ``train`` or ``test``, ``normal`` (or
``good``, ``ok``) or ``anomaly``, and the paths of the image and (for an anomaly) of its mask below
the root.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import ListedFiles, require_files
from invad_fast.data.layouts.names import is_good, split_of
from invad_fast.data.record import GOOD, Record
from invad_fast.errors import InputError

TABLES = ("split_csv/1cls.csv", "1cls.csv")
COLUMNS = ("object", "split", "label", "image", "mask")


def matches(root: Path) -> bool:
    """Whether ``root`` has the table."""
    return any((root / table).is_file() for table in TABLES)


def read(root: Path, outside: bool) -> Found:
    """What the table lists; its files must exist, below the root unless ``outside``."""
    table = next((root / t for t in TABLES if (root / t).is_file()), root / TABLES[0])
    records = list(_rows(ListedFiles(root, root, table, outside)))
    require_files([r.image for r in records], table)
    require_files([r.mask for r in records if isinstance(r.mask, Path)], table)
    return Found(records)


def _rows(files: ListedFiles) -> Iterator[Record]:
    table = files.index
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if lacking:
                raise InputError(
                    f"{table}: no column {lacking[0]!r}; VisA's table has {', '.join(COLUMNS)}"
                )
            for row in reader:
                yield _record(files, row, f"{table}: line {reader.line_num}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not a CSV table ({error})") from None
    except OSError as error:
        raise InputError(f"{table}: cannot be read ({error.strerror})") from None


def _record(files: ListedFiles, row: dict[str, str | None], where: str) -> Record:
    values = {name: (row[name] or "").strip() for name in COLUMNS}
    split, label = split_of(values["split"]), values["label"].lower()
    if split is None:
        raise InputError(f"{where}: split is {values['split']!r}, not 'train' or 'test'")
    if not is_good(label) and label != "anomaly":
        raise InputError(f"{where}: label is {values['label']!r}, not 'normal' or 'anomaly'")
    for name in ("object", "image"):
        if not values[name]:
            raise InputError(f"{where}: the column {name!r} is empty")
    anomalous = label == "anomaly"
    mask = files.path(values["mask"]) if anomalous and values["mask"] else None
    image, defect = files.path(values["image"]), label if anomalous else GOOD
    return Record(image, values["object"], split, defect, anomalous, mask)
