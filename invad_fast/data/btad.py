"""BTAD: MVTec's tree with ``ok`` for normal and ``ko`` for anomalous parts.

``<class>/train/ok``, ``<class>/test/{ok,ko}``, ``<class>/ground_truth/ko/<stem>.png``.
"""

from collections.abc import Iterator
from pathlib import Path

from invad_fast.data.class_tree import tree_records
from invad_fast.data.record import Record


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    return (folder / "train" / "ok").is_dir()


def read_class(folder: Path) -> Iterator[Record]:
    """The records of the class in ``folder``."""
    yield from tree_records(folder, normal="ok")
