"""A part that has no verdict yet, and what becomes of its views."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from invad_fast.inspection.engine import Answer
from invad_fast.inspection.part import Reason, Ticket, View, missing
from invad_fast.inspection.pictures import Original
from invad_fast.inspection.queue import Frame
from invad_fast.prediction import judge

if TYPE_CHECKING:
    from invad_fast.inspection.line import Line


@dataclass(eq=False)
class OpenPart:
    """From the trigger to the verdict.

    Attributes:
        triggered_at: microseconds of UTC.
        started, deadline: seconds of a clock that is never set.
        views: what became of each; None where that is open.
        taken: the views whose frame has come.
        originals: of these, where pictures are kept.
        decided: nothing changes its views any more.
        golden: it is none of the line's parts, and stands in no account.
    """

    ticket: Ticket
    line: Line
    triggered_at: int
    started: float
    deadline: float
    encoder: int | None
    views: list[View | None]
    taken: set[int] = field(default_factory=set)
    originals: dict[int, Original] = field(default_factory=dict)
    decided: bool = False
    golden: bool = False


def judged(frame: Frame, answer: Answer, scores: np.ndarray | None) -> View:
    """The verdict of a frame that the engine has answered; ``scores`` is its map."""
    if answer.error:
        return missing(frame.view, Reason.ENGINE_FAILED, answer.error)
    times = {
        "preprocess": frame.preprocess_ms,
        "wait": max(0.0, 1e3 * (frame.sent - frame.handed_in) - frame.preprocess_ms),
        "engine": answer.milliseconds,
    }
    verdict, why = judge(answer.score, answer.threshold, answer.unknown)
    finite = math.isfinite(answer.score)
    reason = None
    if why is not None:
        reason = Reason.UNKNOWN_PRODUCT if finite else Reason.NOT_A_NUMBER
    return View(
        frame.view, verdict, reason, why or "",
        answer.score if finite else None, answer.threshold, answer.class_name,
        answer.provisional, answer.regions, scores, times, frame.figures, frame.size,
    )  # fmt: skip
