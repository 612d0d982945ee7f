"""KolektorSDD2: ``{train,test}/<stem>.png`` with the mask ``<stem>_GT.png`` beside every image.

An image is anomalous where its mask is not all black, so every mask is opened once. The defects
among the training images are read, but never trained on.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from invad_fast.data.images import load_image
from invad_fast.data.listing import class_name, image_files
from invad_fast.data.record import GOOD, Record
from invad_fast.errors import InputError

MASK_SUFFIX = "_GT"


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    return any(
        file.stem.endswith(MASK_SUFFIX)
        for split in ("train", "test")
        for file in image_files(folder / split)
    )


def read_class(folder: Path) -> Iterator[Record]:
    """The records of the class in ``folder``."""
    for split in ("train", "test"):
        files = {file.stem: file for file in image_files(folder / split)}
        for stem, image in files.items():
            if stem.endswith(MASK_SUFFIX):
                continue
            mask = files.get(stem + MASK_SUFFIX)
            if mask is None:
                raise InputError(f"{image}: its mask {stem}{MASK_SUFFIX}.png is missing")
            anomalous = bool(np.any(load_image(mask)))
            yield Record(
                image,
                class_name(folder),
                "train" if split == "train" else "test",
                "defect" if anomalous else GOOD,
                anomalous,
                mask if anomalous else None,
            )
