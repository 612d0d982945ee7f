"""The ledger while a line runs: an open row before the trigger returns, a decided one before the
result leaves; what cannot be written is counted, and written as one gap afterwards.

Durability "process": WAL, synchronous NORMAL. What was committed outlives the end of the process
at any moment (kill -9); a loss of power may cost the last seconds, and damages nothing. "power":
synchronous FULL: every row is on the disk before the call returns, one fsync each.
"""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from invad_fast.errors import InputError, first_line
from invad_fast.files import make_folder
from invad_fast.inspection.ledger import audit
from invad_fast.inspection.ledger.checkpoints import Checkpoints
from invad_fast.inspection.ledger.gap_tally import Gap, GapTally
from invad_fast.inspection.ledger.place import Hold, refuse_network
from invad_fast.inspection.ledger.rows import Decision
from invad_fast.inspection.ledger.schema import RESERVED, prepare
from invad_fast.inspection.ledger.turns import Turns

PATIENCE_MS = 5.0
"""How long a row waits for another program that has the file locked."""

_OPEN = (
    "INSERT INTO parts (id, station, part_id, triggered_at, recipe, recipe_digest, encoder) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_DECIDE = (
    "UPDATE parts SET decided_at = ?, verdict = ?, reason = ?, score = ?, threshold = ?, "
    "class_name = ?, latency_us = ? WHERE id = ?"
)
_VIEW = (
    "INSERT INTO views (part, view, verdict, reason, detail, score, threshold, class_name, width, "
    "height, regions, figures) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ALARM = (
    "INSERT INTO alarms (at, kind, recipe, recipe_digest, class_name, part, since, detail) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_SETTLE = (
    "UPDATE parts SET decided_at = ?, verdict = 'NOT_INSPECTED', reason = ? "
    "WHERE verdict IS NULL AND id > ?"
)
_REGIONS = 20  # of a view that are kept: a torn part may have hundreds
_DECIDED = "all decided up to id"  # below it nothing is open, and nothing is looked for
# Ids that are reserved at once: of parts that the file never saw, too, none repeats, though the
# process is killed while the file cannot be written.
_AHEAD = 100_000
_LAST = """
SELECT max(ifnull((SELECT max(id) FROM parts), 0), ifnull((SELECT max(last_id) FROM gaps), 0))"""


class Ledger:
    """One file, written by one process; its methods may be called from several threads.

    Args:
        path: the file; made where there is none.
        station: of the rows.
        durability: see above.
        patience_ms: how long a row waits for another program that has the file locked.

    Raises:
        InputError: for a file that is no ledger or of a newer version, on a network file system,
            or in use by another process.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        station: str = "line",
        durability: Literal["process", "power"] = "process",
        patience_ms: float = PATIENCE_MS,
    ) -> None:
        self.path, self.station = Path(path), station
        self._lock = Turns()
        self._live: set[int] = set()  # recorded as open, and not decided
        self._gap: Gap | None = None  # parts without a row
        self._orphans = 0  # rows whose verdict was not written
        self._fault = ""
        make_folder(self.path.absolute().parent)
        refuse_network(self.path)
        self._hold = Hold(self.path)
        try:
            self._tally = GapTally(self.path)
            self._connection = _connect(self.path, durability, patience_ms)
            self._begin()
        except BaseException:
            self._hold.release()
            raise
        self._checkpoints = Checkpoints(self.path, self._lock, self._settle_if_needed)

    def _begin(self) -> None:
        connection = self._connection
        try:
            prepare(connection, self.path)
            with _transaction(connection):
                held = dict(connection.execute("SELECT name, value FROM counters"))
                self._decided = held.get(_DECIDED, 0)
                connection.execute(_SETTLE, (_now(), "restarted", self._decided))
                self._take_over(connection)
                last = connection.execute(_LAST).fetchone()[0]
                self._decided = last
                self._count(_DECIDED, last)
                self._next_id = max(last, held.get(RESERVED, 0)) + 1
                self._count(RESERVED, self._next_id + 2 * _AHEAD)
                connection.execute(
                    "INSERT INTO openings (at, last_id, next_id) VALUES (?, ?, ?)",
                    (_now(), last, self._next_id),
                )
        except sqlite3.Error as error:
            connection.close()
            raise InputError(f"cannot write the ledger {self.path}: {first_line(error)}") from None
        except InputError:
            connection.close()
            raise
        self._tally.clear()

    def _take_over(self, connection: sqlite3.Connection) -> None:
        """Writes the gap in whose midst the process before was killed, if it did not itself."""
        gap = self._tally.held()
        known = "SELECT 1 FROM gaps WHERE first_id = ? AND began_at = ?"
        if gap is None or connection.execute(known, (gap.first_id, gap.began_at)).fetchone():
            return
        gap.reason += "; the process ended in its midst"
        self._insert_gap(connection, gap)

    def _insert_gap(self, connection: sqlite3.Connection, gap: Gap) -> None:
        values = vars(gap) | {"station": self.station}
        connection.execute(
            f"INSERT INTO gaps ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
            tuple(values.values()),
        )

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Writes what is missing, and lets go of the file.

        Raises:
            InputError: where parts are missing from the file, because it cannot be written.
        """
        self._checkpoints.stop()
        with self._lock:
            self._write(lambda: self._count(RESERVED, self._next_id - 1))
            missing = self.unrecorded
            self._connection.close()
            self._tally.close()
        self._hold.release()
        if missing:
            raise InputError(
                f"{self.path}: {missing} parts could not be recorded ({self._fault}): the accounts "
                "do not close"
            )

    @property
    def unrecorded(self) -> int:
        """Parts that the file lacks, or whose verdict it lacks, because it cannot be written."""
        return (self._gap.parts if self._gap else 0) + self._orphans

    @property
    def fault(self) -> str:
        """Why the last row could not be written; empty where it could."""
        return self._fault

    def open_part(
        self,
        part_id: str | None,
        triggered_at: int,
        recipe: str,
        recipe_digest: str,
        encoder: int | None = None,
    ) -> tuple[int, bool]:
        """A part's open row, committed when this returns.

        Args:
            part_id: None for the id as text.
            triggered_at: microseconds of UTC.

        Returns:
            (id, whether the row is written): ids rise and never repeat; a part without a row is
            counted, and stands in a gap afterwards.
        """
        with self._lock:
            id_ = self._next_id
            self._next_id += 1
            name = str(id_) if part_id is None else _storable(part_id)
            row = (id_, self.station, name, triggered_at, recipe, recipe_digest, encoder)

            def write() -> None:
                self._connection.execute(_OPEN, row)
                if id_ % _AHEAD == 0:
                    self._count(RESERVED, id_ + 2 * _AHEAD)

            recorded = self._write(write)
            if recorded:
                self._live.add(id_)
            else:
                now = _now()
                self._gap = self._gap or Gap(began_at=now, first_id=id_)
                self._gap.ended_at, self._gap.last_id = now, id_
                self._gap.parts += 1
                self._gap.reason = self._fault
                self._tally.hold(self._gap)
        return id_, recorded

    def decide(self, decision: Decision) -> bool:
        """A part's verdict, committed when this returns.

        Returns:
            Whether it is written; else the row becomes NOT_INSPECTED, "ledger", afterwards.
        """
        d = decision
        name = _storable(d.class_name)
        values = (d.decided_at, d.verdict, d.reason, d.score, d.threshold, name,
                  d.latency_us, d.id)  # fmt: skip
        views = [
            (d.id, v.view, v.verdict, v.reason, _storable(v.detail), v.score, v.threshold,
             _storable(v.class_name), v.width, v.height, _regions(v.regions), _json(v.figures))
            for v in d.views
        ]  # fmt: skip

        def write() -> None:
            self._connection.execute(_DECIDE, values)
            self._connection.executemany(_VIEW, views)

        with self._lock:
            self._live.discard(d.id)
            recorded = self._write(write)
            self._orphans += not recorded
        return recorded

    def raise_alarm(
        self,
        kind: str,
        recipe: str,
        recipe_digest: str,
        detail: str,
        class_name: str | None = None,
        part: int | None = None,
        since: int | None = None,
    ) -> bool:
        """Notes an alarm; whether it is written.

        Args:
            part, since: the part at which it was raised; the first of which what it says is so.
        """
        row = (_now(), kind, recipe, recipe_digest, _storable(class_name), part, since,
               _storable(detail))  # fmt: skip
        return self.transact(lambda connection: connection.execute(_ALARM, row))

    def note_recipe(
        self, name: str, digest: str, content: dict[str, Any], who: str | None = None
    ) -> int:
        """Adds to the audit trail what differs from the recipe that ran last under this name.

        Args:
            who: None for the user of this process.

        Returns:
            How many rows were added.

        Raises:
            InputError: where they cannot be written: what is not on record does not run.
        """
        told, now = who or _user(), _now()
        added = 0

        def write() -> None:
            nonlocal added
            added = audit.note_recipe(self._connection, name, digest, content, told, now)

        with self._lock:
            if not self._write(write):
                raise InputError(
                    f"cannot write the audit trail of {self.path}: {self._fault}: the recipe "
                    f"{name!r} does not run without"
                )
        return added

    def note_change(
        self, key: str, old: str | None, new: str | None, who: str | None = None
    ) -> None:
        """Adds to the audit trail what somebody changed at the station.

        Args:
            who: None for the user of this process.

        Raises:
            InputError: where it cannot be written.
        """
        told, now = who or _user(), _now()
        with self._lock:
            if not self._write(
                lambda: audit.note_change(self._connection, key, old, new, told, now)
            ):
                raise InputError(
                    f"cannot write the audit trail of {self.path}: {self._fault}: {key} stays"
                )

    def transact(self, change: Callable[[sqlite3.Connection], object]) -> bool:
        """Runs ``change`` in a transaction of its own; whether it is committed."""
        with self._lock:
            return self._write(lambda: change(self._connection))

    def keep_picture(self, part: int, view: int, why: str, file: str, count: int) -> int | None:
        """Notes a picture's file of ``count`` bytes; its row, None where it cannot be written."""
        row = 0

        def write(connection: sqlite3.Connection) -> None:
            nonlocal row
            connection.execute("DELETE FROM pictures WHERE file = ?", (file,))
            added = connection.execute(
                "INSERT INTO pictures (part, view, why, file, bytes, kept_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (part, view, why, file, count, _now()),
            )
            row = added.lastrowid or 0

        return row if self.transact(write) else None

    def remove_pictures(self, rows: Sequence[int]) -> None:
        """Notes that the files of these rows are there no more; the rows stay."""
        values = [(_now(), row) for row in rows]
        self.transact(
            lambda connection: connection.executemany(
                "UPDATE pictures SET removed_at = ? WHERE id = ?", values
            )
        )

    def kept_pictures(self) -> list[tuple[int, str, int]]:
        """(row, file, bytes) of the pictures that are there, the oldest first."""
        with self._lock:
            return self._connection.execute(
                "SELECT id, file, bytes FROM pictures WHERE removed_at IS NULL ORDER BY id"
            ).fetchall()

    # ---- with the lock held

    def _write(self, write: Any) -> bool:
        """Runs ``write`` and what is to be made up for in one transaction; whether it took."""
        try:
            with _transaction(self._connection):
                self._make_up()
                write()
        # Values that SQLite cannot hold (a lone surrogate, 64 bits exceeded) raise the others.
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            self._fault = first_line(error)
            return False
        if self._gap is not None:
            self._tally.clear()
        self._gap, self._orphans, self._fault = None, 0, ""
        return True

    def _make_up(self) -> None:
        if self._gap is not None:
            self._insert_gap(self._connection, self._gap)
        if self._orphans:
            live = ", ".join(map(str, self._live))
            since = _now(), "ledger", self._decided
            self._connection.execute(f"{_SETTLE} AND id NOT IN ({live})", since)

    def _settle_if_needed(self) -> None:
        if self.unrecorded:
            self._write(lambda: None)

    def _count(self, name: str, value: int) -> None:
        self._connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))


class _transaction:
    """All or nothing; the lock for writing is taken at once, so that nothing fails half-way."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
                return
            except sqlite3.Error:
                self._roll_back()
                raise
        self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _connect(path: Path, durability: str, patience_ms: float) -> sqlite3.Connection:
    if path.is_dir():
        raise InputError(f"the ledger {path} is a folder: give a file")
    try:
        connection = sqlite3.connect(
            path, timeout=patience_ms / 1e3, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # an fsync in the midst of a part
    except sqlite3.Error as error:
        what = "is no ledger" if "not a database" in str(error) else "cannot be opened"
        raise InputError(f"the ledger {path} {what}: {first_line(error)}") from None
    return connection


def _storable(text: str | None) -> str | None:
    """Names are data: what no database holds as text (a file name's bytes that are no Unicode, a
    zero) is kept as an escape."""
    if text is None:
        return None
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _regions(regions: Sequence[dict[str, Any]]) -> str | None:
    strongest = regions[:_REGIONS]
    return _json([[*region["box"], round(region["peak"], 6)] for region in strongest])


def _json(value: Any) -> str | None:
    """None for what is empty: most parts have no region."""
    return json.dumps(value, separators=(",", ":")) if value else None


def _now() -> int:
    return time.time_ns() // 1000


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"
