"""What became of all parts: counts by verdict, reason, class and hour, which add up."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from invad_fast.inspection.ledger.reading import reading

_HOUR = 3_600_000_000  # microseconds
_GROUPS = {
    "by_reason": "reason",
    "by_class": "class_name",
    "by_recipe": "recipe",
    "by_hour": f"triggered_at / {_HOUR} * {_HOUR}",
}


@dataclass(frozen=True)
class Totals:
    """Counts of parts: triggered = passed + rejected + not_inspected + open.

    Attributes:
        triggered: rows, and the parts of gaps.
        not_inspected: those of gaps included.
        unrecorded: parts of gaps: counted while the ledger could not be written.
        open: without a verdict: of a running inspector, or of one that was killed.
        by_reason: why parts were not inspected → how many; gaps count as "ledger".
        by_class, by_recipe, by_hour: class, recipe, or the hour's first microsecond of UTC →
            verdict → how many; without gaps, which know none.
    """

    triggered: int
    passed: int
    rejected: int
    not_inspected: int
    open: int
    unrecorded: int
    by_reason: dict[str, int] = field(default_factory=dict)
    by_class: dict[str, dict[str, int]] = field(default_factory=dict)
    by_recipe: dict[str, dict[str, int]] = field(default_factory=dict)
    by_hour: dict[int, dict[str, int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def totals(path: Path, since: int | None = None, until: int | None = None) -> Totals:
    """The totals of a ledger.

    Args:
        since, until: of the triggers, microseconds of UTC: from the first on, up to but not
            including the second; a gap counts where it began.

    Raises:
        InputError: for what is no ledger.
    """
    span = (since if since is not None else -(2**62), until if until is not None else 2**62)
    with reading(path) as connection:
        count = dict.fromkeys(("PASS", "REJECT", "NOT_INSPECTED", None), 0)
        count |= dict(
            connection.execute(
                "SELECT verdict, count(*) FROM parts WHERE triggered_at >= ? AND triggered_at < ? "
                "GROUP BY verdict",
                span,
            ).fetchall()
        )
        lost = connection.execute(
            "SELECT ifnull(sum(parts), 0) FROM gaps WHERE began_at >= ? AND began_at < ?", span
        ).fetchone()[0]
        groups: dict[str, dict[Any, dict[str, int]]] = {}
        for name, key in _GROUPS.items():
            found = groups.setdefault(name, {})
            for value, verdict, number in connection.execute(
                f"SELECT {key}, ifnull(verdict, 'open'), count(*) FROM parts "
                "WHERE triggered_at >= ? AND triggered_at < ? GROUP BY 1, 2 ORDER BY 1",
                span,
            ):
                if value is not None:
                    found.setdefault(value, {})[verdict] = number
    reasons = {reason: sum(held.values()) for reason, held in groups.pop("by_reason").items()}
    if lost:
        reasons["ledger"] = reasons.get("ledger", 0) + lost
    return Totals(
        triggered=sum(count.values()) + lost,
        passed=count["PASS"],
        rejected=count["REJECT"],
        not_inspected=count["NOT_INSPECTED"] + lost,
        open=count[None],
        unrecorded=lost,
        by_reason=dict(sorted(reasons.items(), key=lambda item: -item[1])),
        **groups,  # type: ignore[arg-type]
    )
