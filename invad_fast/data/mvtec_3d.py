"""MVTec 3D-AD, its colour images: ``<class>/{train,test}/<defect>/{rgb,gt}``.

The point clouds (``xyz``) are not read, and neither is the ``validation`` split.
"""

from collections.abc import Iterator
from pathlib import Path

from invad_fast.data.class_tree import masks_by_stem
from invad_fast.data.listing import class_name, image_files, subfolders
from invad_fast.data.record import GOOD, Record


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    return (folder / "train" / GOOD / "rgb").is_dir()


def read_class(folder: Path) -> Iterator[Record]:
    """The records of the class in ``folder``."""
    name = class_name(folder)
    for image in image_files(folder / "train" / GOOD / "rgb"):
        yield Record(image, name, "train", GOOD, False)
    for defect in subfolders(folder / "test"):
        anomalous = defect.name != GOOD
        # good parts have an empty gt image each, which says nothing new
        masks = masks_by_stem(defect / "gt") if anomalous else {}
        for image in image_files(defect / "rgb"):
            yield Record(image, name, "test", defect.name, anomalous, masks.get(image.stem))
