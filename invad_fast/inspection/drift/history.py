"""What the drift watch sees of a part: as it is decided, and as the ledger has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path
from typing import Any

from invad_fast.inspection.drift.watch import FIGURES, SCORE, Observation
from invad_fast.inspection.ledger.reading import reading
from invad_fast.inspection.part import Result
from invad_fast.inspection.recipe import Recipe
from invad_fast.prediction import Verdict


def observed(result: Result) -> Observation | None:
    """None for a part without a verdict: what is wrong there has a reason, and is counted."""
    if result.verdict is Verdict.NOT_INSPECTED or result.score is None:
        return None
    views = {view.number: view.figures for view in result.views}
    rejected = result.verdict is Verdict.REJECT
    values = _values(result.score, views)
    return Observation(result.id, result.class_name or "", rejected, values)


def earlier_parts(ledger: Path, recipe: Recipe) -> Iterator[Observation]:
    """The parts that this model and score rule have judged, the oldest first; of each class no
    more than a reference takes.
    """
    drift = recipe.drift
    if drift is None:
        return
    since = -(2**62)
    if drift.since is not None:
        at = drift.since if drift.since.tzinfo else drift.since.replace(tzinfo=timezone.utc)
        since = round(at.timestamp() * 1e6)
    given: dict[str, int] = {}
    with reading(ledger) as connection:
        alike = {recipe.digest}
        for digest, content in connection.execute(
            "SELECT digest, content FROM recipe_versions WHERE name = ?", (recipe.name,)
        ):
            held = json.loads(content)
            if _judges(held) == _judges(recipe.content):
                alike.add(digest)
        marks = ", ".join("?" * len(alike))
        for row in connection.execute(
            "SELECT id, ifnull(class_name, ''), verdict, score FROM parts "
            f"WHERE recipe_digest IN ({marks}) AND verdict IN ('PASS', 'REJECT') "
            "AND score IS NOT NULL AND triggered_at >= ? ORDER BY id",
            (*sorted(alike), since),
        ):
            id_, name, verdict, score = row
            given[name] = given.get(name, 0) + 1
            if given[name] > drift.reference:
                continue
            found = connection.execute(
                "SELECT view, ifnull(figures, '{}') FROM views WHERE part = ?", (id_,)
            )
            views = {view: json.loads(figures) for view, figures in found}
            yield Observation(id_, name, verdict == "REJECT", _values(score, views))


def _judges(content: dict[str, Any]) -> Any:
    """What of a recipe scores depend on."""
    return content["model"]["digest"], content["score"], content["frames"]


def _values(score: float, views: dict[int, dict[str, float]]) -> dict[str, float]:
    return {SCORE: score} | {
        f"{name}, view {view}": figures[name]
        for view, figures in views.items()
        for name in FIGURES
        if name in figures
    }
