"""A plain folder: ``good/``, any other folder a defect type, ``ground_truth/<defect>/`` optional.

``good`` may also be called ``ok`` or ``normal``, in any case. Nothing says which good images to
test on, so a fifth of them is held out where there are defects to find, drawn by their names: the
choice is the same on every machine, and hardly changes while the folder grows. Without defects
all of them train.
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from invad_fast.data.class_tree import masks_by_stem
from invad_fast.data.listing import class_name, image_files, subfolders
from invad_fast.data.record import GOOD, Record

NORMAL_NAMES = frozenset({"good", "ok", "normal"})
HELD_OUT = 0.2
# the parts of other layouts, which also hold a folder named good
_NOT_A_CLASS = frozenset({"train", "test", "validation", "ground_truth"})


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    if folder.name.lower() in _NOT_A_CLASS:
        return False
    return any(inner.name.lower() in NORMAL_NAMES for inner in subfolders(folder))


def read_class(folder: Path) -> Iterator[Record]:
    """The records of the class in ``folder``."""
    name = class_name(folder)
    good: list[Path] = []
    defects: list[Record] = []
    for inner in subfolders(folder):
        if inner.name.lower() in NORMAL_NAMES:
            good += image_files(inner)
        elif inner.name != "ground_truth":
            masks = masks_by_stem(folder / "ground_truth" / inner.name)
            for image in image_files(inner):
                defects.append(Record(image, name, "test", inner.name, True, masks.get(image.stem)))
    held_out = _held_out(good) if defects else set()
    for image in good:
        yield Record(image, name, "test" if image in held_out else "train", GOOD, False)
    yield from defects


def _held_out(good: list[Path]) -> set[Path]:
    """A fifth of the images, at least one of two or more: those whose names' hashes are least."""

    def draw(path: Path) -> bytes:
        return blake2b(path.name.encode("utf-8", "surrogateescape"), digest_size=8).digest()

    count = max(round(HELD_OUT * len(good)), min(1, len(good) - 1), 0)
    return set(sorted(good, key=lambda path: (draw(path), path))[:count])
