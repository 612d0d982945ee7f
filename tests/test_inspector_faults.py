"""What goes wrong on a line ends in the right result or a counted fault, never in a silent pass."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe

from invad_fast.inspection import Inspector, Reason
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify
from invad_fast.prediction import Verdict

RGB = {"pixel_format": "RGB8"}


def inspector(folder: Path, **changes) -> Inspector:
    return Inspector(recipe(folder, **changes), folder / "line.db", engine=MAKER)


def wait_for_engine(line: Inspector, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while line.inspect(stub.picture(1), **RGB).verdict is not Verdict.PASS:
        assert time.monotonic() < until, line.faults
        time.sleep(0.05)


@pytest.mark.parametrize("does", [stub.HANGS, stub.HOLDS_PYTHON, stub.DIES])
def test_an_engine_that_is_lost_is_started_again(tmp_path: Path, does: int) -> None:
    queue = {"capacity": 4}
    with inspector(tmp_path, deadline_ms=400, engine_timeout_ms=1000, queue=queue) as line:
        started = time.monotonic()
        first = line.submit(stub.picture(200, does), **RGB)
        after = [line.submit(stub.picture(200), **RGB) for _ in range(6)]
        results = [ticket.result() for ticket in (first, *after)]
        assert time.monotonic() - started < 5
        faults = line.faults
        wait_for_engine(line)
        accounts = line.accounts
    assert {r.verdict for r in results} == {Verdict.NOT_INSPECTED}
    assert results[0].reason in (Reason.LATE, Reason.ENGINE_FAILED)
    assert sum(r.reason is Reason.OVERFLOW for r in results) <= 1
    assert accounts.engine_restarts == 1 and accounts.close and accounts.open_parts == 0
    assert not faults or "engine" in faults[0]


def test_a_late_part_is_none_of_the_next(tmp_path: Path) -> None:
    """The typical fault in the field: a result that is stale by one trigger."""
    with inspector(tmp_path, deadline_ms=1000) as line:
        late = line.inspect(stub.picture(200, stub.IS_LATE), **RGB)
        time.sleep(stub.LATE)
        good = line.inspect(stub.picture(10), **RGB)
        assert line.accounts.engine_restarts == 0  # late is not hanging
    assert late.reason is Reason.LATE and late.latency_ms > 999
    assert good.verdict is Verdict.PASS and good.score == np.float32(10 / 255)


def test_overflow(tmp_path: Path) -> None:
    """First in, first out, and what does not fit is counted; monitor: the newest wins."""
    for policy in ("inspect", "monitor"):
        folder = tmp_path / policy
        folder.mkdir()
        with inspector(folder, queue={"policy": policy, "capacity": 3}) as line:
            frames = [stub.picture(red, stub.IS_SLOW) for red in range(9)]
            tickets = [line.submit(frame, **RGB) for frame in frames]
            results = [ticket.result() for ticket in tickets]
        passed = [n for n, r in enumerate(results) if r.verdict is Verdict.PASS]
        lost = [r.reason for r in results if r.verdict is Verdict.NOT_INSPECTED]
        # Two are with the engine, three wait.
        assert passed == ([0, 1, 2, 3, 4] if policy == "inspect" else [0, 1, 6, 7, 8])
        assert lost == [Reason.OVERFLOW] * 4


def test_frames_that_fit_no_format(tmp_path: Path) -> None:
    grey, deep = np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint16)
    with inspector(tmp_path) as line:
        for frame in (grey, deep, np.zeros((0, 8, 3), np.uint8), np.zeros((8, 8, 4), np.uint8),
                      np.zeros((8, 8, 3), np.float32), None, "frame", deep[..., 0]):  # fmt: skip
            result = line.inspect(frame, **RGB)
            assert result.verdict is Verdict.NOT_INSPECTED, frame
            assert result.reason in (Reason.DAMAGED_FRAME, Reason.WRONG_SIZE) and result.detail
        assert line.inspect(grey, pixel_format="Mono8").verdict is Verdict.PASS
        assert line.inspect(deep[..., 0], pixel_format="Mono16").verdict is Verdict.PASS
        assert line.inspect(stub.picture(200), pixel_format="RGB8").verdict is Verdict.REJECT
        # In BGR8, the default, the red of a picture is its third channel.
        assert line.inspect(stub.picture(200)[..., ::-1]).score == np.float32(200 / 255)


def test_a_frame_after_the_deadline_is_let_go(tmp_path: Path) -> None:
    with inspector(tmp_path, deadline_ms=100) as line:
        ticket = line.trigger("x")
        assert ticket.result().reason is Reason.CAMERA
        ticket.frame(stub.picture(10), 0, "RGB8")
        assert line.inspect(stub.picture(10), **RGB).verdict is Verdict.PASS
        assert line.accounts.triggered == 2


def test_the_frame_may_be_reused_at_once(tmp_path: Path) -> None:
    with inspector(tmp_path) as line:
        buffer = stub.picture(200)
        tickets = []
        for red in (10, 200, 30, 250):
            buffer[:, :, 0] = red
            tickets.append(line.submit(buffer, **RGB))
        buffer[:] = 0
        scores = [ticket.result().score for ticket in tickets]
    assert scores == [np.float32(red / 255) for red in (10, 200, 30, 250)]


def test_the_model_is_gone_when_the_engine_starts_again(tmp_path: Path) -> None:
    """Its parts are counted, and the fault is told, until the file is there again."""
    model = tmp_path / "model.safetensors"
    model.write_text("stub")
    folder = tmp_path / "line"
    folder.mkdir()
    maker = "stub_engine:load_file"
    made = recipe(folder, deadline_ms=300, model={"file": str(model), "digest": "stub"})
    with Inspector(made, folder / "line.db", engine=maker) as line:
        shutil.move(model, tmp_path / "elsewhere")
        assert line.inspect(stub.picture(1, stub.DIES), **RGB).reason is Reason.ENGINE_FAILED
        time.sleep(1)
        lost = line.inspect(stub.picture(1), **RGB)
        assert lost.reason is Reason.ENGINE_FAILED and str(model) in " ".join(line.faults)
        model.write_text("another")
        time.sleep(1)
        assert line.inspect(stub.picture(1), **RGB).reason is Reason.ENGINE_FAILED
        until = time.monotonic() + 20
        while "is not the model" not in " ".join(line.faults) and time.monotonic() < until:
            time.sleep(0.05)
        assert "is not the model that the recipe 'line' was made for" in line.faults[0]
        shutil.move(tmp_path / "elsewhere", model)
        wait_for_engine(line)
        assert not line.faults
    model.write_text("another")
    with pytest.raises(ValueError, match="is not the model that the recipe 'line' was made for"):
        Inspector(made, folder / "line.db", engine=maker).__enter__()


def test_ten_times_the_rate(tmp_path: Path) -> None:
    """Every part has one verdict, and the accounts close."""
    queue = {"capacity": 8}
    verdicts: list[Verdict] = []
    with inspector(tmp_path, queue=queue, deadline_ms=200) as line:
        tickets = []
        for _ in range(1000):
            tickets.append(line.submit(stub.picture(1, stub.IS_FAST), **RGB))
            time.sleep(0.0002)
        verdicts = [ticket.result().verdict for ticket in tickets]
        accounts = line.accounts
    assert accounts.close and accounts.decided == 1000 == len(verdicts)
    assert accounts.verdicts[Verdict.PASS] + accounts.reasons.total() == 1000
    assert 0 < accounts.verdicts[Verdict.PASS] < 1000
    assert set(accounts.reasons) <= {Reason.OVERFLOW, Reason.LATE}


def test_a_stop_finishes_what_waits(tmp_path: Path) -> None:
    with inspector(tmp_path) as line:
        tickets = [line.submit(stub.picture(1, stub.IS_SLOW), **RGB) for _ in range(4)]
        closer = threading.Thread(target=line.close)
        closer.start()
        with pytest.raises(ValueError, match="not running"):
            while closer.is_alive():
                line.trigger("too late?").no_frame()
            line.trigger()
        closer.join()
        assert [t.result().verdict for t in tickets] == [Verdict.PASS] * 4


def test_no_memory_for_a_frame(tmp_path: Path) -> None:
    with inspector(tmp_path) as line:
        starved = line.inspect(stub.picture(200, stub.EATS_MEMORY), **RGB)
        assert starved.reason is Reason.ENGINE_FAILED and "MemoryError" in starved.detail
        assert line.inspect(stub.picture(200), **RGB).verdict is Verdict.REJECT
        assert line.accounts.engine_restarts == 0


def test_a_ledger_that_others_lock(tmp_path: Path) -> None:
    """What is not on record is no verdict; afterwards one gap tells of it."""
    with inspector(tmp_path) as line:
        before = line.inspect(stub.picture(1), **RGB)
        slow = line.submit(stub.picture(1, stub.IS_SLOW), **RGB)
        other = sqlite3.connect(tmp_path / "line.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        lost = [line.inspect(stub.picture(200), **RGB) for _ in range(5)]
        assert time.monotonic() - started < 5
        late = slow.result()
        assert "parts are not recorded yet" in line.faults[0]
        other.close()
        after = line.inspect(stub.picture(1), **RGB)
        accounts = line.accounts
    assert before.verdict is after.verdict is Verdict.PASS
    assert {r.reason for r in (*lost, late)} == {Reason.LEDGER}
    assert accounts.close and accounts.reasons == {Reason.LEDGER: 6}
    found = totals(tmp_path / "line.db")
    assert (found.triggered, found.passed, found.unrecorded) == (8, 2, 5)
    assert found.by_reason == {"ledger": 6} and verify(tmp_path / "line.db")[0] == []


FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
def test_a_clock_that_is_set(tmp_path: Path) -> None:
    """Back by a year and forward by two, while the line runs: ids rise, deadlines hold."""
    set_to = tmp_path / "clock"
    set_to.write_text("+0")
    code = f"""
import os
import threading
import stub_engine as stub
from line_recipe import MAKER, recipe
from invad_fast.inspection import Inspector
from pathlib import Path
folder = Path({str(tmp_path)!r})
with Inspector(recipe(folder, deadline_ms=400), folder / "line.db", engine=MAKER) as line:
    results = []
    for clock in ("+0", "-1y", "+1y", "+0"):
        (folder / "clock").write_text(clock)
        threading.Event().wait(0.05)
        results.append(line.inspect(stub.picture(1), pixel_format="RGB8"))
        results.append(line.inspect(stub.picture(1, stub.HANGS if clock == "+1y" else 0),
                                    pixel_format="RGB8"))
    for r in results:
        print(r.id, r.verdict.value, r.triggered_at // 10**6, round(r.latency_ms), flush=True)
    os._exit(0)  # to wait for a process Python sleeps, which libfaketime breaks
"""
    environment = os.environ | {
        "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(set_to),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    ids, times = [int(row[0]) for row in rows], [int(row[2]) for row in rows]
    assert ids == sorted(ids) and len(set(ids)) == 8
    year = 300 * 86400
    assert times[2] < times[0] - year and times[4] > times[0] + year
    assert [row[1] for row in rows[:5]] == ["PASS"] * 5 and rows[5][1] == "NOT_INSPECTED"
    assert 399 <= int(rows[5][3]) < 5000 and all(int(row[3]) < 5000 for row in rows)
    assert verify(tmp_path / "line.db")[0] == [] and totals(tmp_path / "line.db").triggered == 8
