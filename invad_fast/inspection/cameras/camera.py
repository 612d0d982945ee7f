"""What a camera is to this program: four calls of one thread. A vendor's SDK goes behind them.

`capture.Capture` runs a camera in a thread of its own, connects it again when it is lost, and
counts what did not come. A camera only does as it is told, and raises CameraError where it cannot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from invad_fast.errors import InputError
from invad_fast.inspection.part import Reason


class CameraError(InputError):
    """The camera cannot be reached, or does not answer: it is connected again."""


def _nothing() -> None:
    pass


@dataclass(frozen=True, eq=False)
class Captured:
    """What a camera gave.

    Attributes:
        pixels: as ``pixel_format`` says, the driver's own memory where it lends it; None where the
            frame is not whole.
        number: the camera's count of frames; None where the driver gives none: then frames that
            are missing cannot be told, only pauses.
        taken_at: nanoseconds of the camera's own clock; None where it has none.
        received_at: seconds of this machine's monotonic clock.
        reason, detail: why there are no pixels.
        release: gives the memory back; called once, when nobody reads the pixels any more.
    """

    pixels: np.ndarray | None
    pixel_format: str = "Mono8"
    number: int | None = None
    taken_at: int | None = None
    received_at: float = field(default_factory=time.monotonic)
    reason: Reason = Reason.CAMERA
    detail: str = ""
    release: Callable[[], None] = _nothing


class Camera(Protocol):
    """One camera with its settings (`invad_fast.inspection.recipe.CameraSettings`)."""

    def open(self) -> None:
        """Connects, applies the settings and starts. What was open before is closed first.

        Raises:
            CameraError: where it is not there, now; it is tried again.
            InputError: where it has no such setting; nobody tries again.
        """

    def trigger(self) -> None:
        """Takes a picture now; only called where the settings say trigger "software"."""

    def read(self, timeout: float) -> Captured | None:
        """The next frame in the order they were taken; None where none came in ``timeout`` seconds.

        Raises:
            CameraError: where the camera is lost.
        """

    def close(self) -> None:
        """Gives everything back; also where it was never opened, and more than once."""


@dataclass(frozen=True)
class Found:
    """A camera that is there: how a recipe names it, and what it is called."""

    kind: str
    address: str
    serial: str = ""
    name: str = ""
