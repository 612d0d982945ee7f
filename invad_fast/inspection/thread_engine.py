"""The engine in the inspector's own process, for research and for debuggers."""

from __future__ import annotations

import contextlib
import os
import threading
from multiprocessing import Pipe

from invad_fast.inspection.engine import Answer, Failed, Job, Order, Ready, serve
from invad_fast.inspection.slots import new_memory


class ThreadEngine:
    """An engine in a thread: the same answers, and less to start.

    What it loses: one that hangs cannot be stopped, so that its parts are NOT_INSPECTED until it
    ends by itself; one that crashes takes the process with it; and it shares Python's lock with
    whoever calls.

    Args:
        order: what to load.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.memory = new_memory()
        self.start()

    def start(self) -> None:
        """A new thread, which begins to load."""
        self._connection, theirs = Pipe()

        def run() -> None:
            try:
                serve(theirs, self.order, self.memory)
            finally:
                theirs.close()

        self._thread = threading.Thread(target=run, name="engine", daemon=True)
        self._thread.start()

    def may_start(self) -> bool:
        """Whether a new one may begin after :meth:`kill`: not while the old one writes maps."""
        return not self._thread.is_alive()

    def fileno(self) -> int:
        """Readable when there is something to :meth:`receive`."""
        return self._connection.fileno()

    def send(self, job: Job) -> None:
        """Hands over a job."""
        with contextlib.suppress(OSError):
            self._connection.send(job)

    def receive(self) -> list[Ready | Failed | Answer] | None:
        """All that has come by now; None where the thread has ended."""
        found: list[Ready | Failed | Answer] = []
        try:
            while self._connection.poll():
                found.append(self._connection.recv())
        except (EOFError, OSError):
            return found or None
        return found

    def kill(self) -> None:
        """Turns away from it: a thread cannot be stopped, and ends with its job."""
        self._connection.close()

    def stop(self, patience: float = 1.0) -> None:
        """Lets it end by itself, for so many seconds."""
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._thread.join(patience)
        self._connection.close()
        if not self._thread.is_alive():
            os.close(self.memory)
