"""The one record type that every reader produces, and the set of them a model is trained on."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from invad_fast.checked import unknown_name
from invad_fast.data.mask_source import MaskFiles, MaskRuns
from invad_fast.errors import InputError

GOOD = "good"
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Record:
    """One image of one part.

    ``defect`` is ``"good"`` for a normal part, otherwise the defect type's name.
    ``mask`` says where the defect is: one image file, several files whose union counts
    (MVTec LOCO), run lengths held in memory (COCO-AD without PNG files), or None. A normal
    part needs none; an anomalous one without a mask counts for the image-level figures only.
    """

    image: Path
    class_name: str
    split: Split
    defect: str
    anomalous: bool
    mask: Path | MaskFiles | MaskRuns | None = None


@dataclass(frozen=True)
class ClassCount:
    """How many images a class has: normal ones to train on, normal and anomalous ones to test."""

    train: int
    test_normal: int
    test_anomalous: int
    has_masks: bool


@dataclass(frozen=True)
class Dataset:
    """The records found under ``root``, sorted by class, split, defect and file name.

    ``validation`` has those of a split of its own (MVTec LOCO, 3D-AD), which belong neither to
    training nor to the test and are in no other list or count.
    Training never uses an anomalous image: those that a data set keeps among its training images
    (DAGM, KolektorSDD2) stay in ``records`` but are not in ``train``.
    """

    root: Path
    layout: str
    records: tuple[Record, ...]
    validation: tuple[Record, ...] = field(default=(), compare=False)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, sorted; of a set of held-out parts alone, those of these."""
        return tuple(sorted({record.class_name for record in self.records or self.validation}))

    @cached_property
    def train(self) -> tuple[Record, ...]:
        """The normal training records. Raises `InputError` where a class has none."""
        normal = tuple(r for r in self.records if r.split == "train" and not r.anomalous)
        lacking = sorted(set(self.classes) - {record.class_name for record in normal})
        if lacking:
            raise InputError(
                f"{self.root}: no normal training images for class "
                f"{', '.join(repr(name) for name in lacking)} ({self.layout} layout)"
            )
        return normal

    @cached_property
    def test(self) -> tuple[Record, ...]:
        """The test records, normal and anomalous."""
        return tuple(record for record in self.records if record.split == "test")

    def counts(self) -> dict[str, ClassCount]:
        """The number of images of each class, in the order of `classes`."""
        tally = {name: [0, 0, 0, 0] for name in self.classes}
        for record in self.records:
            row = tally[record.class_name]
            if record.split == "test":
                row[2 if record.anomalous else 1] += 1
                row[3] += record.anomalous and record.mask is not None
            else:
                row[0] += not record.anomalous
        return {name: ClassCount(a, b, c, masks > 0) for name, (a, b, c, masks) in tally.items()}

    def refuse_inside(self, folder: Path, option: str) -> None:
        """Refuses a folder of this data set for what is written.

        Raises:
            InputError: the files there would be taken for parts the next time.
        """
        if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self.root)):
            raise InputError(
                f"{folder} lies inside the data set {self.root}, where what is written would be "
                f"taken for parts the next time: choose another {option}"
            )

    def only(self, classes: Iterable[str]) -> "Dataset":
        """The same data set with just these classes; `InputError` names one that is not there."""
        wanted = set(classes)
        unknown = sorted(wanted - set(self.classes))
        if unknown:
            raise InputError(f"{self.root}: {unknown_name('class', unknown[0], self.classes)}")
        kept, held_out = (
            tuple(record for record in records if record.class_name in wanted)
            for records in (self.records, self.validation)
        )
        return Dataset(self.root, self.layout, kept, held_out)


def sorted_dataset(root: Path, layout: str, records: Iterable[Record]) -> Dataset:
    """Checks that the masks are complete and puts the records in their fixed order.

    A class whose test defects have masks must have one for every anomalous test image
    (`InputError` names the first that lacks it); a class with none at all is fine.
    """
    ordered = sorted(
        records, key=lambda r: (r.class_name, r.split != "train", r.defect, str(r.image))
    )
    defects = [r for r in ordered if r.split == "test" and r.anomalous]
    masked = {record.class_name for record in defects if record.mask is not None}
    for record in defects:
        if record.mask is None and record.class_name in masked:
            raise InputError(
                f"{record.image}: no mask for this anomalous image, though other images of class "
                f"{record.class_name!r} have one; add it, or remove all masks of the class to get "
                "image-level figures only"
            )
    validation = tuple(record for record in ordered if record.split == "validation")
    used = tuple(record for record in ordered if record.split != "validation")
    return Dataset(root, layout, used, validation)
