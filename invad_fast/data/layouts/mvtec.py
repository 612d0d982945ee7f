"""MVTec AD's layout, which MVTec LOCO, MPDD and many other sets share.

``<class>/train/good``, ``<class>/test/<defect>``, ``<class>/ground_truth/<defect>``; masks may be
called in any usual way (see `mask_matching`). ``validation/good`` (MVTec LOCO) is read as a split
of its own. A class that has ``test`` beside masks or ``test/good``, but no ``train``, can be
scored, not trained on; one that has ``validation/good`` alone can be calibrated on.
"""

from pathlib import Path

from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import subfolders
from invad_fast.data.layouts.names import is_good, is_mask_folder, split_of
from invad_fast.data.layouts.parts import tree_class


def good_folders(folder: Path, split: str) -> list[Path]:
    """The folders of good parts of a split of a class, however they are spelt."""
    of_split = [inner for inner in subfolders(folder) if split_of(inner.name) == split]
    return [good for inner in of_split for good in subfolders(inner) if is_good(good.name)]


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    inner = subfolders(folder)
    if any(split_of(f.name) == "train" for f in inner):
        good = good_folders(folder, "train")
        called = {f.name.lower() for f in good}
        return bool(called - {"ok"}) and not any((f / "rgb").is_dir() for f in good)
    kinds = [kind for f in inner if split_of(f.name) == "test" for kind in subfolders(f)]
    if not kinds and not any(split_of(f.name) in ("train", "test") for f in inner):
        return any(not (f / "rgb").is_dir() for f in good_folders(folder, "validation"))
    scorable = any(is_mask_folder(f.name) for f in inner) or any(is_good(k.name) for k in kinds)
    return scorable and bool(kinds) and not (kinds[0] / "rgb").is_dir()


def read_class(folder: Path, root: Path) -> Found:
    """What the class in ``folder`` holds."""
    return tree_class(folder, root)
