"""The tree that MVTec AD made common: train and test folders of defect types beside the masks."""

from collections.abc import Iterator
from pathlib import Path

from invad_fast.data.listing import class_name, image_files, subfolders
from invad_fast.data.mask_source import MaskFiles
from invad_fast.data.record import GOOD, Record


def tree_records(folder: Path, normal: str = GOOD) -> Iterator[Record]:
    """The records of one class: ``train/<normal>``, ``test/<defect>``, ``ground_truth/<defect>``.

    ``normal`` is the folder name of the normal parts. A ``validation`` folder (MVTec LOCO, 3D-AD)
    is left out: its normal images belong neither to training nor to the test.
    """
    name = class_name(folder)
    for image in image_files(folder / "train" / normal):
        yield Record(image, name, "train", GOOD, False)
    for defect in subfolders(folder / "test"):
        if defect.name == normal:
            for image in image_files(defect):
                yield Record(image, name, "test", GOOD, False)
        else:
            masks = masks_by_stem(folder / "ground_truth" / defect.name)
            for image in image_files(defect):
                mask = masks.get(image.stem)
                yield Record(image, name, "test", defect.name, True, mask)


def masks_by_stem(folder: Path) -> dict[str, Path | MaskFiles]:
    """The masks in a ground-truth folder by the stem of the image they belong to.

    Found are ``<stem>_mask.png`` (MVTec AD, MPDD), ``<stem>.png`` (BTAD, VisA once prepared) and
    ``<stem>/000.png, 001.png, ...`` (MVTec LOCO: one file a defect, whose union counts).
    """
    masks: dict[str, Path | MaskFiles] = {}
    for inner in subfolders(folder):
        if parts := image_files(inner):
            masks[inner.name] = MaskFiles(tuple(parts))
    files = image_files(folder)
    masks.update({file.stem: file for file in files})
    masks.update({f.stem.removesuffix("_mask"): f for f in files if f.stem.endswith("_mask")})
    return masks
