"""COCO-AD from annotation files alone: splits, masks of every kind of segmentation, resuming."""

import builtins
import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as PolygonPath
from PIL import Image
from refusals import one_line

from invad_fast.data import load_mask, read_dataset

pytest.importorskip("pycocotools", reason="pip install 'invad-fast[coco]'")

from pycocotools import mask as coco_mask

from invad_fast.data.coco_ad import build as coco_ad
from invad_fast.data.coco_ad import build_coco_ad
from invad_fast.data.coco_ad.masks import union_mask

HEIGHT, WIDTH = 40, 60
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
# COCO's category ids have gaps: 80 classes among 1 to 90
IDS = [i for i in range(1, 91) if i % 9 != 5]


def write_coco(
    root: Path, train: list[list[int]], val: list[list[int]], segment: Any = (SQUARE,)
) -> Path:
    """``train`` and ``val`` give the class numbers 0..79 of every image's annotations."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, images in (("train2017", train), ("val2017", val)):
        (root / split).mkdir(exist_ok=True)
        listed, annotations = [], []
        for number, classes in enumerate(images):
            name = f"{number:012}.jpg"
            Image.new("RGB", (WIDTH, HEIGHT), (number, 90, 60)).save(root / split / name)
            listed.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
            for c in classes:
                annotations.append(
                    {"id": len(annotations), "image_id": number, "category_id": IDS[c],
                     "iscrowd": 0, "bbox": [10, 10, 20, 20], "segmentation": segment}
                )  # fmt: skip
        content = {
            "info": {"description": 'a trap: "segmentation": [[1, 2]], \\"segmentation": [3]'},
            "images": listed,
            "annotations": annotations,
            # in another order than their ids
            "categories": [{"id": i, "name": f"class {IDS.index(i)}"} for i in reversed(IDS)],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


TRAIN = [[0], [19, 20], [20], [45, 79], [], [79], [60, 61]]
VAL = [[0], [25], [], [45, 25], [70], [70, 0]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco", TRAIN, VAL)


@pytest.mark.parametrize("masks", ["png", "none"])
def test_the_four_splits(root: Path, tmp_path: Path, masks: str) -> None:
    reports = build_coco_ad(root, "all", tmp_path / "out", masks)
    assert [r.train_images for r in reports] == [4, 4, 5, 3]
    assert [r.test_anomalous for r in reports] == [2, 2, 1, 2]
    assert {r.test_normal + r.test_anomalous for r in reports} == {5}
    assert reports[1].anomalous_classes == tuple(f"class {i}" for i in range(20, 40))
    assert "not the full COCO 2017, so not compared" in reports[0].summary()
    for report in reports:
        dataset = read_dataset(report.folder)
        assert dataset.classes == ("coco",)
        assert len(dataset.train) == report.train_images
        assert sum(r.anomalous for r in dataset.test) == report.test_anomalous
        for record in dataset.test:
            expected = np.zeros((HEIGHT, WIDTH))
            expected[10:30, 10:30] = record.anomalous
            assert (load_mask(record) == expected).all()
    names = [r.image.name for r in read_dataset(reports[3].folder).train]
    assert names == [f"{i:012}.jpg" for i in (0, 1, 2)]
    assert bool(list((tmp_path / "out").rglob("*.png"))) == (masks == "png")


def test_the_report_of_class_frequencies(root: Path, tmp_path: Path) -> None:
    build_coco_ad(root, 0, tmp_path, "none")
    with open(tmp_path / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80 and [int(row["id"]) for row in rows] == IDS
    counts = {row["name"]: row for row in rows}
    assert counts["class 79"]["train_annotations"] == counts["class 79"]["train_images"] == "2"
    assert counts["class 25"]["test_images"] == "2" and counts["class 25"]["split"] == "1"


def test_meta_json_is_what_other_tools_read(root: Path, tmp_path: Path) -> None:
    (report,) = build_coco_ad(root, 1, root / "built")
    meta = json.loads((report.folder / "meta.json").read_text())
    entry = next(e for e in meta["test"]["coco"] if e["anomaly"])
    assert set(entry) == {"img_path", "mask_path", "cls_name", "specie_name", "anomaly"}
    for key in ("img_path", "mask_path"):
        assert Path(f"{report.folder}/{entry[key]}").is_file()
    assert set(np.unique(Image.open(report.folder / entry["mask_path"]))) == {0, 255}
    root.rename(tmp_path / "moved")  # images and build together
    assert len(read_dataset(tmp_path / "moved" / "built" / "split1").records) == 9


def inside(polygon: list[float]) -> np.ndarray:
    """Whether each pixel's centre is in the polygon."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    corners = np.reshape(polygon, (-1, 2))
    return (
        PolygonPath(corners)
        .contains_points(np.stack([x.ravel(), y.ravel()], 1))
        .reshape(HEIGHT, WIDTH)
    )


def test_polygons_in_and_out_of_the_image() -> None:
    def mask(*segmentations: Any) -> np.ndarray:
        return union_mask(list(segmentations), (HEIGHT, WIDTH), "here")[0].decode()

    triangle = [40.3, 5.1, 55.2, 5.7, 47.4, 35.6]
    both = mask([SQUARE, triangle])
    # a pixel whose centre lies close to an edge may go either way
    assert (both != (inside(SQUARE) | inside(triangle))).sum() <= 10
    assert (mask([SQUARE], [triangle]) == both).all()
    assert (both == mask([SQUARE]) | mask([triangle])).all()
    outside = [-20, -20, 30, -20, 30, 20, -20, 20]
    assert (mask([outside])[:20, :30] == 1).all() and mask([outside]).sum() == 600
    assert not mask([[70, 50, 80, 50, 80, 60]]).any()
    # so far out that pycocotools would need gigabytes for its outline
    far = [30, 10, 1e9, 10, 1e9, 1e9, 30, 1e9]
    assert (mask([far])[10:, 30:] == 1).all() and mask([far]).sum() == 30 * 30
    diamond = [30, -1e7, 1e7, 20, 30, 1e7, -1e7, 20]
    assert mask([diamond]).all()
    assert not mask([[1e8, 1e8, 2e8, 1e8, 2e8, 2e8]]).any()


def test_degenerate_polygons_cover_nothing_and_are_counted() -> None:
    bad = [[], [5, 5], [5, 5, 20, 20], [1, 2, 3, 4, 5, 6, 7], [float("nan")] * 6, [1e999] * 6, "x"]
    bad.append([10**400] * 6)
    mask, dropped = union_mask([[polygon] for polygon in bad], (HEIGHT, WIDTH), "here")
    assert mask.empty and dropped == len(bad)
    mask, dropped = union_mask([[bad[2], SQUARE], [], None, 7], (HEIGHT, WIDTH), "here")
    assert mask.decode().sum() == 400 and dropped == 4


def test_run_lengths_compressed_or_not() -> None:
    rng = np.random.default_rng(0)
    pixels = np.asfortranarray(rng.random((HEIGHT, WIDTH)) < 0.3).astype(np.uint8)
    pixels[:, 20:50] = 0  # long runs too
    compressed = coco_mask.encode(np.asfortranarray(pixels))
    flat = pixels.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(ends, prepend=0, append=flat.size).tolist()
    counts = [0, *counts] if flat[0] else counts
    text = compressed["counts"].decode()
    size = [HEIGHT, WIDTH]
    for runs in (counts, text):
        mask, dropped = union_mask([{"counts": runs, "size": size}], (HEIGHT, WIDTH), "here")
        assert dropped == 0 and (mask.decode() == pixels).all()
        assert mask.counts == text
    union, _ = union_mask([{"counts": text, "size": size}, [SQUARE]], (HEIGHT, WIDTH), "here")
    pixels[10:30, 10:30] = 1
    assert (union.decode() == pixels).all()


@pytest.mark.parametrize(
    "runs, match",
    [
        ({"size": [HEIGHT, WIDTH]}, "lacks its size or counts"),
        ({"counts": [1, "x"], "size": [HEIGHT, WIDTH]}, "lacks its size or counts"),
        ({"counts": [math.inf], "size": [HEIGHT, WIDTH]}, "lacks its size or counts"),
        ({"counts": [10], "size": [HEIGHT, WIDTH]}, "do not add up"),
        ({"counts": [-10, 2410], "size": [HEIGHT, WIDTH]}, "do not add up"),
        ({"counts": "garbage\u00e9", "size": [HEIGHT, WIDTH]}, "do not add up"),
        ({"counts": [2400], "size": [WIDTH, HEIGHT]}, r"\(40, 60\) in an image of \(60, 40\)"),
    ],
)
def test_damaged_run_lengths_are_named(root: Path, tmp_path: Path, runs: Any, match: str) -> None:
    write_coco(root, TRAIN, VAL, runs)
    match = rf"instances_val2017\.json, 000000000000\.jpg: a run-length mask.*{match}"
    one_line(match, lambda: build_coco_ad(root, 0, tmp_path / "out"))


def test_an_anomalous_image_without_a_pixel_is_reported(root: Path, tmp_path: Path) -> None:
    write_coco(root, TRAIN, VAL, [[5, 5, 6]])
    (report,) = build_coco_ad(root, 0, tmp_path / "out")
    assert (report.empty_masks, report.dropped_parts) == (2, 2)
    assert "2 anomalous images with an empty mask; 2 degenerate" in report.summary()
    assert not any(load_mask(r).any() for r in read_dataset(report.folder).test)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_missing_sizes_are_read_from_the_images(root: Path, tmp_path: Path) -> None:
    index = root / "annotations" / "instances_val2017.json"
    edit(index, lambda c: [image.pop("height") for image in c["images"]])
    (report,) = build_coco_ad(root, 0, tmp_path / "out")
    assert all(load_mask(r).sum() == 400 for r in read_dataset(report.folder).test if r.anomalous)
    (root / "val2017" / "000000000000.jpg").unlink()
    one_line(r"000000000000\.jpg: no such", lambda: build_coco_ad(root, 0, tmp_path / "new"))


def test_no_image_is_opened_otherwise(root: Path, tmp_path: Path) -> None:
    for image in root.rglob("*.jpg"):
        image.unlink()
    (report,) = build_coco_ad(root, 0, tmp_path / "out")
    assert report.train_images == 4
    one_line(r"meta\.json: lists files that are not", lambda: read_dataset(report.folder))


def test_an_interrupted_build_goes_on(root: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_coco_ad(root, 0, tmp_path, progress=stop)
    folder = tmp_path / "split0"
    assert len(list((folder / "masks").iterdir())) == 1 and not (folder / "meta.json").exists()
    (report,) = build_coco_ad(root, 0, tmp_path)
    assert report.masks_kept == 1 and len(read_dataset(folder).test) == 5
    (report,) = build_coco_ad(root, 0, tmp_path)
    assert report.masks_kept == 2

    write_coco(root, TRAIN, VAL, [[0, 0, 9, 0, 9, 9]])  # other annotations: nothing is kept
    (report,) = build_coco_ad(root, 0, tmp_path)
    assert report.masks_kept == 0
    assert load_mask(next(r for r in read_dataset(folder).test if r.anomalous)).sum() < 60
    build_coco_ad(root, 0, tmp_path, "none")
    assert not (folder / "masks").exists()


def test_folders_of_others_are_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "split0").mkdir()
    (tmp_path / "split0" / "mine.txt").write_text("mine")
    one_line("split0: not empty, and not an earlier", lambda: build_coco_ad(root, 0, tmp_path))
    one_line("is a file", lambda: build_coco_ad(root, 0, tmp_path / "split0" / "mine.txt"))


def test_the_published_counts_are_checked_on_the_full_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco_ad, "FULL", (len(TRAIN), len(VAL)))
    monkeypatch.setattr(coco_ad, "PUBLISHED_TEST", 5)
    monkeypatch.setattr(coco_ad, "PUBLISHED_TRAIN", (4, 4, 5, 4))
    (report,) = build_coco_ad(root, 2, tmp_path / "out", "none")
    assert report.complete and "as published" in report.summary()
    match = "split 3 comes to 3 training and 5 test images, published are 4 and 5"
    one_line(match, lambda: build_coco_ad(root, 3, tmp_path / "out", "none"))


def test_images_in_the_folder_images(root: Path, tmp_path: Path) -> None:
    (root / "images").mkdir()
    for split in ("train2017", "val2017"):
        (root / split).rename(root / "images" / split)
    (report,) = build_coco_ad(root, 0, tmp_path / "out", "none")
    assert len(read_dataset(report.folder).records) == 9


def test_a_build_reads_through_links_and_lists_nothing_outside(root: Path, tmp_path: Path) -> None:
    (report,) = build_coco_ad(root, 0, tmp_path / "out", "none")
    entries = json.loads((report.folder / "meta.json").read_text())
    paths = [e["img_path"] for split in entries.values() for e in split["coco"]]
    assert {path.split("/")[0] for path in paths} == {"train2017", "val2017"}
    root.rename(tmp_path / "elsewhere")
    (again,) = build_coco_ad(tmp_path / "elsewhere", 0, tmp_path / "out", "none")
    assert len(read_dataset(again.folder).records) == 9  # the links lead to the new place


def test_where_no_links_can_be_made(root: Path, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    (report,) = build_coco_ad(root, 0, tmp_path / "out", "none")
    one_line("outside=True", lambda: read_dataset(report.folder))
    assert len(read_dataset(report.folder, outside=True).records) == 9


@pytest.mark.parametrize(
    "name", ["/etc/x.jpg", "../x.jpg", "a/../../x.jpg", "C:\\x.jpg", "..\\x.jpg"]
)
def test_images_outside_their_folder_are_refused(root: Path, tmp_path: Path, name: str) -> None:
    index = root / "annotations" / "instances_val2017.json"
    edit(index, lambda c: c["images"][0].update(file_name=name))
    one_line("lies outside the folder of images", lambda: build_coco_ad(root, 0, tmp_path / "out"))


@pytest.mark.parametrize("name", ["", " ", None, 7])
def test_names_are_text(root: Path, tmp_path: Path, name: object) -> None:
    index = root / "annotations" / "instances_val2017.json"
    whole = index.read_text()
    edit(index, lambda c: c["images"][0].update(file_name=name))
    one_line("an image needs a file_name", lambda: build_coco_ad(root, 0, tmp_path / "out"))
    index.write_text(whole)
    edit(index, lambda c: c["categories"][0].update(name=name))
    one_line("a class needs a name", lambda: build_coco_ad(root, 0, tmp_path / "out"))


def test_equal_names_in_several_folders_have_masks_of_their_own(root: Path, tmp_path: Path) -> None:
    index = root / "annotations" / "instances_val2017.json"
    images = json.loads(index.read_text())["images"]
    for number, folder in ((0, "a"), (5, "b")):  # both anomalous in split 0
        new = f"{folder}/1.jpg"
        (root / "val2017" / folder).mkdir()
        (root / "val2017" / images[number]["file_name"]).rename(root / "val2017" / new)
        edit(index, lambda c, n=number, f=new: c["images"][n].update(file_name=f))
    (report,) = build_coco_ad(root, 0, tmp_path / "out")
    masks = {r.mask for r in read_dataset(report.folder).test if r.anomalous}
    assert len(masks) == report.test_anomalous == 2


def test_wrong_annotation_files(root: Path, tmp_path: Path) -> None:
    def build() -> None:
        build_coco_ad(root, 0, tmp_path / "out", "none")

    one_line("splits 0 to 3 and 'all', not 4", lambda: build_coco_ad(root, 4, tmp_path))
    one_line("annotations.instances_train2017.json: cannot be read", lambda: build_coco_ad(
        tmp_path, 0, tmp_path))  # fmt: skip
    for split in ("train2017", "val2017"):
        index = root / "annotations" / f"instances_{split}.json"
        whole = index.read_text()
        for change, match in (
            (lambda c: c["categories"].pop(), "79 classes; COCO-AD splits the 80"),
            (lambda c: c.pop("images"), "not a COCO annotation file"),
            (lambda c: c["annotations"][0].pop("image_id"), "not a COCO annotation file"),
            (lambda c: c["annotations"].append(5), "not a COCO annotation file"),
            (lambda c: c["images"][0].update(height=math.inf), "not a COCO annotation file"),
            (lambda c: c["images"][0].update(height=2**70), "is said to be larger than any"),
            (lambda c: c["images"][0].update(height=2**16, width=2**16), "larger than any"),
            (lambda c: c["annotations"][0].update(category_id=5), "of class 5, which is not list"),
        ):
            edit(index, change)
            one_line(rf"{index.name}: .*{match}", build)
            index.write_text(whole)
        index.write_text(whole[:-20])
        one_line(rf"{index.name}: not a COCO annotation file", build)
        index.write_text(whole)
        edit(index, lambda c: c["annotations"].append({**c["annotations"][0], "image_id": 99}))
    (report,) = build_coco_ad(root, 0, tmp_path / "out", "none")
    assert report.strays == 2 and "2 annotations of unlisted images" in report.summary()
    edit(index, lambda c: c["categories"][0].update(name="renamed"))
    one_line("list different classes", build)


def test_without_pycocotools(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    one_line(r"pip install 'invad-fast\[coco\]'", lambda: build_coco_ad(root, 0, tmp_path / "out"))


def test_real_annotations(shared: Path, tmp_path: Path) -> None:
    mini = shared / "data" / "coco_mini"
    written = build_coco_ad(mini, "all", tmp_path / "png")
    held = build_coco_ad(mini, "all", tmp_path / "none", "none")
    assert [(r.train_images, r.test_anomalous) for r in written] == [
        (25, 44), (27, 24), (35, 30), (36, 28)
    ]  # fmt: skip
    assert all(r.test_normal + r.test_anomalous == 60 and not r.empty_masks for r in written)
    for a, b in zip(written, held, strict=True):
        pairs = zip(read_dataset(a.folder).test, read_dataset(b.folder).test, strict=True)
        for one, other in pairs:
            assert (load_mask(one) == load_mask(other)).all()
            assert load_mask(one).any() == one.anomalous
