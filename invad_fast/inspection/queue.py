"""Which frame waits, which is next, which has to go: the two policies, and the slots they fill."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

Policy = Literal["inspect", "monitor"]


@dataclass(eq=False)
class Frame:
    """A picture on its way to the engine.

    Attributes:
        part: whose it is.
        view: its number.
        slot: where its pixels lie.
        size: (height, width) as the camera gave it.
        handed_in, sent: when, by a clock that is never set, in seconds.
        preprocess_ms: what it took from the camera's pixels to the model's.
        figures: of the picture, where the recipe has frame checks.
    """

    part: Any
    view: int
    slot: int
    size: tuple[int, int] = (0, 0)
    handed_in: float = 0.0
    sent: float = 0.0
    preprocess_ms: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class FrameQueue:
    """Frames that wait for one engine; whoever uses it holds the inspector's lock.

    Attributes:
        policy: "inspect": first in, first out, and a frame that finds no room is turned away;
            "monitor": it takes the place of the one that has waited longest.
        capacity: how many may wait.
    """

    policy: Policy
    capacity: int
    slots: int
    waiting: deque[Frame] = field(default_factory=deque)
    _free: list[int] = field(default_factory=list)
    _filling: int = 0

    def __post_init__(self) -> None:
        self._free = list(range(self.slots))

    def enter(self, part: Any, view: int) -> tuple[Frame | None, Frame | None]:
        """A place for a frame that comes: (the frame or None, the frame that had to go or None)."""
        displaced = None
        if len(self.waiting) + self._filling >= self.capacity:
            self._let_go_decided()
        if len(self.waiting) + self._filling >= self.capacity or not self._free:
            if self.policy == "inspect" or not self.waiting:
                return None, None
            displaced = self.waiting.popleft()
            self.release(displaced)
        self._filling += 1
        return Frame(part, view, self._free.pop()), displaced

    def _let_go_decided(self) -> None:
        """Frames whose part was decided while they waited keep no place from one that comes."""
        for frame in [frame for frame in self.waiting if frame.part.decided]:
            self.waiting.remove(frame)
            self.release(frame)

    def add(self, frame: Frame) -> None:
        """The frame's pixels are in its slot: it waits."""
        self._filling -= 1
        self.waiting.append(frame)

    def withdraw(self, frame: Frame) -> None:
        """A frame that was to come, and is none."""
        self._filling -= 1
        self.release(frame)

    def release(self, frame: Frame) -> None:
        """Its slot may be filled again."""
        self._free.append(frame.slot)

    def next(self) -> Frame | None:
        """The frame that has waited longest; None where none waits."""
        return self.waiting.popleft() if self.waiting else None
