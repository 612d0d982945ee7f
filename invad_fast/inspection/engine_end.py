"""The inspector's end of an engine: jobs one way, answers the other."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod

from invad_fast.inspection.engine import Answer, Failed, Job, Order, Ready
from invad_fast.inspection.messages import Messages
from invad_fast.inspection.slots import new_memory


class EngineEnd(ABC):
    """What the two kinds of engines share; where they run is theirs.

    Args:
        order: what to load.
    """

    _messages: Messages

    def __init__(self, order: Order) -> None:
        self.order = order
        self.memory = new_memory()
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Begins to load; :meth:`receive` says when it has. OSError where there is no room."""

    @abstractmethod
    def may_start(self) -> bool:
        """Whether a new one may begin after :meth:`kill`."""

    @abstractmethod
    def kill(self) -> None:
        """Turns away from it at once, whatever it is doing."""

    @abstractmethod
    def stop(self, patience: float = 1.0) -> None:
        """Lets it end by itself, for so many seconds; and gives back the memory."""

    def fileno(self) -> int:
        """Readable when there is something to :meth:`receive`."""
        return self._messages.fileno()

    def send(self, told: Job | None) -> None:
        """Hands over a job, None for the last; an engine that is gone tells by :meth:`receive`."""
        with contextlib.suppress(OSError):
            self._messages.send(told)

    def receive(self) -> list[Ready | Failed | Answer] | None:
        """All that has come by now; None where the engine is gone."""
        try:
            return self._messages.take()
        except EOFError:
            return None
