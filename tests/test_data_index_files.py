"""Index files: paths that lead out, names of classes, entries that make no sense."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import sample_sets
from read_sets import read
from refusals import one_line
from sample_sets import picture

from invad_fast.data import read_dataset

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
