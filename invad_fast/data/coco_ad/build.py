"""COCO-AD (method.md §4), built from COCO 2017's annotation files without opening an image.

Split k (0 to 3) takes the classes 20k to 20k+19, in the order of their ids, as anomalous. It
trains on the train2017 images that have annotations, but none of those classes, and tests on
all annotated val2017 images; the mask is the union of the anomalous classes' segmentations.

A build is the folder ``split<k>``: ``meta.json`` (see `meta_json`), links to the folders of
images, ``masks/*.png`` where asked for, and ``build.json``, by which an interrupted build goes
on. ``classes.csv`` beside it is the report of class frequencies.
"""

import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from invad_fast.data.coco_ad.annotations import CocoAnnotations, CocoImage, read_annotations
from invad_fast.data.coco_ad.masks import require_pycocotools, union_mask
from invad_fast.data.images import image_size
from invad_fast.data.json_file import read_json
from invad_fast.data.mask_source import MaskRuns
from invad_fast.errors import InputError
from invad_fast.files import make_folder, write_whole, written_whole
from invad_fast.names import csv_writer

SPLITS = 4
MASKS = ("png", "none")
CLASSES_PER_SPLIT = 20
CLASS_NAME = "coco"
FULL = (118_287, 5_000)  # images of train2017 and val2017
PUBLISHED_TRAIN = (30_438, 65_133, 79_083, 77_580)
PUBLISHED_TEST = 4_952

Progress = Callable[[int, int], None]
"""Called with (masks done, masks in all)."""


@dataclass(frozen=True)
class SplitReport:
    """What one split came to. ``empty_masks`` are anomalous images whose segmentations cover no
    pixel; ``dropped_parts`` are degenerate polygons, left out; ``strays`` are annotations of
    images that the files do not list; ``complete`` says that the files are the full COCO 2017,
    so that the counts have been compared with the published ones."""

    split: int
    folder: Path
    anomalous_classes: tuple[str, ...]
    train_images: int
    test_normal: int
    test_anomalous: int
    empty_masks: int
    dropped_parts: int
    strays: int
    masks_kept: int
    complete: bool

    def summary(self) -> str:
        """The counts in one line, and whether they are the benchmark's."""
        test = self.test_normal + self.test_anomalous
        notes = [
            f"{count:,} {what}"
            for count, what in (
                (self.empty_masks, "anomalous images with an empty mask"),
                (self.dropped_parts, "degenerate segmentation parts dropped"),
                (self.strays, "annotations of unlisted images ignored"),
            )
            if count
        ]
        checked = "as published" if self.complete else "not the full COCO 2017, so not compared"
        return (
            f"split {self.split}: {self.train_images:,} training images, {test:,} test images "
            f"({self.test_anomalous:,} anomalous); {'; '.join([checked, *notes])}"
        )


def build_coco_ad(
    root: str | Path,
    split: int | str,
    out: str | Path,
    masks: str = "png",
    progress: Progress | None = None,
) -> tuple[SplitReport, ...]:
    """Builds one split (0 to 3) or "all" four of COCO 2017 in ``root`` into ``out``/split<k>.

    ``root`` has ``annotations/instances_{train,val}2017.json`` and the folders ``train2017`` and
    ``val2017`` (possibly in ``images``). ``masks="none"`` writes no PNG files: meta.json then
    carries the masks as run lengths, which our reader decodes when it needs them. A build that
    was interrupted goes on where it stopped. Raises `InputError` where pycocotools or a file is
    missing, or where a full COCO 2017 does not give the published counts.
    """
    chosen = [k for k in range(SPLITS) if str(split) in (str(k), "all")]
    if not chosen:
        raise InputError(f"COCO-AD has the splits 0 to {SPLITS - 1} and 'all', not {split!r}")
    if masks not in MASKS:
        raise InputError(f"masks are written as {' or '.join(MASKS)}, not {masks!r}")
    require_pycocotools()
    root, out = Path(root), Path(out)
    train = read_annotations(root / "annotations" / "instances_train2017.json", False)
    test = read_annotations(root / "annotations" / "instances_val2017.json", True)
    if train.categories != test.categories:
        raise InputError(f"{train.path} and {test.path} list different classes")
    try:
        make_folder(out)
        _write_frequencies(out / "classes.csv", train, test)
        return tuple(
            _build_split(root, k, out / f"split{k}", masks, train, test, progress) for k in chosen
        )
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error})") from None


def split_classes(categories: Sequence[int], split: int) -> frozenset[int]:
    """The ids of the classes that ``split`` makes anomalous."""
    begin = split * CLASSES_PER_SPLIT
    return frozenset(sorted(categories)[begin : begin + CLASSES_PER_SPLIT])


def _build_split(
    root: Path,
    split: int,
    folder: Path,
    masks: str,
    train: CocoAnnotations,
    test: CocoAnnotations,
    progress: Progress | None,
) -> SplitReport:
    anomalous = split_classes(tuple(train.categories), split)
    train_images = [i for i in train.annotated() if not i.categories & anomalous]
    test_images = test.annotated()
    complete = (len(train.images), len(test.images)) == FULL
    if complete:
        _check(split, len(train_images), len(test_images), train.path.parent)
    build = {"format": 2, "masks": masks, "annotations": [train.content, test.content]}
    _prepare(folder, build)

    train_base, test_base = (_images(root, name, folder) for name in ("train2017", "val2017"))
    train_entries = [_entry(train_base, image, anomalous=False) for image in train_images]
    test_entries = []
    stems = Counter(Path(image.file_name).stem for image in test_images)
    empty = dropped = kept = done = 0
    defective = sum(bool(image.categories & anomalous) for image in test_images)
    for image in test_images:
        is_anomalous = bool(image.categories & anomalous)
        entry = _entry(test_base, image, is_anomalous)
        test_entries.append(entry)
        if not is_anomalous:
            continue
        segments = [segment for category, segment in image.segments if category in anomalous]
        file = folder / test_base / image.file_name
        size = image.size or image_size(file)
        runs, parts = union_mask(segments, size, f"{test.path}, {image.file_name}")
        dropped += parts
        empty += runs.empty
        if masks == "png":
            entry["mask_path"] = f"masks/{_mask_name(image.file_name, stems)}.png"
            kept += not _write_mask(folder / entry["mask_path"], runs)
        else:
            entry["mask_rle"] = {"size": [runs.height, runs.width], "counts": runs.counts}
        done += 1
        if progress is not None:
            progress(done, defective)
    index = {"train": {CLASS_NAME: train_entries}, "test": {CLASS_NAME: test_entries}}
    write_whole(folder / "meta.json", json.dumps(index))
    return SplitReport(
        split,
        folder,
        tuple(name for key, name in train.categories.items() if key in anomalous),
        len(train_images),
        len(test_images) - defective,
        defective,
        empty,
        dropped,
        train.strays + test.strays,
        kept,
        complete,
    )


def _check(split: int, train: int, test: int, folder: Path) -> None:
    if (train, test) != (PUBLISHED_TRAIN[split], PUBLISHED_TEST):
        raise InputError(
            f"{folder}: as many images as COCO 2017, but split {split} comes to {train:,} training "
            f"and {test:,} test images, published are {PUBLISHED_TRAIN[split]:,} and "
            f"{PUBLISHED_TEST:,}; fetch the annotation files again"
        )


def _prepare(folder: Path, build: dict[str, Any]) -> None:
    """Keeps what an interrupted build of the same files and kind has left; clears anything else.

    meta.json is written last, so a folder has it only when the build is whole.
    """
    marker, masks = folder / "build.json", folder / "masks"
    if marker.is_file():
        made = read_json(marker)
        if made == build:
            return
        if not isinstance(made, dict) or set(made) != set(build):
            raise InputError(f"{marker} is not of an earlier build; give another folder")
        (folder / "meta.json").unlink(missing_ok=True)
        shutil.rmtree(masks, ignore_errors=True)
    elif folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: not empty, and not an earlier build; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if build["masks"] == "png":
        masks.mkdir()
    write_whole(marker, json.dumps(build))


def _images(root: Path, name: str, folder: Path) -> str:
    """The folder of images as seen from the build: a link in it, or where none can be made the
    way out of the build, which readers of meta.json follow only when they are told to."""
    images = root / "images" / name
    chosen = images if images.is_dir() else root / name
    way = os.path.relpath(chosen.resolve(), folder.resolve())
    link = folder / name
    try:
        if link.is_symlink() and os.readlink(link) != way:
            link.unlink()
        if not link.is_symlink():
            link.symlink_to(way, target_is_directory=True)
    except (OSError, NotImplementedError):  # no links here: the index says the way there
        return way.replace(os.sep, "/")
    return name


def _entry(base: str, image: CocoImage, anomalous: bool) -> dict[str, Any]:
    return {
        "img_path": f"{base}/{image.file_name}",
        "mask_path": "",
        "cls_name": CLASS_NAME,
        "specie_name": "anomaly" if anomalous else "good",
        "anomaly": int(anomalous),
    }


def _mask_name(image: str, stems: Counter[str]) -> str:
    """The image's stem, or where several images share it the whole name."""
    stem = Path(image).stem
    return stem if stems[stem] == 1 else image


def _write_mask(file: Path, runs: MaskRuns) -> bool:
    """Writes a mask of 0 and 255, unless it is there already; whether it was written."""
    if file.exists():
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as partial:
        Image.fromarray(runs.decode() * 255).save(partial, "PNG", compress_level=1)
    return True


def _write_frequencies(file: Path, train: CocoAnnotations, test: CocoAnnotations) -> None:
    """A row for every class: the split that makes it anomalous, its annotations and images."""
    columns = "id,name,split,train_annotations,train_images,test_annotations,test_images"
    text = io.StringIO()
    write = csv_writer(text)
    write(columns.split(","))
    if file.exists() and not file.read_bytes().startswith(text.getvalue().encode()):
        raise InputError(f"{file} is there and is not of an earlier build; give another folder")
    images = {key: [0, 0] for key in train.categories}
    for which, annotations in enumerate((train, test)):
        for image in annotations.images.values():
            for key in image.categories:
                images[key][which] += 1
    for number, (key, name) in enumerate(train.categories.items()):
        in_train, in_test = images[key]
        counts = (train.frequency[key], in_train, test.frequency[key], in_test)
        write([key, name, number // CLASSES_PER_SPLIT, *counts])
    write_whole(file, text.getvalue())
