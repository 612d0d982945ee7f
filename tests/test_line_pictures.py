"""Pictures of a line: rejects, near misses and a random sample, bounded, each with its row."""

import os
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe
from PIL import Image

from invad_fast.inspection import Inspector
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.inspection.ledger.verify import verify

RGB = {"pixel_format": "RGB8"}


def run(folder: Path, reds: list[int], **pictures) -> Path:
    """Inspects a part of each red; the ledger."""
    made = recipe(folder, pictures={"folder": "kept"} | pictures)
    with Inspector(made, folder / "line.db", engine=MAKER) as line:
        for red in reds:
            line.inspect(stub.picture(red, stub.NOTHING), f"p{red}", **RGB)
            time.sleep(0.002)  # no more than can be written
        assert not line.faults
    return folder / "line.db"


def rows(ledger: Path) -> list[tuple[str, str, str, int | None]]:
    return [
        (row["part_id"], kept["why"], kept["file"], kept["removed_at"])
        for row in part_rows(ledger)
        for kept in row["pictures"]
    ][::-1]


def test_rejects_and_near_misses_are_kept(tmp_path: Path) -> None:
    # The threshold is 127.5: within a tenth of it lie 115 to 127.
    ledger = run(tmp_path, [10, 114, 115, 127, 128, 250], sample=0, near_miss=0.1)
    found = rows(ledger)
    near, reject = "near miss", "reject"
    assert [(part, why) for part, why, _, _ in found] == [
        ("p115", near), ("p127", near), ("p128", reject), ("p250", reject)]  # fmt: skip
    for part, _, file, _ in found:
        pixels = np.asarray(Image.open(tmp_path / file))
        assert (pixels == stub.picture(int(part[1:]))).all()
    assert len(list((tmp_path / "kept").glob("*/*"))) == 4
    assert verify(ledger)[0] == []


def test_the_sample_is_one_in_n_of_all_parts(tmp_path: Path) -> None:
    ledger = run(tmp_path, [10] * 300 + [250] * 100, sample=5, near_miss=0)
    found = [part for part, why, _, _ in rows(ledger) if why == "sample"]
    # Binomial, 400 draws of a fifth: within four standard deviations.
    assert 48 <= len(found) <= 112 and {"p10", "p250"} == set(found)


def test_the_oldest_go_and_their_rows_stay(tmp_path: Path) -> None:
    first = run(tmp_path, [200], sample=0)
    size = next((tmp_path / "kept").glob("*/*")).stat().st_size
    run(tmp_path, [200] * 9, sample=0, quota_gib=4.5 * size / 2**30)
    found = rows(first)
    assert len(found) == 10
    assert [removed is None for *_, removed in found] == [False] * 6 + [True] * 4
    left = {file.name for file in (tmp_path / "kept").glob("*/*")}
    assert left == {Path(file).name for _, _, file, removed in found if removed is None}


def test_a_restart_finds_losses_and_leaves_files_of_others(tmp_path: Path) -> None:
    ledger = run(tmp_path, [200, 210], sample=0)
    day = next((tmp_path / "kept").iterdir())
    kept = sorted(day.iterdir())
    kept[0].unlink()
    theirs = [day / "0000000099-0.png", tmp_path / "kept" / "scans" / "0001-left.png"]
    for file in theirs:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"a person's own")
    left, new = day / ".0123.partial", day / ".4567.partial"
    for file in (left, new):
        file.write_bytes(b"half")
    os.utime(left, (0, 0))  # of a process that was killed long ago
    run(tmp_path, [10], sample=0)
    assert sorted(day.iterdir()) == sorted([new, theirs[0], kept[1]]) and theirs[1].exists()
    assert [removed is None for *_, removed in rows(ledger)] == [False, True]


def test_a_second_ledger_takes_no_picture_of_the_first(tmp_path: Path) -> None:
    first = run(tmp_path, [200, 210], sample=0)
    before = {file: file.read_bytes() for file in (tmp_path / "kept").glob("*/*")}
    first.rename(tmp_path / "old.db")
    second = run(tmp_path, [220], sample=0)
    assert len(before) == 2 and all(file.read_bytes() == before[file] for file in before)
    ((_, _, file, _),) = rows(second)
    assert (tmp_path / file).name == "0000000001-0-2.png"  # the first has such a part too


def test_a_recipe_that_changes_changes_what_is_kept(tmp_path: Path) -> None:
    made = [recipe(tmp_path, pictures={"folder": "kept", "sample": n}) for n in (0, 1)]
    with Inspector(made[0], tmp_path / "line.db", engine=MAKER) as line:
        line.inspect(stub.picture(10), **RGB)
        line.change_recipe(made[1])
        line.inspect(stub.picture(10), "second", **RGB)
    assert [part for part, *_ in rows(tmp_path / "line.db")] == ["second"]


def test_views_that_come_late_hold_up_no_pictures(tmp_path: Path) -> None:
    made = recipe(tmp_path, pictures={"folder": "kept", "sample": 1}, deadline_ms=60)
    with Inspector(made, tmp_path / "line.db", engine=MAKER) as line:
        for _ in range(30):
            ticket = line.trigger(views=20)
            ticket.frame(stub.picture(10), 0, "RGB8")
            until = time.monotonic() + 0.1
            for view in range(1, 20):
                while time.monotonic() < until - 0.04 + 0.004 * view:
                    pass
                ticket.frame(stub.picture(10), view, "RGB8")
        assert not line.faults
    assert len({part for part, *_ in rows(tmp_path / "line.db")}) == 30


def test_pictures_that_cannot_be_kept_are_counted(tmp_path: Path) -> None:
    made = recipe(tmp_path, pictures={"folder": "kept", "sample": 0})
    (tmp_path / "kept").mkdir()
    with Inspector(made, tmp_path / "line.db", engine=MAKER) as line:
        (tmp_path / "kept").rmdir()
        (tmp_path / "kept").write_text("a file in the way")
        assert line.inspect(stub.picture(200), **RGB).verdict.value == "REJECT"
        until = time.monotonic() + 10
        while not line.faults and time.monotonic() < until:
            time.sleep(0.01)
        assert "pictures of 1 parts were not kept" in line.faults[0]
        (tmp_path / "kept").unlink()
        line.inspect(stub.picture(200), **RGB)
    assert len(rows(tmp_path / "line.db")) == 1


@pytest.mark.parametrize("locked", [False, True])
def test_the_line_does_not_wait_for_pictures(tmp_path: Path, locked: bool) -> None:
    """Large pictures, faster than they are written: the rest is let go, and counted."""
    made = recipe(tmp_path, pictures={"folder": "kept", "sample": 0}, queue={"capacity": 100})
    large = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    large[..., 0], large[..., 1] = 255, 0
    with Inspector(made, tmp_path / "line.db", engine=MAKER) as line:
        results = [line.inspect(large, **RGB) for _ in range(60)]
        if locked:
            other = sqlite3.connect(tmp_path / "line.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            time.sleep(0.2)
            other.close()
        assert all(result.verdict.value == "REJECT" for result in results)
    let_go = line.faults
    assert len(rows(tmp_path / "line.db")) + (int(let_go[0].split()[3]) if let_go else 0) == 60
