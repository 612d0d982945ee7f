"""Whatever lies below a data set's root is used for what it is, or one line says that it is not."""

import csv
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sample_sets
from PIL import Image
from sample_sets import SIZE, mask, picture

from invad_fast import InputError
from invad_fast.data import Dataset, load_mask, read_dataset
from invad_fast.errors import InputWarning


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def read(root: Path, **options) -> tuple[Dataset, str]:
    """The data set, and what was said of it: one line at most."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        dataset = read_dataset(root, **options)
    assert len(notes) <= 1
    assert all(note.category is InputWarning for note in notes)
    text = str(notes[0].message) if notes else ""
    assert "\n" not in text and (not text or text.startswith(f"{root}: "))
    return dataset, text


def one_line(match: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def counts(dataset: Dataset) -> tuple[int, int, int]:
    """Images to train on, good ones and defects to test on."""
    anomalous = sum(record.anomalous for record in dataset.test)
    return len(dataset.train), len(dataset.test) - anomalous, anomalous


def tree(root: Path, good: str = "good", defect: str = "scratch", test_good: str = "") -> Path:
    """One class of MVTec's tree without masks: 3 to train on, 2 good and 2 defects to test on."""
    for i in range(3):
        picture(root / "a" / "train" / good / f"{i:03}.png", i)
    for i in range(2):
        picture(root / "a" / "test" / (test_good or good) / f"{i:03}.png", 10 + i)
        picture(root / "a" / "test" / defect / f"{i:03}.png", 20 + i)
    return root / "a"


# --- masks are masks ------------------------------------------------------------------------

MASKS = [
    "ground_truth/scratch/{}_mask.png",
    "ground_truth/scratch/{}.png",
    "ground_truth/scratch/{}_gt.png",
    "ground_truth/scratch/{}_GT.bmp",
    "ground_truth/scratch/{}_MASK.PNG",
    "ground_truth/scratch/{}_mask_1.png",
    "ground_truth/scratch/{}_mask1.png",
    "ground_truth/scratch/{}-mask.png",
    "ground_truth/scratch/{} mask.png",
    "ground_truth/scratch/{}mask.png",
    "ground_truth/scratch/{}.mask.png",
    "ground_truth/scratch/{}_1.png",
    "ground_truth/scratch/{}_label.png",
    "ground_truth/scratch/{}_segmentation.png",
    "ground_truth/scratch/{}_gt_mask.png",
    "ground_truth/scratch/{}_anomaly_mask_01.png",
    "ground_truth/scratch/{}_ground_truth.png",
    "ground_truth/scratch/mask_{}.png",
    "ground_truth/scratch/{}.png.png",
    "ground_truth/scratch/{}.png_mask.png",
    "ground_truth/scratch/{}/000.png",
    "ground_truth/scratch/{}/mask.png",
    "ground_truth/Scratch/{}_mask.png",
    "Ground_Truth/scratch/{}_mask.png",
    "GROUND_TRUTH/SCRATCH/{}_mask.png",
    "groundtruth/scratch/{}.png",
    "ground truth/scratch/{}.png",
    "masks/scratch/{}.png",
    "mask/scratch/{}.png",
    "gt/scratch/{}.png",
    "ground_truth/test/scratch/{}.png",
    "ground_truth/{}_mask.png",
    "ground_truth/scratch_{}.png",
    "ground_truth/scratch_{}_mask.png",
    "ground_truth/{}_scratch.png",
    "masks/{}.png",
    "test/ground_truth/scratch/{}.png",
    "test/masks/{}.png",
    "test/scratch/masks/{}.png",
    "test/scratch/GT/{}_mask.png",
    "test/scratch/{}_mask.png",
    "test/scratch/{}_GT.png",
    "test/scratch/{}.bmp",
    "test/scratch_masks/{}.png",
    "test/mask_scratch/{}.png",
    "labels/scratch/{}.png",
    "annotations/{}.png",
    "../ground_truth/a/scratch/{}_mask.png",
    "../masks/a/{}.png",
]


@pytest.mark.parametrize("where", MASKS)
def test_masks_of_every_usual_place_and_name(root: Path, where: str) -> None:
    folder = tree(root)
    for i in range(2):
        mask(folder / where.format(f"{i:03}"))
    dataset, note = read(root)
    assert counts(dataset) == (3, 2, 2) and not note
    for record in dataset.test:
        assert load_mask(record).sum() == (8 * 14 if record.anomalous else 0)


@pytest.mark.parametrize(
    "where",
    [
        "masks/{}.png",
        "Masks/abnormal/{}.png",
        "ground_truth/abnormal/{}_mask.png",
        "abnormal/{}_mask.png",
        "abnormal/{}.bmp",
        "abnormal/gt/{}.png",
        "abnormal_masks/{}.png",
        "abnormal_mask/{}_mask.png",
        "defect_masks/{}.png",
        "label/{}.png",
        "../ground_truth/a/abnormal/{}.png",
    ],
)
def test_masks_in_a_plain_folder(root: Path, where: str) -> None:
    for i in range(10):
        picture(root / "a" / "normal" / f"{i}.png", i)
    for i in range(3):
        picture(root / "a" / "abnormal" / f"{i}.png", 20 + i)
        mask(root / "a" / where.format(i))
    dataset, note = read(root)
    assert counts(dataset) == (8, 2, 3) and not note
    assert {record.defect for record in dataset.test} == {"good", "abnormal"}
    assert all(load_mask(r).any() == r.anomalous for r in dataset.test)


def test_masks_beside_the_images_of_all_folders(root: Path) -> None:
    """As in the magnetic tile data set: a black mask beside every good image."""
    for i in range(6):
        picture(root / "tile" / "good" / f"e{i}.jpg", i)
        mask(root / "tile" / "good" / f"e{i}.png", rows=slice(0))
    for i in range(3):
        picture(root / "tile" / "blowhole" / f"e{i}.jpg", 10 + i)
        mask(root / "tile" / "blowhole" / f"e{i}.png")
    dataset, note = read(root)
    assert sum(counts(dataset)) == 9 and counts(dataset)[2] == 3 and not note
    assert {record.image.suffix for record in dataset.records} == {".jpg"}
    assert all(load_mask(r).any() for r in dataset.test if r.anomalous)


def test_what_only_looks_like_a_mask_by_its_name_is_an_image(root: Path) -> None:
    folder = tree(root, defect="label")  # bottles without one
    picture(folder / "test" / "label" / "000_label.png", 30)  # another view
    picture(folder / "test" / "label" / "001.jpg", 31)  # another photograph of the same number
    picture(folder / "test" / "gas_mask" / "000.png", 32)
    picture(folder / "train" / "good" / "part_mask.png", 33)  # no part.png is there
    dataset, note = read(root)
    assert counts(dataset) == (4, 2, 5) and not note


def test_masks_of_good_parts_are_not_missed(root: Path) -> None:
    folder = tree(root)
    for name in ("good", "scratch"):
        for i in range(2):
            blank = slice(0) if name == "good" else slice(4, 12)
            mask(folder / "ground_truth" / name / f"{i:03}_mask.png", rows=blank)
    assert read(root)[1] == ""
    for file in (folder / "ground_truth" / "good").iterdir():
        file.rename(folder / "ground_truth" / f"00{7 + int(file.name[2])}_mask.png")
    for i in range(2):
        (folder / "test" / "good" / f"{i:03}.png").rename(
            folder / "test" / "good" / f"00{7 + i}.png"
        )
    assert read(root)[1] == ""  # all in one folder
    mask(folder / "ground_truth" / "007_mask.png")  # it shows a defect in a good part
    assert "masks that fit no image: 1 (such as a/ground_truth/007_mask.png)" in read(root)[1]


def test_several_masks_of_an_image_are_a_union(root: Path) -> None:
    folder = tree(root)
    for i in range(2):
        mask(folder / f"ground_truth/scratch/{i:03}_mask_1.png", rows=slice(4, 8))
        mask(folder / f"ground_truth/scratch/{i:03}_mask_2.png", rows=slice(7, 12))
    dataset, note = read(root)
    assert [load_mask(r).sum() for r in dataset.test if r.anomalous] == [8 * 14] * 2 and not note


def test_images_of_one_name_and_one_mask(root: Path) -> None:
    folder = tree(root)
    picture(folder / "test" / "scratch" / "000.jpg", 30)  # another format of it
    picture(folder / "test" / "scratch" / "N.png", 31)
    picture(folder / "test" / "scratch" / "n.png", 32)  # another image
    for name in ("000_mask", "001_mask", "N_mask", "n"):
        mask(folder / "ground_truth" / "scratch" / f"{name}.png")
    dataset, note = read(root)
    masks = {r.image.name: r.mask.name for r in dataset.test if r.anomalous}
    assert masks == {
        "000.jpg": "000_mask.png", "000.png": "000_mask.png", "001.png": "001_mask.png",
        "N.png": "N_mask.png", "n.png": "n.png",
    }  # fmt: skip
    assert not note


@pytest.mark.parametrize(
    "where, count",
    [
        ("ground_truth/crack/{}_mask.png", 2),  # another defect's
        ("ground_truth/scratch/9{}_mask.png", 2),
        ("ground_truth/scratch/{}_2_mask.png", 2),  # of 000_2, which is not there
        ("ground_truth/scratch/inner/deep/{}.png", 2),
        ("masks/unknown/{}.png", 2),
        ("test/scratch/x{}_GT.png", 0),  # an image, for what anybody can tell
    ],
)
def test_masks_that_fit_no_image_are_told(root: Path, where: str, count: int) -> None:
    folder = tree(root)
    for i in range(2):
        mask(folder / where.format(f"{i:03}"))
    dataset, note = read(root)
    assert not any(record.mask for record in dataset.records)
    assert (f"2 not used: masks that fit no image: {count}" in note) == bool(count)
    assert counts(dataset)[2] == (2 if count else 4)


def test_a_mask_that_fits_several_images_is_told(root: Path) -> None:
    folder = tree(root)
    picture(folder / "test" / "crack" / "000.png", 40)
    mask(folder / "ground_truth" / "000_mask.png")
    dataset, note = read(root)
    assert not any(record.mask for record in dataset.records)
    assert "masks that fit no image: 1 (such as a/ground_truth/000_mask.png)" in note
    for name in ("crack_000", "scratch_000", "scratch_001"):  # these say whose they are
        mask(folder / "ground_truth" / f"{name}.png")
    dataset, note = read(root)
    assert all(record.mask for record in dataset.test if record.anomalous)
    assert "masks that fit no image: 1 " in note


def test_masks_that_do_not_fit_are_told_before_a_lacking_one_is_refused(root: Path) -> None:
    folder = tree(root)
    mask(folder / "ground_truth/scratch/000_mask.png")
    mask(folder / "ground_truth/scratch/01_mask.png")
    with pytest.warns(UserWarning, match=r"masks that fit no image: 1 .*01_mask\.png"):
        one_line(r"001\.png: no mask for this anomalous image", lambda: read_dataset(root))


# --- good by any name -----------------------------------------------------------------------


@pytest.mark.parametrize("train", ["good", "Good", "normal", "NORMAL"])
@pytest.mark.parametrize("test", ["good", "ok", "OK", "Good", "normal", "Normal"])
def test_good_parts_are_called_so_in_any_way(root: Path, train: str, test: str) -> None:
    tree(root, train, "ng", test)
    dataset, note = read(root)
    assert dataset.layout == "mvtec" and counts(dataset) == (3, 2, 2) and not note
    assert {record.defect for record in dataset.test} == {"good", "ng"}


@pytest.mark.parametrize("name", ["ok", "OK"])
def test_good_parts_called_ok_in_training(root: Path, name: str) -> None:
    tree(root, name, "ko", "good")
    assert counts(read(root)[0]) == (3, 2, 2)
    assert read(root, layout="mvtec")[0].records == read(root, layout="btad")[0].records


def test_splits_in_other_letters(root: Path) -> None:
    folder = tree(root, "Good")
    for split in ("train", "test"):
        (folder / split).rename(folder / split.upper())
    assert counts(read(root)[0]) == (3, 2, 2)


def test_good_in_the_other_layouts(root: Path) -> None:
    sample_sets.mvtec_3d(root / "3d")
    for split in ("train", "validation", "test"):
        (root / f"3d/tire/{split}/good").rename(root / f"3d/tire/{split}/OK")
    assert counts(read(root / "3d")[0]) == (1, 1, 1)
    sample_sets.visa(root / "visa")
    table = root / "visa/split_csv/1cls.csv"
    table.write_text(table.read_text().replace(",normal,", ",Good,"))
    assert counts(read(root / "visa")[0]) == (3, 1, 1)
    sample_sets.real_iad(root / "real")
    index = root / "real/realiad_jsons/audiojack.json"
    index.write_text(index.read_text().replace('"anomaly_class": "OK"', '"anomaly_class": "good"'))
    assert counts(read(root / "real")[0]) == (2, 2, 2)


def test_defects_among_the_training_images_are_told(root: Path) -> None:
    folder = tree(root)
    picture(folder / "train" / "scratch" / "000.png", 50)
    dataset, note = read(root)
    assert counts(dataset) == (3, 2, 2) and len(dataset.records) == 8
    assert "1 not used: anomalous training images, which are never trained on: 1" in note


# --- what is not used -----------------------------------------------------------------------


def raw(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


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


# --- index files ----------------------------------------------------------------------------

OUT = ["../outside.png", "/etc/outside.png", "a/../../outside.png", "..\\outside.png"]
OUT += ["C:\\data\\outside.png", "\\\\server\\share\\outside.png", "{absolute}"]


def listing(layout: str, root: Path, image: str | None, truth: str | None) -> None:
    """Replaces an image or a mask that the index of ``layout`` lists."""
    if layout == "visa":
        table = root / "split_csv" / "1cls.csv"
        with open(table, newline="") as file:
            rows = list(csv.reader(file))
        rows[-1][3:] = [image or rows[-1][3], truth or rows[-1][4]]
        with open(table, "w", newline="") as file:
            csv.writer(file).writerows(rows)
        return
    file = root / ("meta.json" if layout == "meta_json" else "realiad_jsons/audiojack.json")
    content = json.loads(file.read_text())
    entries = content["test"]["a"] if layout == "meta_json" else content["test"]
    key = "img_path" if layout == "meta_json" else "image_path"
    entries[-1] |= {key: image or entries[-1][key], "mask_path": truth or entries[-1]["mask_path"]}
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("layout", ["visa", "meta_json", "real_iad"])
@pytest.mark.parametrize("path", OUT)
def test_an_index_must_not_lead_out_of_its_root(root: Path, layout: str, path: str) -> None:
    outside = picture(root.parent / "outside.png")
    for image, truth in ((True, False), (False, True)):
        shutil.rmtree(root)
        getattr(sample_sets, layout)(root)
        text = path.format(absolute=outside)
        if layout == "real_iad" and ".." in path:  # relative to the folder of images
            text = "../../" + text
        listing(layout, root, text if image else None, text if truth else None)
        one_line(r"which lies outside .*allow it with outside=True", lambda: read_dataset(root))
    if "outside.png" in text and not text.startswith(("/etc", "C:", "\\\\")):
        dataset, _ = read(root, outside=True)
        masks = [record.mask for record in dataset.test if record.anomalous]
        assert any(found.resolve() == outside for found in masks)


def test_links_below_the_root_may_lead_anywhere(root: Path) -> None:
    sample_sets.meta_json(root)
    (root / "a").rename(root.parent / "elsewhere")
    (root / "a").symlink_to(root.parent / "elsewhere")
    assert len(read(root)[0].records) == 3
    # .. behind the link leads where it seems to, and not beside what the link leads to
    picture(root.parent / "secret.png")
    listing("meta_json", root, "a/../secret.png", None)
    one_line("not there: .*set/secret.png", lambda: read_dataset(root))


def test_absolute_paths_below_the_root_are_taken(root: Path) -> None:
    sample_sets.meta_json(root)
    listing("meta_json", root, str(root / "a" / "bad.png"), str(root / "a" / "bad_mask.png"))
    assert read(root)[0].test[0].image == root / "a" / "bad.png"


@pytest.mark.parametrize("layout", ["visa", "meta_json", "real_iad"])
def test_backslashes_are_understood_in_every_index(root: Path, layout: str) -> None:
    expected = read(getattr(sample_sets, layout)(root))[0]
    for file in (*root.rglob("*.json"), *root.rglob("*.csv")):
        text = file.read_text()
        windows = text.replace("/", "\\" if file.suffix == ".csv" else "\\\\")
        assert windows != text
        file.write_text(windows)
    assert read(root)[0] == expected


def test_classes_of_an_index_may_be_called_anything(root: Path) -> None:
    index = sample_sets.meta_json(root) / "meta.json"
    whole = json.loads(index.read_text())
    names = [
        "../../x",
        "/etc",
        "[bold]",
        "=1+1",
        "mean",
        "<b>",
        "n" * 200,
        "a,b",
        "\u00e9\U0001f600",
    ]
    for name in names:
        meta = {split: {name: classes["a"]} for split, classes in whole.items()}
        index.write_text(json.dumps(meta))
        assert read(root)[0].classes == (name,)
    for name in ("", "  "):
        meta = {split: {name: classes["a"]} for split, classes in whole.items()}
        index.write_text(json.dumps(meta))
        one_line("a class needs a name", lambda: read_dataset(root))


@pytest.mark.parametrize(
    "change",
    [
        {"img_path": 7}, {"img_path": ""}, {"img_path": None}, {"img_path": ["a/bad.png"]},
        {"mask_path": 7}, {"mask_path": {"a": 1}}, {"anomaly": 2}, {"anomaly": -1},
        {"anomaly": 0.5}, {"anomaly": None}, {"anomaly": [1]}, {"specie_name": 7},
        {"specie_name": "good"}, {"specie_name": "OK"}, {"mask_path": "", "mask_rle": "x"},
    ],
)  # fmt: skip
def test_entries_that_make_no_sense_are_named(root: Path, change: dict) -> None:
    index = sample_sets.meta_json(root) / "meta.json"
    whole = json.loads(index.read_text())
    whole["test"]["a"][1] |= change
    index.write_text(json.dumps(whole))
    one_line(r"meta\.json: test/a, entry 1", lambda: read_dataset(root))


def test_kinds_of_real_iad_are_text(root: Path) -> None:
    index = sample_sets.real_iad(root) / "realiad_jsons" / "audiojack.json"
    whole = json.loads(index.read_text())
    for kind in ("", None, 7, ["HS"]):
        whole["test"][0]["anomaly_class"] = kind
        index.write_text(json.dumps(whole))
        one_line(r"audiojack\.json: not Real-IAD's index", lambda: read_dataset(root))
