"""One form repeated until its share of the time is over: seeded, counted, told in a line."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator

MINUTES = float(os.environ.get("SOAK_MINUTES") or 5)  # of all forms together
SEED = os.environ.get("SOAK_SEED") or "0"
FIRST = int(os.environ.get("SOAK_FIRST") or 0)  # the round to begin with: to repeat one that failed


class Rounds:
    """Iterated, it gives the random numbers of one round after the other.

    Args:
        name: of the test; with the seed and a round's number it fixes the round's numbers.
        title: what is tried, for the summary.
        seconds: how long to go on; the round that is running then is the last.
    """

    def __init__(self, name: str, title: str, seconds: float) -> None:
        self.name, self.title, self.seconds = name, title, seconds
        self.number = FIRST - 1
        self.outcomes: Counter[str] = Counter()
        self.started = time.monotonic()
        self.spent = 0.0
        self.failure = ""

    def __iter__(self) -> Iterator[random.Random]:
        self.started = time.monotonic()  # what the test set up before has its own time
        while not self.tried or time.monotonic() - self.started < self.seconds:
            self.number += 1
            yield random.Random(f"{SEED} {self.name} {self.number}")

    @property
    def tried(self) -> int:
        return self.number + 1 - FIRST

    def came(self, outcome: str, times: int = 1) -> None:
        """Counts what came of a try, in a few words."""
        self.outcomes[outcome] += times
