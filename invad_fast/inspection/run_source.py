"""A source's pictures through an inspector, until it ends or is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from invad_fast.inspection.inspector import Inspector
from invad_fast.inspection.part import Result, Ticket
from invad_fast.inspection.sources.picture import Picture, Source


def run_source(
    inspector: Inspector,
    source: Source,
    parts: int | None = None,
    on_result: Callable[[Picture, Result], None] | None = None,
) -> int:
    """Triggers a part for each picture, of as many views as it has; returns when the last is handed
    in, not decided.

    Args:
        parts: stop after so many; None for all.
        on_result: called with each picture and its result, in the inspector's thread for
            callbacks.

    Returns:
        How many parts were triggered.
    """
    count = 0
    for picture in source:
        ticket = inspector.trigger(picture.part_id, 1 + len(picture.others))
        if picture.take is not None:  # only now is a camera triggered: the part is on record
            picture = replace(picture.take(), part_id=picture.part_id)
        if on_result is not None:
            _tell(ticket, picture, on_result)
        for view, each in enumerate((picture, *picture.others)):
            if each.frame is None:
                ticket.no_frame(view, each.reason, each.detail)
            else:
                ticket.frame(each.frame, view, each.pixel_format)
        count += 1
        if count == parts:
            break
        if source.at_once is not None:
            inspector.wait_for_room(source.at_once)
    return count


def _tell(ticket: Ticket, picture: Picture, on_result: Callable[[Picture, Result], None]) -> None:
    ticket.add_done_callback(lambda result: on_result(picture, result))
