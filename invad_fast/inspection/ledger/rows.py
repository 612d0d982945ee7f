"""What the ledger writes when a part is decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ViewRow:
    """One picture of a part, see :class:`invad_fast.inspection.part.View`."""

    view: int
    verdict: str
    reason: str | None
    detail: str
    score: float | None
    threshold: float | None
    class_name: str | None
    width: int | None = None
    height: int | None = None
    regions: tuple[dict[str, Any], ...] = ()
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """A part's verdict, see :class:`invad_fast.inspection.part.Result`.

    Attributes:
        decided_at: microseconds of UTC since 1970.
        latency_us: from trigger to verdict, by a clock that is never set.
    """

    id: int
    decided_at: int
    verdict: str
    reason: str | None
    score: float | None
    threshold: float | None
    class_name: str | None
    latency_us: int
    views: tuple[ViewRow, ...]
