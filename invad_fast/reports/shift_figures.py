"""A ledger's period ─> the figures of a shift report."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from invad_fast.inspection.ledger.audit import STATION
from invad_fast.inspection.ledger.reading import reading
from invad_fast.reports.period import Period

VERDICTS = ("PASS", "REJECT", "NOT_INSPECTED", "open")
SHARES = (0.5, 0.95, 0.99)
"""Of the parts, whose latency is told."""

_IN = "triggered_at >= ? AND triggered_at < ?"


@dataclass
class Account:
    """Parts by what became of them; those of gaps are not inspected."""

    counts: Counter[str] = field(default_factory=Counter)

    def __getitem__(self, verdict: str) -> int:
        return self.counts[verdict]

    @property
    def triggered(self) -> int:
        """All of them."""
        return self.counts.total()

    @property
    def reject_rate(self) -> float | None:
        """Of those that passed or were rejected; None where there are none."""
        inspected = self["PASS"] + self["REJECT"]
        return self["REJECT"] / inspected if inspected else None


@dataclass(frozen=True)
class Spread:
    """Latencies in milliseconds: at :data:`SHARES`, and the longest; NaN for none."""

    quantiles: tuple[float, ...]
    longest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of the parts that have one."""
        if not values:
            return cls((float("nan"),) * len(SHARES), float("nan"))
        return cls(tuple(map(float, np.quantile(values, SHARES))), max(values))


@dataclass(frozen=True)
class Change:
    """Of a recipe; of one that was used for the first time, ``key`` is "" and ``new`` how many."""

    at: int
    who: str
    recipe: str
    key: str
    old: str | None
    new: str | None


@dataclass
class ShiftFigures:
    """What happened in a period.

    Attributes:
        stations: that wrote the ledger.
        total: of all parts.
        unrecorded: parts of gaps, which are in ``total`` and ``hours``.
        hours: of each hour's first microsecond.
        classes: class, or "" where none was told → its account; of each hour too in ``by_both``.
        reasons: why parts were not inspected → parts.
        spans: reason → the first and the last trigger of these.
        details: reason → what was told of it most often, where it was told of several parts.
        places: (class, ninth of the picture from 0, row by row) → parts rejected with a region
            there.
        scores: class → hour → median of its parts' scores, on a scale from 0, the median of the
            class's first hour, to 1, the threshold: no method's zero is needed, as of distances in
            deviations. Of classes whose first hour has its median below the threshold.
        latency: of the whole; ``latencies`` hour by hour.
        alarms: rows of the ledger's table.
        changes: of recipes.
        starts: when an inspector opened the ledger.
    """

    period: Period
    stations: list[str] = field(default_factory=list)
    total: Account = field(default_factory=Account)
    unrecorded: int = 0
    hours: dict[int, Account] = field(default_factory=dict)
    classes: dict[str, Account] = field(default_factory=dict)
    by_both: dict[tuple[int, str], Account] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    places: Counter[tuple[str, int]] = field(default_factory=Counter)
    scores: dict[str, dict[int, float]] = field(default_factory=dict)
    latency: Spread = field(default_factory=lambda: Spread.of([]))
    latencies: dict[int, Spread] = field(default_factory=dict)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def add_reason(self, reason: str, moment: int, parts: int = 1) -> None:
        """Counts parts that were not inspected."""
        self.reasons[reason] += parts
        first, last = self.spans.get(reason, (moment, moment))
        self.spans[reason] = min(first, moment), max(last, moment)


def shift_figures(ledger: Path, period: Period) -> ShiftFigures:
    """Reads them at one moment, also while a line writes.

    Raises:
        InputError: for what is no ledger.
    """
    found = ShiftFigures(period)
    edges = np.array(period.hours, np.int64)
    found.hours = {int(edge): Account() for edge in edges}
    span = period.since, period.until
    with reading(ledger) as connection:
        _count_parts(connection, found, edges)
        for began, parts in connection.execute(
            "SELECT began_at, parts FROM gaps WHERE began_at >= ? AND began_at < ?", span
        ):
            found.unrecorded += parts
            found.add_reason("ledger", began, parts)
            for account in (found.total, found.hours[_hour(edges, began)]):
                account.counts["NOT_INSPECTED"] += parts
        _count_places(connection, found)
        found.details = _details(connection, span)
        found.changes = _changes(connection, span)
        starts = connection.execute("SELECT at FROM openings WHERE at >= ? AND at < ?", span)
        found.starts = [at for (at,) in starts]
        if _has_alarms(connection):
            rows = connection.execute(
                "SELECT * FROM alarms WHERE at >= ? AND at < ? ORDER BY id", span
            )
            found.alarms = [dict(row) for row in rows]
        stations = connection.execute(f"SELECT DISTINCT station FROM parts WHERE {_IN}", span)
        found.stations = sorted(name for (name,) in stations)
    found.reasons = Counter(dict(found.reasons.most_common()))
    found.classes = dict(sorted(found.classes.items()))
    return found


def last_day(ledger: Path, zone: ZoneInfo) -> date:
    """The day of the last part that was triggered, by the zone's clock; today for none."""
    with reading(ledger) as connection:
        found = connection.execute("SELECT max(triggered_at) FROM parts").fetchone()[0]
    moment = time.time() if found is None else found / 1e6
    return datetime.fromtimestamp(moment, zone).date()


def _hour(edges: np.ndarray, moment: int) -> int:
    return int(edges[np.searchsorted(edges, moment, "right") - 1])


def _count_parts(connection: sqlite3.Connection, found: ShiftFigures, edges: np.ndarray) -> None:
    scores: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    times: dict[int, list[float]] = defaultdict(list)
    for moment, verdict, reason, name, score, threshold, latency in connection.execute(
        "SELECT triggered_at, ifnull(verdict, 'open'), reason, ifnull(class_name, ''), score, "
        f"threshold, latency_us FROM parts WHERE {_IN} ORDER BY id",
        (found.period.since, found.period.until),
    ):
        hour = _hour(edges, moment)
        for account in (
            found.total,
            found.hours[hour],
            found.classes.setdefault(name, Account()),
            found.by_both.setdefault((hour, name), Account()),
        ):
            account.counts[verdict] += 1
        if reason is not None:
            found.add_reason(reason, moment)
        if latency is not None:
            times[hour].append(latency / 1e3)
        if score is not None and threshold is not None:
            scores[name][hour].append((score, threshold))
    found.scores = {
        name: scaled for name, own in sorted(scores.items()) if (scaled := _scaled(own))
    }
    found.latencies = {hour: Spread.of(values) for hour, values in sorted(times.items())}
    found.latency = Spread.of([value for values in times.values() for value in values])


def _scaled(hours: dict[int, list[tuple[float, float]]]) -> dict[int, float]:
    """Hour → median of the scores on the scale of `ShiftFigures.scores`; thresholds may change."""
    first = np.array(hours[min(hours)])
    usual = np.median(first[:, 0])
    found = {}
    for hour, held in sorted(hours.items()):
        own, thresholds = np.array(held).T
        if (thresholds <= usual).any():
            return {}
        found[hour] = float(np.median((own - usual) / (thresholds - usual)))
    return found


def _details(connection: sqlite3.Connection, span: tuple[int, int]) -> dict[str, str]:
    found: dict[str, str] = {}
    for reason, view, detail in connection.execute(
        "SELECT v.reason, v.view, v.detail FROM views v JOIN parts p ON p.id = v.part "
        "WHERE v.reason = p.reason AND v.detail <> '' AND p.triggered_at >= ? "
        "AND p.triggered_at < ? GROUP BY 1, 2, 3 HAVING count(*) > 1 ORDER BY count(*) DESC",
        span,
    ):
        found.setdefault(reason, f"{detail} ({view})")
    return found


def _count_places(connection: sqlite3.Connection, found: ShiftFigures) -> None:
    known = {row[1] for row in connection.execute("PRAGMA table_info(views)")}
    if "regions" not in known:  # a ledger of version 1
        return
    seen: set[tuple[int, int]] = set()
    for part, name, width, height, regions in connection.execute(
        "SELECT v.part, ifnull(v.class_name, ''), v.width, v.height, v.regions FROM views v "
        f"JOIN parts p ON p.id = v.part WHERE v.regions IS NOT NULL AND v.verdict = 'REJECT' "
        f"AND p.{_IN.replace('AND ', 'AND p.')}",
        (found.period.since, found.period.until),
    ):
        for x, y, across, down, _ in json.loads(regions):
            column, row = (
                min(2, max(0, int(3 * (start + length / 2) / whole)))
                for start, length, whole in ((x, across, width), (y, down, height))
            )
            if (part, 3 * row + column) not in seen:
                seen.add((part, 3 * row + column))
                found.places[name, 3 * row + column] += 1


def _changes(connection: sqlite3.Connection, span: tuple[int, int]) -> list[Change]:
    first = dict(connection.execute("SELECT recipe, min(id) FROM audit GROUP BY recipe"))
    changes: list[Change] = []
    fresh: dict[tuple[str, int], list[Any]] = {}
    for id_, *row in connection.execute(
        "SELECT id, at, who, recipe, key, old, new FROM audit WHERE at >= ? AND at < ? ORDER BY id",
        span,
    ):
        at, who, recipe = row[:3]
        if id_ == first[recipe] and recipe != STATION:
            fresh[recipe, at] = []
        if (recipe, at) in fresh:  # one transaction wrote them all
            fresh[recipe, at].append(row)
            if len(fresh[recipe, at]) == 1:
                changes.append(Change(at, who, recipe, "", None, None))
            continue
        changes.append(Change(*row))
    return [
        Change(c.at, c.who, c.recipe, "", None, str(len(fresh[c.recipe, c.at]))) if not c.key else c
        for c in changes
    ]


def _has_alarms(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'alarms'")
    return bool(found.fetchone()[0])
