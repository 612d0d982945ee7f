"""A result to all who wait for it: iterators and callbacks, which hold up no verdict."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from invad_fast.errors import InputWarning, first_line
from invad_fast.inspection.part import Result

Callback = Callable[[Result], None]


class Delivery:
    """Iterators of results, and a thread in which callbacks are called.

    Args:
        on_result: called with every result.
    """

    def __init__(self, on_result: Callback | None) -> None:
        self._on_result = on_result
        self._listeners: tuple[SimpleQueue[Result | None], ...] = ()
        self._calls: SimpleQueue[tuple[Callback, Result] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="callbacks", daemon=True)
        self._thread.start()

    def results(self) -> Iterator[Result]:
        """The results from now on; ends when this closes."""
        listener: SimpleQueue[Result | None] = SimpleQueue()
        self._listeners += (listener,)
        return iter(listener.get, None)

    def give(self, result: Result) -> None:
        """To all."""
        for listener in self._listeners:
            listener.put(result)
        if self._on_result is not None:
            self.call(self._on_result, result)

    def call(self, function: Callback, result: Result) -> None:
        """Calls the function in the thread of callbacks."""
        self._calls.put((function, result))

    def close(self) -> None:
        """Returns when all callbacks have been called."""
        for listener in self._listeners:
            listener.put(None)
        self._calls.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, result = call
            try:
                function(result)
            except Exception as error:
                warnings.warn(
                    f"a callback failed for part {result.part_id!r}: {type(error).__name__}: "
                    f"{first_line(error)}",
                    InputWarning,
                    stacklevel=1,
                )
