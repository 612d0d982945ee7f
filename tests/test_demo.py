"""The generated production line, and the demo on a small one."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from invad_fast import InputError
from invad_fast.data import load_mask, read_dataset
from invad_fast.data.production_line import (
    DEFECTS,
    PRODUCTS,
    make_production_line,
    photograph_part,
)
from invad_fast.demo import demo_encoder_weights, run_demo
from invad_fast.demo_line import print_line_report, run_line_demo

KINDS = [(product, d.__name__) for product in PRODUCTS for d in DEFECTS[product]]


@pytest.mark.parametrize("product, defect", KINDS)
def test_masks_are_where_the_image_changed(product: str, defect: str) -> None:
    for seed in range(3):
        good, nothing = photograph_part(product, None, 64, (seed,))
        bad, mask = photograph_part(product, defect, 64, (seed,))
        assert not nothing.any()
        assert 0.001 < mask.mean() < 0.2
        difference = np.abs(good.astype(int) - bad).max(axis=2)
        assert not difference[~mask].any()
        assert np.median(difference[mask]) > 8  # visible


def test_defects_stay_on_the_part() -> None:
    table = (slice(None), slice(0, 3))  # left of the plate
    for defect in DEFECTS["metal"]:
        for seed in range(8):
            assert not photograph_part("metal", defect.__name__, 64, (seed,))[1][table].any()


def test_same_seed_same_images(tmp_path: Path) -> None:
    def digest(name: str, seed: int) -> str:
        make_production_line(tmp_path / name, 32, 2, 1, 1, seed)
        files = sorted((tmp_path / name).rglob("*.png"))
        return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()

    assert digest("a", 1) == digest("b", 1) != digest("c", 2)
    dataset = read_dataset(tmp_path / "a")
    assert dataset.classes == tuple(sorted(PRODUCTS))
    assert all(load_mask(r).any() for r in dataset.test if r.anomalous)
    with pytest.raises(InputError, match="is not empty"):
        make_production_line(tmp_path / "a")


def test_the_shipped_encoder_is_small() -> None:
    assert demo_encoder_weights().stat().st_size <= 4 * 2**20


def test_demo_end_to_end(tmp_path: Path) -> None:
    result = run_demo(
        tmp_path / "demo", epochs=2, train_parts=8, test_good=4, defects=2, show_progress=False
    )
    assert set(result.classes) == set(PRODUCTS)
    assert all(0 <= r.figures["pixel_auroc"] <= 1 for r in result.classes.values())
    rows = (tmp_path / "demo" / "run" / "history.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[1]) for row in rows]
    assert losses[-1] < 0.97 * losses[0]
    report = (tmp_path / "demo" / "report.html").read_text()
    assert report.count("<figure>") > len(PRODUCTS)
    with pytest.raises(InputError, match="is not empty"):
        run_demo(tmp_path / "demo", show_progress=False)
    check_the_line(tmp_path / "demo")


def check_the_line(demo: Path) -> None:
    """`demo --line` with that model, on a few parts."""
    theirs = [demo / "line.yaml", demo / "line.db", demo / "line.db-monday"]
    for file in theirs:
        file.write_text("a person's own")
    report = run_line_demo(demo, parts=40, calibration_parts=99, show_progress=False)
    assert all(file.read_text() == "a person's own" for file in theirs)
    assert report.accounts_close and report.triggered == report.recorded == 40
    assert not report.not_inspected
    defective = sum(held.total() for held in report.defective.values())
    assert report.good.total() + defective == 40 and 1 <= defective <= 18
    assert report.expected_rate == 0.01 and report.rate_95 == pytest.approx(0.0298, abs=2e-4)
    told: list[str] = []
    print_line_report(report, told.append)
    assert told[0].startswith("false alarms: ") and "1.00 % expected" in told[0]
    assert told[-1].endswith("0 not inspected: the accounts close")
    before = (demo / "line" / "line.db").read_bytes()
    (demo / "line" / "line.json").write_text("{}")
    with pytest.raises(InputError, match=r"line\.json that was not made here"):
        run_line_demo(demo, show_progress=False)
    assert (demo / "line" / "line.db").read_bytes() == before
