"""DAGM 2007: ``Class<n>/{Train,Test}/<stem>.PNG``, masks in ``{Train,Test}/Label``.

An image is anomalous where ``Label`` has a ``<stem>_label`` file (a coarse ellipse). The defects
among the training images are read, but never trained on.
"""

from pathlib import Path

from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import class_name, image_files, subfolders
from invad_fast.data.layouts.names import is_good, split_of
from invad_fast.data.record import GOOD, Record


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    splits = [inner for inner in subfolders(folder) if split_of(inner.name)]
    names = {inner.name.lower() for of_split in splits for inner in subfolders(of_split)}
    return "label" in names and not any(map(is_good, names))


def read_class(folder: Path, root: Path) -> Found:
    """What the class in ``folder`` holds."""
    found = Found()
    for of_split in subfolders(folder):
        split = split_of(of_split.name)
        if split is None:
            continue
        inner = [f for f in subfolders(of_split) if f.name.lower() == "label"]
        labels = {file.stem.lower(): file for labels in inner for file in image_files(labels)}
        for image in image_files(of_split):
            mask = labels.get(f"{image.stem.lower()}_label")
            defect = "defect" if mask else GOOD
            found.records.append(
                Record(image, class_name(folder), split, defect, mask is not None, mask)
            )
    return found
