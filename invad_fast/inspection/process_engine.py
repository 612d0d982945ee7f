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
from invad_fast.inspection.engine import Order, serve
from invad_fast.inspection.engine_end import EngineEnd


class ProcessEngine(EngineEnd):
    """An engine in another process, which reads frames and writes maps in shared memory.

    Raises:
        InputError: where the system has no descriptors to inherit (Windows).
    """

    def __init__(self, order: Order) -> None:
        if os.name != "posix":
            raise InputError("here no engine can have a process of its own: use in_process=True")
        super().__init__(order)

    def start(self) -> None:
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
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def stop(self, patience: float = 1.0) -> None:
        self.send(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
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
