"""Whether a ledger can be believed, and copies of it: verify, audit trail, backup, restore."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_process import decision, fill
from refusals import one_line

from invad_fast.cli.app import main
from invad_fast.inspection.ledger import Ledger, audit
from invad_fast.inspection.ledger.backup import backup, restore
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "line.db"


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
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT parts, reason FROM gaps").fetchall()
    assert rows == [(1500, "database is locked; the process ended in its midst")]
    with Ledger(path) as ledger:  # once
        pass
    assert totals(path).unrecorded == 1500 and verify(path)[0] == []


def test_a_restore_keeps_all_of_the_old_ledger(path: Path, tmp_path: Path) -> None:
    fill(path, "P")
    backup(path, tmp_path / "b.db")
    rows = part_rows(path)
    next(rows)  # a reader: what is written from now on stays in the log
    fill(path, "P" * 50)
    aside = restore(tmp_path / "b.db", path)
    rows.close()
    assert aside is not None and totals(aside).passed == 51 and totals(path).passed == 1


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
