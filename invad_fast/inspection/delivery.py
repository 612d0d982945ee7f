"""A result to all who wait for it: iterators and callbacks, which hold up no verdict."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TypeVar

from invad_fast.errors import InputWarning, first_line
from invad_fast.inspection.part import Result

Callback = Callable[[Result], None]
T = TypeVar("T")


class Delivery:
    """Iterators of results, and a thread in which callbacks are called.

    Args:
        on_result: called with every result.
    """

    def __init__(self, on_result: Callback | None) -> None:
        self._on_result = on_result
        self._lock = threading.Lock()
        self._closed = False
        # Whoever drops its iterator is held no results.
        self._listeners: weakref.WeakSet[SimpleQueue[Result | None]] = weakref.WeakSet()
        self._calls: SimpleQueue[tuple[Callback, Result] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="callbacks", daemon=True)

    def start(self) -> None:
        """Begins to call."""
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """Whether this is asked in the thread of callbacks."""
        return self._thread is threading.current_thread()

    def results(self) -> Iterator[Result]:
        """The results from now on; ends when this closes."""
        listener: SimpleQueue[Result | None] = SimpleQueue()
        with self._lock:
            if self._closed:
                listener.put(None)
            self._listeners.add(listener)
        return iter(listener.get, None)

    def give(self, result: Result) -> None:
        """To all."""
        with self._lock:
            for listener in self._listeners:
                listener.put(result)
        if self._on_result is not None:
            self.call(self._on_result, result)

    def call(self, function: Callback, result: Result) -> None:
        """Calls the function in the thread of callbacks; in this one where that has ended."""
        with self._lock:
            if not self._closed:
                self._calls.put((function, result))
                return
        call(function, result, result.part_id)

    def close(self) -> None:
        """Returns when all callbacks have been called."""
        with self._lock:
            self._closed = True
            for listener in self._listeners:
                listener.put(None)
            self._calls.put(None)
        if not self.is_here:
            self._thread.join()

    def _run(self) -> None:
        while (called := self._calls.get()) is not None:
            function, result = called
            call(function, result, result.part_id)


def call(function: Callable[[T], None], given: T, part_id: str) -> None:
    """Calls it; what it raises is told, and harms nobody else."""
    try:
        function(given)
    except Exception as error:
        warnings.warn(
            f"a callback failed for part {part_id!r}: {type(error).__name__}: {first_line(error)}",
            InputWarning,
            stacklevel=1,
        )
