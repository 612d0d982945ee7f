"""The sinks of a station, by what its command line says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from invad_fast.inspection.part import Result
from invad_fast.inspection.pictures import Pictured
from invad_fast.serve.sinks.json_lines import JsonLines
from invad_fast.serve.sinks.mqtt import Mqtt
from invad_fast.serve.sinks.outlet import Outlet
from invad_fast.serve.sinks.overlays import QUEUE as PICTURES
from invad_fast.serve.sinks.overlays import Overlays, rejects
from invad_fast.serve.sinks.sink import QUEUE, Sink, SinkState
from invad_fast.serve.sinks.webhook import Webhook
from invad_fast.serve.subscription import Subscription


class Sinks:
    """Gives each result to every sink; use it as a context manager, around the inspector.

    Args:
        station: its name.
        json_lines: file of the JSON lines; None for none, as with the others.
        mqtt: the broker's address, see `Mqtt`.
        webhook: address that is posted to, see `Webhook`.
        overlays: folder of the overlay pictures.
        overlays_gib: how much these may take.

    Raises:
        InputError: where one of them cannot begin; then none does.
    """

    def __init__(
        self,
        station: str,
        *,
        json_lines: Path | None = None,
        mqtt: str | None = None,
        webhook: str | None = None,
        overlays: Path | None = None,
        overlays_gib: float = 1.0,
    ) -> None:
        self._results: list[Subscription[Result]] = []
        self._pictures: list[Subscription[Pictured]] = []
        self._sinks: list[Sink[Any]] = []
        with ExitStack() as begun:
            begun.callback(self.close)
            if json_lines is not None:
                self._begin(JsonLines(json_lines))
            if webhook is not None:
                self._begin(Webhook(webhook, station))
            if overlays is not None:
                drawn: Subscription[Pictured] = Subscription(PICTURES)
                self._sinks.append(Sink(Overlays(overlays, overlays_gib), drawn))
                self._pictures.append(drawn)
            if mqtt is not None:  # the last: it says that the station is there
                self._begin(Mqtt(mqtt))
            begun.pop_all()

    def __enter__(self) -> Sinks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def want_pictures(self) -> bool:
        """Whether `offer_pictured` has any use: it costs a copy of each frame."""
        return bool(self._pictures)

    @property
    def states(self) -> list[SinkState]:
        """Of each, as it is now."""
        return [sink.state for sink in self._sinks]

    @property
    def faults(self) -> list[str]:
        """What is wrong with them now, and what was lost, in words."""
        told = []
        for state in self.states:
            lost = f"{state.lost} lost" if state.lost else ""
            words = "; ".join(each for each in (state.fault, lost) if each)
            if words:
                told.append(f"{state.kind} {state.where}: {words}")
        return told

    def offer(self, result: Result) -> None:
        """A result; returns at once."""
        for queue in self._results:
            queue.offer(result)

    def offer_pictured(self, pictured: Pictured) -> None:
        """A result with its frames; returns at once."""
        if rejects(pictured):
            for queue in self._pictures:
                queue.offer(pictured)

    def close(self) -> None:
        """Delivers what waits, each for some seconds; all at once."""
        if self._sinks:
            with ThreadPoolExecutor(len(self._sinks)) as at_once:
                list(at_once.map(Sink.close, self._sinks))

    def _begin(self, outlet: Outlet[Result]) -> None:
        queue: Subscription[Result] = Subscription(QUEUE)
        self._sinks.append(Sink(outlet, queue))
        self._results.append(queue)
