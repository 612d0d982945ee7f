"""One inspector and all who want its results: what every door of the service stands on.

doors: HTTP, WebSocket, Modbus, pages ─> Station ─> Inspector ─> ledger
                   sinks, subscriptions <─┘ results
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from invad_fast.errors import InputError
from invad_fast.inspection.engine import MODEL
from invad_fast.inspection.inspector import Inspector
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.inspection.ledger.totals import Totals, totals
from invad_fast.inspection.part import Result
from invad_fast.inspection.recipe import Recipe
from invad_fast.serve.openmetrics import StationMetrics
from invad_fast.serve.sinks.sinks import Sinks
from invad_fast.serve.subscription import Subscription


class Station:
    """Runs while it is entered; its methods may be called from several threads.

    Args:
        recipes: see `Inspector`; the first is the current one.
        ledger: file of the record.
        sinks: where results go besides; None for nowhere.
        copy_to, engine, in_process: see `Inspector`.

    Raises:
        InputError: as an Inspector does.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        ledger: str | Path,
        *,
        sinks: Sinks | None = None,
        copy_to: str | None = None,
        engine: str = MODEL,
        in_process: bool = False,
    ) -> None:
        self.ledger = Path(ledger)
        self.sinks = sinks
        self.metrics = StationMetrics(recipes[0].station if recipes else "")
        self._subscriptions: set[Subscription[Result]] = set()
        self._lock = threading.Lock()
        self._able: list[Callable[[], list[str]]] = []
        pictured = sinks.offer_pictured if sinks is not None and sinks.want_pictures else None
        self.inspector = Inspector(
            recipes, ledger, on_result=self._fan_out, on_pictured=pictured, copy_to=copy_to,
            engine=engine, in_process=in_process,
        )  # fmt: skip
        self._running = ExitStack()

    def __enter__(self) -> Station:
        with ExitStack() as begun:
            if self.sinks is not None:
                begun.enter_context(self.sinks)
            begun.enter_context(self.inspector)
            self._running = begun.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()
        with self._lock:
            for each in self._subscriptions:
                each.close()

    @contextmanager
    def subscription(
        self, capacity: int, arrived: Callable[[], object] | None = None
    ) -> Iterator[Subscription[Result]]:
        """The results from now on; what finds no room is lost to this one, and counted.

        Args:
            capacity, arrived: see `Subscription`.
        """
        made: Subscription[Result] = Subscription(capacity, arrived)
        with self._lock:
            self._subscriptions.add(made)
        try:
            yield made
        finally:
            with self._lock:
                self._subscriptions.discard(made)

    def watch(self, faults: Callable[[], list[str]]) -> None:
        """What else must be well for the station to be ready, cameras say: its faults in words."""
        self._able.append(faults)

    @property
    def faults(self) -> list[str]:
        """Why the station is not ready, in words; empty where it is.

        Sinks are not among them: what they lose is told, and delays no part.
        """
        return [*self.inspector.faults, *(line for each in self._able for line in each())]

    def totals(self, since: int | None = None, until: int | None = None) -> Totals:
        """Of the whole ledger, see `invad_fast.inspection.ledger.totals`."""
        return totals(self.ledger, since, until)

    def part(self, id_: int) -> dict[str, Any] | None:
        """The ledger's row of a part, its views and pictures; None where there is none."""
        return next(part_rows(self.ledger, id_=id_), None)

    def change_recipe(self, name: str, by: str) -> None:
        """Parts that are triggered from now on are inspected by it; a row of the audit trail.

        Args:
            name: of one that is loaded.
            by: who wants it so.

        Raises:
            InputError: for another name, and where a golden part comes out wrong.
        """
        self.inspector.change_recipe(name, by=by)

    def _fan_out(self, result: Result) -> None:
        self.metrics.add(result)
        if self.sinks is not None:
            self.sinks.offer(result)
        with self._lock:
            listening = tuple(self._subscriptions)
        for each in listening:
            each.offer(result)


def load_recipes(paths: Sequence[Path]) -> list[Recipe]:
    """Raises InputError for one that is none, and for two of one name."""
    recipes = [Recipe.load(path) for path in paths]
    names = [recipe.name for recipe in recipes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two recipes are called {twice!r}: give each a name of its own")
    return recipes
