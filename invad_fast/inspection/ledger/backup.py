"""A copy of a ledger, also while it is written; and the way back."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from invad_fast.errors import InputError
from invad_fast.files import written_whole
from invad_fast.inspection.ledger.place import Hold
from invad_fast.inspection.ledger.reading import reading
from invad_fast.inspection.ledger.verify import verify


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
        aside = None
        if path.exists():
            aside = _free(path)
            _fold_log(path)
            os.replace(path, aside)
        for left in ("-wal", "-shm"):  # of the old file: SQLite would read them into the new one
            path.with_name(path.name + left).unlink(missing_ok=True)
        with reading(copy) as source, written_whole(path) as partial:
            target = sqlite3.connect(partial)
            try:
                source.backup(target)
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


def _fold_log(path: Path) -> None:
    """What is in the log comes into the file; a damaged one is kept as it is."""
    try:
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        pass
