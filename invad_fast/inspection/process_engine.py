"""The engine in a process of its own: one that hangs or dies takes no part with it.

`python -m invad_fast.inspection.process_engine FD FD` is the other process.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from invad_fast.errors import InputError
from invad_fast.inspection.engine import Answer, Failed, Job, Order, Ready, serve
from invad_fast.inspection.slots import new_memory


class ProcessEngine:
    """The inspector's end of an engine's process.

    Args:
        order: what to load.

    Raises:
        InputError: where the system has no descriptors to inherit (Windows).
    """

    def __init__(self, order: Order) -> None:
        if os.name != "posix":
            raise InputError("here no engine can have a process of its own: use in_process=True")
        self.order = order
        self.memory = new_memory()
        self.start()

    def start(self) -> None:
        """A new process, which begins to load; :meth:`receive` says when it has."""
        ours, theirs = Pipe()
        files = theirs.fileno(), self.memory
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *map(str, files)],
            pass_fds=files,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the inspector's is for its own lines
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        theirs.close()
        self._connection = ours
        self._connection.send(self.order)

    def may_start(self) -> bool:
        """Whether a new one may begin after :meth:`kill`."""
        return True

    def fileno(self) -> int:
        """Readable when there is something to :meth:`receive`."""
        return self._connection.fileno()

    def send(self, job: Job) -> None:
        """Hands over a job; a process that is gone tells by :meth:`receive`."""
        with contextlib.suppress(OSError):
            self._connection.send(job)

    def receive(self) -> list[Ready | Failed | Answer] | None:
        """All that has come by now; None where the process is gone."""
        found: list[Ready | Failed | Answer] = []
        try:
            while self._connection.poll():
                found.append(self._connection.recv())
        except (EOFError, OSError):
            return found or None
        return found

    def kill(self) -> None:
        """At once, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def stop(self, patience: float = 1.0) -> None:
        """Lets it end by itself, for so many seconds; and gives back the memory."""
        try:
            self._connection.send(None)
            self._process.wait(patience)
        except (OSError, subprocess.TimeoutExpired):
            pass
        self.kill()
        os.close(self.memory)


def _end_with(parent: int) -> None:
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(0.5)
    os._exit(1)  # killed: nobody will take an answer, and the engine may hang


def _main() -> None:
    connection, memory = Connection(int(sys.argv[1])), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    serve(connection, connection.recv(), memory)


if __name__ == "__main__":
    _main()
