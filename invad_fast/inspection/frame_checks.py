"""A picture before the model: too dark, too bright, empty, blurred, shifted, or frozen.

What cannot be judged gets no verdict: whatever the model said of it would be an accident.
"""

from __future__ import annotations

import threading

import numpy as np

from invad_fast.frame_figures import FIGURES, frame_figures
from invad_fast.inspection.part import Reason
from invad_fast.inspection.preprocess import FrameError
from invad_fast.inspection.recipe import FrameChecks


class FrameCheck:
    """Holds pictures against a recipe's limits, and each against the one before it.

    Its methods may be called from several threads.
    """

    def __init__(self, limits: FrameChecks) -> None:
        self._limits = limits
        self._before: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def figures(self, picture: np.ndarray) -> dict[str, float]:
        """Of a picture uint8 H×W×3 as the model takes it, see `invad_fast.frame_figures`."""
        return dict(zip(FIGURES, frame_figures(picture).tolist()))

    def hold(self, figures: dict[str, float]) -> None:
        """Raises FrameError for the first figure that is beyond its limit."""
        limits = self._limits
        for name, least, reason in (
            ("brightness", limits.too_dark, Reason.TOO_DARK),
            ("contrast", limits.empty, Reason.EMPTY),
            ("sharpness", limits.blurred, Reason.BLURRED),
        ):
            if least is not None and figures[name] < least:
                raise FrameError(f"{name} {figures[name]:.4g}, at least {least:.4g}", reason)
            if name == "brightness" and limits.too_bright is not None:
                most = limits.too_bright
                if figures[name] > most:
                    line = f"{name} {figures[name]:.4g}, at most {most:.4g}"
                    raise FrameError(line, Reason.TOO_BRIGHT)
        if limits.shifted is not None:
            for name, (low, high) in (("x", limits.shifted.x), ("y", limits.shifted.y)):
                if not low <= figures[name] <= high:
                    raise FrameError(
                        f"the centre lies at {name} = {figures[name]:.3f} of the picture, not "
                        f"from {low:.3f} to {high:.3f}",
                        Reason.SHIFTED,
                    )

    def refuse_frozen(self, picture: np.ndarray, view: int) -> None:
        """Raises FrameError for the picture that this view had before, bit for bit: no sensor
        without noise gives two that are equal.
        """
        if not self._limits.frozen:
            return
        with self._lock:
            before = self._before.get(view)
            if before is None:
                self._before[view] = picture.copy()
                return
            if np.array_equal(before, picture):
                raise FrameError("it is the picture before, bit for bit", Reason.FROZEN)
            before[:] = picture
