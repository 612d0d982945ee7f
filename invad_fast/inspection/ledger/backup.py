"""A copy of a ledger, also while it is written; and the way back."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from invad_fast.errors import InputError
from invad_fast.files import written_whole
from invad_fast.inspection.ledger.place import Hold
from invad_fast.inspection.ledger.reading import reading
from invad_fast.inspection.ledger.schema import RESERVED
from invad_fast.inspection.ledger.verify import verify

_GIVEN_OUT = (
    "SELECT max(ifnull((SELECT max(id) FROM parts), 0), "
    "ifnull((SELECT value FROM counters WHERE name = ?), 0))"
)


def backup(path: Path, to: Path) -> None:
    """Writes one moment of the ledger to another file, whole.

    Raises:
        InputError: for what is no ledger, and where something is in the way.
    """
    if to.exists():
        raise InputError(f"{to} is there: choose another name for the backup")
    with reading(path) as source, written_whole(to) as partial:
        target = sqlite3.connect(partial)
        try:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        finally:
            target.close()


def restore(copy: Path, path: Path) -> Path | None:
    """Puts a backup in the ledger's place, and keeps what was there aside.

    Returns:
        Where the old ledger is now; None where there was none.

    Raises:
        InputError: where the backup is damaged, or the ledger in use.
    """
    wrong, _ = verify(copy)
    if wrong:
        raise InputError(f"{copy} is not restored: {wrong[0]}")
    hold = Hold(path)
    try:
        aside, given_out = None, 0
        if path.exists():
            aside = _free(path)
            given_out = _fold_log(path)
            os.replace(path, aside)
            log = path.with_name(f"{path.name}-wal")
            if log.exists():  # what a reader or a full disk kept out of the file goes with it
                os.replace(log, aside.with_name(f"{aside.name}-wal"))
        for left in ("-wal", "-shm"):  # of the old file: SQLite would read them into the new one
            path.with_name(path.name + left).unlink(missing_ok=True)
        with reading(copy) as source, written_whole(path) as partial:
            target = sqlite3.connect(partial)
            try:
                source.backup(target)
                _keep_ids(target, given_out)
            finally:
                target.close()
        return aside
    finally:
        hold.release()


def _free(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.before-restore-{number}")).exists():
        number += 1
    return aside


def _fold_log(path: Path) -> int:
    """What is in the log comes into the file; the highest id that the ledger may have given out.

    A damaged ledger is kept as it is, and says nothing of ids.
    """
    try:
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return int(connection.execute(_GIVEN_OUT, (RESERVED,)).fetchone()[0])
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return 0


def _keep_ids(restored: sqlite3.Connection, given_out: int) -> None:
    """None of the ids that the old ledger gave out is given out again."""
    highest = max(given_out, int(restored.execute(_GIVEN_OUT, (RESERVED,)).fetchone()[0]))
    with restored:
        restored.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (RESERVED, highest))
