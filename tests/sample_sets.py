"""Tiny data sets of every layout, written by code.

Every defect's mask is 1 in rows 4 to 11 and columns 6 to 19 of 32 x 32 pixels.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = 32


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (SIZE, SIZE)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mask(path: Path, size: tuple[int, int] = (SIZE, SIZE), rows: slice = slice(4, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size, np.uint8)
    pixels[rows, 6:20] = 255
    Image.fromarray(pixels).save(path)
    return path


def mvtec(root: Path, classes: tuple[str, ...] = ("bolt", "nut"), train: int = 4) -> Path:
    for c, name in enumerate(classes):
        for i in range(train):
            picture(root / name / "train" / "good" / f"{i}.png", 100 * c + i)
        for i in range(2):
            picture(root / name / "test" / "good" / f"{i}.png", 100 * c + 50 + i)
            picture(root / name / "test" / "cut" / f"{i}.png", 100 * c + 60 + i)
            mask(root / name / "ground_truth" / "cut" / f"{i}_mask.png")
    return root


def mpdd(root: Path) -> Path:
    """MVTec's layout; real MPDD masks are named the same, and its images have other suffixes."""
    picture(root / "tubes" / "train" / "good" / "000.bmp")
    picture(root / "tubes" / "test" / "good" / "000.bmp")
    picture(root / "tubes" / "test" / "anomalous" / "000.bmp")
    mask(root / "tubes" / "ground_truth" / "anomalous" / "000_mask.png")
    return root


def mvtec_3d(root: Path) -> Path:
    for split, defect in (("train", "good"), ("test", "good"), ("validation", "good")):
        picture(root / "tire" / split / defect / "rgb" / "0.png")
        (root / "tire" / split / defect / "xyz").mkdir()
    mask(root / "tire" / "test" / "good" / "gt" / "0.png", rows=slice(0))
    picture(root / "tire" / "test" / "hole" / "rgb" / "0.png")
    mask(root / "tire" / "test" / "hole" / "gt" / "0.png")
    return root


def loco(root: Path) -> Path:
    """Two defects in one image: two masks, whose union is the usual one."""
    for split in ("train", "test", "validation"):
        picture(root / "bottle" / split / "good" / "0.png")
    picture(root / "bottle" / "test" / "logical_anomalies" / "7.png")
    truth = root / "bottle" / "ground_truth" / "logical_anomalies" / "7"
    mask(truth / "000.png", rows=slice(4, 8))
    mask(truth / "001.png", rows=slice(7, 12))
    (root / "bottle" / "defects_config.json").write_text("[]")
    return root


def btad(root: Path) -> Path:
    for name, suffix in (("01", "bmp"), ("02", "png")):
        picture(root / name / "train" / "ok" / f"0000.{suffix}")
        picture(root / name / "test" / "ok" / f"0000.{suffix}")
        picture(root / name / "test" / "ko" / f"0001.{suffix}")
        mask(root / name / "ground_truth" / "ko" / "0001.png")
    return root


def dagm(root: Path) -> Path:
    """A defect among the training images too, as in the real set."""
    for split in ("Train", "Test"):
        picture(root / "Class1" / split / "0001.PNG", 1)
        picture(root / "Class1" / split / "0002.PNG", 2)
        mask(root / "Class1" / split / "Label" / "0002_label.PNG")
        (root / "Class1" / split / "Label" / "Labels.txt").write_text("1\n")
    return root


def kolektor(root: Path) -> Path:
    """A defect among the training images too, as in the real set."""
    for split in ("train", "test"):
        picture(root / split / "10000.png", 1)
        mask(root / split / "10000_GT.png", rows=slice(0))
        picture(root / split / "10001.png", 2)
        mask(root / split / "10001_GT.png")
    return root


def visa(root: Path) -> Path:
    rows = []
    for split, label, n in (("train", "normal", 3), ("test", "normal", 1), ("test", "anomaly", 1)):
        for i in range(n):
            image = f"candle/{split}_{label}_{i}.JPG"
            picture(root / image)
            truth = f"candle/mask_{i}.png" if label == "anomaly" else ""
            if truth:
                mask(root / truth)
            rows.append(["candle", split, label, image, truth])
    index = root / "split_csv" / "1cls.csv"
    index.parent.mkdir()
    with open(index, "w", newline="") as file:
        csv.writer(file).writerows([["object", "split", "label", "image", "mask"], *rows])
    return root


def visa_prepared(root: Path) -> Path:
    """VisA once its authors' script has sorted it: MVTec's tree, masks without ``_mask``."""
    picture(root / "candle" / "train" / "good" / "0.JPG")
    picture(root / "candle" / "test" / "good" / "1.JPG")
    picture(root / "candle" / "test" / "bad" / "000.JPG")
    mask(root / "candle" / "ground_truth" / "bad" / "000.png")
    return root


def meta_json(root: Path) -> Path:
    picture(root / "a" / "good.png")
    picture(root / "a" / "bad.png")
    mask(root / "a" / "bad_mask.png")
    good: dict[str, Any] = {"img_path": "a/good.png", "mask_path": "", "cls_name": "a"}
    good |= {"specie_name": "", "anomaly": 0}
    bad = {"img_path": "a/bad.png", "mask_path": "a/bad_mask.png", "cls_name": "a"}
    bad |= {"specie_name": "dent", "anomaly": 1}
    meta = {"train": {"a": [good]}, "test": {"a": [good, bad]}}
    (root / "meta.json").write_text(json.dumps(meta))
    return root


def uni_medical(root: Path) -> Path:
    """Three organs, indexed by meta.json; paths below each organ's folder of slices."""
    index: dict[str, dict[str, list]] = {"train": {}, "test": {}}
    for organ in ("brain", "liver", "retinal"):
        for split, specie in (("train", "good"), ("test", "good"), ("test", "Ungood")):
            image = f"{organ}/{split}/{specie}/img/1.png"
            picture(root / image)
            truth = f"{organ}/{split}/{specie}/label/1.png" if specie == "Ungood" else ""
            if truth:
                mask(root / truth)
            entry = {"img_path": image, "mask_path": truth, "cls_name": organ}
            entry |= {"specie_name": specie, "anomaly": int(bool(truth))}
            index[split].setdefault(organ, []).append(entry)
    (root / "meta.json").write_text(json.dumps(index))
    return root


def real_iad(root: Path, deeper: bool = False) -> Path:
    """One part from two views, in the folders that the real set's archives unpack to."""
    images = root / "realiad_1024" / "audiojack"
    train, test = [], []
    for view in ("C1", "C2"):
        for number, entries in (("S0001", train), ("S0002", test)):
            ok = f"OK/{number}/audiojack_{number}_OK_{view}.jpg"
            picture(images / ok)
            entries.append({"category": "audiojack", "anomaly_class": "OK", "image_path": ok})
        ng = f"NG/HS/S0003/audiojack_S0003_NG_HS_{view}"
        picture(images / f"{ng}.jpg")
        mask(images / f"{ng}.png")
        test.append(
            {"category": "audiojack", "anomaly_class": "HS", "image_path": f"{ng}.jpg",
             "mask_path": f"{ng}.png"}
        )  # fmt: skip
    for entry in (*train, *test):
        entry.setdefault("mask_path", None)
    index = root / "realiad_jsons" / ("realiad_jsons" if deeper else "") / "audiojack.json"
    index.parent.mkdir(parents=True)
    meta = {"normal_class": "OK", "pre_transform": True, "prefix": "audiojack/"}
    index.write_text(json.dumps({"meta": meta, "train": train, "test": test}))
    return root


def folder(root: Path) -> Path:
    for i in range(10):
        picture(root / "good" / f"{i}.png", i)
    picture(root / "scratched" / "0.png", 99)
    return root


def folder_with_masks(root: Path) -> Path:
    for name in ("cap", "lid"):
        for i in range(5):
            picture(root / name / "OK" / f"{i}.jpg", i)
        picture(root / name / "bent" / "0.jpg", 9)
        mask(root / name / "ground_truth" / "bent" / "0.png")
    return root
