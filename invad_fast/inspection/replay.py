"""Kept pictures scored again: as then, or by another recipe or model, before it goes on the line.

Each picture goes through an inspector of its own, as a part of one view: the same engine, in the
same form, as on the line. On the same machine its score is the same to the last bit.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from invad_fast.errors import InputError
from invad_fast.inspection.inspector import Inspector
from invad_fast.inspection.ledger.reading import reading
from invad_fast.inspection.part import Result
from invad_fast.inspection.recipe import Recipe

_PATIENCE_MS = 600_000.0  # a replay is never late
_IN_QUEUE = 8


class Outcome(str, Enum):
    """What a replay finds of a picture."""

    IDENTICAL = "identical"
    OTHER_SCORE = "other score"
    OTHER_VERDICT = "other verdict"
    NOT_SCORED_THEN = "not scored then"
    GONE = "gone"


@dataclass(frozen=True)
class Replayed:
    """A kept picture, then and now.

    Attributes:
        part, part_id, view: whose it is.
        file: of the picture, seen from the ledger.
        why: why it was kept.
        then: the row of the view: verdict, reason, score, threshold, class_name.
        now: its result; None where the picture is gone.
    """

    part: int
    part_id: str
    view: int
    file: str
    why: str
    then: dict[str, Any]
    now: Result | None

    @property
    def outcome(self) -> Outcome:
        """What has changed."""
        then, now = self.then, self.now
        if now is None:
            return Outcome.GONE
        if then["score"] is None:
            return Outcome.NOT_SCORED_THEN
        if now.verdict.value != then["verdict"]:
            return Outcome.OTHER_VERDICT
        found = now.score, now.threshold, now.class_name
        same = found == tuple(then[key] for key in ("score", "threshold", "class_name"))
        return Outcome.IDENTICAL if same else Outcome.OTHER_SCORE


RecipeOf = Callable[[str, dict[str, Any] | None], Recipe]
"""(name, content of the version that judged) → the recipe to score by; None where the ledger has
the version no more."""


def replay(
    ledger: Path,
    recipe_of: RecipeOf,
    *,
    in_process: bool = False,
    engine: str | None = None,
    on_picture: Callable[[], None] = lambda: None,
) -> Iterator[Replayed]:
    """Scores the kept pictures of a ledger again, those of one recipe after those of another.

    Args:
        recipe_of: chooses the recipe for the pictures of a version of one.
        in_process, engine: see :class:`invad_fast.inspection.inspector.Inspector`.
        on_picture: called with each picture that is done.

    Raises:
        InputError: for what is no ledger, one without kept pictures, and as the inspector does.
    """
    rows = _kept(ledger)
    if not rows:
        raise InputError(
            f"{ledger} has no kept pictures: `pictures` in the recipe says which are kept"
        )
    root = ledger.absolute().parent
    for digest, (name, content) in _versions(ledger).items():
        own = [row for row in rows if row["recipe_digest"] == digest]
        there = [row for row in own if (root / row["file"]).exists()]
        for row in own:
            if row not in there:
                yield _replayed(row, None)
        if there:
            recipe = _for_replay(recipe_of(name, content))
            with tempfile.TemporaryDirectory(prefix="invad-fast-replay-") as folder:
                options: dict[str, Any] = {} if engine is None else {"engine": engine}
                made = Inspector(recipe, Path(folder) / "l.db", in_process=in_process, **options)
                with made as inspector:
                    for found in _scored(inspector, there, root):
                        on_picture()
                        yield found


def count_kept(ledger: Path) -> int:
    """How many pictures a replay has."""
    return len(_kept(ledger))


def _scored(inspector: Inspector, rows: list[dict[str, Any]], root: Path) -> Iterator[Replayed]:
    from invad_fast.data.images import load_image  # imports PIL

    waiting: list[tuple[dict[str, Any], Any]] = []
    for row in rows:
        try:
            picture = load_image(root / row["file"], None)
        except InputError:  # damaged, or gone in this moment
            yield _replayed(row, None)
            continue
        waiting.append((row, inspector.submit(picture, pixel_format="RGB8")))
        if len(waiting) == _IN_QUEUE:
            done, ticket = waiting.pop(0)
            yield _replayed(done, ticket.result())
    for done, ticket in waiting:
        yield _replayed(done, ticket.result())


def _replayed(row: dict[str, Any], now: Result | None) -> Replayed:
    then = {k: row[k] for k in ("verdict", "reason", "score", "threshold", "class_name")}
    return Replayed(row["part"], row["part_id"], row["view"], row["file"], row["why"], then, now)


def _for_replay(recipe: Recipe) -> Recipe:
    """What judges is as it was; what belongs to a line's clock and disk is not there."""
    checks = recipe.content["frame_checks"]
    content = recipe.content | {
        "frame_checks": None if checks is None else checks | {"frozen": False},
        "deadline_ms": _PATIENCE_MS,
        "pictures": None,
        "golden_parts": [],
        "drift": None,
        "durability": "process",
        "queue": {"policy": "inspect", "capacity": 2 * _IN_QUEUE},
    }
    return Recipe.of(content, recipe.path_of("replay.yaml"))


def _kept(ledger: Path) -> list[dict[str, Any]]:
    with reading(ledger) as connection:
        return [
            dict(row)
            for row in connection.execute(
                "SELECT k.part, p.part_id, k.view, k.file, k.why, p.recipe, p.recipe_digest, "
                "v.verdict, v.reason, v.score, v.threshold, v.class_name FROM pictures k "
                "JOIN parts p ON p.id = k.part JOIN views v ON v.part = k.part AND v.view = k.view "
                "WHERE k.removed_at IS NULL ORDER BY k.part, k.view"
            )
        ]


def _versions(ledger: Path) -> dict[str, tuple[str, dict[str, Any] | None]]:
    """digest → (name, content) of the recipes whose pictures are kept."""
    with reading(ledger) as connection:
        table = connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'recipe_versions'"
        ).fetchone()[0]
        source = "recipe_versions" if table else "recipes"  # of a ledger of version 1
        held = {
            digest: json.loads(content)
            for digest, content in connection.execute(f"SELECT digest, content FROM {source}")
        }
        return {
            digest: (name, held.get(digest))
            for name, digest in connection.execute(
                "SELECT DISTINCT p.recipe, p.recipe_digest FROM pictures k "
                "JOIN parts p ON p.id = k.part WHERE k.removed_at IS NULL"
            )
        }
