"""A picture that comes: of which part, its pixels or why there are none, and its other views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from invad_fast.inspection.part import Reason


@dataclass(frozen=True)
class Picture:
    """The first view of a part, and with it the others.

    Attributes:
        part_id: None leaves the name to the ledger.
        frame: as its pixel format says; None where there is none.
        reason, detail: why there is no frame.
        image: the file that it came from.
        defect: what is known to be wrong with it; "good" for nothing, None where it is not known.
        others: the views after the first, of which pixels and reasons count.
        take: of a part whose pictures are yet to be taken: called once it is on record, gives its
            picture of as many views. None where this is the picture.
    """

    part_id: str | None
    frame: np.ndarray | None
    pixel_format: str = "RGB8"
    reason: Reason = Reason.CAMERA
    detail: str = ""
    image: str | None = None
    defect: str | None = None
    others: tuple[Picture, ...] = ()
    take: Callable[[], Picture] | None = None


class Source(Protocol):
    """Yields pictures until it ends or is stopped.

    Attributes:
        at_once: so many of its parts may be without a verdict: it can be held up until there is
            room, as files can. None for one that cannot, as a line.
    """

    at_once: int | None

    def __iter__(self) -> Iterator[Picture]:
        """The pictures."""

    def stop(self) -> None:
        """No more pictures: what the iterator waits for ends. From any thread."""
