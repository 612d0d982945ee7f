"""Good parts, whatever they are called."""

from pathlib import Path

import pytest
import sample_sets
from read_sets import counts, read, tree
from sample_sets import picture


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
