"""The record: what was acknowledged is in it, whatever happens; what is not is a counted gap."""

import functools
import json
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
from ledger_process import decision
from refusals import one_line

from invad_fast.cli.app import main
from invad_fast.inspection.ledger import Ledger, audit, checkpoints, schema
from invad_fast.inspection.ledger.backup import backup, restore
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.inspection.ledger.place import file_system_of, refuse_network
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify

WRITER = Path(__file__).with_name("ledger_process.py")
HOUR = 3_600_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "line.db"


def fill(path: Path, verdicts: str = "PRN") -> None:
    """A part a letter: P, R, N, or O for one that stays open."""
    names = {"P": "PASS", "R": "REJECT", "N": "NOT_INSPECTED"}
    with Ledger(path) as ledger:
        for number, letter in enumerate(verdicts):
            id_, recorded = ledger.open_part(
                f"p{number}", number * HOUR, "recipe", "digest", number
            )
            assert recorded
            if letter != "O":
                assert ledger.decide(decision(id_, names[letter], 0.9 if letter == "R" else 0.1))


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
                                 "score": 0.9, "threshold": 0.5, "class_name": "a"}]  # fmt: skip
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
    with Ledger(path):  # and lets go of the file
        pass


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
    whole = writer.stdout.read().rpartition(b"\n")[0]  # the last may be torn
    lines = [line.split() for line in whole.splitlines()]
    writer.wait()
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


def test_audit(path: Path) -> None:
    content = {"name": "a", "score": {"sigma": 4.0}, "classes": ["x"], "pictures": None}
    with Ledger(path) as ledger:
        assert ledger.note_recipe("a", "1", content, who="ann") == 4
        assert ledger.note_recipe("a", "1", content, who="ann") == 0
        changed = content | {"score": {"sigma": 3.0}}
        assert ledger.note_recipe("a", "2", changed, who="bob") == 1
        del changed["pictures"]
        assert ledger.note_recipe("a", "3", changed, who="bob") == 1
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT who, key, old, new FROM audit ORDER BY id").fetchall()
    assert rows[-2:] == [("bob", "score.sigma", "4.0", "3.0"), ("bob", "pictures", "null", None)]
    assert audit.broken(connection) is None
    connection.close()
    for tampering in (
        "UPDATE audit SET who = 'eve' WHERE id = 2",
        "UPDATE audit SET new = '9' WHERE id = 6",
        "DELETE FROM audit WHERE id = 3",
        "DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)",
        "DELETE FROM audit",
        "INSERT INTO audit SELECT 99, at, who, recipe, key, old, new, previous, hash FROM audit "
        "WHERE id = 6",
        "UPDATE recipes SET content = replace(content, '3.0', '9.0')",
    ):
        copy = path.with_name("tampered.db")
        copy.write_bytes(path.read_bytes())
        with sqlite3.connect(copy) as connection:
            connection.execute(tampering)
        connection.close()
        wrong, _ = verify(copy)
        assert len(wrong) == 1 and "audit trail" in wrong[0], tampering


def test_verify_finds_rows_that_contradict_each_other(path: Path) -> None:
    fill(path, "PRN")
    for tampering, words in {
        "UPDATE parts SET verdict = 'PASS' WHERE verdict = 'REJECT'": "not that of their views",
        "DELETE FROM views WHERE part = 1": "not that of their views",
        "UPDATE parts SET threshold = 0.01 WHERE verdict = 'PASS'": "above their threshold",
        "DELETE FROM parts WHERE verdict = 'NOT_INSPECTED'": "without their part",
        "DELETE FROM parts WHERE id = 2; DELETE FROM views WHERE part = 2": "1 parts that are miss",
    }.items():
        copy = path.with_name("tampered.db")
        copy.write_bytes(path.read_bytes())
        with sqlite3.connect(copy) as connection:
            connection.executescript(tampering)
        connection.close()
        assert any(words in line for line in verify(copy)[0]), tampering
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 2 : 4096 * 6] = b"\x55" * 4096 * 4
    copy.write_bytes(bytes(damaged))
    try:
        assert verify(copy)[0]
    except ValueError as error:
        assert "damaged" in str(error) or "cannot be read" in str(error)


def test_backup_while_it_is_written_and_restore(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backup.db"
    with Ledger(path) as ledger:
        for _ in range(20):
            assert ledger.decide(decision(ledger.open_part(None, 0, "r", "d")[0]))
        backup(path, copy)
        for _ in range(5):
            assert ledger.decide(decision(ledger.open_part(None, 0, "r", "d")[0]))
        one_line("in use by process", lambda: restore(copy, path))
    assert totals(copy).passed == 20 and totals(path).passed == 25
    one_line("is there", lambda: backup(path, copy))
    aside = restore(copy, path)
    assert totals(path).passed == 20 and aside is not None and totals(aside).passed == 25
    copy.write_bytes(copy.read_bytes()[:9000])
    one_line(r"backup\.db", lambda: restore(copy, path))
    assert totals(path).passed == 20


def test_ids_do_not_repeat_after_a_restore_or_a_kill_in_a_gap(path: Path, tmp_path: Path) -> None:
    fill(path, "P" * 10)
    backup(path, tmp_path / "b.db")
    fill(path, "P" * 10)
    last = next(part_rows(path))["id"]
    restore(tmp_path / "b.db", path)
    with Ledger(path) as ledger:
        assert ledger.open_part(None, 0, "r", "d")[0] > last
    assert verify(path)[0] == []
    code = f"""
import os, sqlite3
from invad_fast.inspection.ledger import Ledger
ledger = Ledger({str(path)!r})
other = sqlite3.connect({str(path)!r}, isolation_level=None)
other.execute("BEGIN IMMEDIATE")
ids = [ledger.open_part(None, 0, "r", "d")[0] for _ in range(1500)]
print(ids[-1], flush=True)
os._exit(1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    with Ledger(path, patience_ms=0) as ledger:
        assert ledger.open_part(None, 0, "r", "d")[0] > int(done.stdout)
    assert verify(path)[0] == []


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


def test_a_restore_keeps_all_of_the_old_ledger(path: Path, tmp_path: Path) -> None:
    fill(path, "P")
    backup(path, tmp_path / "b.db")
    rows = part_rows(path)
    next(rows)  # a reader: what is written from now on stays in the log
    fill(path, "P" * 50)
    aside = restore(tmp_path / "b.db", path)
    rows.close()
    assert aside is not None and totals(aside).passed == 51 and totals(path).passed == 1


def test_who_closes_need_not_be_who_opened(path: Path) -> None:
    ledger = Ledger(path)
    closer = threading.Thread(target=ledger.close)
    closer.start()
    closer.join()
    with Ledger(path):
        pass


def test_files_that_are_no_ledger(path: Path, tmp_path: Path) -> None:
    one_line("no ledger", lambda: totals(path))
    path.write_bytes(b"not a database, but text of some length" * 100)
    for call in (lambda: Ledger(path), lambda: totals(path), lambda: verify(path)):
        one_line(r"line\.db", call)
    assert path.read_bytes().startswith(b"not a database")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    one_line("database of something else", lambda: Ledger(other))
    one_line("is a folder", lambda: Ledger(tmp_path))
    fill(tmp_path / "new.db", "P")
    with sqlite3.connect(tmp_path / "new.db") as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    one_line("version 99, and this invad_fast writes", lambda: Ledger(tmp_path / "new.db"))
    one_line("version 99", lambda: totals(tmp_path / "new.db"))


def test_an_older_ledger_is_migrated_after_a_copy(path: Path, monkeypatch) -> None:
    fill(path, "PR")
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    change = "ALTER TABLE parts ADD COLUMN shift TEXT DEFAULT 'day'"
    monkeypatch.setitem(schema.MIGRATIONS, schema.VERSION - 1, change)
    with Ledger(path) as ledger:
        assert ledger.decide(decision(ledger.open_part("new", 0, "r", "d")[0]))
    assert [row["shift"] for row in part_rows(path)] == ["day"] * 3
    monkeypatch.undo()
    copy = path.with_name(f"line.db.version-{schema.VERSION}")
    assert totals(copy).triggered == 2  # an old program reads the copy


def test_network_file_systems_are_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 0:40 / /mnt/share rw - nfs4 server:/x rw\n"
        "31 22 0:41 / /mnt/a\\040b rw - cifs //server/x rw\n"
        "32 22 0:42 / /mnt/share/local rw - xfs /dev/sdb rw\n"
        "33 22 0:43 / /mnt/fuse rw - fuse.sshfs me@server: rw\n"
    )
    kinds = {"/var/x": "ext4", "/mnt/share/x": "nfs4", "/mnt/sharex/x": "ext4",
             "/mnt/a b/x": "cifs", "/mnt/share/local/x": "xfs"}  # fmt: skip
    for name, kind in kinds.items():
        assert file_system_of(Path(name), mounts) == kind
    for name in ("/mnt/share/x", "/mnt/a b/x", "/mnt/fuse/x"):
        one_line("network file system", functools.partial(refuse_network, Path(name), mounts))
    refuse_network(Path("/var/x"), mounts)


def test_the_commands(path: Path, capsys, monkeypatch) -> None:
    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["invad-fast", "ledger", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().out

    fill(path, "PPRN")
    status, text = run("totals", path, "--json")
    assert status == 0 and json.loads(text)["triggered"] == 4
    assert "2  pass" in " ".join(run("totals", path)[1].split("\n")).replace("pass ", "pass")
    status, text = run("parts", path, "--verdict", "REJECT")
    assert [json.loads(line)["part_id"] for line in text.splitlines()] == ["p2"]
    status, text = run("verify", path)
    assert status == 0 and "sound" in text
    assert run("backup", path, path.with_name("b.db"))[0] == 0
    assert run("restore", path.with_name("b.db"), path)[0] == 0
    assert run("parts", path, "--verdict", "GOOD")[0] == 2
    assert run("totals", path, "--since", "yesterday")[0] == 2
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE parts SET verdict = 'PASS' WHERE verdict = 'REJECT'")
    connection.close()
    status, text = run("verify", path)
    assert status == 1 and "wrong: 1 parts" in text
