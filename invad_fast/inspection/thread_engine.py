"""The engine in the inspector's own process, for research and for debuggers."""

from __future__ import annotations

import os
import threading

from invad_fast.inspection.engine import serve
from invad_fast.inspection.engine_end import EngineEnd
from invad_fast.inspection.messages import Messages


class ThreadEngine(EngineEnd):
    """An engine in a thread: the same answers, and less to start.

    What it loses: one that hangs cannot be stopped, so that its parts are NOT_INSPECTED until it
    ends by itself; one that crashes takes the process with it; and it shares Python's lock with
    whoever calls.
    """

    def start(self) -> None:
        self._messages, theirs = Messages.pair()

        def run() -> None:
            try:
                serve(theirs, self.order, self.memory)
            finally:
                theirs.close()

        self._thread = threading.Thread(target=run, name="engine", daemon=True)
        self._thread.start()

    def may_start(self) -> bool:
        return not self._thread.is_alive()  # it may still write maps

    def kill(self) -> None:
        self._messages.close()  # a thread cannot be stopped: it ends with its job

    def stop(self, patience: float = 1.0) -> None:
        self.send(None)
        self._thread.join(patience)
        self._messages.close()
        if not self._thread.is_alive():
            os.close(self.memory)
