"""Which files a ledger may be: none of something else, of a newer version, on a network."""

import functools
import sqlite3
import threading
from pathlib import Path

import pytest
from ledger_process import decision, fill
from refusals import one_line

from invad_fast.inspection.ledger import Decision, Ledger, ViewRow, schema
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.inspection.ledger.place import file_system_of, refuse_network
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.ledger.verify import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "line.db"


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


def test_who_closes_need_not_be_who_opened(path: Path) -> None:
    ledger = Ledger(path)
    closer = threading.Thread(target=ledger.close)
    closer.start()
    closer.join()
    with Ledger(path):
        pass


def test_a_ledger_of_version_1_is_brought_up_to_date(path: Path) -> None:
    """Its views know no regions, and there were no alarms; it is read as it is, too."""
    fill(path, "PR")
    with sqlite3.connect(path) as connection:
        for column in ("width", "height", "regions", "figures"):
            connection.execute(f"ALTER TABLE views DROP COLUMN {column}")
        connection.executescript(
            "DROP TABLE alarms; DROP TABLE recipe_versions; UPDATE schema_version SET version = 1"
        )
    connection.close()
    assert [row["views"][0]["regions"] for row in part_rows(path)] == [[], []]
    with Ledger(path) as ledger:
        id_ = ledger.open_part("new", 0, "r", "d")[0]
        region = {"box": [1.0, 2.0, 3.0, 4.0], "peak": 0.75}
        view = ViewRow(0, "REJECT", None, "", 0.9, 0.5, "a", 640, 480, (region,), {"x": 0.5})
        rejected = Decision(id_, 1, "REJECT", None, 0.9, 0.5, "a", 1, (view,))
        assert ledger.decide(rejected) and ledger.raise_alarm("drift", "r", "d", "it moves")
    (row, *_), (found,) = part_rows(path), part_rows(path, part_id="new")
    assert row == found and found["views"][0]["regions"] == [[1.0, 2.0, 3.0, 4.0, 0.75]]
    assert found["views"][0]["figures"] == {"x": 0.5} and found["views"][0]["width"] == 640
    assert verify(path)[0] == []
    assert totals(path.with_name("line.db.version-1")).triggered == 2
