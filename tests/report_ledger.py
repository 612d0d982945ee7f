"""A ledger with a day in it, and one with the same parts several times."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from invad_fast.inspection.ledger import Decision, Ledger, ViewRow

BERLIN = ZoneInfo("Europe/Berlin")
NAMES = ("bolt", "=nut <b>&")  # names are data, for a page and for a spreadsheet


def microseconds(year: int, month: int, day: int, hour: int = 0) -> int:
    """Of UTC, of a time of Berlin."""
    return round(datetime(year, month, day, hour, tzinfo=BERLIN).timestamp()) * 1_000_000


def decide(
    ledger: Ledger, id_: int, at: int, verdict: str, score: float | None, name: str | None,
    latency: int = 9000, corner: tuple[float, float] = (0.1, 0.1),
) -> None:  # fmt: skip
    """Decides a part of one view; a rejected one has a region at ``corner``."""
    reason = "late" if verdict == "NOT_INSPECTED" else None
    limit = None if score is None else 0.5
    x, y = corner
    region = {"box": [640 * x, 480 * y, 6.0, 5.0], "peak": score or 0.0}
    regions = (region,) if verdict == "REJECT" else ()
    view = ViewRow(0, verdict, reason, "", score, limit, name, 640, 480, regions)
    row = Decision(id_, at + latency, verdict, reason, score, limit, name, latency, (view,))
    assert ledger.decide(row)


def fill_day(
    path: Path, first: int, hours: int, each: int = 20, content: dict | None = None, seed: int = 0
) -> None:
    """``each`` parts in each of so many hours; scores rise by a third."""
    rng = np.random.default_rng(seed)
    with Ledger(path, station="press 7") as ledger:
        ledger.note_recipe("line", "1", content or {"deadline_ms": 100, "name": "line"}, "anna")
        for number in range(hours * each):
            at = first + number * 3_600_000_000 // each
            name = NAMES[int(rng.random() < 0.3)]
            kind = rng.random()
            verdict = "REJECT" if kind < 0.06 else "NOT_INSPECTED" if kind < 0.08 else "PASS"
            score = rng.normal(0.3 + 0.1 * number / (hours * each), 0.04)
            score = score + 0.4 if verdict == "REJECT" else score
            id_, _ = ledger.open_part(f"P{number}", at, "line", "1")
            if verdict == "NOT_INSPECTED":
                decide(ledger, id_, at, verdict, None, None, 100_000)
                continue
            corner = (0.1, 0.1) if rng.random() < 0.6 else tuple(rng.random(2) * 0.95)
            latency = int(rng.gamma(9, 1000))
            decide(ledger, id_, at, verdict, float(score), name, latency, corner)
        ledger.raise_alarm(
            "drift", "line", "1", "the score rises: 0.3 to 0.34", "bolt", id_, id_ - 90
        )
        ledger.note_recipe("line", "2", {"deadline_ms": 80, "name": "line"}, "ben")


def fill_gauge(path: Path, parts: int = 30, trials: int = 5, noise: float = 0.02) -> None:
    """Half of the parts lie below the threshold and half above."""
    rng = np.random.default_rng(1)
    true = np.where(np.arange(parts) % 2, 0.3, 0.7) + rng.normal(0, 0.07, parts)
    with Ledger(path) as ledger:
        for trial in range(trials):
            for number in range(parts):
                score = float(true[number] + rng.normal(0, noise))
                at = (trial * parts + number) * 1_000_000
                id_, _ = ledger.open_part(f"part {number}", at, "r", "1")
                decide(ledger, id_, at, "REJECT" if score > 0.5 else "PASS", score, "bolt")
