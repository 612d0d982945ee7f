"""Results ─> alarms: what has moved, how far, and since which part. It never recalibrates."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from invad_fast.inspection.drift.charts import (
    BLOCKS,
    SLACK,
    block_limits,
    decision_height,
    normal_scores,
)

SCORE, REJECTS = "score", "reject rate"
FIGURES = ("brightness", "sharpness")
"""Of a view's figures (`invad_fast.frame_figures`), those that are watched."""


@dataclass(frozen=True)
class Observation:
    """What the watch sees of a part.

    Attributes:
        part: its id.
        values: "score", and for each view "brightness, view 0" and the like.
    """

    part: int
    class_name: str
    rejected: bool
    values: Mapping[str, float]


@dataclass(frozen=True)
class Alarm:
    """What has moved.

    Attributes:
        what: the chart: "score", "brightness, view 0", "reject rate".
        part: at which it was told; ``since``: the first of those that moved, as estimated.
        before, now: mean of the reference; of the parts since then.
        count: how many these are.
    """

    class_name: str
    what: str
    part: int
    since: int
    before: float
    now: float
    count: int

    def __str__(self) -> str:
        moved = "risen" if self.now > self.before else "fallen"
        if self.what == REJECTS:
            return (
                f"the reject rate has {moved} from {100 * self.before:.3g} % to "
                f"{100 * self.now:.3g} % (the last {self.count} parts)"
            )
        return (
            f"{self.what} has {moved} from {self.before:.4g} to {self.now:.4g} on average "
            f"(the last {self.count} parts)"
        )


class _Side:
    """A CUSUM of one direction; it tells once."""

    def __init__(self, sign: float, height: float) -> None:
        self._sign, self._height = sign, height
        self._sum, self._total, self._count, self._since = 0.0, 0.0, 0, 0
        self.told = False

    def add(self, part: int, value: float, score: float) -> tuple[int, float, int] | None:
        """(since which part, mean since then, how many) where it alarms now."""
        self._sum += self._sign * score - SLACK
        if self._sum <= 0:
            self._sum, self._total, self._count = 0.0, 0.0, 0
            return None
        if not self._count:
            self._since = part
        self._total += value
        self._count += 1
        if self.told or self._sum <= self._height:
            return None
        self.told = True
        return self._since, self._total / self._count, self._count


class _Rejects:
    """Counts rejects in blocks of one size; it tells once."""

    def __init__(self, size: int, rejects: int, count: int) -> None:
        self._size, self._limits = size, block_limits(rejects, count, size)
        self._first = self._count = self._rejects = 0
        self.told = False

    def add(self, part: int, rejected: bool) -> tuple[int, float, int] | None:
        """(since which part, share rejected, of how many) where it alarms now."""
        if not self._count:
            self._first = part
        self._count += 1
        self._rejects += rejected
        if self._count < self._size:
            return None
        rejects, self._count, self._rejects = self._rejects, 0, 0
        low, high = self._limits
        if self.told or low <= rejects <= high:
            return None
        self.told = True
        return self._first, rejects / self._size, self._size


@dataclass
class _Class:
    """One product's charts; while ``reference`` grows there are none."""

    name: str
    reference: list[Observation] = field(default_factory=list)
    known: dict[str, np.ndarray] = field(default_factory=dict)
    sides: dict[str, tuple[_Side, _Side]] = field(default_factory=dict)
    rate: float = 0.0
    rejects: list[_Rejects] = field(default_factory=list)

    def begin(self) -> None:
        """The reference is whole: from the next part on there are charts."""
        names = set.intersection(*(set(each.values) for each in self.reference))
        views = max(1, sum(name.startswith(FIGURES[0]) for name in names))
        for name in sorted(names):
            self.known[name] = np.sort([each.values[name] for each in self.reference])
            self.sides[name] = _Side(1, decision_height(views)), _Side(-1, decision_height(views))
        rejects = sum(each.rejected for each in self.reference)
        count = len(self.reference)
        self.rate = rejects / count
        self.rejects = [_Rejects(size, rejects, count) for size in BLOCKS]
        self.reference.clear()

    def add(self, seen: Observation) -> list[Alarm]:
        alarms = []
        for name, known in self.known.items():
            value = seen.values.get(name)
            if value is None:
                continue
            score = float(normal_scores(known, np.array(value)))
            for side in self.sides[name]:
                found = side.add(seen.part, value, score)
                if found is not None:
                    since, now, count = found
                    before = float(known.mean())
                    alarms.append(Alarm(self.name, name, seen.part, since, before, now, count))
        if any(counted.told for counted in self.rejects):
            return alarms
        for counted in self.rejects:
            found = counted.add(seen.part, seen.rejected)
            if found is not None:
                since, now, count = found
                alarms.append(Alarm(self.name, REJECTS, seen.part, since, self.rate, now, count))
                break
        return alarms


class DriftWatch:
    """Charts of every class of a line.

    The first ``reference`` parts of a class say what is usual; from then on each alarm is told
    once, until the watch is made anew.

    Args:
        reference: parts of a class, see `charts.LEAST_REFERENCE`.
        earlier: parts that the line had, the oldest first: the references are of these as far as
            they go, and charts begin with the parts that follow.
    """

    def __init__(self, reference: int, earlier: Iterable[Observation] = ()) -> None:
        self._reference, self._lock = reference, threading.Lock()
        self._classes: dict[str, _Class] = {}
        for seen in earlier:
            held = self._class_of(seen)
            if not held.known:
                self._learn(held, seen)

    @property
    def watched(self) -> dict[str, bool]:
        """class → whether its reference is whole, and its charts are watched."""
        return {name: bool(held.known) for name, held in self._classes.items()}

    def add(self, seen: Observation) -> list[Alarm]:
        """The alarms that this part raises; may be called from several threads."""
        with self._lock:
            held = self._class_of(seen)
            if held.known:
                return held.add(seen)
            self._learn(held, seen)
        return []

    def _class_of(self, seen: Observation) -> _Class:
        return self._classes.setdefault(seen.class_name, _Class(seen.class_name))

    def _learn(self, held: _Class, seen: Observation) -> None:
        held.reference.append(seen)
        if len(held.reference) == self._reference:
            held.begin()
