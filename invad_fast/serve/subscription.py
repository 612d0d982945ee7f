"""Results for one who may be slow: a queue of so many, which never holds up who fills it."""

from __future__ import annotations

import threading
from collections import deque

from invad_fast.inspection.part import Result


class Subscription:
    """Filled by `offer`, emptied by `get`, each from any thread.

    Attributes:
        lost: results that found no room.

    Args:
        capacity: results that may wait; one that finds no room is lost.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._waiting: deque[Result] = deque()
        self._closed = False
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Results in the queue."""
        return len(self._waiting)

    def offer(self, result: Result) -> None:
        """Takes the result in, or counts it."""
        with self._changed:
            if self._closed:
                return
            if len(self._waiting) == self._capacity:
                self.lost += 1
                return
            self._waiting.append(result)
            self._changed.notify()

    def get(self, timeout: float) -> Result | None:
        """The next; None where none came in so many seconds, or none will."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout)
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """No more are taken in; those that wait are still given."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
