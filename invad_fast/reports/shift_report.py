"""Figures of a shift ─> ``shift.html`` and CSV files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invad_fast.reports.catalogue import Catalogue
from invad_fast.reports.charts import lines, stacked_bars
from invad_fast.reports.page import report_folder, write_page, write_table
from invad_fast.reports.shift_figures import VERDICTS, ShiftFigures


@dataclass(frozen=True)
class Place:
    """A bar of the Pareto chart."""

    class_name: str
    name: str
    parts: int
    cumulative: float


def write_shift_report(found: ShiftFigures, ledger: Path, folder: Path, words: Catalogue) -> Path:
    """Writes the page, and ``hours.csv``, ``reasons.csv``, ``regions.csv``, ``scores.csv``,
    ``alarms.csv``, ``changes.csv`` beside it; names of columns are English in every language.

    Returns:
        The page.
    """
    report_folder(folder)
    places = _places(found, words)
    _write_tables(found, folder, places, words)
    names = {hour: _hour_name(found, hour, words) for hour in found.hours}
    bars = {v: [account[v] for account in found.hours.values()] for v in VERDICTS}
    shares = {
        name or words("no class"): [100 * held.get(hour, float("nan")) for hour in found.hours]
        for name, held in found.scores.items()
    }
    page = folder / "shift.html"
    write_page(
        page, "shift", words, title=words("shift report"), found=found, ledger=str(ledger),
        now=time.time_ns() // 1000, verdicts=VERDICTS, hour_names=names, places=places,
        hours_chart=stacked_bars(list(names.values()), bars, {v: words(v) for v in VERDICTS}),
        scores_chart=lines(list(names.values()), shares, 100),
    )  # fmt: skip
    return page


def _hour_name(found: ShiftFigures, hour: int, words: Catalogue) -> str:
    """HH:MM; with the day's number where there are several, with the offset where one repeats."""
    local = words.local(hour)
    text = local.strftime("%H:%M")
    days = {words.local(each).date() for each in found.hours}
    if len(days) > 1:
        text = local.strftime("%d. %H:%M")
    twice = sum(
        words.local(each).replace(tzinfo=None) == local.replace(tzinfo=None) for each in found.hours
    )
    return text if twice < 2 else f"{text} {local.tzname()}"


def _places(found: ShiftFigures, words: Catalogue) -> list[Place]:
    whole, held, places = found.places.total(), 0, []
    for (name, ninth), parts in found.places.most_common():
        held += parts
        places.append(Place(name, words(f"place {ninth}"), parts, held / whole))
    return places


def _write_tables(found: ShiftFigures, folder: Path, places: list[Place], words: Catalogue) -> None:
    def when(moment: int) -> str:
        return words.local(moment).isoformat()

    def accounts() -> Iterator[tuple[Any, ...]]:
        for hour, whole in found.hours.items():
            for (other, name), account in sorted(found.by_both.items()):
                if other == hour:
                    yield when(hour), name, *_counts(account)
            yield when(hour), "*", *_counts(whole)

    counts = ("triggered", *(verdict.lower() for verdict in VERDICTS))
    write_table(folder / "hours.csv", ("hour", "class", *counts), accounts())
    write_table(
        folder / "reasons.csv",
        ("reason", "parts", "first", "last", "told most often"),
        (
            (reason, parts, *map(when, found.spans[reason]), found.details.get(reason, ""))
            for reason, parts in found.reasons.items()
        ),
    )
    write_table(
        folder / "regions.csv",
        ("class", "place", "parts", "cumulative"),
        ((p.class_name, p.name, p.parts, round(p.cumulative, 6)) for p in places),
    )
    write_table(
        folder / "scores.csv",
        ("class", "hour", "median of the score, 0: the first hour's, 1: the threshold"),
        (
            (name, when(hour), value)
            for name, held in found.scores.items()
            for hour, value in held.items()
        ),
    )
    columns = ("at", "kind", "recipe", "class_name", "part", "since", "detail")
    write_table(
        folder / "alarms.csv",
        columns,
        ([when(a["at"]), *(a[column] for column in columns[1:])] for a in found.alarms),
    )
    write_table(
        folder / "changes.csv",
        ("at", "who", "recipe", "key", "old", "new"),
        ((when(c.at), c.who, c.recipe, c.key, c.old, c.new) for c in found.changes),
    )


def _counts(account: Any) -> tuple[int, ...]:
    return account.triggered, *(account[verdict] for verdict in VERDICTS)
