"""The engine in a process of its own: one that hangs or dies takes no part with it."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading

from invad_fast.errors import InputError
from invad_fast.inspection.engine import Order, serve
from invad_fast.inspection.engine_end import EngineEnd
from invad_fast.inspection.messages import Messages
from invad_fast.openmp import spin_briefly

# The other process. It looks for modules where this one does, and not where it was started: another
# copy of the package may lie there. Ctrl-C and a service that is stopped reach every process of the
# group: this one has parts to finish, and ends when it is told to, or with its parent; which that
# is the parent says, for one that has died by now could not be asked for.
BEGIN = """
import json, signal, sys
for each in signal.SIGINT, signal.SIGTERM:
    signal.signal(each, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[1])
from invad_fast.inspection.process_engine import run
run(*map(int, sys.argv[2:]))
"""

_REAPED = 2.0  # seconds for the end of a process that was killed


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
        ours, theirs = Messages.pair()
        environment = dict(os.environ)
        spin_briefly(environment)  # the inspector's own threads need a core, too
        try:
            # Not by the pipe, which holds less than a large recipe: the loop would wait with it.
            with tempfile.TemporaryFile() as order:
                pickle.dump(self.order, order)
                order.seek(0)
                files = theirs.fileno(), self.memory, order.fileno()
                numbers = map(str, (*files, os.getpid()))
                self._process = subprocess.Popen(
                    [sys.executable, "-c", BEGIN, json.dumps(sys.path), *numbers],
                    pass_fds=files,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # the inspector's is for its own lines
                )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._messages = ours

    def may_start(self) -> bool:
        return self._process.poll() is not None  # it may still write maps

    def kill(self) -> None:
        self._process.kill()  # and not waited for: a driver may keep it for seconds
        self._messages.close()

    def stop(self, patience: float = 1.0) -> None:
        self.send(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAPED)
        os.close(self.memory)


def _end_with(parent: int) -> None:
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(0.5)
    os._exit(1)  # killed: nobody will take an answer, and the engine may hang


def run(messages: int, memory: int, order: int, parent: int) -> None:
    """The other process's work, given its descriptors and who has started it."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with open(order, "rb") as file:
        ordered: Order = pickle.load(file)  # ours: nobody else has the descriptor
    serve(Messages.of(messages), ordered, memory)
