"""Cameras as a source of pictures: a part for each frame, for each trigger, or for each group."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from invad_fast.errors import InputError
from invad_fast.inspection.cameras.camera import Camera, Captured
from invad_fast.inspection.cameras.capture import Capture
from invad_fast.inspection.cameras.kinds import make_camera
from invad_fast.inspection.cameras.views import ViewGroups
from invad_fast.inspection.recipe import CameraSettings
from invad_fast.inspection.sources.picture import Picture

_CONNECTS = 10.0  # seconds that cameras may take before the first part; then it is told
_LOOKS = 0.05


class CameraSource:
    """The recipe's cameras, one a view.

    A camera that is lost is connected again by itself. Triggered by software, pictures are taken of
    each part once its row is open (`Picture.take`), and one that does not come has no pixels;
    triggered otherwise, so has each number that is missing of a single camera's. What no number
    tells, `tell` does.

    Args:
        cameras: their settings; all have the same trigger.
        rate: parts a second of cameras that are triggered by software; None for as they are done.
        window: seconds; frames of several cameras that lie closer are of one part.
        tell: called with a line for each gap.
        make: a Camera of settings.

    Raises:
        InputError: where there are none, or one of a kind that there is not.
    """

    def __init__(
        self,
        cameras: Sequence[CameraSettings],
        *,
        rate: float | None = None,
        window: float = 0.02,
        tell: Callable[[str], None] | None = None,
        make: Callable[[CameraSettings], Camera] = make_camera,
    ) -> None:
        if not cameras:
            raise InputError("the recipe has no cameras: give it some, see docs/cameras.md")
        self._software = cameras[0].trigger == "software"
        if rate is not None and not self._software:
            raise InputError("--rate is for cameras with trigger: software")
        self.at_once = 1 if self._software and rate is None else None
        self._rate, self._window = rate, window
        self._timeout = max(each.timeout_ms for each in cameras) / 1e3
        self._stopped = threading.Event()
        tell = tell or (lambda line: None)
        self.captures = [
            Capture(
                make(each),
                software=self._software,
                accounts=each.trigger == "hardware" and len(cameras) == 1,
                keeps=each.keeps,
                timeout=each.timeout_ms / 1e3,
                tell=_named(tell, number, each, len(cameras)),
            )
            for number, each in enumerate(cameras)
        ]

    def stop(self) -> None:
        """No further picture comes."""
        self._stopped.set()
        for capture in self.captures:
            capture.stop()

    def __iter__(self) -> Iterator[Picture]:
        with ExitStack() as stack:
            for capture in self.captures:
                stack.enter_context(capture)
            for capture in self.captures:
                capture.wait_until_connected(_CONNECTS)
            yield from self._triggered() if self._software else self._handed_in()

    def _triggered(self) -> Iterator[Picture]:
        """A part whose pictures are taken once its row is open: it counts, whatever comes."""
        due = time.monotonic()
        while not self._stopped.is_set():
            frames: list[Captured] = []

            def take(frames: list[Captured] = frames) -> Picture:
                for capture in self.captures:
                    capture.ask()
                until = time.monotonic() + self._timeout
                frames += (capture.take(until) for capture in self.captures)
                return _part(frames)

            nothing = Picture(None, None)
            try:
                yield Picture(None, None, others=(nothing,) * (len(self.captures) - 1), take=take)
            finally:
                for frame in frames:
                    frame.release()
            if self._rate is None:
                # Parts nobody can picture do not come faster than they would be given up.
                lost = not all(capture.connected for capture in self.captures)
                self._stopped.wait(self._timeout if lost else 0)
            else:
                due += 1 / self._rate
                self._stopped.wait(max(0.0, due - time.monotonic()))

    def _handed_in(self) -> Iterator[Picture]:
        """A part of the frames that come by themselves."""
        for frames in self._coming():
            try:
                yield _part(frames)
            finally:
                for frame in frames:
                    if frame is not None:
                        frame.release()

    def _coming(self) -> Iterator[tuple[Captured | None, ...]]:
        if len(self.captures) == 1:
            capture = self.captures[0]
            while not (self._stopped.is_set() or capture.stopped):
                frame = capture.next(_LOOKS)
                if frame is not None:
                    yield (frame,)
            capture.next(0)  # raises where it stopped by itself
            return
        yield from self._grouped()

    def _grouped(self) -> Iterator[tuple[Captured | None, ...]]:
        groups = ViewGroups(len(self.captures), self._window, self._timeout)
        anew = [capture.reconnects for capture in self.captures]
        while not self._stopped.is_set():
            came = False
            for view, capture in enumerate(self.captures):
                if capture.reconnects != anew[view]:
                    anew[view] = capture.reconnects
                    groups.forget(view)
                frame = capture.next(0)
                if frame is not None:
                    groups.add(view, frame)
                    came = True
            yield from groups.ready(time.monotonic())
            if not came:
                self._stopped.wait(0.002)


def _picture(frame: Captured | None) -> Picture:
    if frame is None:
        return Picture(None, None, detail="no frame of this camera within the part's window")
    return Picture(None, frame.pixels, frame.pixel_format, frame.reason, frame.detail)


def _part(frames: Sequence[Captured | None]) -> Picture:
    first, *others = map(_picture, frames)
    return replace(first, others=tuple(others))


def _named(
    tell: Callable[[str], None], number: int, settings: CameraSettings, count: int
) -> Callable[[str], None]:
    name = settings.serial or settings.address or settings.kind
    which = f"camera {name}" if count == 1 else f"camera {name} (view {number})"
    return lambda line: tell(f"{which}: {line}")
