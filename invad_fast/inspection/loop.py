"""The one loop that owns queue and deadlines: it turns answers, and time that is up, into verdicts.

Whoever hands in frames takes its lock for a moment; verdicts are made and recorded without it.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import selectors
import threading
import time
from collections.abc import Callable

from invad_fast.errors import first_line
from invad_fast.inspection.accounts import Accounts
from invad_fast.inspection.engine import Failed, Ready
from invad_fast.inspection.line import Line
from invad_fast.inspection.open_part import OpenPart, judged
from invad_fast.inspection.part import Reason, View, missing


class Loop:
    """Parts from their trigger until nothing changes their views.

    Attributes:
        lock: of all that follows, and of the lines; ``changed`` is its condition.
        lines: the recipes at work, by name.
        others: lines that are loading, or ending.
        parts: the open ones, by id.
        accounts: of the parts so far.
        busy: parts that are being opened, or finished, by some thread.
        stopping: no more parts come; ``abandons``: those there are get no verdict.
        fault: what it stopped by itself for; empty where it did not.

    Args:
        finish: called without the lock with each part that is decided, by whatever thread
            decided it.
        failed: called with a part that could not be finished, and why.
    """

    def __init__(
        self,
        finish: Callable[[OpenPart], None],
        failed: Callable[[OpenPart, BaseException], None],
    ) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.lines: dict[str, Line] = {}
        self.others: list[Line] = []
        self.parts: dict[int, OpenPart] = {}
        self.accounts = Accounts()
        self.busy = 0
        self.stopping = self.abandons = False
        self.fault = ""
        self._finish, self._failed = finish, failed
        self._deadlines: list[tuple[float, int]] = []
        self._sleeps_until = 0.0
        self._thread = threading.Thread(target=self._run, name="inspector", daemon=True)

    # ---- from other threads

    def start(self) -> None:
        """Begins to turn."""
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    def stop(self, abandon: bool) -> None:
        """Returns when every part is decided and finished; then engines and descriptors go."""
        with self.lock:
            self.stopping, self.abandons = True, abandon
        self.wake()
        self._thread.join()
        for line in (*self.lines.values(), *self.others):
            line.engine.stop()
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)

    def wake(self) -> None:
        """Makes it look at what has changed."""
        with contextlib.suppress(BlockingIOError):  # then it has been woken often enough
            os.write(self._waker, b"!")

    def begin(self, line: Line) -> None:
        """Listens to an engine that loads."""
        with self.lock:
            self.others.append(line)
        self._selector.register(line.engine, selectors.EVENT_READ, line)

    def put_to_work(self, line: Line) -> None:
        """Parts may be triggered for it; one of the same name ends with its last part."""
        with self.lock:
            before = self.lines.get(line.recipe.name)
            if before is not None:
                self.take_away(before)
            self.lines[line.recipe.name] = line
            self.others.remove(line)
        self.wake()

    def retire(self, line: Line) -> None:
        """It ends when it has no more parts."""
        with self.lock:
            line.retired = True
        self.wake()

    def settle(self, part: OpenPart, view: View) -> None:
        """Notes what became of a view, and finishes the part where it was the last."""
        with self.lock:
            done = self.note(part, view)
        self._finish_all(done)

    # ---- with the lock held

    def take_away(self, line: Line) -> None:
        """One at work gets no more parts."""
        del self.lines[line.recipe.name]
        line.retired = True
        self.others.append(line)

    def add(self, part: OpenPart) -> bool:
        """Takes a part in; whether the loop must be woken, since it sleeps beyond its deadline."""
        self.parts[part.ticket.id] = part
        heapq.heappush(self._deadlines, (part.deadline, part.ticket.id))
        return part.deadline < self._sleeps_until

    def note(self, part: OpenPart, view: View) -> list[OpenPart]:
        """Notes what became of a view; the part, where it was the last: finish it."""
        if part.decided or part.views[view.number] is not None:
            return []
        part.views[view.number] = view
        if any(each is None for each in part.views):
            return []
        self.conclude(part)
        return [part]

    def conclude(self, part: OpenPart) -> None:
        """From here on nothing changes the part's views; it has to be finished."""
        part.decided = True
        self.busy += 1
        del self.parts[part.ticket.id]
        part.line.parts -= 1

    # ---- the loop

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # a fault of ours: nobody shall wait for ever
            with self.changed:
                self.fault = f"{type(error).__name__}: {first_line(error)}"
                self.stopping = self.abandons = True
                parts = self._expired(time.monotonic())
                self.changed.notify_all()
            self._finish_all(parts)

    def _finish_all(self, parts: list[OpenPart]) -> None:
        """Each, whatever becomes of the others."""
        for part in parts:
            try:
                self._finish(part)
            except Exception as error:
                with self.lock:
                    self.fault = f"{type(error).__name__}: {first_line(error)}"
                self._failed(part, error)

    def _turn(self) -> bool:
        with self.lock:
            if self.stopping and not self.parts and not self.busy:
                return False
            now = time.monotonic()
            self._sleeps_until = self._next_event(now)
        events = self._selector.select(max(0.0, self._sleeps_until - now))
        finished: list[OpenPart] = []
        for key, _ in events:
            if key.data is None:
                os.read(self._woken, 4096)
            else:
                finished += self._receive(key.data)
        now = time.monotonic()
        with self.lock:
            lines = [*self.lines.values(), *self.others]
            for line in lines:
                why = line.hangs(now)
                if why is not None:
                    finished += self._lose_engine(line, why)
            finished += self._expired(now)
        self._finish_all(finished)
        for line in lines:
            self._look_after(line, now)
        return True

    def _next_event(self, now: float) -> float:
        """When there is something to do though nothing comes."""
        if self.stopping and self.abandons and self.parts:
            return 0.0
        lines = (*self.lines.values(), *self.others)
        times = [line.next_event(now) for line in lines]
        # Not beyond the deadline of a part that is triggered now: so no trigger wakes the loop.
        times += [now + line.recipe.deadline_ms / 1e3 for line in lines]
        times += [self._deadlines[0][0]] if self._deadlines else []
        return min(times, default=now + 1.0)

    def _receive(self, line: Line) -> list[OpenPart]:
        finished: list[OpenPart] = []
        found = line.engine.receive()
        with self.lock:
            if found is None:
                return self._lose_engine(line, line.fault or "it ended by itself")
            for message in found:
                if isinstance(message, Ready):
                    line.loaded(message)
                    self.changed.notify_all()
                elif isinstance(message, Failed):
                    line.fault = message.line
                else:
                    frame, scores = line.answered(message)
                    finished += self.note(frame.part, judged(frame, message, scores))
            line.dispatch()
        return finished

    def _lose_engine(self, line: Line, why: str) -> list[OpenPart]:
        """What the engine had is not inspected; it starts again after a pause."""
        self._selector.unregister(line.engine)
        finished = []
        for frame in line.lose_engine(why):
            gone = missing(frame.view, Reason.ENGINE_FAILED, why)
            finished += self.note(frame.part, gone)
        self.accounts.engine_restarts += 1
        self.changed.notify_all()
        return finished

    def _expired(self, now: float) -> list[OpenPart]:
        """Decides the parts whose time is up; all of them where they are abandoned."""
        abandons = self.stopping and self.abandons
        due = list(self.parts.values()) if abandons else []
        while self._deadlines and self._deadlines[0][0] <= now:
            part = self.parts.get(heapq.heappop(self._deadlines)[1])
            if part is not None and not abandons:
                due.append(part)
        for part in due:
            for view, found in enumerate(part.views):
                if found is None:
                    part.views[view] = missing(view, *self._why_late(part, view))
            self.conclude(part)
        return due

    def _why_late(self, part: OpenPart, view: int) -> tuple[Reason, str]:
        if self.stopping and self.abandons:
            return Reason.STOPPED, self.fault
        if view not in part.taken:
            return Reason.CAMERA, "no frame came"
        if not part.line.ready:
            return Reason.ENGINE_FAILED, part.line.fault
        return Reason.LATE, ""

    def _look_after(self, line: Line, now: float) -> None:
        """Starts an engine that is gone again, and ends one that nobody needs any more."""
        if line.retired and not line.parts:
            with self.lock:
                if line not in self.others:
                    return
                self.others.remove(line)
            if not line.gone:
                self._selector.unregister(line.engine)
            line.engine.stop(patience=0)
        elif line.may_restart(now):
            try:
                line.engine.start()
            except OSError as error:  # no memory, no descriptors: there may be some later
                with self.lock:
                    line.cannot_restart(first_line(error))
                return
            with self.lock:
                line.restarts()
            self._selector.register(line.engine, selectors.EVENT_READ, line)
