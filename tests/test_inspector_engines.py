"""Engines that load again: slowly, never, or where there is no room for them."""

import resource
import time
from pathlib import Path

import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe

from invad_fast.inspection import Inspector
from invad_fast.inspection import line as line_module

RGB = {"pixel_format": "RGB8"}

_LOADS = """
import time
from stub_engine import StubPredictor
def load(recipe):
    file = recipe.path_of("loads")
    count = len(file.read_text()) if file.exists() else 0
    file.write_text("x" * (count + 1))
    if count == 1:
        time.sleep({"hangs": 3600, "slow": 1}[recipe.model.file])
    return StubPredictor()
"""


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An engine whose second load hangs, or is slow."""
    (tmp_path / "loads_again.py").write_text(_LOADS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "loads_again:load"


def passes_within(line: Inspector, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if line.inspect(stub.picture(10), **RGB).verdict.value == "PASS":
            return True
        time.sleep(0.05)
    return False


def made(folder: Path, kind: str, **changes):
    return recipe(folder, model={"file": kind, "digest": "stub"}, **changes)


def test_one_that_hangs_while_it_loads_again_is_started_anew(
    tmp_path: Path, maker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "_LOADING", 8.0)
    held = made(tmp_path, "hangs", deadline_ms=500)
    with Inspector(held, tmp_path / "line.db", engine=maker) as line:
        line.inspect(stub.picture(10, stub.DIES), **RGB)
        assert passes_within(line, 40)
        assert line.accounts.engine_restarts == 2 and not line.faults


def test_parts_that_were_decided_keep_no_place(tmp_path: Path, maker: str) -> None:
    """Four late parts fill the queue of an engine that loads; the next still gets a place."""
    held = made(tmp_path, "slow", deadline_ms=200, queue={"capacity": 4})
    with Inspector(held, tmp_path / "line.db", engine=maker) as line:
        line.inspect(stub.picture(10, stub.DIES), **RGB)
        reasons = {line.inspect(stub.picture(10), **RGB).reason for _ in range(6)} - {None}
    assert {reason.value for reason in reasons} <= {"engine failed", "late"}


def test_no_room_for_another_process_is_a_fault_that_passes(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = recipe(tmp_path, deadline_ms=500)
    with Inspector(held, tmp_path / "line.db", engine=MAKER) as line:
        line.inspect(stub.picture(10), **RGB)
        ticket = line.submit(stub.picture(10, stub.DIES), **RGB)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
            assert ticket.result().reason.value == "engine failed"
            time.sleep(0.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert "Too many open files" in line.faults[0]
        assert passes_within(line, 30)


def test_a_thread_that_hangs_costs_no_processor(tmp_path: Path) -> None:
    held = recipe(tmp_path, deadline_ms=300, engine_timeout_ms=100)
    with Inspector(held, tmp_path / "line.db", engine=MAKER, in_process=True) as line:
        assert line.inspect(stub.picture(10, stub.IS_LATE), **RGB).verdict.value == "NOT_INSPECTED"
        began = time.process_time()
        time.sleep(1.0)
        assert time.process_time() - began < 0.5
        assert passes_within(line, 20)


def test_the_first_part_that_is_rejected_waits_for_nothing(tmp_path: Path) -> None:
    """What measures its regions was loaded before the engine said that it is there."""
    with Inspector(recipe(tmp_path), tmp_path / "line.db", engine=MAKER) as line:
        first = line.inspect(stub.picture(200), **RGB)
    assert (
        first.regions and first.views[0].times_ms["engine"] < 250
    )  # with its imports 300 to 400, and more


def test_a_late_answer_to_nobody_is_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held = recipe(tmp_path, deadline_ms=300, engine_timeout_ms=100)
    with Inspector(held, tmp_path / "line.db", engine=MAKER, in_process=True) as line:
        line.inspect(stub.picture(10, stub.IS_LATE), **RGB)
        time.sleep(stub.LATE + 0.3)
    assert "Traceback" not in capfd.readouterr().err


def test_an_order_larger_than_any_pipe(tmp_path: Path) -> None:
    """It would hold up the loop until the other process has started to read."""
    names = [f"product {number:06d}" for number in range(20_000)]
    held = recipe(tmp_path, classes=["a", "b", *names])
    assert len(str(held.content)) > 300_000
    with Inspector(held, tmp_path / "line.db", engine=MAKER) as line:
        assert line.inspect(stub.picture(10), **RGB).verdict.value == "PASS"
