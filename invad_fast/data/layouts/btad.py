"""BTAD: MVTec's tree with ``ok`` for normal and ``ko`` for anomalous parts.

``<class>/train/ok``, ``<class>/test/{ok,ko}``, ``<class>/ground_truth/ko/<stem>.png``.
"""

from pathlib import Path

from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.mvtec import good_folders
from invad_fast.data.layouts.parts import tree_class


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    good = good_folders(folder, "train")
    return {f.name.lower() for f in good} == {"ok"} and not any((f / "rgb").is_dir() for f in good)


def read_class(folder: Path, root: Path) -> Found:
    """What the class in ``folder`` holds."""
    return tree_class(folder, root)
