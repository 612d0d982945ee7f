"""A lock at which a thread that rests between its turns does not keep the others out."""

from __future__ import annotations

import threading
from typing import Any


class Turns:
    """Python's own lock goes to whoever asks first when it is free: mostly to who had it before.

    Here whoever asks waits at the gate, which is free while another has its turn; so the one who
    waits longest is through it before the one who comes again.
    """

    def __init__(self) -> None:
        self._gate, self._lock = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        with self._gate:
            self._lock.acquire()

    def __exit__(self, *_: Any) -> None:
        self._lock.release()
