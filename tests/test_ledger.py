"""The record: what was acknowledged is in it, whatever happens; what is not is a counted gap."""

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ledger_process import HOUR, decision, fill, told_by
from refusals import one_line

from invad_fast.inspection.ledger import Ledger, checkpoints
from invad_fast.inspection.ledger.backup import restore
from invad_fast.inspection.ledger.gap_tally import Gap, GapTally, tally_of
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify

WRITER = Path(__file__).with_name("ledger_process.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "line.db"


def test_rows_and_totals(path: Path) -> None:
    fill(path, "PPRNO")
    found = totals(path)
    assert (found.triggered, found.passed, found.rejected, found.not_inspected, found.open) == (
        5, 2, 1, 1, 1)  # fmt: skip
    assert found.by_reason == {"late": 1} and found.unrecorded == 0
    assert found.by_class == {"a": {"PASS": 2, "REJECT": 1, "NOT_INSPECTED": 1}}
    assert found.by_hour[0] == {"PASS": 1} and list(found.by_hour) == [n * HOUR for n in range(5)]
    assert totals(path, since=HOUR, until=3 * HOUR).triggered == 2
    rows = list(part_rows(path))
    assert [row["part_id"] for row in rows] == ["p4", "p3", "p2", "p1", "p0"]
    assert rows[2]["verdict"] == "REJECT" and rows[2]["encoder"] == 2
    assert rows[2]["views"] == [{"view": 0, "verdict": "REJECT", "reason": None, "detail": "",
                                 "score": 0.9, "threshold": 0.5, "class_name": "a", "width": None,
                                 "height": None, "regions": [], "figures": {}}]  # fmt: skip
    assert [r["part_id"] for r in part_rows(path, verdict="open")] == ["p4"]
    assert [r["part_id"] for r in part_rows(path, least_score=0.5)] == ["p2"]
    assert len(list(part_rows(path, limit=2))) == 2
    assert verify(path)[0] == []


def test_a_part_without_a_name_is_called_by_its_id(path: Path) -> None:
    with Ledger(path) as ledger:
        id_, _ = ledger.open_part(None, 0, "r", "d")
    assert next(part_rows(path))["part_id"] == str(id_)


def test_open_rows_become_restarted_and_ids_go_on(path: Path) -> None:
    fill(path, "PO")
    last = next(part_rows(path))["id"]
    with Ledger(path) as ledger:
        assert [r["reason"] for r in part_rows(path, part_id="p1")] == ["restarted"]
        id_, _ = ledger.open_part("p1", 0, "r", "d")  # rework: the name may repeat
        assert id_ > last
    assert len(list(part_rows(path, part_id="p1"))) == 2


def test_times_may_go_back(path: Path) -> None:
    """A clock that is set changes neither ids nor verdicts."""
    with Ledger(path) as ledger:
        ids = [ledger.open_part(None, when, "r", "d")[0] for when in (10**15, 5, -3)]
        assert all(ledger.decide(decision(id_)) for id_ in ids)
    assert ids == sorted(ids) and totals(path).passed == 3 and verify(path)[0] == []


def locked(path: Path) -> sqlite3.Connection:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_ledger_that_is_locked_is_a_gap(path: Path) -> None:
    with Ledger(path) as ledger:
        before = [ledger.open_part(None, 0, "r", "d")[0] for _ in range(3)]
        other = locked(path)
        started = time.monotonic()
        lost = [ledger.open_part(None, 0, "r", "d") for _ in range(20)]
        late = ledger.decide(decision(before[0]))
        assert time.monotonic() - started < 1  # it waits for nobody
        assert not late and not any(recorded for _, recorded in lost)
        assert ledger.unrecorded == 21 and "locked" in ledger.fault
        other.execute("ROLLBACK")
        other.close()
        assert ledger.decide(decision(before[1]))
        assert ledger.unrecorded == 0 and not ledger.fault
        after, recorded = ledger.open_part(None, 0, "r", "d")
        assert recorded and after > lost[-1][0]
        assert ledger.decide(decision(after))
        reasons = {row["id"]: row["reason"] for row in part_rows(path)}
        assert reasons[before[0]] == "ledger" and reasons[before[2]] is None
        assert ledger.decide(decision(before[2]))
    found = totals(path)
    assert (found.triggered, found.passed, found.not_inspected) == (24, 3, 21)
    assert found.unrecorded == 20 and found.by_reason == {"ledger": 21}
    assert verify(path)[0] == []


def test_the_gap_is_written_without_another_part(path: Path) -> None:
    with Ledger(path) as ledger:
        other = locked(path)
        ledger.open_part(None, 0, "r", "d")
        other.close()
        until = time.monotonic() + 20 * checkpoints.EVERY
        while ledger.unrecorded and time.monotonic() < until:
            time.sleep(0.05)
        assert not ledger.unrecorded and totals(path).unrecorded == 1


def test_a_close_that_cannot_write_says_so(path: Path) -> None:
    ledger = Ledger(path)
    other = locked(path)
    ledger.open_part(None, 0, "r", "d")
    one_line("1 parts could not be recorded .*locked.*do not close", ledger.close)
    other.close()
    with Ledger(path):  # and lets go of the file; the next one makes up for it
        pass
    assert totals(path).unrecorded == 1 and verify(path)[0] == []


def test_a_gap_outlives_its_process_whole_or_as_it_was_before(tmp_path: Path) -> None:
    ledger, gap = tmp_path / "line.db", Gap(1, 10, 2, 12, 3, "déjà locked" + "é" * 300)
    tally = GapTally(ledger)
    assert tally.held() is None
    tally.hold(gap)
    newer = Gap(1, 10, 3, 13, 4, "locked")
    tally.hold(newer)
    assert GapTally(ledger).held() == newer
    tally.close()
    file, whole = tally_of(ledger), tally_of(ledger).read_bytes()
    for cut in range(1, 60, 7):  # the newer one's write, cut off
        file.write_bytes(bytes(cut) + whole[cut:])
        before = GapTally(ledger).held()
        assert before is not None and before.parts == 3 and before.reason.startswith("déjà")
    file.write_bytes(whole)
    GapTally(ledger).clear()
    assert GapTally(ledger).held() is None
    file.write_bytes(b"rubbish")
    assert GapTally(ledger).held() is None


def _full_disk(path: str) -> None:
    with Ledger(path) as ledger:
        # What a full disk does to a write: refused, and no signal.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = os.stat(f"{path}-wal").st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30_000, resource.RLIM_INFINITY))
        ids = [ledger.open_part(None, 0, "r", "d") for _ in range(50)]
        full = [id_ for id_, recorded in ids if not recorded]
        assert full and ids[0][1] and ledger.unrecorded == len(full), ledger.unrecorded
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        decided = [ledger.decide(decision(id_)) for id_, recorded in ids if recorded]
        assert all(decided) and ledger.unrecorded == 0


def test_a_full_disk_is_a_gap(path: Path) -> None:
    code = f"import test_ledger; test_ledger._full_disk({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=WRITER.parent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    found = totals(path)
    assert found.triggered == 50 and found.unrecorded > 0 and found.open == 0
    assert verify(path)[0] == []


def kill_at_random(path: Path, rng: random.Random) -> tuple[int, int]:
    """(parts acknowledged as open, of these as decided) by a writer that is killed."""
    writer = subprocess.Popen([sys.executable, WRITER, path], stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
    threading.Timer(rng.uniform(0.01, 0.3), writer.kill).start()
    lines = told_by(writer)
    opened = {int(id_) for word, id_ in lines if word == b"open"}
    decided = {int(id_) for word, id_ in lines if word == b"done"}
    assert opened or not decided
    rows = {row["id"]: row["verdict"] for row in part_rows(path)}
    assert opened <= rows.keys(), "an acknowledged part is not in the ledger"
    assert all(rows[id_] == "PASS" for id_ in decided)
    assert sum(verdict is None for verdict in rows.values()) <= 1
    return len(opened), len(decided)


def test_killed_at_random(path: Path) -> None:
    """kill -9: what was acknowledged is there, what was open is `restarted`."""
    rng = random.Random(0)
    counts = [kill_at_random(path, rng) for _ in range(5)]
    assert sum(opened for opened, _ in counts) > 0
    with Ledger(path):
        pass
    assert verify(path)[0] == [] and totals(path).open == 0
    assert totals(path).not_inspected <= 5


def test_one_process_a_ledger(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, WRITER, path], stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
    try:
        line = one_line("in use by process", lambda: Ledger(path))
        assert str(writer.pid) in line and WRITER.name in line
        one_line("in use by process", lambda: restore(path, path))
        assert totals(path).triggered >= 0  # reading is allowed
    finally:
        writer.kill()
        writer.wait()
    with Ledger(path) as ledger, pytest.raises(ValueError, match=f"process {os.getpid()} on"):
        Ledger(path)
    assert ledger.unrecorded == 0


def test_the_log_stays_small_under_load(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.05)
    monkeypatch.setattr(checkpoints, "_LARGEST", 200_000)
    largest = 0
    with Ledger(path) as ledger:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            id_, _ = ledger.open_part(None, 0, "r", "d")
            assert ledger.decide(decision(id_))
            largest = max(largest, os.stat(f"{path}-wal").st_size)
    # Some 20 kB are written for a part: without a new beginning the log would hold all of it.
    assert totals(path).passed * 20_000 > 3 * largest


def test_readers_do_not_hold_up_the_line(path: Path, monkeypatch) -> None:
    """A log that has to begin anew while a reader keeps its moment of the ledger."""
    monkeypatch.setattr(checkpoints, "EVERY", 0.05)
    monkeypatch.setattr(checkpoints, "_LARGEST", 50_000)
    longest = 0.0
    with Ledger(path) as ledger:
        assert ledger.decide(decision(ledger.open_part(None, 0, "r", "d")[0]))
        rows = part_rows(path)
        next(rows)
        for _ in range(150):
            started = time.monotonic()
            assert ledger.decide(decision(ledger.open_part(None, 0, "r", "d")[0]))
            longest = max(longest, time.monotonic() - started)
            time.sleep(0.005)
        rows.close()
    assert longest < 0.7 and totals(path).passed == 151  # a wait for the reader takes a second


def test_a_reader_elsewhere_leaves_the_log_alone(tmp_path: Path) -> None:
    """Whoever read the ledger in the writer's process: else rows that follow go with a kill."""
    path = tmp_path / "line.db"
    with Ledger(path) as ledger:
        ledger.open_part("a", 1, "r", "1")
        assert totals(path).open == 1  # closing any descriptor of the file drops POSIX locks
        log = path.with_name("line.db-wal")
        before = log.stat().st_ino
        read = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
            "print(c.execute('SELECT count(*) FROM parts').fetchone()[0]); c.close()"
        )
        done = subprocess.run([sys.executable, "-c", read, path], capture_output=True, text=True)
        assert done.stdout == "1\n", done.stderr
        assert log.exists() and log.stat().st_ino == before
