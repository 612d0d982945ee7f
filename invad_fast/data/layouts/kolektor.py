"""KolektorSDD2: ``{train,test}/<stem>.png`` with the mask ``<stem>_GT.png`` beside every image.

An image is anomalous where its mask is not all black, so every mask is opened once. The defects
among the training images are read, but never trained on.
"""

from pathlib import Path

from invad_fast.data.images import mask_pixels
from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import class_name, image_files, subfolders
from invad_fast.data.layouts.names import split_of
from invad_fast.data.record import GOOD, Record
from invad_fast.errors import InputError

MASK_SUFFIX = "_gt"


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    return any(
        file.stem.lower().endswith(MASK_SUFFIX)
        for of_split in subfolders(folder)
        if split_of(of_split.name)
        for file in image_files(of_split)
    )


def read_class(folder: Path, root: Path) -> Found:
    """What the class in ``folder`` holds."""
    found = Found()
    for of_split in subfolders(folder):
        split = split_of(of_split.name)
        if split is None:
            continue
        files = {file.stem.lower(): file for file in image_files(of_split)}
        for stem, image in files.items():
            if stem.endswith(MASK_SUFFIX):
                continue
            mask = files.get(stem + MASK_SUFFIX)
            if mask is None:
                raise InputError(f"{image}: its mask {image.stem}_GT.png is missing")
            anomalous = bool(mask_pixels(mask, image).any())
            defect = "defect" if anomalous else GOOD
            found.looked_at.add(mask)
            found.records.append(
                Record(
                    image, class_name(folder), split, defect, anomalous, mask if anomalous else None
                )
            )
    return found
