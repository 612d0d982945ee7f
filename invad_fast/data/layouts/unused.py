"""What lies below a data set's root and is not used, and why: told in one line."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import Entry, is_document, is_image_file, walk
from invad_fast.data.layouts.names import is_mask_folder, marked_as_mask, may_hold_masks, split_of
from invad_fast.data.mask_source import MaskFiles
from invad_fast.data.record import Record
from invad_fast.names import visible

_ANNOTATIONS = frozenset({".json", ".xml", ".txt", ".csv", ".yaml", ".yml"})


def unused_note(
    root: Path, found: Found, layout: str, indexed: bool, calibrates: bool = False
) -> str | None:
    """One line on all files below ``root`` that ``found`` does not use; None where there are none.

    Documents, hidden files and what a system leaves behind are no data and not counted, but a
    document that is called as an image beside it is: somebody drew defects into it.

    Args:
        calibrates: good parts that are held out will be used.
    """
    # As text: a set of a hundred thousand paths would take seconds.
    used = {str(file) for record in found.records for file in _files(record)}
    used |= {str(file) for file in found.looked_at}
    reasons: dict[str, list[str]] = defaultdict(list)
    links: set[str] = set()
    reader = _Reasons(root, layout, indexed, used)
    for folder, inside in walk(root, follow_links=not indexed):
        place = "" if str(folder) == "." else str(folder)
        for entry in inside:
            if entry.kind == "folder":
                continue
            path = os.path.join(place, entry.name)
            if entry.is_link:
                links.add(path)
            if path not in used and (reason := reader.reason(Path(path), entry, inside)):
                reasons[reason].append(path)
    for record in found.records:
        if record.split == "train" and record.anomalous:
            reason = "anomalous training images, which are never trained on"
            reasons[reason].append(str(record.image))
        if record.split == "validation" and not (calibrates and not record.anomalous):
            reasons["validation images, held out from training and test"].append(str(record.image))
    parts = [_told(root, reason, files) for reason, files in reasons.items()]
    total = sum(map(len, reasons.values()))
    told = [f"of the files there, {total:,} not used: {'; '.join(parts)}"] if total else []
    told += found.notes
    if twice := _listed_twice(found.records, links):
        told.append(_told(root, "images that are there more than once", twice))
    return visible(f"{root}: {'; '.join(told)}") if told else None


def _files(record: Record) -> Iterable[Path]:
    yield record.image
    if isinstance(record.mask, MaskFiles):
        yield from record.mask.paths
    elif isinstance(record.mask, Path):
        yield record.mask


class _Reasons:
    def __init__(self, root: Path, layout: str, indexed: bool, used: set[str]) -> None:
        self.root, self.layout, self.indexed = root, layout, indexed
        self.read = {os.path.dirname(path) or "." for path in used}

    def reason(self, path: Path, entry: Entry, beside: list[Entry]) -> str | None:
        """Why the file at ``path`` is not used; None for what is no data."""
        if entry.kind == "lost":
            return "links that lead nowhere" if entry.is_link else None
        if is_document(entry.name):
            stem, suffix = os.path.splitext(entry.name)
            images = {os.path.splitext(e.name)[0] for e in beside if not is_document(e.name)}
            if suffix.lower() in _ANNOTATIONS and stem in images:
                return "annotations that are no masks"
            return None
        if not is_image_file(path):
            suffix = os.path.splitext(entry.name)[1].lower()
            return f"no images that can be read here ({suffix or 'no suffix'})"
        folders = path.relative_to(self.root).parent.parts
        if any(map(is_mask_folder, folders)) or (folders and may_hold_masks(folders[-1])):
            return "masks that fit no image"
        if self.indexed:
            return f"images not listed in {self.layout}'s index"
        if str(path.parent) in self.read:
            if marked_as_mask(path.stem):
                return "masks that fit no image"
            return "beside images, but neither image nor mask"
        if self.layout == "mvtec_3d" and "xyz" in folders:
            return "point clouds"
        if not self.read.isdisjoint(map(str, path.parents)):
            return "images in folders below those that are read"
        if any(split_of(folder) == "validation" for folder in folders):
            return "validation images, held out from training and test"
        return f"images in folders that the {self.layout} layout does not read"


def _told(root: Path, reason: str, files: list[str]) -> str:
    first = Path(files[0])
    shown = first.relative_to(root) if first.is_relative_to(root) else first
    return f"{reason}: {len(files):,} (such as {shown})"


def _listed_twice(records: Iterable[Record], links: set[str]) -> list[str]:
    """Images that are the file of an earlier record too, under the same name or through links."""
    real: dict[str, str] = {}
    seen: set[str] = set()
    twice = []
    for record in records:
        path = str(record.image)
        folder, name = os.path.split(path)
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        file = os.path.join(real[folder], name)
        file = os.path.realpath(file) if path in links else file
        if file in seen:
            twice.append(path)
        seen.add(file)
    return twice
