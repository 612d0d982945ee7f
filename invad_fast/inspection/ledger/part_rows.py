"""Rows of parts that are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from invad_fast.inspection.ledger.reading import reading


def part_rows(
    path: Path,
    *,
    id_: int | None = None,
    verdict: str | None = None,
    reason: str | None = None,
    part_id: str | None = None,
    class_name: str | None = None,
    least_score: float | None = None,
    most_score: float | None = None,
    since: int | None = None,
    until: int | None = None,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The parts that fit all that is given, the newest first, each with its ``views``.

    Args:
        verdict: "PASS", "REJECT", "NOT_INSPECTED", or "open".
        since, until: of the trigger, microseconds of UTC; the second is not included.
        limit: how many at most.

    Raises:
        InputError: for what is no ledger.
    """
    conditions = {
        "id = ?": id_,
        "verdict = ?": None if verdict == "open" else verdict,
        "reason = ?": reason,
        "part_id = ?": part_id,
        "class_name = ?": class_name,
        "score >= ?": least_score,
        "score <= ?": most_score,
        "triggered_at >= ?": since,
        "triggered_at < ?": until,
    }
    held = {text: value for text, value in conditions.items() if value is not None}
    where = [*held, *(["verdict IS NULL"] if verdict == "open" else [])] or ["1"]
    if verdict in ("REJECT", "NOT_INSPECTED"):
        where.append("verdict <> 'PASS'")  # by which SQLite sees that the index will do
    with reading(path) as connection:
        found = connection.execute(
            f"SELECT * FROM parts WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
            (*held.values(), -1 if limit is None else limit),
        )
        for row in found:
            views = connection.execute(
                "SELECT * FROM views WHERE part = ? ORDER BY view", (row["id"],)
            )
            kept = connection.execute(
                "SELECT view, why, file, removed_at FROM pictures WHERE part = ? ORDER BY id",
                (row["id"],),
            )
            yield dict(row) | {
                "views": [_view(dict(view)) for view in views],
                "pictures": [dict(picture) for picture in kept],
            }


def _view(row: dict[str, Any]) -> dict[str, Any]:
    del row["part"]
    for name, empty in (("regions", "[]"), ("figures", "{}")):
        row[name] = json.loads(row.get(name) or empty)  # a ledger of version 1 has none
    return row
