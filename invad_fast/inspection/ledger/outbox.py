"""A copy of the ledger in PostgreSQL: at least once, in its own time, whatever becomes of either.

Each decided part enters the table ``outbox`` in the transaction that decides it, and leaves it when
PostgreSQL has the part: there it is written over one of the same station and id, so that sending it
twice changes nothing. Nobody waits for it.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invad_fast.errors import InputError, first_line

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

    from invad_fast.inspection.ledger.ledger import Ledger

_BATCH = 500  # rows a transaction
_EVERY = 0.2  # seconds between looks
_LONGEST_PAUSE = 10.0  # seconds between tries while PostgreSQL is away

_TABLE = "CREATE TABLE outbox (part INTEGER PRIMARY KEY)"
_TRIGGER = """
CREATE TRIGGER outbox_of_parts AFTER UPDATE OF verdict ON parts WHEN new.verdict IS NOT NULL
BEGIN INSERT OR IGNORE INTO outbox VALUES (new.id); END
"""
_COLUMNS = (
    "id, station, part_id, triggered_at, decided_at, verdict, reason, score, threshold, "
    "class_name, recipe, recipe_digest, latency_us, encoder"
)


class Outbox:
    """Sends decided parts, gaps included, until it is closed.

    Args:
        ledger: that is open in this process; parts that it already has are sent too.
        url: of the database, as postgresql://user:password@host/name. It stands in no recipe.

    Raises:
        InputError: where SQLAlchemy or the driver is not installed, or it is no such URL.
    """

    def __init__(self, ledger: Ledger, url: str) -> None:
        self._ledger, self._engine = ledger, _engine(url)
        self.fault = ""
        """Why the last try failed; empty where it did not."""
        if not ledger.transact(_prepare):
            raise InputError(f"cannot write the ledger {ledger.path}: {ledger.fault}")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Decided parts that PostgreSQL does not have yet."""
        return backlog(self._ledger.path)

    def close(self, patience: float = 5.0) -> None:
        """Tries for so many seconds to send the rest; what is left is sent the next time."""
        self._stopped.set()
        self._thread.join(patience)
        self._engine.dispose()

    def _run(self) -> None:
        pause, tables = 0.5, None
        reader = sqlite3.connect(self._ledger.path, timeout=1, isolation_level=None)
        try:
            while True:
                try:
                    tables = tables or _tables(self._engine)
                    sent = _send(reader, self._engine, tables, self._ledger)
                    self.fault, pause = "", 0.5
                except Exception as error:  # whatever a driver raises: it is away, for a while
                    self.fault, sent = first_line(error), 0
                    if self._stopped.wait(pause):
                        return
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                if not sent and self._stopped.wait(_EVERY):
                    return
        finally:
            reader.close()


def backlog(path: Path) -> int:
    """Decided parts of a ledger that wait to be sent."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
    try:
        return int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0])
    except sqlite3.Error:  # it has no outbox
        return 0
    finally:
        connection.close()


def _prepare(connection: sqlite3.Connection) -> None:
    known = "SELECT 1 FROM sqlite_schema WHERE name = 'outbox_of_parts'"
    if connection.execute(known).fetchone():
        return
    connection.execute(_TABLE)
    connection.execute(_TRIGGER)
    connection.execute("INSERT INTO outbox SELECT id FROM parts WHERE verdict IS NOT NULL")


def _engine(url: str) -> Engine:
    try:
        import psycopg  # noqa: F401
        import sqlalchemy
    except ImportError:
        raise InputError(
            "the copy in PostgreSQL needs SQLAlchemy and psycopg: pip install 'invad-fast[line]'"
        ) from None
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise InputError("the copy's address is postgresql://user:password@host/name") from None
    if parsed.get_backend_name() != "postgresql":
        raise InputError(f"the copy is kept in PostgreSQL, not in {parsed.get_backend_name()!r}")
    return sqlalchemy.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "options": "-c statement_timeout=30000"},
    )


def _tables(engine: Engine) -> tuple[Table, Table]:
    """(parts, gaps), made where they are not there."""
    import sqlalchemy as sa

    data = sa.MetaData()
    keys = {"id": sa.BigInteger, "station": sa.Text}
    kinds: dict[str, Any] = dict.fromkeys(_COLUMNS.split(", "), sa.Text)
    kinds |= dict.fromkeys(("triggered_at", "decided_at", "latency_us", "encoder"), sa.BigInteger)
    kinds |= {"score": sa.Double, "threshold": sa.Double} | keys
    parts = sa.Table(
        "parts", data,
        *(sa.Column(name, kind, primary_key=name in keys) for name, kind in kinds.items()),
    )  # fmt: skip
    numbers = ("began_at", "ended_at", "first_id", "last_id", "parts")
    gaps = sa.Table(
        "gaps", data,
        *(sa.Column(name, kind, primary_key=True) for name, kind in keys.items()),
        *(sa.Column(name, sa.BigInteger) for name in numbers),
        sa.Column("reason", sa.Text),
    )  # fmt: skip
    data.create_all(engine)
    return parts, gaps


def _send(
    reader: sqlite3.Connection, engine: Engine, tables: tuple[Table, Table], ledger: Ledger
) -> int:
    """Sends a batch, then takes it out of the outbox; how many rows."""
    from sqlalchemy.dialects.postgresql import insert

    parts, gaps = tables
    found = reader.execute(
        f"SELECT {_COLUMNS} FROM parts WHERE id IN (SELECT part FROM outbox ORDER BY part LIMIT ?)",
        (_BATCH,),
    ).fetchall()
    names = _COLUMNS.split(", ")
    rows = [dict(zip(names, row)) for row in found]
    sent = reader.execute("SELECT value FROM counters WHERE name = 'gaps sent'").fetchone()
    missed = reader.execute(
        "SELECT id, station, began_at, ended_at, first_id, last_id, parts, reason FROM gaps "
        "WHERE id > ?",
        (sent[0] if sent else 0,),
    ).fetchall()
    lost = [dict(zip(gaps.c.keys(), row)) for row in missed]
    if not rows and not lost:
        return 0
    with engine.begin() as connection:
        for table, values in ((parts, rows), (gaps, lost)):
            if values:
                upsert = insert(table).values(values)
                others = {c.name: c for c in upsert.excluded if not table.c[c.name].primary_key}
                connection.execute(upsert.on_conflict_do_update(table.primary_key, set_=others))
    ids = [(row["id"],) for row in rows]

    def done(own: sqlite3.Connection) -> None:
        own.executemany("DELETE FROM outbox WHERE part = ?", ids)
        if lost:
            last = lost[-1]["id"]
            own.execute("INSERT OR REPLACE INTO counters VALUES ('gaps sent', ?)", (last,))

    ledger.transact(done)  # where it fails they are sent once more
    return len(rows) + len(lost)
