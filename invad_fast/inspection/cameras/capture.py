"""A camera in a thread of its own: frames for whoever asks, and an account of those that are not.

    camera ─ one thread ─> queue (every frame, or the newest) ─> a source of pictures
       └─ lost ─> connected again, after pauses that grow

Nothing is lost in silence: what the camera did not deliver, what found no room and what a newer
frame displaced is counted, and `tell` is called with a line for each gap.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Literal

from invad_fast.errors import first_line
from invad_fast.inspection.cameras.camera import Camera, CameraError, Captured
from invad_fast.inspection.part import Reason

Keeps = Literal["every", "newest"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds before a lost camera is tried again
_LOOKS = 0.1  # seconds after which the thread looks whether it shall stop
_DEPTH = 4  # frames that may wait; below the buffers of a driver that lends them
_PAUSE_TOLD = 3.0  # times the usual time between frames that is a gap, where none are numbered
_MOST_PARTS = 1000  # that one gap stands for; more is a counter that was set
_LONGEST_WRAP = 2**16  # GigE Vision's 16-bit frame numbers start again at 1


class Capture:
    """Runs a camera; use it as a context manager. Its methods may be called from any thread.

    Attributes:
        connected: the camera answers.
        fault: why it does not; empty where it does.
        frames: how many came, damaged ones included; ``damaged`` of these.
        missing: frames that the camera counted and that did not come.
        displaced: frames that a newer one took the place of, or that found no room.
        gaps: how often frames were missing, or a camera without numbers paused or was lost.
        reconnects: how often it was lost and came back.

    Args:
        camera: only this object's thread calls it.
        software: pictures are taken by :meth:`grab` alone.
        accounts: :meth:`next` gives a frame without pixels for each that the camera counted and
            that did not come, or found no room: each is a part.
        keeps: "every" frame waits its turn; the "newest" takes the place of the one before.
        timeout: seconds that a triggered picture may take.
        tell: called with a line for each thing that an operator must know.
    """

    def __init__(
        self,
        camera: Camera,
        *,
        software: bool = False,
        accounts: bool = False,
        keeps: Keeps = "every",
        timeout: float = 1.0,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._camera, self._software, self._timeout = camera, software, timeout
        self._accounts = accounts
        self._depth = _DEPTH if keeps == "every" else 1
        self._tell = tell or (lambda line: None)
        self._changed = threading.Condition()
        self._waiting: deque[Captured] = deque()
        self._asked = self._answered = 0
        self._stopping = False
        self._failure: BaseException | None = None
        self._last: tuple[int | None, float] | None = None  # number, arrival: no loan is kept
        self._period = 0.0
        self.connected, self.fault = False, "it is being connected"
        self.frames = self.damaged = self.missing = self.displaced = 0
        self.gaps = self.reconnects = 0
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """Ends the thread; whoever waits for a frame gets none."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether no more frames will come."""
        return self._stopping

    def wait_until_connected(self, timeout: float) -> bool:
        """Whether the camera answers by then.

        Raises:
            InputError: where it never will: it has no such setting.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.connected or self._stopping, timeout)
            self._check()
            return self.connected

    def next(self, timeout: float | None = None) -> Captured | None:
        """The next frame, to be released; None where none came in time, or it was stopped.

        Raises:
            InputError: where the camera can never be opened.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping, timeout)
            self._check()
            return self._waiting.popleft() if self._waiting else None

    def ask(self) -> None:
        """Has a picture taken, of a camera that is triggered by software; :meth:`take` gives it."""
        with self._changed:
            self._let_go()  # a frame that came too late for its part is not the next part's
            self._asked += 1
            self._changed.notify_all()

    def take(self, until: float) -> Captured:
        """The picture that was asked for last; one without pixels where it does not come.

        Args:
            until: seconds of the monotonic clock.
        """
        with self._changed:
            asked = self._asked
            wait = max(0.0, until - time.monotonic())
            self._changed.wait_for(
                lambda: self._answered == asked or self._stopping or not self.connected, wait
            )
            self._check()
            if self._answered == asked and self._waiting:
                return self._waiting.popleft()
            self._asked += 1  # what comes for it now is nobody's
            self._answered = self._asked
            self.missing += 1
            if self._stopping:
                stopped = "the source was stopped before its picture came"
                return Captured(None, reason=Reason.STOPPED, detail=stopped)
            late = f"no picture within {1e3 * self._timeout:.0f} ms of its trigger"
            return Captured(None, detail=self.fault or late)

    def grab(self) -> Captured:
        """A picture of now: :meth:`ask` and :meth:`take`."""
        self.ask()
        return self.take(time.monotonic() + self._timeout)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    # ---- its thread

    def _run(self) -> None:
        pause, lost_at = _FIRST_PAUSE, 0.0
        try:
            while not self._stopping:
                try:
                    self._camera.open()
                    self._found(lost_at)
                    pause = _FIRST_PAUSE
                    while not self._stopping:
                        self._turn()
                except CameraError as error:
                    lost_at = lost_at if not self.connected and lost_at else time.monotonic()
                    self._lost(first_line(error))
                    self._camera.close()
                    with self._changed:
                        self._changed.wait_for(lambda: self._stopping, pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        except BaseException as error:
            self._failure = error
        finally:
            try:
                self._camera.close()
            finally:
                with self._changed:
                    self._stopping = True
                    self._let_go()
                    self._changed.notify_all()

    def _turn(self) -> None:
        if not self._software:
            frame = self._camera.read(_LOOKS)
            if frame is not None:
                self._note(frame)
                self._give(frame)
            return
        with self._changed:
            wanted = self._asked if self._changed.wait_for(self._is_asked, 1.0) else 0
        if self._stopping:
            return
        if not wanted:  # nobody asks: but is it there?
            late = self._camera.read(0.001)
            if late is not None:
                late.release()
            return
        self._camera.trigger()
        frame = self._camera.read(self._timeout)
        if frame is None:
            # It may come yet, and would be taken for the next part's: begin anew.
            raise CameraError(f"no picture within {1e3 * self._timeout:.0f} ms of its trigger")
        self._note(frame)
        with self._changed:
            if self._asked != wanted:
                frame.release()
                return
            self._waiting.append(frame)
            self._answered = wanted
            self._changed.notify_all()

    def _is_asked(self) -> bool:
        return self._asked != self._answered or self._stopping

    def _give(self, frame: Captured) -> None:
        with self._changed:
            held = [i for i, each in enumerate(self._waiting) if each.pixels is not None]
            for place in held[: max(0, len(held) + 1 - self._depth)]:
                self._waiting[place].release()
                self._waiting[place] = Captured(
                    None, number=self._waiting[place].number, reason=Reason.OVERFLOW,
                    detail="frames came faster than they were handed in",
                )  # fmt: skip
                self.displaced += 1
            if not self._accounts:
                self._waiting = deque(
                    each for each in self._waiting if each.reason is not Reason.OVERFLOW
                )
            self._waiting.append(frame)
            self._changed.notify_all()

    def _let_go(self) -> None:
        while self._waiting:
            self._waiting.popleft().release()

    def _note(self, frame: Captured) -> None:
        """Counts it, and what is missing before it."""
        before, self._last = self._last, (frame.number, frame.received_at)
        self.frames += 1
        self.damaged += frame.pixels is None
        if before is None or self._software:
            return
        number, received_at = before
        if frame.number is not None and number is not None:
            absent = frames_between(number, frame.number)
            if absent:
                self.missing += absent
                if self._accounts:
                    self._stand_in(frame.number, absent)
                self._gap(f"{absent} frames did not come before frame {frame.number}")
            return
        passed = frame.received_at - received_at
        if self._period and passed > _PAUSE_TOLD * self._period + _LOOKS:
            self._gap(f"no frame for {passed:.2f} s; how many were lost the driver does not say")
        # The usual time between two frames: a mean that forgets, and is not moved by one pause.
        share = 0.1 if self._period else 1.0
        self._period += share * (min(passed, 2 * self._period or passed) - self._period)

    def _stand_in(self, number: int, absent: int) -> None:
        with self._changed:
            for _ in range(min(absent, _MOST_PARTS)):
                lost = f"a frame before the camera's number {number} did not come"
                self._waiting.append(Captured(None, detail=lost))

    def _gap(self, line: str) -> None:
        self.gaps += 1
        self._tell(line)

    def _found(self, lost_at: float) -> None:
        if lost_at:
            self.reconnects += 1
            self._gap(f"it is back after {time.monotonic() - lost_at:.1f} s")
        with self._changed:
            self._last = None
            self.connected, self.fault = True, ""
            self._answered = self._asked  # what was asked of the lost one is told as missing
            self._changed.notify_all()

    def _lost(self, why: str) -> None:
        if self.fault != why:
            self._tell(f"lost: {why}")
        with self._changed:
            self.connected, self.fault = False, why
            self._changed.notify_all()


def frames_between(before: int, number: int) -> int:
    """How many of the camera's frames lie between two that came; 0 where it began anew.

    GigE Vision counts to 65,535 and goes on with 1; the number 0 is never used.
    """
    absent = number - before - 1
    if absent < 0 and before < _LONGEST_WRAP and before - number > _LONGEST_WRAP // 2:
        absent += _LONGEST_WRAP - 1
    return max(0, absent)
