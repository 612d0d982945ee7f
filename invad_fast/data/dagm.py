"""DAGM 2007: ``Class<n>/{Train,Test}/<stem>.PNG``, masks in ``{Train,Test}/Label``.

An image is anomalous where ``Label`` has a ``<stem>_label`` file (a coarse ellipse). The defects
among the training images are read, but never trained on.
"""

from collections.abc import Iterator
from pathlib import Path

from invad_fast.data.listing import class_name, image_files
from invad_fast.data.record import GOOD, Record


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    return (folder / "Train" / "Label").is_dir() or (folder / "Test" / "Label").is_dir()


def read_class(folder: Path) -> Iterator[Record]:
    """The records of the class in ``folder``."""
    for split in ("train", "test"):
        images = folder / split.capitalize()
        labels = {f.stem.lower(): f for f in image_files(images / "Label")}
        for image in image_files(images):
            mask = labels.get(f"{image.stem.lower()}_label")
            yield Record(
                image,
                class_name(folder),
                "train" if split == "train" else "test",
                "defect" if mask else GOOD,
                mask is not None,
                mask,
            )
