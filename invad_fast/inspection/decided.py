"""A part that is decided: its result for who asked, and its decision for the ledger."""

from __future__ import annotations

import time

from invad_fast.inspection.ledger import Decision, ViewRow
from invad_fast.inspection.open_part import OpenPart
from invad_fast.inspection.part import Reason, Result, View
from invad_fast.prediction import Verdict


def result_of(
    part: OpenPart, views: tuple[View, ...], verdict: Verdict, reason: Reason | None
) -> Result:
    """The part's result, as of now."""
    ticket, recipe = part.ticket, part.line.recipe
    return Result(
        id=ticket.id,
        part_id=ticket.part_id,
        verdict=verdict,
        reason=reason,
        views=views,
        triggered_at=part.triggered_at,
        decided_at=time.time_ns() // 1000,
        latency_ms=1e3 * (time.monotonic() - part.started),
        recipe=recipe.name,
        model=recipe.model.digest,
        encoder=part.encoder,
    )


def decision_of(result: Result) -> Decision:
    """What the ledger writes of it."""
    return Decision(
        id=result.id,
        decided_at=result.decided_at,
        verdict=result.verdict.value,
        reason=None if result.reason is None else result.reason.value,
        score=result.score,
        threshold=result.threshold,
        class_name=result.class_name,
        latency_us=round(1e3 * result.latency_ms),
        views=tuple(
            ViewRow(
                view=view.number,
                verdict=view.verdict.value,
                reason=None if view.reason is None else view.reason.value,
                detail=view.detail,
                score=view.score,
                threshold=view.threshold,
                class_name=view.class_name,
                width=None if view.size is None else view.size[1],
                height=None if view.size is None else view.size[0],
                regions=view.regions,
                figures=view.figures,
            )
            for view in result.views
        ),
    )
