"""The engine in a process of its own: one that hangs or dies takes no part with it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from invad_fast.errors import InputError
from invad_fast.inspection.engine import Order, serve
from invad_fast.inspection.engine_end import EngineEnd

# The other process. It looks for modules where this one does, and not where it was started: another
# copy of the package may lie there.
_BEGIN = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from invad_fast.inspection.process_engine import run
run(int(sys.argv[2]), int(sys.argv[3]))
"""


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
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BEGIN, json.dumps(sys.path), *map(str, files)],
                pass_fds=files,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the inspector's is for its own lines
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._connection = ours
        self.send(self.order)

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


def run(connection: int, memory: int) -> None:
    """The other process's work, given its descriptors."""
    end = Connection(connection)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    serve(end, end.recv(), memory)
