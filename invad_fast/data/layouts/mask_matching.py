"""Which mask belongs to which image, by their names: every way of naming them that is usual.

Found are, below a folder of masks, ``<defect>/<stem>_mask.png`` (MVTec AD, MPDD),
``<defect>/<stem>.png`` (BTAD, VisA once prepared), ``<defect>/<stem>/000.png`` (MVTec LOCO: one
file a defect, whose union counts), other tags (``_gt``, ``_label``, ``mask_``), numbers behind
them, two suffixes, other letter case, all defects' masks in one folder, and masks beside images.
"""

import itertools
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from invad_fast.data.images import FAINTEST_LOSSY, load_image
from invad_fast.data.layouts.listing import is_image_file, walk
from invad_fast.data.layouts.names import (
    image_stems,
    is_good,
    is_mask_folder,
    marked_as_mask,
    may_hold_masks,
    split_of,
)
from invad_fast.data.mask_source import MaskFiles
from invad_fast.data.record import GOOD, Split
from invad_fast.errors import InputError

_FEW_VALUES = 16  # grey levels or colours of a drawn mask, at most
_LOOKED_INTO = 3  # files of a folder that may hold masks


@dataclass(frozen=True)
class Part:
    """An image of one class. ``defect`` is the name of its folder."""

    image: Path
    split: Split
    defect: str
    anomalous: bool


@dataclass(frozen=True)
class MaskFile:
    """A mask, and the names of the folders around it, from the folder of masks down."""

    path: Path
    folders: tuple[str, ...]


@dataclass
class Matches:
    """The masks of anomalous images, and those that belong to good ones and say nothing more."""

    masks: dict[Path, Path | MaskFiles] = field(default_factory=dict)
    of_good: set[Path] = field(default_factory=set)


def holds_masks(folder: Path) -> bool:
    """Whether the folder holds masks: by its name, or by a name that suggests it and content."""
    if is_mask_folder(folder.name):
        return True
    if not may_hold_masks(folder.name):
        return False
    images = (mask.path for mask in masks_below(folder))
    found = [drawn(image) for image in itertools.islice(images, _LOOKED_INTO)]
    return True in found and None not in found


def masks_below(folder: Path, *around: str) -> Iterator[MaskFile]:
    """All images below a folder of masks; ``around`` are names to put before their folders'."""
    for inner, inside in walk(folder, follow_links=True):
        names = (*around, *inner.relative_to(folder).parts)
        files = (inner / entry.name for entry in inside if entry.kind == "file")
        yield from (MaskFile(file, names) for file in files if is_image_file(file))


def images_and_masks(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files of one folder parted into images and the masks that lie beside them.

    A mask is ``7_mask.png`` beside ``7.png``, or ``7.png`` beside ``7.jpg`` where it is drawn and
    the other is not.
    """
    stems: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        stems[file.stem.lower()].append(file)
    masks = set()
    for file in files:
        if (marked_as_mask(file.stem) or "").lower() in stems:
            masks.add(file)
            continue
        likely = marked_as_mask(file.stem, surely=False)
        if likely and likely.lower() in stems and drawn(file) is not None:
            masks.add(file)
    for same in stems.values():
        if len(same) > 1:
            like_masks = [file for file in same if drawn(file) is not None]
            if len(like_masks) < len(same):
                masks.update(like_masks)
    return [f for f in files if f not in masks], [f for f in files if f in masks]


def drawn(path: Path) -> bool | None:
    """Whether a mask shows a defect; None for what is no mask: a photograph, or unreadable.

    A mask is grey or of few colours, and has few values; the traces of compression do not count.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = load_image(path)
    except InputError:
        return None
    flat = pixels.reshape(-1, 3)
    if (flat == flat[:, :1]).all():
        grey = flat[:, 0]
        ends = (grey < FAINTEST_LOSSY) | (grey > 255 - FAINTEST_LOSSY)
        if len(np.unique(grey)) > _FEW_VALUES and ends.mean() < 0.97:
            return None
        return bool(grey.max() >= FAINTEST_LOSSY) or len(np.unique(grey)) > 1
    codes = np.unique(flat.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32))
    return True if len(codes) <= _FEW_VALUES else None


class _Matcher:
    def __init__(self, class_name: str, parts: Sequence[Part]) -> None:
        self.class_name = class_name.lower()
        self.defects = {_kind(part.defect) for part in parts}
        self.by_stem: dict[str, list[Part]] = defaultdict(list)
        for part in parts:
            self.by_stem[part.image.stem.lower()].append(part)

    def find(self, mask: MaskFile) -> list[Part]:
        """The image that the mask belongs to; none where none fits, or several folders' do.

        More than one are images of one name in one folder, whose suffixes differ.
        """
        defect: str | None = None
        split: Split | None = None
        folders = list(mask.folders)
        while folders:
            name = folders[0].lower()
            if defect is None and _kind(name) in self.defects:
                defect = _kind(name)
            elif split_of(name):
                split = split_of(name)
            elif not is_mask_folder(name) and name != self.class_name:
                break
            del folders[0]
        if folders:  # the folder of one image's masks, or one that says nothing we understand
            return self._one(folders[0], defect, split) if len(folders) == 1 else []
        stems = image_stems(mask.path.stem)
        for stem in stems:
            if self._like(stem, defect, split):
                parts = self._one(stem, defect, split)
                if defect is not None or (parts and parts[0].anomalous):
                    return parts
                if not parts:
                    break  # several: the name of the file may say which defect's
                # Of a good image by its name, but not if it shows a defect.
                return [] if drawn(mask.path) else parts
        return [] if defect is not None else self._named_by_file(stems, split)

    def _named_by_file(self, stems: Iterable[str], split: Split | None) -> list[Part]:
        """For scratch_7_mask or 7_scratch in a folder of all defects' masks."""
        found = []
        for stem in stems:
            for defect in self.defects:
                for rest in (_less(stem, defect, True), _less(stem, defect, False)):
                    parts = self._one(rest, defect, split) if rest else []
                    if parts and parts[0].anomalous and parts not in found:
                        found.append(parts)
        return found[0] if len(found) == 1 else []

    def _like(self, stem: str, defect: str | None, split: Split | None) -> list[Part]:
        return [
            part
            for part in self.by_stem.get(stem.lower(), ())
            if defect in (None, _kind(part.defect)) and split in (None, part.split)
        ]

    def _one(self, stem: str, defect: str | None, split: Split | None) -> list[Part]:
        """The one of this stem: anomalous before good, of the test before other splits."""
        found = self._like(stem, defect, split)
        found = [part for part in found if part.image.stem == stem] or found
        for anomalous, in_test in ((True, True), (True, False), (False, True), (False, False)):
            like = [p for p in found if (p.anomalous, p.split == "test") == (anomalous, in_test)]
            if like:
                return like if len({part.image.parent for part in like}) == 1 else []
        return []


def _kind(folder: str) -> str:
    """What parts a folder holds, by its name: all names of good are one."""
    return GOOD if is_good(folder) else folder.lower()


def _less(stem: str, defect: str, before: bool) -> str | None:
    """The stem less the defect's name before or behind it, and the separator between."""
    named = stem[: len(defect)] if before else stem[-len(defect) :]
    rest = stem[len(defect) :] if before else stem[: -len(defect)]
    if named.lower() != defect or not rest or (rest[0] if before else rest[-1]) not in " _.-":
        return None
    return rest[1:] if before else rest[:-1]


def match_masks(class_name: str, parts: Sequence[Part], masks: Iterable[MaskFile]) -> Matches:
    """Gives every mask to the one image of the class whose name it bears.

    Several masks of one image are a union, but a mask that is called so (``7_mask.png``) comes
    before one that is not (``7.png``). A mask that fits no image, or several, is not used.
    """
    matcher, matches = _Matcher(class_name, parts), Matches()
    found: dict[Path, list[Path]] = defaultdict(list)
    for mask in masks:
        for part in matcher.find(mask):
            if part.anomalous:
                found[part.image].append(mask.path)
            else:
                matches.of_good.add(mask.path)
    for image, files in found.items():
        called_so = [file for file in files if file.stem.lower() != image.stem.lower()]
        chosen = tuple(sorted(set(called_so or files)))
        matches.masks[image] = chosen[0] if len(chosen) == 1 else MaskFiles(chosen)
    return matches
