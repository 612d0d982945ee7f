"""Known good and known bad: at start, at every change of recipe, after a restart of the engine."""

import sqlite3
import time
from pathlib import Path

import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe
from PIL import Image
from refusals import one_line

from invad_fast.inspection import Inspector, Recipe

RGB = {"pixel_format": "RGB8"}
GOLDEN = [{"image": "good.png", "verdict": "PASS"}, {"image": "bad.png", "verdict": "REJECT"}]


def save(folder: Path, good: int = 10, bad: int = 200) -> None:
    Image.fromarray(stub.picture(good)).save(folder / "good.png")
    Image.fromarray(stub.picture(bad)).save(folder / "bad.png")


def golden(folder: Path, **changes) -> Recipe:
    return recipe(folder, golden_parts=GOLDEN, **changes)


def alarms(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "line.db") as connection:
        rows = connection.execute("SELECT kind, detail FROM alarms").fetchall()
    connection.close()
    assert {kind for kind, _ in rows} <= {"golden part"}
    return [detail for _, detail in rows]


def test_each_change_of_recipe_checks_them(tmp_path: Path) -> None:
    save(tmp_path)
    recipes = [recipe(tmp_path), golden(tmp_path, name="checked")]
    with Inspector(recipes, tmp_path / "line.db", engine=MAKER) as line:
        line.change_recipe("checked")
        line.check_golden_parts()
        line.change_recipe("line")
        save(tmp_path, bad=20)
        told = one_line(r"bad\.png must come out as REJECT", lambda: line.change_recipe("checked"))
        assert line.inspect(stub.picture(), **RGB).recipe == "line"  # nothing has changed
        line.check_golden_parts()  # it has none
        assert line.accounts.triggered == 1
    assert alarms(tmp_path) == [told]


def test_a_shift_begins_with_them(tmp_path: Path) -> None:
    save(tmp_path)
    with Inspector(golden(tmp_path), tmp_path / "line.db", engine=MAKER, in_process=True) as line:
        line.check_golden_parts()
        save(tmp_path, good=250)
        one_line(r"good\.png must come out as PASS", line.check_golden_parts)
    one_line("not running", line.check_golden_parts)


def test_an_engine_that_is_started_again_is_not_ready_before_they_are_right(
    tmp_path: Path,
) -> None:
    save(tmp_path)
    with Inspector(golden(tmp_path), tmp_path / "line.db", engine=MAKER) as line:
        assert line.inspect(stub.picture(10), **RGB).verdict.value == "PASS"
        save(tmp_path, bad=20)  # as if its answers were others now
        assert line.inspect(stub.picture(10, stub.DIES), **RGB).reason.value == "engine failed"
        until = time.monotonic() + 60
        while not any("bad.png must come out as REJECT" in fault for fault in line.faults):
            assert time.monotonic() < until
            time.sleep(0.05)
        ticket = line.submit(stub.picture(10), **RGB)
        time.sleep(1)
        assert not ticket.done
        save(tmp_path)
        assert ticket.result(60).verdict.value in ("PASS", "NOT_INSPECTED")  # by its deadline
        while line.faults:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert line.inspect(stub.picture(10), **RGB).verdict.value == "PASS"
        assert line.accounts.close


def test_one_kind_alone_is_told(tmp_path: Path, invad, monkeypatch) -> None:
    save(tmp_path)
    made = recipe(tmp_path, golden_parts=GOLDEN[:1])
    made.save(tmp_path / "line.yaml")
    words = ("--source", tmp_path / "good.png", "--ledger", tmp_path / "l.db", "--in-process")
    done = invad("inspect", tmp_path / "line.yaml", *words, "--headless")
    assert done.status == 2 and "add one that is known bad" in done.stderr  # no such model


@pytest.mark.parametrize("in_process", [False, True])
def test_a_line_does_not_start(in_process: bool, tmp_path: Path) -> None:
    save(tmp_path, bad=20)
    made = Inspector(golden(tmp_path), tmp_path / "line.db", engine=MAKER, in_process=in_process)
    told = one_line(r"bad\.png must come out as REJECT and came out as PASS", made.__enter__)
    assert alarms(tmp_path) == [told]
