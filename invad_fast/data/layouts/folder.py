"""A plain folder: ``good/``, any other folder a defect type, ``ground_truth/<defect>/`` optional.

``good`` may also be called ``ok`` or ``normal``, and masks may lie in any usual place (see
`mask_matching`). Nothing says which good images to test on, so a fifth of them is held out where
there are defects to find, drawn by their names: the choice is the same on every machine, and
hardly changes while the folder grows. Without defects all of them train.
"""

from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import class_name, subfolders
from invad_fast.data.layouts.mask_matching import holds_masks
from invad_fast.data.layouts.names import is_good, is_mask_folder, split_of
from invad_fast.data.layouts.parts import PartFolder, read_parts

HELD_OUT = 0.2


def is_class(folder: Path) -> bool:
    """Whether ``folder`` is a class of this layout."""
    if split_of(folder.name) or is_mask_folder(folder.name):
        return False  # parts of other layouts, which also hold a folder named good
    return any(is_good(inner.name) for inner in subfolders(folder))


def read_class(folder: Path, root: Path) -> Found:
    """What the class in ``folder`` holds."""
    parts, masks = [], []
    for inner in subfolders(folder):
        if holds_masks(inner):
            masks.append(inner)
        elif not split_of(inner.name):
            parts.append(PartFolder(inner, "test", inner))
    if root != folder:
        masks += [f / folder.name for f in subfolders(root) if is_mask_folder(f.name)]
    found = read_parts(class_name(folder), parts, masks)
    good = [record.image for record in found.records if not record.anomalous]
    held_out = _held_out(good) if len(good) < len(found.records) else set()
    trained = set(good) - held_out
    found.records = [
        replace(record, split="train") if record.image in trained else record
        for record in found.records
    ]
    return found


def _held_out(good: list[Path]) -> set[Path]:
    """A fifth of the images, at least one of two or more: those whose names' hashes are least."""

    def draw(path: Path) -> bytes:
        return blake2b(path.name.encode("utf-8", "surrogateescape"), digest_size=8).digest()

    count = max(round(HELD_OUT * len(good)), min(1, len(good) - 1), 0)
    return set(sorted(good, key=lambda path: (draw(path), path))[:count])
