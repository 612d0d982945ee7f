"""For one who may be slow: a queue of so many, which never holds up who fills it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Subscription(Generic[T]):
    """Filled by `offer`, emptied by `get`, each from any thread.

    Attributes:
        lost: what found no room.

    Args:
        capacity: how many may wait; what finds no room is lost.
        arrived: called after each that is taken in, for who does not wait in `get`.
    """

    def __init__(self, capacity: int, arrived: Callable[[], object] | None = None) -> None:
        self._capacity, self._arrived = capacity, arrived
        self._changed = threading.Condition()
        self._waiting: deque[T] = deque()
        self._closed = False
        self.lost = 0

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return len(self._waiting)

    def offer(self, item: T) -> None:
        """Takes it in, or counts it."""
        with self._changed:
            if self._closed:
                return
            if len(self._waiting) == self._capacity:
                self.lost += 1
                return
            self._waiting.append(item)
            self._changed.notify()
        if self._arrived is not None:
            self._arrived()

    def get(self, timeout: float) -> T | None:
        """The next; None where none came in so many seconds, or none will."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout)
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """No more are taken in; those that wait are still given."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
