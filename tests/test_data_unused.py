"""Whatever lies below a data set's root is used for what it is, or one line says that it is not."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import sample_sets
from PIL import Image
from read_sets import counts, raw, read, tree
from refusals import one_line
from sample_sets import SIZE, mask, picture

from invad_fast.data import read_dataset


@pytest.mark.parametrize(
    "name, match",
    [
        ("a/train/good/monday/7.png", "images in folders below those that are read: 1"),
        ("a/test/scratch/deep/er/7.png", "images in folders below those that are read: 1"),
        (
            "b/train/images/7.png",
            "images in folders that the mvtec layout does not read: 1",
        ),
        ("b/7.png", "images in folders that the mvtec layout does not read: 1"),
        ("a/7.png", "images in folders that the mvtec layout does not read: 1"),
        ("7.png", "images in folders that the mvtec layout does not read: 1"),
        ("a/train/7.png", "images in folders that the mvtec layout does not read: 1"),
        ("a/train_extra/good/7.png", "images in folders that the mvtec layout does not read: 1"),
        ("a/validation/good/7.png", "validation images, held out from training and test: 1"),
        ("a/val/good/7.png", "validation images, held out from training and test: 1"),
        ("a/validation/7.png", "validation images, held out from training and test: 1"),
        ("a/ground_truth/scratch/7_mask.png", "masks that fit no image: 1"),
    ],
)
def test_images_that_are_not_used_are_told(root: Path, name: str, match: str) -> None:
    tree(root)
    before = read(root)[0]
    picture(root / name)
    dataset, note = read(root)
    assert dataset.records == before.records
    assert f"of the files there, 1 not used: {match} (such as {name})" in note


@pytest.mark.parametrize(
    "name, match",
    [
        ("a/train/good/7.npy", r"(.npy): 1"),
        ("a/train/good/7.heic", r"(.heic): 1"),
        ("a/train/good/7.dcm", r"(.dcm): 1"),
        ("a/train/good/7", r"(no suffix): 1"),
        ("a/features.h5", r"(.h5): 1"),
        ("more.zip", r"(.zip): 1"),
    ],
)
def test_files_that_are_no_images_are_told(root: Path, name: str, match: str) -> None:
    tree(root)
    raw(root / name, b"\x89HDF\r\n\x1a\n" if name.endswith("h5") else b"\x93NUMPY\x01\0")
    dataset, note = read(root)
    assert counts(dataset) == (3, 2, 2) and f"no images that can be read here {match}" in note


def test_annotations_that_are_no_masks_are_told(root: Path) -> None:
    folder = tree(root)
    for name in ("000.json", "001.json", "001.xml"):
        raw(folder / "test" / "scratch" / name, b"{}")
    raw(folder / "test" / "scratch" / "notes.json", b"{}")
    assert "3 not used: annotations that are no masks: 3 (such as" in read(root)[1]


def test_images_are_known_by_what_is_in_them(root: Path) -> None:
    folder = tree(root)
    image = Image.fromarray(np.full((SIZE, SIZE, 3), 99, np.uint8))
    for name, image_format in (
        ("3.jfif", "JPEG"), ("4.image", "PNG"), ("5", "BMP"), ("6.0", "TIFF"), ("7.JPE", "JPEG"),
    ):  # fmt: skip
        image.save(folder / "train" / "good" / name, image_format)
    dataset, note = read(root)
    assert counts(dataset) == (8, 2, 2) and not note


def test_what_is_no_data_is_passed_over_in_silence(root: Path) -> None:
    folder = tree(root)
    expected = read(root)[0]
    for name in (
        "readme.txt", "LICENSE", "README", "license.pdf", "a/defects_config.json", "Thumbs.db",
        "a/train/good/desktop.ini", "a/train/good/.DS_Store", "a/test/scratch/._000.png",
        "a/train/good/Thumbs.db", "__MACOSX/a/train/good/000.png", ".cache/1.png", "notes.md",
    ):  # fmt: skip
        raw(root / name, b"x")
    (folder / "empty").mkdir()
    assert read(root) == (expected, "")


def test_the_working_folder_as_the_root(root: Path, monkeypatch) -> None:
    monkeypatch.chdir(tree(root).parent)
    assert read(Path("."))[1] == ""
    picture(root / "b" / "7.png")
    assert "does not read: 1 (such as b/7.png)" in read(Path("."))[1]
    monkeypatch.chdir(root / "a")
    assert counts(read(Path("."))[0]) == (3, 2, 2) and read(Path("."))[1] == ""


def test_index_files_and_what_they_do_not_list(root: Path) -> None:
    sample_sets.visa(root)
    assert read(root)[1] == ""
    picture(root / "candle" / "extra.JPG")
    mask(root / "candle" / "Masks" / "7.png")
    note = read(root)[1]
    assert "2 not used" in note and "images not listed in visa's index: 1" in note
    assert "masks that fit no image: 1" in note


def test_classes_without_images_are_told_or_refused(root: Path) -> None:
    index = sample_sets.meta_json(root) / "meta.json"
    meta = json.loads(index.read_text())
    meta["test"]["empty one"] = []
    index.write_text(json.dumps(meta))
    assert "meta.json lists no image of class 'empty one'" in read(root)[1]
    sample_sets.real_iad(root / "real")
    (root / "real/realiad_jsons/bottle.json").write_text("{}")
    note = read(root / "real")[1]
    assert "the images that realiad_jsons/bottle.json lists are not there" in note
    (tree(root / "tree").parent / "b" / "train" / "good" / "nested").mkdir(parents=True)
    one_line("b: a class without a single image", lambda: read_dataset(root / "tree"))


def test_validation_images_are_held_out_but_given(root: Path) -> None:
    sample_sets.loco(root)
    picture(root / "bottle" / "val" / "dent" / "3.png")
    dataset, _ = read(root)
    assert [(r.image.parent.name, r.anomalous) for r in dataset.validation] == [
        ("dent", True), ("good", False)
    ]  # fmt: skip
    assert all(record.split == "validation" for record in dataset.validation)
    assert not set(dataset.validation) & {*dataset.records, *dataset.train, *dataset.test}
    assert dataset.only(["bottle"]).validation == dataset.validation


def test_the_same_image_twice_is_told(root: Path) -> None:
    folder = tree(root)
    (folder / "test" / "again").symlink_to(folder / "test" / "scratch")
    link = folder / "test" / "good" / "9.png"
    link.symlink_to(folder / "train" / "good" / "000.png")
    note = read(root)[1]
    assert "images that are there more than once: 3 (such as" in note


def test_links_that_lead_nowhere_or_in_circles(root: Path) -> None:
    folder = tree(root)
    expected = read(root)[0]
    for link, to in (
        ("train/good/loop", "."), ("test/loop", "../.."), ("loop", ".."), ("train/good/me", "me"),
        ("train/good/9.png", "9.png"), ("test/good/8.png", "gone.png"), ("ground_truth", "gone"),
    ):  # fmt: skip
        (folder / link).symlink_to(to)
    (root / "b").symlink_to("b")
    dataset, note = read(root)
    assert dataset == expected and "links that lead nowhere: 5" in note
    one_line("no folder .*b", lambda: read_dataset(root / "b"))


def test_names_that_would_break_the_line(root: Path) -> None:
    folder = tree(root)
    name = os.fsdecode(b"two\nlines\xe9\x1b[31m.png")
    picture(folder / "plain.png").rename(folder / name)
    assert "two\\nlines\\xe9\\x1b[31m.png" in read(root)[1]
    mask(folder / "ground_truth" / "scratch" / "000.png")
    (folder / "test" / "scratch" / "001.png").rename(folder / "test" / "scratch" / name)
    one_line(r"two\\nlines", lambda: read(root))


def test_names_too_long_or_impossible(root: Path) -> None:
    one_line("no folder", lambda: read_dataset(root / ("n" * 300)))
    one_line("no folder", lambda: read_dataset("n" * 5000))
    one_line("no folder", lambda: read_dataset("nul\0"))
    index = sample_sets.meta_json(root) / "meta.json"
    whole = json.loads(index.read_text())
    for name in ("n" * 5000, "a/" * 3000 + "x.png", "nul\0.png", "a/good.png/x.png"):
        whole["test"]["a"][0]["img_path"] = name
        index.write_text(json.dumps(whole))
        one_line("lists files that are not there", lambda: read_dataset(root))
