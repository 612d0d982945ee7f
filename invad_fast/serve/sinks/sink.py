"""A sink: a thread that takes results from a bounded queue to one outlet, and delays nobody.

What found no room in the queue, and what the outlet could not deliver, is lost: counted, told in
the sink's state, and as a warning when it begins and at the end.
"""

from __future__ import annotations

import threading
import time
import warnings
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from invad_fast.errors import InputWarning, first_line
from invad_fast.serve.sinks.outlet import Outlet
from invad_fast.serve.subscription import Subscription

QUEUE = 1000  # results that may wait
_SLOW = "it does not keep up"
_LOOKS = 0.2  # seconds after which the thread looks whether it shall end


@dataclass(frozen=True)
class SinkState:
    """What became of the results of a sink: ``delivered + lost + waiting`` are all there were.

    Attributes:
        kind, where: what it is, and where it delivers to.
        waiting: in its queue, in its hand, or sent and not confirmed.
        lost: will not be delivered.
        fault: what is wrong now; empty where nothing is.
    """

    kind: str
    where: str
    delivered: int
    lost: int
    waiting: int
    fault: str


T = TypeVar("T")


class Sink(Generic[T]):
    """Runs an outlet.

    Args:
        outlet: only this object's thread calls it.
        results: of which it has the only hand.
    """

    def __init__(self, outlet: Outlet[T], results: Subscription[T]) -> None:
        self._outlet, self._results = outlet, results
        self._stop, self._drain = threading.Event(), threading.Event()
        self._taken = self._undelivered = 0
        self._in_hand = False
        self._fault, self._why, self._until, self._told = "", _SLOW, 0.0, 0
        self._thread = threading.Thread(target=self._run, name=outlet.kind, daemon=True)
        self._thread.start()

    @property
    def state(self) -> SinkState:
        """What became of the results so far."""
        outlet = self._outlet
        lost = self._undelivered + self._results.lost
        open_ = self._in_hand + outlet.unconfirmed
        fault = self._fault or outlet.fault
        if self._results.lost and not fault and self._results.waiting:
            fault = _SLOW
        return SinkState(
            outlet.kind, outlet.where, self._taken - self._undelivered - open_, lost,
            self._results.waiting + open_, fault,
        )  # fmt: skip

    def close(self, patience: float = 5.0) -> SinkState:
        """Delivers what waits, for so many seconds; the rest is lost.

        A thread that hangs in its outlet is left behind. Once closed it stays so.
        """
        if self._drain.is_set():
            return self.state
        self._until = time.monotonic() + patience
        self._results.close()
        self._drain.set()
        self._thread.join(patience)
        self._stop.set()
        self._thread.join(1.0)
        state = self.state
        if state.waiting:
            self._why = state.fault or "it was closed"
            state = replace(state, lost=state.lost + state.waiting, waiting=0, fault=self._why)
        if state.lost > self._told:
            self._warn(state)
        return state

    def _run(self) -> None:
        while not self._stop.is_set():
            result = self._results.get(_LOOKS)
            if result is not None:
                self._deliver(result)
            elif self._drain.is_set():
                break
            if self._results.lost and not self._told:
                self._warn(self.state)
        self._outlet.close(max(0.0, self._until - time.monotonic()))

    def _deliver(self, result: T) -> None:
        self._in_hand = True
        self._taken += 1
        try:
            self._outlet.send(result, self._stop)
            self._fault = ""
        except Exception as error:  # whatever it is, the next result is another matter
            self._undelivered += 1
            self._fault = self._why = first_line(error)
        finally:
            self._in_hand = False
        if self._undelivered and not self._told and not self._stop.is_set():
            self._warn(self.state)

    def _warn(self, state: SinkState) -> None:
        """When the first is lost, and at the end; how many in between, the state says."""
        self._told = state.lost
        results = "result" if state.lost == 1 else "results"
        warnings.warn(
            f"{state.kind} {state.where}: {state.lost} {results} lost: {self._why}",
            InputWarning,
            stacklevel=1,
        )
