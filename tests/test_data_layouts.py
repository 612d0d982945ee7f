"""Every layout is told apart and read right; what is wrong with one is said in one line."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sample_sets
from refusals import one_line

from invad_fast.data import LAYOUTS, Dataset, load_mask, read_dataset

# maker -> (layout, classes, training records, test records, anomalous ones with a mask)
EXPECTED = [
    (sample_sets.mvtec, "mvtec", ("bolt", "nut"), 8, 8, 4),
    (sample_sets.mpdd, "mvtec", ("tubes",), 1, 2, 1),
    (sample_sets.loco, "mvtec", ("bottle",), 1, 2, 1),
    (sample_sets.visa_prepared, "mvtec", ("candle",), 1, 2, 1),
    (sample_sets.mvtec_3d, "mvtec_3d", ("tire",), 1, 2, 1),
    (sample_sets.btad, "btad", ("01", "02"), 2, 4, 2),
    (sample_sets.dagm, "dagm", ("Class1",), 1, 2, 1),
    (sample_sets.kolektor, "kolektor", ("set",), 1, 2, 1),
    (sample_sets.visa, "visa", ("candle",), 3, 2, 1),
    (sample_sets.meta_json, "meta.json", ("a",), 1, 2, 1),
    (sample_sets.uni_medical, "meta.json", ("brain", "liver", "retinal"), 3, 6, 3),
    (sample_sets.real_iad, "real_iad", ("audiojack",), 2, 4, 2),
    (sample_sets.folder, "folder", ("set",), 8, 3, 0),
    (sample_sets.folder_with_masks, "folder", ("cap", "lid"), 8, 4, 2),
]


@pytest.mark.parametrize("make, name, classes, train, test, masks", EXPECTED)
def test_layouts_are_told_apart(
    make: Callable, name: str, classes: tuple[str, ...], train: int, test: int, masks: int, root
) -> None:
    dataset = read_dataset(make(root))
    assert dataset.layout == name
    assert read_dataset(root, name) == dataset  # asking for it is the same
    assert dataset.classes == classes
    assert (len(dataset.train), len(dataset.test)) == (train, test)
    assert not any(r.anomalous for r in dataset.train)
    assert all(r.anomalous == (r.defect != "good") for r in dataset.records)
    assert all(r.image.is_file() and r.split in ("train", "test") for r in dataset.records)
    masked = [r for r in dataset.test if r.mask is not None]
    assert len(masked) == masks
    for record in masked:
        assert record.anomalous
        assert load_mask(record)[4:12, 6:20].all() and load_mask(record).sum() == 8 * 14
    counts = dataset.counts()
    assert sum(c.train for c in counts.values()) == train
    assert sum(c.test_normal + c.test_anomalous for c in counts.values()) == test
    assert all(c.has_masks == bool(masks) for c in counts.values())


def test_every_layout_has_a_fixture_and_says_where_its_data_sets_are() -> None:
    assert {name for _, name, *_ in EXPECTED} == set(LAYOUTS)
    assert all(layout.data_sets and layout.looks_like for layout in LAYOUTS.values())


def test_defects_among_the_training_images_are_kept_apart(root: Path) -> None:
    dataset = read_dataset(sample_sets.dagm(root))
    assert [r.anomalous for r in dataset.records if r.split == "train"] == [True, False]
    assert [r.image.name for r in dataset.train] == ["0001.PNG"]


@pytest.mark.parametrize(
    "make, inner",
    [
        (sample_sets.mvtec, "bolt"),
        (sample_sets.mvtec_3d, "tire"),
        (sample_sets.btad, "02"),
        (sample_sets.dagm, "Class1"),
        (sample_sets.folder_with_masks, "lid"),
    ],
)
def test_one_class_is_a_root_too(make: Callable, inner: str, root: Path) -> None:
    whole = read_dataset(make(root))
    single = read_dataset(root / inner)
    assert single == Dataset(root / inner, whole.layout, whole.only([inner]).records)


def test_the_root_may_be_the_working_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sample_sets.folder(root))
    assert read_dataset(".").classes == ("set",)


def test_an_index_file_is_believed_before_the_folders(root: Path) -> None:
    sample_sets.mvtec(root)  # as ADer puts its meta.json into MVTec AD's folder
    sample_sets.meta_json(root)
    assert read_dataset(root).layout == "meta.json"
    assert read_dataset(root, "mvtec").classes == ("bolt", "nut")


def test_two_layouts_at_once_are_not_guessed(root: Path) -> None:
    sample_sets.mvtec(root)
    sample_sets.btad(root)
    one_line(r"more than one layout \(mvtec and btad\)", lambda: read_dataset(root))
    (root / "split_csv").mkdir()
    sample_sets.meta_json(root)
    (root / "split_csv" / "1cls.csv").write_text("object,split,label,image,mask\n")
    one_line(r"more than one layout \(meta\.json and visa\)", lambda: read_dataset(root))


def test_roots_that_are_no_data_set(root: Path) -> None:
    one_line("no folder .*nowhere", lambda: read_dataset(root / "nowhere"))
    one_line("no folder .*x.png", lambda: read_dataset(sample_sets.picture(root / "x.png")))
    text = one_line("no data set found; looked for", lambda: read_dataset(root))
    assert all(layout.looks_like in text for layout in LAYOUTS.values())
    one_line("no layout 'x': choose one of meta.json,", lambda: read_dataset(root, "x"))
    one_line("not the visa layout; looked for split_csv", lambda: read_dataset(root, "visa"))
    sample_sets.mvtec(root / "unpacked")
    one_line("no data set here, but one in it: give .*unpacked", lambda: read_dataset(root))


def test_stray_files_are_no_images(root: Path) -> None:
    before = read_dataset(sample_sets.mvtec(root)).records
    for name in ("._0.png", "Thumbs.db", ".hidden.png", "notes.txt"):
        (root / "bolt" / "train" / "good" / name).write_bytes(b"x")
    (root / ".cache" / "train" / "good").mkdir(parents=True)
    (root / "licence").mkdir()
    assert read_dataset(root).records == before


def test_empty_classes_and_classes_without_defects(root: Path) -> None:
    sample_sets.mvtec(root)
    for image in (root / "nut" / "train" / "good").iterdir():
        image.unlink()
    dataset = read_dataset(root)  # still good for an evaluation
    assert len(dataset.test) == 8
    one_line("no normal training images for class 'nut'", lambda: dataset.train)
    one_line("no class 'x': choose bolt, nut", lambda: dataset.only(["x"]))
    shutil.rmtree(root / "nut" / "train")
    assert read_dataset(root).classes == ("bolt", "nut")
    (root / "pin" / "train" / "good").mkdir(parents=True)
    one_line("pin: a class without a single image", lambda: read_dataset(root))
    shutil.rmtree(root / "pin")
    shutil.rmtree(root / "bolt" / "test" / "cut")
    assert read_dataset(root).counts()["bolt"].test_anomalous == 0


def test_a_lacking_mask(root: Path) -> None:
    sample_sets.mvtec(root)
    truth = root / "bolt" / "ground_truth" / "cut"
    (truth / "1_mask.png").unlink()
    one_line(r"cut/1\.png: no mask for this anomalous image", lambda: read_dataset(root))
    shutil.rmtree(truth)  # none in the class: image-level figures
    dataset = read_dataset(root)
    assert [c.has_masks for c in dataset.counts().values()] == [False, True]
    record = next(r for r in dataset.test if r.anomalous)
    one_line("without a mask: no pixel-level figures", lambda: load_mask(record))


def test_a_plain_folder_holds_out_good_images_only_where_there_are_defects(root: Path) -> None:
    dataset = read_dataset(sample_sets.folder(root))
    assert sum(not r.anomalous for r in dataset.test) == 2
    assert dataset == read_dataset(root)
    shutil.rmtree(root / "scratched")
    assert len(read_dataset(root).train) == 10


def test_visa_mistakes(root: Path) -> None:
    index = sample_sets.visa(root) / "split_csv" / "1cls.csv"
    table = index.read_text()
    index.write_text("\ufeff" + table, encoding="utf-8")
    assert len(read_dataset(root).records) == 5
    for old, new, match in (
        ("train_normal_1.JPG", "gone.JPG", r"not there: .*gone\.JPG$"),
        ("mask_0.png", "gone.png", r"not there: .*gone\.png$"),
        ("object,", "class,", r"no column 'object'"),
        ("train,", "learn,", r"line 2: split is 'learn', not"),
        ("anomaly,", "bad,", r"line 6: label is 'bad', not"),
        ("candle,test,normal", ",test,normal", r"line 5: the column 'object' is empty"),
    ):
        index.write_text(table.replace(old, new))
        one_line(rf"1cls\.csv: .*{match}", lambda: read_dataset(root))
    index.write_bytes(b"\xff\xfe\x00")
    one_line(r"1cls\.csv: not a CSV table", lambda: read_dataset(root))


def test_meta_json_mistakes(root: Path) -> None:
    index = sample_sets.meta_json(root) / "meta.json"
    whole = json.loads(index.read_text())
    for change, match in (
        (lambda m: m.pop("test"), "no object 'test'"),
        (lambda m: m.update(train=[]), "'train' is not an object"),
        (lambda m: m["test"].update(a={}), "test/a is not a list"),
        (lambda m: m["test"]["a"][1].pop("img_path"), "test/a, entry 1 lacks or garbles 'img_p"),
        (lambda m: m["test"]["a"][1].update(anomaly="yes"), "entry 1 lacks or garbles"),
        (lambda m: m["test"]["a"].append(7), "entry 2 lacks or garbles"),
        (
            lambda m: m["test"]["a"][1].update(mask_path="", mask_rle={"size": [math.inf, 1]}),
            "entry 1 lacks or garbles",
        ),
        (lambda m: m["train"]["a"][0].update(img_path="a/no.png"), r"not there: .*no\.png"),
    ):
        meta = json.loads(json.dumps(whole))
        change(meta)
        index.write_text(json.dumps(meta))
        one_line(rf"meta\.json: .*{match}", lambda: read_dataset(root))
    index.write_text("{")
    one_line(r"meta\.json: not a readable JSON file", lambda: read_dataset(root))
    whole["test"]["a"][1]["img_path"] = "a\\bad.png"  # written on Windows
    index.write_text(json.dumps(whole))
    assert read_dataset(root).test[0].image == root / "a" / "bad.png"


def test_real_iad_views_and_mistakes(root: Path) -> None:
    sample_sets.real_iad(root, deeper=True)
    dataset = read_dataset(root)
    views = [re.search(r"_(C\d)", r.image.name).group(1) for r in dataset.test if r.anomalous]
    assert views == ["C1", "C2"]
    index = root / "realiad_jsons" / "realiad_jsons" / "audiojack.json"
    whole = index.read_text()
    index.write_text(whole.replace("anomaly_class", "anomaly"))
    one_line(r"audiojack\.json: not Real-IAD's index", lambda: read_dataset(root))
    index.write_text(whole.replace("HS_C1.png", "gone.png"))
    one_line(r"audiojack\.json: lists files that are not there", lambda: read_dataset(root))
    # the fully unsupervised protocols put defects among the training images
    index.write_text(whole.replace('"test": [', '"train_": [').replace('"train": ', '"test": '))
    one_line("no normal training images|not Real-IAD", lambda: read_dataset(root).train)


def test_kolektor_without_a_mask(root: Path) -> None:
    (sample_sets.kolektor(root) / "test" / "10000_GT.png").unlink()
    one_line(r"10000\.png: its mask 10000_GT\.png is missing", lambda: read_dataset(root))


def test_real_images(shared: Path) -> None:
    dataset = read_dataset(shared / "data" / "defects")
    counts = {
        name: (c.train, c.test_normal, c.test_anomalous) for name, c in dataset.counts().items()
    }
    assert counts == {"cookie": (31, 14, 32), "juice_bottle": (335, 54, 142), "tire": (210, 25, 87)}
    for record in dataset.test:
        if record.anomalous:
            assert load_mask(record).any(), record.image
