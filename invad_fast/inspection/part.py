"""A part on its way: its ticket from the trigger on, its result at the end."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np

from invad_fast.errors import InputError
from invad_fast.prediction import IS_ANOMALOUS, Verdict


class Reason(str, Enum):
    """Why a part was not inspected. Each is counted; none of them lets a part pass."""

    LATE = "late"
    OVERFLOW = "overflow"
    CAMERA = "camera"
    DAMAGED_FRAME = "damaged frame"
    WRONG_SIZE = "wrong size"
    TOO_DARK = "too dark"
    TOO_BRIGHT = "too bright"
    EMPTY = "empty"
    BLURRED = "blurred"
    SHIFTED = "shifted"
    FROZEN = "frozen"
    UNKNOWN_PRODUCT = "unknown product"
    NOT_A_NUMBER = "not a number"
    ENGINE_FAILED = "engine failed"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    LEDGER = "ledger"


@dataclass(frozen=True)
class View:
    """What became of one picture of a part.

    Attributes:
        number: of the view, from 0 on.
        verdict, reason: of this picture; the reason is None for PASS and REJECT.
        detail: the reason in more words, for people; empty where there is no more to say.
        score, threshold, class_name: None where the picture was not scored.
        provisional: the threshold is only for a first look.
        regions: of the map above the threshold, the strongest first, see ``result.schema.json``.
        map: H×W float32 at the model's input size; None where the picture was not scored.
        times_ms: stage → milliseconds: "preprocess" (frame to the model's input), "wait" (for the
            engine), "engine" (input to score, as the engine measured it).
        figures: of the picture, by name, see `invad_fast.frame_figures`; empty where the recipe
            has no frame checks.
        size: (height, width) of the frame; None where the picture was not scored.
    """

    number: int
    verdict: Verdict
    reason: Reason | None = None
    detail: str = ""
    score: float | None = None
    threshold: float | None = None
    class_name: str | None = None
    provisional: bool = False
    regions: tuple[dict[str, Any], ...] = ()
    map: np.ndarray | None = field(default=None, compare=False, repr=False)
    times_ms: dict[str, float] = field(default_factory=dict, compare=False)
    figures: dict[str, float] = field(default_factory=dict, compare=False)
    size: tuple[int, int] | None = None


def missing(
    view: int, reason: Reason, detail: str = "", figures: dict[str, float] | None = None
) -> View:
    """A view that is not inspected."""
    return View(view, Verdict.NOT_INSPECTED, reason, detail, figures=figures or {})


@dataclass(frozen=True)
class Result:
    """The one verdict of a part.

    REJECT if any view rejects, else NOT_INSPECTED if any is missing, else PASS. Score, threshold,
    class and regions are those of the view that decided: the one with the highest score, of those
    that reject where any does.

    Attributes:
        id: never repeats within a ledger.
        part_id: as it was given with the trigger; may repeat, where a part comes again.
        reason: why the part was not inspected; None for PASS and REJECT.
        views: of each picture that was expected, in their order.
        triggered_at, decided_at: microseconds of UTC since 1970.
        latency_ms: from trigger to verdict, by a clock that is never set.
        recipe, model: name of the recipe; digest of the model.
        encoder: the encoder's count at the trigger, where one was given.
    """

    id: int
    part_id: str
    verdict: Verdict
    reason: Reason | None
    views: tuple[View, ...]
    triggered_at: int
    decided_at: int
    latency_ms: float
    recipe: str
    model: str
    encoder: int | None = None

    @property
    def deciding(self) -> View | None:
        """The view with the highest score, of those that reject where any does; None for none."""
        scored = [view for view in self.views if view.score is not None]
        rejecting = [view for view in scored if view.verdict is Verdict.REJECT]
        return max(rejecting or scored, key=lambda view: view.score or 0.0, default=None)

    @property
    def score(self) -> float | None:
        """Of the deciding view."""
        return self.deciding.score if self.deciding else None

    @property
    def threshold(self) -> float | None:
        """Of the deciding view."""
        return self.deciding.threshold if self.deciding else None

    @property
    def class_name(self) -> str | None:
        """Of the deciding view."""
        return self.deciding.class_name if self.deciding else None

    @property
    def regions(self) -> tuple[dict[str, Any], ...]:
        """Of the deciding view."""
        return self.deciding.regions if self.deciding else ()

    @property
    def map(self) -> np.ndarray | None:
        """Of the deciding view, H×W float32."""
        return self.deciding.map if self.deciding else None

    @property
    def detail(self) -> str:
        """What the first view that was not inspected says of it."""
        return next((view.detail for view in self.views if view.detail), "")

    def row(self) -> dict[str, Any]:
        """The result by ``invad_fast/result.schema.json``."""
        row: dict[str, Any] = {
            "id": self.id,
            "part_id": self.part_id,
            "image": None,
            "class_name": self.class_name,
            "verdict": self.verdict.value,
            "reason": None if self.reason is None else self.reason.value,
            "anomalous": IS_ANOMALOUS[self.verdict],
            "model": self.model,
            "recipe": self.recipe,
            "triggered_at": self.triggered_at,
            "decided_at": self.decided_at,
            "latency_ms": round(self.latency_ms, 3),
            "encoder": self.encoder,
            "views": [_view_row(view) for view in self.views],
        }
        if self.deciding is not None:
            row |= {
                "score": self.score,
                "threshold": self.threshold,
                "provisional": self.deciding.provisional,
                "regions": list(self.regions),
            }
        return row


def _view_row(view: View) -> dict[str, Any]:
    return {
        "view": view.number,
        "verdict": view.verdict.value,
        "reason": None if view.reason is None else view.reason.value,
        "detail": view.detail,
        "score": view.score,
        "threshold": view.threshold,
        "class_name": view.class_name,
        "regions": list(view.regions),
        "times_ms": {name: round(spent, 3) for name, spent in view.times_ms.items()},
        "figures": {name: round(value, 4) for name, value in view.figures.items()},
    }


def verdict_of(views: tuple[View, ...]) -> tuple[Verdict, Reason | None]:
    """REJECT if any view rejects, else NOT_INSPECTED (of the first such view) if any, else PASS."""
    if any(view.verdict is Verdict.REJECT for view in views):
        return Verdict.REJECT, None
    missing = next((view for view in views if view.verdict is Verdict.NOT_INSPECTED), None)
    return (Verdict.PASS, None) if missing is None else (Verdict.NOT_INSPECTED, missing.reason)


class TakesFrames(Protocol):
    """What a ticket hands its frames to: the inspector."""

    def take_frame(self, ticket: Ticket, frame: Any, view: int, pixel_format: str) -> None:
        """See :meth:`Ticket.frame`."""

    def take_no_frame(self, ticket: Ticket, view: int, reason: Reason, detail: str) -> None:
        """See :meth:`Ticket.no_frame`."""

    def call_back(self, function: Callable[[Result], None], result: Result) -> None:
        """Calls the function away from the loop that decides."""


class Ticket:
    """One triggered part: takes its frames, gives its result. ``await ticket`` is its result too.

    Attributes:
        id: never repeats within a ledger; what a verdict is matched by.
        part_id: as it was given, else the id as text.
        views: how many pictures the part has.
    """

    def __init__(self, inspector: TakesFrames, id: int, part_id: str, views: int) -> None:
        self.id, self.part_id, self.views = id, part_id, views
        self._inspector = inspector
        self._future: Future[Result] = Future()
        self._future.set_running_or_notify_cancel()  # who stops waiting stops no part

    def __repr__(self) -> str:
        state = self._future.result().verdict.value if self.done else "open"
        return f"<Ticket {self.id} of part {self.part_id!r}: {state}>"

    def frame(self, image: np.ndarray, view: int = 0, pixel_format: str = "BGR8") -> Ticket:
        """Hands in the picture of a view; it is read before this returns, and may be reused.

        A picture that cannot be inspected (another size, no such array) decides its view, and
        raises nothing: on a line it is a counted fault of this part.

        Args:
            image: H×W×C or H×W, as the pixel format says.
            view: from 0 on.
            pixel_format: its PFNC name, see `invad_fast.inspection.preprocess.PIXEL_FORMATS`.

        Returns:
            The ticket itself.

        Raises:
            InputError: for a view that the part has not or that was handed in before, and for a
                pixel format that there is not.
        """
        self._inspector.take_frame(self, image, view, pixel_format)
        return self

    def no_frame(self, view: int = 0, reason: Reason = Reason.CAMERA, detail: str = "") -> Ticket:
        """Says that the picture of a view will not come, or cannot be read: it need not be waited
        for until the deadline.

        Args:
            detail: what happened, for people.

        Raises:
            InputError: for a view that the part has not or that was handed in before.
        """
        self._inspector.take_no_frame(self, view, Reason(reason), detail)
        return self

    @property
    def done(self) -> bool:
        """Whether the verdict is there."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> Result:
        """Waits for the verdict, which comes at the deadline at the latest.

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            TimeoutError: where it is not there by then.
        """
        try:
            return self._future.result(timeout)
        except FutureTimeout:
            raise TimeoutError(f"no verdict of part {self.part_id!r} in {timeout} s") from None

    def add_done_callback(self, function: Callable[[Result], None]) -> None:
        """Calls ``function(result)`` once, in the inspector's thread for callbacks."""
        self._future.add_done_callback(
            lambda future: self._inspector.call_back(function, future.result())
        )

    def __await__(self) -> Generator[Any, None, Result]:
        return asyncio.wrap_future(self._future).__await__()

    def settle(self, result: Result) -> None:
        """The inspector's: gives the result to all who wait for it."""
        self._future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """The inspector's: there will be no result, for it has failed itself."""
        self._future.set_exception(error)


def check_trigger(part_id: Any, views: Any, encoder: Any) -> tuple[int, int | None]:
    """(views, encoder) as Python's numbers, whatever library's they are.

    Raises:
        InputError: for what no part can be called, no number of pictures, and no count.
    """
    if part_id is not None and not (isinstance(part_id, str) and 0 < len(part_id) <= 1000):
        raise InputError(f"part_id must be text of 1 to 1000 characters, not {part_id!r:.60}")
    pictures, count = whole(views), whole(encoder)
    if pictures is None or not 1 <= pictures <= 1000:
        raise InputError(f"views must be a whole number from 1 to 1000, not {views!r:.60}")
    if encoder is not None and (count is None or abs(count) >= 2**63):
        raise InputError(f"encoder must be a whole number of 64 bits, not {encoder!r:.60}")
    return pictures, count


def whole(value: Any) -> int | None:
    """The whole number that this is, of any library's kind; None where it is none."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
