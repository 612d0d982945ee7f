"""A data set read, what was said of it, and trees to read."""

import warnings
from pathlib import Path

from sample_sets import picture

from invad_fast.data import Dataset, read_dataset
from invad_fast.errors import InputWarning


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


def raw(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
