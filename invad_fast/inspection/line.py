"""A recipe at work: its engine, the frames that wait for it, and those that it has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from invad_fast.errors import first_line
from invad_fast.inspection.drift.watch import DriftWatch
from invad_fast.inspection.engine import IN_FLIGHT, Answer, Job, Order, Ready
from invad_fast.inspection.engine_end import EngineEnd
from invad_fast.inspection.frame_checks import FrameCheck
from invad_fast.inspection.part import Reason, View, missing
from invad_fast.inspection.pictures import Original, PictureStore
from invad_fast.inspection.preprocess import FrameError, frame_size, preprocess
from invad_fast.inspection.queue import Frame, FrameQueue
from invad_fast.inspection.recipe import FrameChecks, Recipe
from invad_fast.inspection.slots import Slots

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds before an engine is started again
_LOADING = 300.0  # seconds that it may take to load; a large model from a slow disk


class Line:
    """Whoever calls it holds the inspector's lock, where nothing else is said.

    Attributes:
        slots: None until the engine has loaded for the first time.
        ready: the engine has loaded, and answers.
        gone: it is there no more, until it is started again.
        fault: what failed last; empty where all is well.
        parts: open parts of this recipe.
        store: of the pictures that are kept; None for none.
        keeps_frames: somebody else wants the frames too.
        watch: of drift; None for none.
        retired: it gets no more parts, and ends with the last.
    """

    def __init__(self, recipe: Recipe, maker: str, kind: Callable[[Order], EngineEnd]) -> None:
        self._slots = recipe.queue.capacity + IN_FLIGHT
        order = Order(maker, recipe.content, str(recipe.path_of("")), self._slots)
        self._loading_since = time.monotonic()
        self.recipe, self.engine = recipe, kind(order)
        self.queue = FrameQueue(recipe.queue.policy, recipe.queue.capacity, self._slots)
        self.slots: Slots | None = None
        self.ready = self.gone = self.retired = False
        self.fault = ""
        self.parts = 0
        self.store: PictureStore | None = None
        self.keeps_frames = False
        # The drift watch needs figures of the pictures, checked or not.
        measured = None if recipe.drift is None else FrameChecks(frozen=False)
        checks = recipe.frame_checks or measured
        self._check = None if checks is None else FrameCheck(checks)
        self.watch: DriftWatch | None = None
        self._in_flight: dict[int, Frame] = {}
        self._next_job = 0
        self._restart_at = 0.0
        self._pause = _FIRST_PAUSE

    def loaded(self, message: Ready) -> None:
        """The engine is there."""
        if self.slots is None:
            self.slots = Slots(self.engine.memory, self._slots, message.input_size)
        self.ready, self.fault = True, ""

    def take_in(self, frame: Frame, image: Any, pixel_format: str) -> View | None:
        """Puts a picture into its slot, without the lock; what its view is where that fails."""
        recipe, slots = self.recipe, self.slots
        assert slots is not None  # else there was no place for a frame
        try:
            frame.size = frame_size(image, pixel_format)
            self._check_size(frame.size)
            preprocess(
                image, pixel_format, slots.input_size,
                levels=recipe.score.levels, out=slots.inputs[frame.slot],
                interpolation=recipe.score.interpolation,
            )  # fmt: skip
            if self.store is not None or self.keeps_frames:
                original = Original(np.array(image), pixel_format, recipe.score.levels)
                frame.part.originals[frame.view] = original
            if self._check is not None:
                self._look_at(frame, slots.inputs[frame.slot])
        except FrameError as error:
            return missing(frame.view, error.reason, str(error), frame.figures)
        except Exception as error:  # no memory, say: the slot must not be lost with it
            return missing(frame.view, Reason.DAMAGED_FRAME, first_line(error))
        return None

    def _look_at(self, frame: Frame, picture: np.ndarray) -> None:
        assert self._check is not None
        frame.figures = self._check.figures(picture)
        self._check.hold(frame.figures)
        if not frame.part.golden:  # the same file each time
            self._check.refuse_frozen(picture, frame.view)

    def _check_size(self, size: tuple[int, int]) -> None:
        wanted = self.recipe.frames.size
        if wanted is not None and size[::-1] != tuple(wanted):
            raise FrameError(
                f"the frame has {size[1]}×{size[0]} pixels, and the recipe asks for "
                f"{wanted[0]}×{wanted[1]}",
                Reason.WRONG_SIZE,
            )

    def dispatch(self) -> None:
        """Gives the engine what it can take."""
        while self.ready and len(self._in_flight) < IN_FLIGHT:
            frame = self.queue.next()
            if frame is None:
                return
            if frame.part.decided:
                self.queue.release(frame)
                continue
            frame.sent = time.monotonic()
            self._in_flight[self._next_job] = frame
            self.engine.send(Job(self._next_job, frame.slot, frame.size))
            self._next_job += 1

    def answered(self, answer: Answer) -> tuple[Frame, np.ndarray | None]:
        """(the frame that the engine is done with, its map H×W where it was scored)."""
        frame, scores = self._in_flight.pop(answer.number), None
        if not answer.error and self.slots is not None:
            scores = self.slots.maps[frame.slot].copy()
            self._pause = _FIRST_PAUSE
        self.queue.release(frame)
        self.fault = answer.error
        now = time.monotonic()
        for following in self._in_flight.values():  # the engine turns to it only now
            following.sent = now
        return frame, scores

    def lose_engine(self, why: str) -> list[Frame]:
        """The engine has ended, or is ended here; the frames that it had."""
        self.engine.kill()
        self.ready, self.gone, self.fault = False, True, why
        self._rest()
        return list(self._in_flight.values())

    def hangs(self, now: float) -> str | None:
        """Why the engine has had its time; None where it has not."""
        if now < self._patience_ends():
            return None
        if not self.ready:
            return f"the engine has not loaded in {_LOADING:.0f} s"
        return f"no answer in {self.recipe.engine_timeout_ms:.0f} ms"

    def may_restart(self, now: float) -> bool:
        """Whether it is time to start the engine again."""
        return self.gone and now >= self._restart_at and self.engine.may_start()

    def restarts(self) -> None:
        """The engine loads again. What it had when it was lost is its no more: places are free."""
        for frame in self._in_flight.values():
            self.queue.release(frame)
        self._in_flight.clear()
        self._loading_since = time.monotonic()
        self.gone = False

    def cannot_restart(self, why: str) -> None:
        """It could not be started: it is tried again after a longer pause."""
        self.fault = why
        self._rest()

    def next_event(self, now: float) -> float:
        """When there is something to do though nothing comes; infinity for never."""
        if not self.gone:
            return self._patience_ends()
        # Nobody tells when an engine that was turned away from has ended: it is asked.
        return self._restart_at if self.engine.may_start() else max(self._restart_at, now + 0.1)

    def _rest(self) -> None:
        self._restart_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _patience_ends(self) -> float:
        if self.gone:
            return math.inf
        if not self.ready:
            return self._loading_since + _LOADING
        if not self._in_flight:
            return math.inf
        first = next(iter(self._in_flight.values()))
        return first.sent + self.recipe.engine_timeout_ms / 1e3
