"""Telling the layouts apart, and what data sets come in each."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from invad_fast.data.layouts import (
    btad,
    dagm,
    folder,
    kolektor,
    meta_json,
    mvtec,
    mvtec_3d,
    real_iad,
    visa,
)
from invad_fast.data.layouts.found import Found
from invad_fast.data.layouts.listing import class_folders, subfolders
from invad_fast.data.layouts.unused import unused_note
from invad_fast.data.record import Dataset, sorted_dataset
from invad_fast.errors import InputError, InputWarning


@dataclass(frozen=True)
class Layout:
    """One way of arranging images: its name, what it looks like, and its reader.

    ``indexed`` layouts list their images in a file, which says more than the folders around it:
    such a layout is taken before any that goes by folders alone.
    """

    name: str
    looks_like: str
    data_sets: tuple[tuple[str, str], ...]
    """(data set, where its authors give it)"""
    indexed: bool
    matches: Callable[[Path], bool]
    read: Callable[[Path, bool], Found]
    """(root, whether an index may list files outside it) -> what is there"""
    accepts: Callable[[Path], bool] | None = None
    """Whether it can be read where it is asked for by name; None where ``matches`` says it all."""


def _has_class(is_class: Callable[[Path], bool], root: Path) -> bool:
    return bool(class_folders(root, is_class))


def _read_classes(
    is_class: Callable[[Path], bool],
    read_class: Callable[[Path, Path], Found],
    root: Path,
    outside: bool,
) -> Found:
    whole = Found()
    for folder_of_class in class_folders(root, is_class):
        found = read_class(folder_of_class, root)
        if not found.records:
            raise InputError(f"{folder_of_class}: a class without a single image; fill or remove")
        whole.add(found)
    return whole


def _is_tree(folder: Path) -> bool:
    """Whether ``folder`` is a class of MVTec's tree, whatever its good parts are called."""
    return mvtec.is_class(folder) or btad.is_class(folder)


_KNOWN = (
    Layout(
        "meta.json",
        "meta.json listing train and test images by class",
        (
            ("COCO-AD", "built from COCO 2017 (cocodataset.org) by: invad-fast coco-ad"),
            ("Uni-Medical", "the ADer repository's data page (github.com/zhangzjn/ADer)"),
        ),
        True,
        meta_json.matches,
        meta_json.read,
    ),
    Layout(
        "visa",
        "split_csv/1cls.csv with columns object, split, label, image, mask",
        (("VisA", "Amazon's spot-diff repository (github.com/amazon-science/spot-diff)"),),
        True,
        visa.matches,
        visa.read,
    ),
    Layout(
        "real_iad",
        "realiad_jsons/<class>.json beside realiad_1024/<class>",
        (("Real-IAD", "the Real-IAD project page, on request (realiad4ad.github.io/Real-IAD)"),),
        True,
        real_iad.matches,
        real_iad.read,
    ),
    Layout(
        "mvtec",
        "<class>/train/good, <class>/test/<defect>, <class>/ground_truth/<defect>",
        (
            ("MVTec AD", "MVTec's research page (mvtec.com/company/research/datasets/mvtec-ad)"),
            ("MVTec LOCO AD", "MVTec's research page (.../datasets/mvtec-loco)"),
            ("MPDD", "the MPDD repository of its authors (github.com/stepanje/MPDD)"),
        ),
        False,
        partial(_has_class, mvtec.is_class),
        partial(_read_classes, _is_tree, mvtec.read_class),
        partial(_has_class, _is_tree),
    ),
    Layout(
        "mvtec_3d",
        "<class>/train/good/rgb, <class>/test/<defect>/rgb and gt",
        (("MVTec 3D-AD, RGB", "MVTec's research page (.../datasets/mvtec-3d-ad)"),),
        False,
        partial(_has_class, mvtec_3d.is_class),
        partial(_read_classes, mvtec_3d.is_class, mvtec_3d.read_class),
    ),
    Layout(
        "btad",
        "<class>/train/ok, <class>/test/ko, <class>/ground_truth/ko",
        (("BTAD", "the University of Udine's AViReS lab (avires.dimi.uniud.it/papers/btad)"),),
        False,
        partial(_has_class, btad.is_class),
        partial(_read_classes, _is_tree, btad.read_class),
        partial(_has_class, _is_tree),
    ),
    Layout(
        "dagm",
        "<class>/Train, <class>/Test, masks in their Label folders",
        (("DAGM 2007", "its Zenodo record (zenodo.org/records/12750201)"),),
        False,
        partial(_has_class, dagm.is_class),
        partial(_read_classes, dagm.is_class, dagm.read_class),
    ),
    Layout(
        "kolektor",
        "train and test with a mask <image>_GT.png beside every image",
        (("KolektorSDD2", "the University of Ljubljana's ViCoS lab (vicos.si, resources)"),),
        False,
        partial(_has_class, kolektor.is_class),
        partial(_read_classes, kolektor.is_class, kolektor.read_class),
    ),
    Layout(
        "folder",
        "good/ and one folder per defect type, ground_truth/<defect>/ optional",
        (("your own parts", "sort them into good/ and one folder per defect type"),),
        False,
        partial(_has_class, folder.is_class),
        partial(_read_classes, folder.is_class, folder.read_class),
    ),
)
LAYOUTS = {layout.name: layout for layout in _KNOWN}


def read_dataset(
    root: str | Path,
    layout: str | None = None,
    outside: bool = False,
    calibrates: bool = False,
) -> Dataset:
    """Reads the data set at ``root``, whatever its layout; ``layout`` names one to insist on.

    ``root`` holds the classes, or is itself a single class. An index file (``meta.json``,
    VisA's table, Real-IAD's JSON files) is believed before the folders around it; paths that it
    lists outside of ``root`` are refused unless ``outside`` is set. Only names are read, not
    images, but for files whose names leave open what they are.

    What is found below ``root`` and not used is told in one warning: how many files, and why; good
    parts that are held out from training and test are used where it is for who ``calibrates``.

    Raises `InputError`, in one line, where nothing or more than one layout fits, no image is
    found, or listed files are missing.
    """
    root = Path(root)
    if not os.path.isdir(root):
        raise InputError(f"no folder {root}: give the folder that holds the images")
    chosen = _named(root, layout) if layout is not None else _detect(root)
    found = chosen.read(root, outside)
    note = unused_note(root, found, chosen.name, chosen.indexed, calibrates)
    if note is not None:
        warnings.warn(note, InputWarning, stacklevel=2)
    dataset = sorted_dataset(root, chosen.name, found.records)
    if not dataset.records and not dataset.validation:
        raise InputError(
            f"{root}: the {chosen.name} layout fits ({chosen.looks_like}), but it has no images"
        )
    return dataset


def _named(root: Path, name: str) -> Layout:
    if name not in LAYOUTS:
        raise InputError(f"no layout {name!r}: choose one of {', '.join(LAYOUTS)}")
    chosen = LAYOUTS[name]
    if not (chosen.accepts or chosen.matches)(root):
        raise InputError(f"{root}: not the {name} layout; looked for {chosen.looks_like}")
    return chosen


def _detect(root: Path) -> Layout:
    fitting = _fitting(root)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " and ".join(layout.name for layout in fitting)
        raise InputError(
            f"{root}: fits more than one layout ({names}); name the one you mean "
            "with layout=… (--layout)"
        )
    deeper = next((inner for inner in subfolders(root) if _fitting(inner)), None)
    if deeper is not None:
        raise InputError(f"{root}: no data set here, but one in it: give {deeper}")
    looked_for = "; ".join(layout.looks_like for layout in LAYOUTS.values())
    raise InputError(f"{root}: no data set found; looked for {looked_for}")


def _fitting(root: Path) -> list[Layout]:
    fitting = [layout for layout in LAYOUTS.values() if layout.matches(root)]
    return [layout for layout in fitting if layout.indexed] or fitting
