"""MVTec 3D-AD, its colour images: ``<class>/{train,validation,test}/<defect>/{rgb,gt}``.

The point clouds (``xyz``) are not read.
"""

from pathlib import Path

from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.mvtec import good_folders
from invad_fast.data.layouts.parts import tree_class


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    return any((good / "rgb").is_dir() for good in good_folders(folder, "train"))


def read_class(folder: Path, root: Path) -> Found:
    """What the class in ``folder`` holds."""
    return tree_class(folder, root, images_in="rgb")
