"""Cameras that take the pictures of a part which somebody else has triggered: a PLC, say."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType

from invad_fast.errors import InputError
from invad_fast.inspection.cameras.camera import Camera
from invad_fast.inspection.cameras.capture import Capture
from invad_fast.inspection.cameras.kinds import make_camera
from invad_fast.inspection.part import Ticket
from invad_fast.inspection.recipe import CameraSettings

_CONNECTS = 10.0  # seconds that cameras may take before the first part; then it is told


class TriggeredCameras:
    """The recipe's cameras, one a view; called with a ticket it hands in its pictures.

    Use it as a context manager, and call it from one thread at a time. A camera that is lost is
    connected again by itself; until then its views are NOT_INSPECTED at once.

    Args:
        cameras: their settings; all are triggered by software.
        tell: called with a line for each thing that an operator must know.
        make: a Camera of settings.

    Raises:
        InputError: where there are none, or one is not triggered by software.
    """

    def __init__(
        self,
        cameras: Sequence[CameraSettings],
        *,
        tell: Callable[[str], None] = lambda line: None,
        make: Callable[[CameraSettings], Camera] = make_camera,
    ) -> None:
        if not cameras:
            raise InputError("the recipe has no cameras: give it some, see docs/cameras.md")
        other = next((each.trigger for each in cameras if each.trigger != "software"), None)
        if other is not None:
            raise InputError(
                f"the recipe's cameras have trigger: {other}, and which of their frames is of "
                "which triggered part nobody can tell: give them trigger: software"
            )
        self._timeouts = [each.timeout_ms / 1e3 for each in cameras]
        self._captures = [
            Capture(make(each), software=True, timeout=each.timeout_ms / 1e3, tell=tell)
            for each in cameras
        ]
        self._running = ExitStack()

    @property
    def views(self) -> int:
        """Pictures of a part."""
        return len(self._captures)

    @property
    def faults(self) -> list[str]:
        """Why cameras are not there now."""
        return [
            f"camera (view {view}): {each.fault}"
            for view, each in enumerate(self._captures)
            if each.fault
        ]

    def __enter__(self) -> TriggeredCameras:
        with ExitStack() as stack:
            for each in self._captures:
                stack.enter_context(each)
            for each in self._captures:
                each.wait_until_connected(_CONNECTS)
            self._running = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    def __call__(self, ticket: Ticket) -> None:
        """Has all pictures taken at once, and hands in what comes."""
        for each in self._captures:
            each.ask()
        asked = time.monotonic()
        for view, each in enumerate(self._captures):
            frame = each.take(asked + self._timeouts[view])
            try:
                if frame.pixels is None:
                    ticket.no_frame(view, frame.reason, frame.detail)
                else:
                    ticket.frame(frame.pixels, view, frame.pixel_format)
            finally:
                frame.release()
