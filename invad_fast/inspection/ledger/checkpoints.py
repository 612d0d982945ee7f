"""Checkpoints of the write-ahead log, by a thread of their own: no part waits for their fsync."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from invad_fast.inspection.ledger.turns import Turns

EVERY = 0.5
"""Seconds."""

_LARGEST = 16 * 2**20  # bytes of the log, from which on it has to begin anew


class Checkpoints:
    """Copies what the log holds into the file, and keeps the log from growing without end.

    A checkpoint that lets writers go on never comes to the log's end while they do. So the log
    begins anew by one that holds them up, for the little that was written since the last.

    Args:
        path: the ledger's file.
        lock: the writers'.
        look_after: called with the lock held, each time.
    """

    def __init__(self, path: Path, lock: Turns, look_after: Callable[[], None]) -> None:
        self._path, self._lock, self._look_after = path, lock, look_after
        self._log = path.with_name(f"{path.name}-wal")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when none is under way."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, timeout=1, isolation_level=None)
        while not self._stopped.wait(EVERY):
            with self._lock:
                self._look_after()
            with contextlib.suppress(sqlite3.Error, OSError):  # a full disk: the next time, then
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if self._log.stat().st_size > _LARGEST:
                    with self._lock:  # parts wait meanwhile: readers are not waited for
                        connection.execute("PRAGMA busy_timeout = 0")
                        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    connection.execute("PRAGMA busy_timeout = 1000")
        connection.close()
