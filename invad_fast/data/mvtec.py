"""MVTec AD's layout, which MVTec LOCO, MPDD and many other sets share.

``<class>/train/good``, ``<class>/test/<defect>``, ``<class>/ground_truth/<defect>``; the masks
are ``<stem>_mask.png``, ``<stem>.png`` or, in LOCO, ``<stem>/000.png`` and on. A class that has
``test`` beside ``ground_truth`` or ``test/good``, but no ``train``, can be scored, not trained on.
"""

from collections.abc import Iterator
from pathlib import Path

from invad_fast.data.class_tree import tree_records
from invad_fast.data.listing import subfolders
from invad_fast.data.record import Record


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    good = folder / "train" / "good"
    if good.is_dir():
        return not (good / "rgb").is_dir()
    if (folder / "train").is_dir():
        return False
    test = folder / "test"
    scorable = (folder / "ground_truth").is_dir() or (test / "good").is_dir()
    defects = subfolders(test)
    return scorable and bool(defects) and not (defects[0] / "rgb").is_dir()


def read_class(folder: Path) -> Iterator[Record]:
    """The records of the class in ``folder``."""
    yield from tree_records(folder)
