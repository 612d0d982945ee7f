"""A replay ─> ``replay.html``, with the pictures whose verdict changes, and ``replay.csv``."""

from __future__ import annotations

import base64
import io
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invad_fast.inspection.replay import Outcome, Replayed
from invad_fast.reports.catalogue import Catalogue
from invad_fast.reports.page import report_folder, write_page, write_table

_SHOWN = 100  # rows with pictures
_SIDE = 224  # of a picture in the page, pixels
_COLUMNS = (
    "part", "part_id", "view", "file", "kept as", "outcome", "class then", "class now",
    "verdict then", "verdict now", "reason now", "score then", "score now", "threshold then",
    "threshold now",
)  # fmt: skip


@dataclass
class ReplayFigures:
    """Of a whole replay.

    Attributes:
        outcomes: how often each.
        sample: the same, of the pictures that are a random sample of all parts.
        changes: (class then, verdict then, verdict now) → pictures.
        rows: every picture, what changes first; ``shown`` are those whose verdict changes.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    sample: Counter[Outcome] = field(default_factory=Counter)
    changes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)

    @property
    def scored(self) -> int:
        """Pictures that were scored again."""
        return self.outcomes.total() - self.outcomes[Outcome.GONE]

    @property
    def all_identical(self) -> bool:
        """Whether every picture that had a score has the same, and the same verdict."""
        return not self.outcomes[Outcome.OTHER_SCORE] + self.outcomes[Outcome.OTHER_VERDICT]


def replay_figures(found: Iterable[Replayed], root: Path) -> ReplayFigures:
    """Counts a replay as it runs; pictures are drawn of the first that change.

    Args:
        root: the ledger's folder, from which its files are seen.
    """
    figures = ReplayFigures()
    for each in found:
        outcome, then, now = each.outcome, each.then, each.now
        figures.outcomes[outcome] += 1
        if each.why == "sample":
            figures.sample[outcome] += 1
        told: tuple[Any, ...] = (None,) * 5
        if now is not None:
            reason = None if now.reason is None else now.reason.value
            told = (now.class_name, now.verdict.value, reason, now.score, now.threshold)
        figures.rows.append(
            (each.part, each.part_id, each.view, each.file, each.why, outcome.value,
             then["class_name"], told[0], then["verdict"], told[1], told[2], then["score"],
             told[3], then["threshold"], told[4])
        )  # fmt: skip
        if outcome is Outcome.OTHER_VERDICT and now is not None:
            figures.changes[then["class_name"] or "", then["verdict"], now.verdict.value] += 1
            if len(figures.shown) < _SHOWN:
                picture = _drawn(root / each.file, [region["box"] for region in now.regions])
                figures.shown.append({"row": each, "picture": picture})
    figures.rows.sort(key=lambda row: (row[5] != Outcome.OTHER_VERDICT.value, row[0], row[2]))
    return figures


def write_replay_report(
    figures: ReplayFigures, ledger: Path, by: str, folder: Path, words: Catalogue
) -> Path:
    """Writes both files.

    Args:
        by: what the pictures were scored by, for people.

    Returns:
        The page.
    """
    report_folder(folder)
    write_table(folder / "replay.csv", _COLUMNS, figures.rows)
    page = folder / "replay.html"
    write_page(
        page, "replay", words, title=words("replay"), found=figures, ledger=str(ledger), by=by,
        now=time.time_ns() // 1000, outcomes={outcome.name: outcome for outcome in Outcome},
    )  # fmt: skip
    return page


def _drawn(file: Path, boxes: list[list[float]]) -> str:
    """A small JPEG with the boxes around what is found now, as a data URL."""
    from PIL import Image, ImageDraw

    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    scale = min(1.0, _SIDE / max(picture.size))
    small = picture.resize([max(1, round(scale * side)) for side in picture.size])
    draw = ImageDraw.Draw(small)
    for x, y, width, height in boxes:
        draw.rectangle(
            [scale * x - 1, scale * y - 1, scale * (x + width), scale * (y + height)],
            outline=(255, 48, 48), width=2,
        )  # fmt: skip
    held = io.BytesIO()
    small.save(held, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
