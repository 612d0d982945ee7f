"""Frames of several cameras ─> parts: which frames were taken at one trigger.

Each camera has a clock of its own. What it is behind this machine's is the least time from its
stamp to the frame's arrival, of its last frames: delays only add to it. Frames whose times, so
corrected, lie within a window are views of one part.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from invad_fast.inspection.cameras.camera import Captured

_LAST = 64  # frames of a camera that its clock is estimated from; parts that are remembered


@dataclass(eq=False)
class _Part:
    """Views of one trigger, as they come.

    Attributes:
        time: of the first that came, in seconds of this machine's clock.
        since: when it came.
    """

    time: float
    since: float
    views: dict[int, Captured] = field(default_factory=dict)


class ViewGroups:
    """Puts frames together; one thread calls it.

    Attributes:
        late: frames whose part was given out without them.

    Args:
        views: how many cameras there are.
        window: seconds.
        patience: seconds after a part's first frame that the others may take to arrive.
    """

    def __init__(self, views: int, window: float, patience: float) -> None:
        self._window, self._patience = window, patience
        self._count = views
        self._clocks: list[deque[float]] = [deque(maxlen=_LAST) for _ in range(views)]
        self._open: list[_Part] = []
        self._given: deque[_Part] = deque(maxlen=_LAST)
        self.late = 0

    def add(self, view: int, frame: Captured) -> None:
        """Takes a frame in; the parts that it completes are `ready`."""
        time = self._time(view, frame)
        near = [
            part
            for part in (*self._open, *self._given)
            if abs(part.time - time) <= self._window and view not in part.views
        ]
        part = min(near, key=lambda each: abs(each.time - time), default=None)
        if part is None:
            part = _Part(time, frame.received_at)
            self._open.append(part)
            self._open.sort(key=lambda each: each.time)
        elif part in self._given:  # its verdict is made: a part of its own it must not become
            self.late += 1
            part.views[view] = frame
            frame.release()
            return
        part.views[view] = frame

    def ready(self, now: float) -> list[tuple[Captured | None, ...]]:
        """Parts that are whole, or have waited long enough, in the order of their triggers."""
        found = []
        while self._open:
            part = self._open[0]
            if len(part.views) < self._count and now < part.since + self._patience:
                break
            self._open.pop(0)
            found.append(tuple(part.views.get(view) for view in range(self._count)))
            self._given.append(_Part(part.time, part.since, dict.fromkeys(part.views, _GONE)))
        return found

    def forget(self, view: int) -> None:
        """The camera was connected anew: its clock may have been set."""
        self._clocks[view].clear()

    def _time(self, view: int, frame: Captured) -> float:
        if frame.taken_at is None:
            return frame.received_at
        taken, clock = frame.taken_at / 1e9, self._clocks[view]
        clock.append(frame.received_at - taken)
        return taken + min(clock)


_GONE = Captured(None)
