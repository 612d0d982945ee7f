"""Parts in, one verdict each out, on time; or a counted NOT_INSPECTED.

trigger ─> ledger: open row ─> frames ─> queue ─> engine ─> verdict ─> ledger: decided row ─> result
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from invad_fast.checked import unknown_name
from invad_fast.data.levels import Levels
from invad_fast.errors import InputError
from invad_fast.inspection.accounts import Accounts
from invad_fast.inspection.decided import decision_of, result_of
from invad_fast.inspection.delivery import Delivery, call
from invad_fast.inspection.drift.history import earlier_parts, observed
from invad_fast.inspection.drift.watch import Alarm, DriftWatch
from invad_fast.inspection.engine import MODEL
from invad_fast.inspection.golden_parts import GOLDEN_PART, check_golden_parts
from invad_fast.inspection.ledger import Ledger, Outbox
from invad_fast.inspection.line import Line
from invad_fast.inspection.loop import Loop
from invad_fast.inspection.open_part import OpenPart
from invad_fast.inspection.part import (
    Reason,
    Result,
    Ticket,
    check_trigger,
    missing,
    verdict_of,
    whole,
)
from invad_fast.inspection.pictures import Pictured, PictureStore
from invad_fast.inspection.preprocess import (
    check_pixel_format,
)
from invad_fast.inspection.process_engine import ProcessEngine
from invad_fast.inspection.queue import Frame
from invad_fast.inspection.recipe import Recipe
from invad_fast.inspection.thread_engine import ThreadEngine
from invad_fast.prediction import Verdict

_GOLDEN = 300.0  # seconds for a golden part


class Inspector:
    """Inspects parts by a recipe; every one that is triggered gets one verdict, in the ledger too.

    Use it as a context manager: it starts when entered, and finishes what is in the queue when
    left. Its methods may be called from several threads.

    Args:
        recipe: one, or several whose names differ (then ``trigger(recipe=NAME)`` chooses, and the
            first is taken where it does not); a path is loaded. They share the ledger, and with
            it station and durability.
        ledger: file of the record.
        in_process: run the engine in a thread of this process, for research: one that hangs
            cannot be stopped, and one that crashes takes the process with it.
        on_result: called with each result, in a thread of its own.
        on_pictured: called with each result and its frames, in the thread that decided it, which
            it must not hold up. It costs a copy of each frame.
        copy_to: URL of a PostgreSQL database that gets a copy of the ledger, in its own time.
        engine: "module:function" that makes a Predictor of a recipe; the recipe's model file by
            itself.

    Raises:
        InputError: on entering, where an engine cannot load, a golden part comes out wrong, or the
            ledger cannot be used.
    """

    def __init__(
        self,
        recipe: Recipe | str | Path | Sequence[Recipe],
        ledger: str | Path,
        *,
        in_process: bool = False,
        on_result: Callable[[Result], None] | None = None,
        on_pictured: Callable[[Pictured], None] | None = None,
        copy_to: str | None = None,
        engine: str = MODEL,
    ) -> None:
        given = recipe if isinstance(recipe, (list, tuple)) else [recipe]
        self._recipes = [_loaded(each) for each in given]
        names = [each.name for each in self._recipes]
        if not names or len(set(names)) < len(names):
            raise InputError("give an inspector one recipe, or several whose names differ")
        for each in self._recipes:
            self._check_shares_ledger(each)
        self._ledger_path = Path(ledger)
        self._engine_kind = ThreadEngine if in_process else ProcessEngine
        self._maker = engine
        self._on_pictured = on_pictured
        self._closing = threading.Lock()
        self._current = ""
        self._golden = 0
        self._running = False
        self._copy_to = copy_to
        self._alarms: list[Alarm] = []
        self._stores: dict[str, PictureStore] = {}
        self._outbox: Outbox | None = None
        self._entered = False
        self._delivery = Delivery(on_result)
        self._loop = Loop(self._finish, self._fail)

    # ---- starting and stopping

    def __enter__(self) -> Inspector:
        if self._entered:
            raise InputError("an inspector runs once: make another one")
        first = self._recipes[0]
        self._ledger = Ledger(self._ledger_path, station=first.station, durability=first.durability)
        self._delivery.start()
        self._loop.start()
        self._entered = self._running = True
        try:
            if self._copy_to is not None:
                self._outbox = Outbox(self._ledger, self._copy_to)
            lines = [self._begin(recipe) for recipe in self._recipes]
            for line in lines:
                self._take_up(line)
            self._current = first.name
        except BaseException:
            self.close(finish=False)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self, finish: bool = True) -> None:
        """Takes no more parts; decides those there are, and closes the ledger.

        In a callback it returns at once where another thread is about it already.

        Args:
            finish: inspect what is in the queue; else it is NOT_INSPECTED, "stopped".

        Raises:
            InputError: where parts are missing from the ledger, which could not be written, and
                where the inspector had stopped by itself.
        """
        # A second thread waits until the first is through, but for the one that it waits for.
        if not self._closing.acquire(blocking=not self._delivery.is_here):
            return
        try:
            if self._running:
                self._loop.stop(abandon=not finish)
                self._running = False
                self._delivery.close()
                for store in self._stores.values():
                    store.close()
                if self._outbox is not None:
                    self._outbox.close()
                self._ledger.close()
                if self._loop.fault:
                    raise InputError(f"the inspector stopped by itself: {self._loop.fault}")
        finally:
            self._closing.release()

    def _check_shares_ledger(self, recipe: Recipe) -> None:
        first = self._recipes[0]
        for key in ("station", "durability"):
            own, others = getattr(recipe, key), getattr(first, key)
            if own != others:
                raise InputError(
                    f"the recipe {recipe.name!r} says {key} {own!r}, and the ledger is kept with "
                    f"{others!r}: recipes of one inspector share it"
                )

    def _begin(self, recipe: Recipe) -> Line:
        line = Line(recipe, self._maker, self._engine_kind)
        line.keeps_frames = self._on_pictured is not None
        self._loop.begin(line)
        return line

    def _take_up(self, line: Line, by: str | None = None) -> None:
        """Waits until the engine has loaded, checks the golden parts, and puts the line to work."""
        recipe = line.recipe
        try:
            self._wait_until_ready(line)
            self._check_golden(line)
            if recipe.pictures is not None:
                line.store = self._store_of(recipe.path_of(recipe.pictures.folder))
            self._ledger.note_recipe(recipe.name, recipe.digest, recipe.content, by)
            if line.store is not None and recipe.pictures is not None:
                line.store.take(recipe.pictures)
            if recipe.drift is not None:
                earlier = earlier_parts(self._ledger.path, recipe)
                line.watch = DriftWatch(recipe.drift.reference, earlier)
        except BaseException:
            self._loop.retire(line)
            raise
        self._loop.put_to_work(line)

    def _store_of(self, folder: Path) -> PictureStore:
        key = str(folder.resolve())
        if key not in self._stores:
            self._stores[key] = PictureStore(folder, self._ledger)
        return self._stores[key]

    def _wait_until_ready(self, line: Line) -> None:
        loop = self._loop
        with loop.changed:
            loop.changed.wait_for(lambda: line.ready or line.fault or loop.stopping)
            fault = "" if line.ready else line.fault or loop.fault or "the inspector is closing"
        if fault.startswith(GOLDEN_PART):  # the engine's own check of them
            self._ledger.raise_alarm("golden part", line.recipe.name, line.recipe.digest, fault)
        if fault:
            raise InputError(fault)

    # ---- what a line calls

    def change_recipe(self, recipe: Recipe | Path | str, by: str | None = None) -> None:
        """The recipe of the parts that are triggered from now on; those before keep theirs.

        The audit trail has a row of it.

        Args:
            recipe: the name of one that is loaded, or a new one (a path is read), which is loaded
                first, while parts go on; it takes the place of one of the same name.
            by: who wants it so; None for the user of this process.

        Raises:
            InputError: as on entering; then nothing has changed.
        """
        if isinstance(recipe, str):
            with self._loop.lock:
                line = self._named(recipe)
            self._check_golden(line)
            self._make_current(recipe, by)
            return
        new = _loaded(recipe)
        self._check_shares_ledger(new)
        with self._loop.lock:
            self._check_running()
        line = self._begin(new)
        self._take_up(line, by)
        self._make_current(new.name, by)

    def _make_current(self, name: str, by: str | None) -> None:
        with self._loop.lock:
            self._named(name)  # it may have been removed meanwhile
            before = self._current
        if before != name:
            self._ledger.note_change("current recipe", before, name, by)
        with self._loop.lock:
            self._named(name)
            self._current = name

    def check_golden_parts(self) -> None:
        """Judges those of the current recipe again, as at the start of a shift, while parts go on.

        Raises:
            InputError: for one that comes out otherwise; the ledger has an alarm of it.
        """
        with self._loop.lock:
            self._check_running()
            line = self._named(self._current)
        self._check_golden(line)

    def remove_recipe(self, name: str) -> None:
        """Parts are triggered for it no more; its engine ends with the last of those there are.

        Raises:
            InputError: for the current one, and for one that is not loaded.
        """
        with self._loop.lock:
            self._check_running()
            line = self._named(name)
            if name == self._current:
                raise InputError(
                    f"the recipe {name!r} is the current one: change_recipe to another first"
                )
            self._loop.take_away(line)
        self._loop.wake()

    def trigger(
        self,
        part_id: str | None = None,
        views: int = 1,
        encoder: int | None = None,
        *,
        recipe: str | None = None,
    ) -> Ticket:
        """Opens a part: its row is in the ledger when this returns. Never waits for the engine.

        Args:
            part_id: whatever the line calls it; may repeat. None takes the ledger's id.
            views: how many pictures it has.
            encoder: the conveyor's count, for whoever rejects it downstream.
            recipe: the name of one that is loaded; None for the current one.

        Raises:
            InputError: for what is no trigger, and where the inspector is not running.
        """
        views, encoder = check_trigger(part_id, views, encoder)
        with self._loop.lock:
            self._check_running()
            line = self._named(self._current if recipe is None else recipe)
            self._loop.busy += 1
            line.parts += 1  # so that it is not taken away meanwhile
        part = None
        try:
            part, recorded = self._opened(line, part_id, views, encoder)
        finally:  # Ctrl-C, say: nobody shall wait for a part that never was
            with self._loop.changed:
                self._loop.busy -= 1
                if part is None:
                    line.parts -= 1
                    self._loop.changed.notify_all()
                    self._loop.wake()
                else:
                    self._loop.accounts.triggered += 1
                    late = self._loop.add(part)
                    if not recorded:
                        self._loop.conclude(part)
        if not recorded:
            self._finish(part)
        elif late:
            self._loop.wake()
        return part.ticket

    def _opened(
        self, line: Line, part_id: str | None, views: int, encoder: int | None
    ) -> tuple[OpenPart, bool]:
        """A part whose row is in the ledger; or that has none, and that is all of its verdict."""
        started, now = time.monotonic(), time.time_ns() // 1000
        recipe = line.recipe
        id_, recorded = self._ledger.open_part(part_id, now, recipe.name, recipe.digest, encoder)
        ticket = Ticket(self, id_, str(id_) if part_id is None else part_id, views)
        deadline = started + recipe.deadline_ms / 1e3
        part = OpenPart(ticket, line, now, started, deadline, encoder, [None] * views)
        if not recorded:
            lost = Reason.LEDGER, "the ledger cannot be written"
            part.views = [missing(view, *lost) for view in range(views)]
        return part, recorded

    def _check_running(self) -> None:
        if self._loop.fault:
            raise InputError(f"the inspector stopped by itself: {self._loop.fault}")
        if not self._running or self._loop.stopping:
            raise InputError("this inspector is not running: use it as `with Inspector(…) as i`")

    def submit(
        self,
        frame: np.ndarray,
        part_id: str | None = None,
        *,
        pixel_format: str = "BGR8",
        encoder: int | None = None,
        recipe: str | None = None,
    ) -> Ticket:
        """A trigger and its one frame; see :meth:`trigger` and :meth:`Ticket.frame`."""
        check_pixel_format(pixel_format)
        ticket = self.trigger(part_id, 1, encoder, recipe=recipe)
        return ticket.frame(frame, 0, pixel_format)

    def inspect(
        self,
        frame: np.ndarray,
        part_id: str | None = None,
        *,
        pixel_format: str = "BGR8",
        encoder: int | None = None,
        recipe: str | None = None,
    ) -> Result:
        """A trigger, its one frame and its result, which is there at the deadline at the latest."""
        ticket = self.submit(
            frame, part_id, pixel_format=pixel_format, encoder=encoder, recipe=recipe
        )
        return ticket.result()

    def results(self) -> Iterator[Result]:
        """The results from now on, as they are decided; ends when the inspector closes."""
        return self._delivery.results()

    def wait_for_room(self, most: int, timeout: float | None = None) -> bool:
        """Waits until fewer than ``most`` parts have no verdict: for sources that can wait.

        Returns:
            Whether there is room; False also where the inspector stops by itself.
        """
        loop = self._loop

        def has_room() -> bool:
            return len(loop.parts) + loop.busy < most

        with loop.changed:
            loop.changed.wait_for(lambda: has_room() or loop.fault, timeout)
            return has_room()

    @property
    def accounts(self) -> Accounts:
        """What became of the parts of this run so far: a copy."""
        with self._loop.lock:
            return self._loop.accounts.copy(open_parts=len(self._loop.parts) + self._loop.busy)

    @property
    def current_recipe(self) -> str:
        """The name of the recipe of parts that are triggered now."""
        with self._loop.lock:
            return self._current

    @property
    def recipe_names(self) -> list[str]:
        """Of those that are loaded."""
        with self._loop.lock:
            return sorted(self._loop.lines)

    def levels(self, recipe: str | None = None) -> Levels | None:
        """The range of images of more than 8 bits by a loaded recipe; None for the current one."""
        with self._loop.lock:
            return self._named(self._current if recipe is None else recipe).recipe.score.levels

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) that frames of the current recipe are resized to."""
        with self._loop.lock:
            slots = self._named(self._current).slots
        assert slots is not None  # an engine has loaded, else nothing is current
        return slots.input_size

    @property
    def alarms(self) -> list[Alarm]:
        """Of drift, of this run: what has moved, and since which part. They change no verdict."""
        with self._loop.lock:
            return list(self._alarms)

    @property
    def faults(self) -> list[str]:
        """What is wrong now: engines that are not there, rows that the ledger lacks."""
        with self._loop.lock:
            found = [
                f"{line.recipe.name}: engine: {line.fault}"
                for line in self._loop.lines.values()
                if line.fault or not line.ready
            ]
        if self._loop.fault:
            found.append(f"the inspector stopped by itself: {self._loop.fault}")
        if self._entered and self._ledger.unrecorded:
            lost = self._ledger.unrecorded
            found.append(f"ledger: {lost} parts are not recorded yet: {self._ledger.fault}")
        for folder, store in self._stores.items():
            if store.let_go:
                why = f", the last: {store.fault}" if store.fault else ""
                found.append(f"{folder}: pictures of {store.let_go} parts were not kept{why}")
        if self._outbox is not None and self._outbox.fault:
            fault = self._outbox.fault
            found.append(f"copy: {self._outbox.backlog} parts wait to be sent: {fault}")
        return found

    # ---- parts and frames

    def _named(self, name: str) -> Line:
        line = self._loop.lines.get(name)
        if line is None:
            raise InputError(unknown_name("recipe", name, self._loop.lines))
        return line

    def _check_golden(self, line: Line) -> None:
        recipe = line.recipe
        try:
            check_golden_parts(recipe, partial(self._judge_golden, line))
        except InputError as error:
            self._ledger.raise_alarm("golden part", recipe.name, recipe.digest, str(error))
            raise

    def _judge_golden(self, line: Line, name: str, picture: np.ndarray) -> Result:
        """The result of a part that is none of the line's: it stands in no account."""
        now = time.monotonic()
        with self._loop.lock:
            self._golden += 1
            ticket = Ticket(self, -self._golden, name, 1)
            line.parts += 1
            until = now + _GOLDEN
            self._loop.add(OpenPart(ticket, line, 0, now, until, None, [None], golden=True))
        self._loop.wake()
        return ticket.frame(picture, 0, "RGB8").result()

    def take_frame(self, ticket: Ticket, image: Any, view: int, pixel_format: str) -> None:
        """See :meth:`Ticket.frame`, which calls this."""
        check_pixel_format(pixel_format)
        handed_in = time.monotonic()
        finished: list[OpenPart] = []
        with self._loop.lock:
            part = self._taken(ticket, view)
            if part is None:
                return
            line, frame, lost = part.line, None, Reason.ENGINE_FAILED
            if line.slots is not None:
                lost = Reason.OVERFLOW
                frame, displaced = line.queue.enter(part, view)
                if displaced is not None:
                    gone = missing(displaced.view, lost, "a newer frame took its place")
                    finished += self._loop.note(displaced.part, gone)
            if frame is None:
                finished += self._loop.note(part, missing(view, lost))
        for each in finished:
            self._finish(each)
        if frame is not None:
            self._fill(line, frame, image, pixel_format, handed_in)

    def take_no_frame(self, ticket: Ticket, view: int, reason: Reason, detail: str) -> None:
        """See :meth:`Ticket.no_frame`, which calls this."""
        with self._loop.lock:
            part = self._taken(ticket, view)
        if part is not None:
            self._loop.settle(part, missing(view, reason, detail))

    def _taken(self, ticket: Ticket, view: int) -> OpenPart | None:
        """The part of a view that comes now; None where it came too late. The lock is held."""
        if whole(view) is None or not 0 <= view < ticket.views:
            raise InputError(
                f"part {ticket.part_id!r} has the views 0 to {ticket.views - 1}, not {view!r:.60}"
            )
        part = self._loop.parts.get(ticket.id)
        if part is None:
            return None
        if view in part.taken:
            raise InputError(f"view {view} of part {ticket.part_id!r} was handed in before")
        part.taken.add(view)
        return part

    def _fill(
        self, line: Line, frame: Frame, image: Any, pixel_format: str, handed_in: float
    ) -> None:
        """Puts the picture into its slot, and the frame into the queue."""
        fault = line.take_in(frame, image, pixel_format)
        frame.handed_in = handed_in
        frame.preprocess_ms = 1e3 * (time.monotonic() - handed_in)
        with self._loop.lock:
            if fault is None and not frame.part.decided:
                line.queue.add(frame)
                line.dispatch()
                return
            line.queue.withdraw(frame)
        if fault is not None:
            self._loop.settle(frame.part, fault)

    def _finish(self, part: OpenPart) -> None:
        """Makes the verdict, records it, and only then lets it out."""
        loop, result = self._loop, None
        try:
            result = self._recorded(part)
            with loop.lock:
                if not part.golden:
                    loop.accounts.add(result)
            part.ticket.settle(result)
        finally:
            with loop.changed:  # while the part is busy nothing closes
                loop.busy -= 1
                loop.changed.notify_all()
                if loop.stopping:
                    loop.wake()

    def _recorded(self, part: OpenPart) -> Result:
        views = tuple(view for view in part.views if view is not None)
        result = result_of(part, views, *verdict_of(views))
        if not part.golden:
            recorded = all(view.reason is not Reason.LEDGER for view in views)
            if recorded and not self._ledger.decide(decision_of(result)):
                result = result_of(part, views, Verdict.NOT_INSPECTED, Reason.LEDGER)
            self._delivery.give(result)
            self._look_for_drift(part.line, result)
            with self._loop.lock:
                originals = dict(part.originals)  # a late view may come all the same
            settings = part.line.recipe.pictures
            if part.line.store is not None and settings is not None:
                part.line.store.offer(result, originals, settings)
            if self._on_pictured is not None:
                pictured = Pictured(result, originals, part.line.recipe)
                call(self._on_pictured, pictured, result.part_id)
        return result

    def _look_for_drift(self, line: Line, result: Result) -> None:
        seen = None if line.watch is None else observed(result)
        if seen is None or line.watch is None:
            return
        recipe = line.recipe
        for alarm in line.watch.add(seen):
            self._ledger.raise_alarm(
                "drift", recipe.name, recipe.digest, str(alarm), alarm.class_name, alarm.part,
                alarm.since,
            )  # fmt: skip
            with self._loop.lock:
                self._alarms.append(alarm)

    def _fail(self, part: OpenPart, error: BaseException) -> None:
        part.ticket.fail(error)

    def call_back(self, function: Callable[[Result], None], result: Result) -> None:
        """See :meth:`Ticket.add_done_callback`, which calls this."""
        self._delivery.call(function, result)


def _loaded(recipe: Any) -> Recipe:
    if isinstance(recipe, (str, Path)):
        return Recipe.load(recipe)
    if not isinstance(recipe, Recipe):
        raise InputError(f"a recipe is a Recipe or its file, not {type(recipe).__name__}")
    return recipe
