"""How long a training will take, known before its first step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

TRIED, PATIENCE = 4, 10.0  # steps at most; seconds after which no further one is tried


def seconds_of_step(step: Callable[[T], object], batches: Iterable[T]) -> float:
    """The shortest of a few steps, waiting for data included: the first one fills caches.

    Args:
        step: takes a batch; of a copy that may be thrown away.
        batches: as many as may be tried; others are not asked for.
    """
    found: list[float] = []
    began = started = time.monotonic()
    for batch in batches:
        step(batch)
        now = time.monotonic()
        found.append(now - started)
        if len(found) == TRIED or now - began > PATIENCE:
            break
        started = now
    return min(found)


def in_words(seconds: float) -> str:
    """Rounded as an estimate is: "40 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{max(round(seconds, -1 if seconds > 20 else 0), 1):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(round(minutes, -1), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
