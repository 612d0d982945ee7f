"""The parts of one class, from folders of images by split and defect, and the masks around them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import class_name, image_files, subfolders
from invad_fast.data.layouts.mask_matching import (
    MaskFile,
    Part,
    holds_masks,
    images_and_masks,
    masks_below,
    match_masks,
)
from invad_fast.data.layouts.names import is_good, is_mask_folder, split_of, without_mask_tag
from invad_fast.data.record import GOOD, Record, Split


@dataclass(frozen=True)
class PartFolder:
    """A folder of images of one kind: ``folder`` gives the kind its name, good or a defect."""

    folder: Path
    split: Split
    images: Path
    """Where the images are: the folder itself, or one in it."""


def tree_class(folder: Path, root: Path, images_in: str = "") -> Found:
    """The class of ``<folder>/{train,validation,test}/<good or defect>``, masks wherever they are.

    Args:
        root: of the data set, which may hold the masks of all classes.
        images_in: the folder in each of these that holds the images.
    """
    parts: list[PartFolder] = []
    masks = [inner for inner in subfolders(root) if inner != folder and is_mask_folder(inner.name)]
    masks = [] if root == folder else [inner / folder.name for inner in masks]
    for of_split in subfolders(folder):
        split = split_of(of_split.name)
        if split is None:
            masks += [of_split] if holds_masks(of_split) else []
            continue
        for inner in subfolders(of_split):
            if holds_masks(inner):
                masks.append(inner)
            else:
                parts.append(PartFolder(inner, split, inner / images_in))
    return read_parts(class_name(folder), parts, masks)


def read_parts(name: str, folders: Sequence[PartFolder], mask_folders: Iterable[Path]) -> Found:
    """The records of the class ``name``: every image in ``folders``, each with its masks.

    Masks are looked for in ``mask_folders``, in the parts' own folders and beside the images.
    """
    parts: list[Part] = []
    masks: list[MaskFile] = []
    for kind in folders:
        defect = kind.folder.name
        images, beside = images_and_masks(image_files(kind.images))
        parts += [Part(image, kind.split, defect, not is_good(defect)) for image in images]
        masks += [MaskFile(mask, (kind.split, defect)) for mask in beside]
        for inner in subfolders(kind.folder):
            if inner != kind.images and holds_masks(inner):
                masks += masks_below(inner, kind.split, defect)
    defects = {part.defect.lower() for part in parts}
    for folder in mask_folders:
        named = without_mask_tag(folder.name)
        masks += masks_below(folder, *([named] if named.lower() in defects else []))
    matches = match_masks(name, parts, masks)
    records = [
        Record(
            part.image,
            name,
            part.split,
            part.defect if part.anomalous else GOOD,
            part.anomalous,
            matches.masks.get(part.image),
        )
        for part in parts
    ]
    return Found(records, matches.of_good)
