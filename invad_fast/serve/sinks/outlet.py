"""What a sink writes to: one call, in the sink's own thread. It may take as long as it takes."""

from __future__ import annotations

import threading
from typing import Protocol, TypeVar

from invad_fast.errors import InputError


class Undelivered(InputError):
    """A result did not get where it should, and will not: one line of why."""


T = TypeVar("T", contravariant=True)


class Outlet(Protocol[T]):
    """A place for results, with their frames or without. One thread calls it; nobody waits for it.

    Attributes:
        kind: what the sink is called, in a word or two.
        where: file or address, without a secret.
        fault: what keeps it from delivering now, while it goes on trying; empty where nothing does.
    """

    kind: str
    where: str
    fault: str

    @property
    def unconfirmed(self) -> int:
        """Results that were sent and that the other side has not confirmed yet."""

    def send(self, result: T, stop: threading.Event) -> None:
        """Delivers a result; gives up early where ``stop`` is set.

        Raises:
            Undelivered: where it is lost. Anything else that is raised counts as that too.
        """

    def close(self, patience: float) -> None:
        """Waits for so many seconds until all is confirmed, then gives everything back."""
