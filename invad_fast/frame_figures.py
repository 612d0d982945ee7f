"""picture ─> figures ─> limits: how bright, rich, sharp and centred good pictures are.

Figures are of the picture as the model takes it, before the model sees it: what is wrong with the
lamp, the lens or the trigger is no defect of the part. Compiled, NumPy where there is no compiler.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from invad_fast.checked import Real, Whole, checked
from invad_fast.metrics.engines.native_scores import native_module

FIGURES = ("brightness", "contrast", "sharpness", "x", "y")
"""What :func:`frame_figures` gives, in this order.

brightness: mean of all channels, 0 to 255. contrast: root mean square of the difference of pixels
that are 4 apart, as a share of the brightness: a lamp that dims leaves it alone. sharpness: the
same of neighbours, as a share of that of pixels 4 apart: about 1 for noise, a quarter for a ramp.
x, y: where that difference has its centre, as shares of width and height; no pixel counts for more
than three quarters of it.
"""

LEAST_PICTURES = 20
"""Good pictures of a class that limits are learnt from; fewer say too little of the next."""

_FAR = 4  # pixels
_CAP = 0.75  # root mean squares: what a difference counts for the centre at most
_GREY = np.array([0.25, 0.5, 0.25], np.float32)
_EDGE = 0.001  # share of the good pictures that may lie outside before the margin, on each side
_MARGIN = 0.5  # of the distance from the median to the outermost good picture, beyond it
# What is let pass however alike the good pictures are: small changes are not for a check that
# costs a part its verdict. Shares of the median; of the picture's side for x and y.
_TOLERANCE = {"brightness": 0.15, "contrast": 0.5, "sharpness": 0.15, "x": 0.04, "y": 0.04}

Range = tuple[Real, Real]


@checked
class FrameLimits:
    """Within which the figures of a class's good pictures lie.

    Attributes:
        brightness, x, y: lowest and highest.
        contrast, sharpness: lowest.
        pictures: how many good ones they were learnt from.
        turned_away: how many of these would have been turned away by limits that were learnt from
            all others: the expected share of new good pictures, but for the one that is missing.
    """

    brightness: Range
    contrast: Real
    sharpness: Real
    x: Range
    y: Range
    pictures: Annotated[Whole, Field(ge=1)]
    turned_away: Annotated[Whole, Field(ge=0)] = 0


def frame_figures(picture: np.ndarray) -> np.ndarray:
    """float64 5, see :data:`FIGURES`, of a picture uint8 H×W×3; of any size."""
    native = native_module()
    if native is None:
        return numpy_figures(picture)
    found: np.ndarray = native.frame_figures(np.ascontiguousarray(picture))
    return found


def numpy_figures(picture: np.ndarray) -> np.ndarray:
    """:func:`frame_figures` without a compiler: the same to rounding in float32."""
    height, width = picture.shape[:2]
    # Some 64 rows tell what lies beside each other, as many columns what lies below.
    step = max(1, min(height, width) // 64)
    rows = picture[::step].astype(np.float32) @ _GREY
    columns = picture[:, ::step].astype(np.float32).transpose(1, 0, 2) @ _GREY
    near_x, far_x, over_x = _differences(rows)
    near_y, far_y, over_y = _differences(columns)
    brightness, near, far = float(rows.mean()), near_x + near_y, far_x + far_y
    return np.array(
        [
            brightness,
            np.sqrt(far / 2) / brightness if brightness else 0.0,
            np.sqrt(near / far) if far else 0.0,
            _centre(over_x),
            _centre(over_y),
        ]
    )


def _differences(lines: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Mean squares of differences of neighbours, and of pixels further apart; these by place."""
    away = min(_FAR, lines.shape[1] - 1)
    if away < 1:
        return 0.0, 0.0, np.zeros(1)
    near = lines[:, 1:] - lines[:, :-1]
    far = lines[:, away:] - lines[:, :-away]
    mean = float(np.vdot(far, far)) / far.size
    # Capped, so that it says where the part lies: a glaring defect would draw the centre to itself.
    most = _CAP * np.sqrt(mean)
    np.clip(far, -most, most, out=far)
    return float(np.vdot(near, near)) / near.size, mean, np.einsum("ij,ij->j", far, far)


def _centre(weights: np.ndarray) -> float:
    """As a share of the length, 0 to 1; the middle where there is no weight."""
    total = float(weights.sum())
    if not total:
        return 0.5
    return float(weights @ np.arange(0.5, len(weights))) / total / len(weights)


def learn_limits(figures: np.ndarray) -> FrameLimits:
    """Limits of one class, from the figures N×5 of its good pictures.

    They lie beyond all of them but a thousandth, by half of the way there from the median, and
    never nearer to it than a small change of lamp, lens or place takes.
    """
    lows, highs = _bounds(figures)
    outermost = np.sort(figures, 0)
    spare = int(_EDGE * len(figures)) + 1  # so many on a side can lie outside limits of the others
    last = max(0, len(figures) - 1 - spare)
    near_edge = ((figures <= outermost[min(spare, len(figures) - 1)])
                 | (figures >= outermost[last])).any(1)  # fmt: skip
    away = 0
    for index in np.flatnonzero(near_edge) if len(figures) > 1 else ():
        without = _bounds(np.delete(figures, index, 0))
        away += _outside(figures[index], *without)
    return _limits(lows, highs, len(figures), away)


def _bounds(figures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) of each of the five."""
    ordered, median = np.sort(figures, 0), np.median(figures, 0)
    spare = int(_EDGE * len(figures))
    low, high = ordered[spare], ordered[-1 - spare]
    tolerance = np.array([_TOLERANCE[name] for name in FIGURES])
    tolerance[:3] *= median[:3]
    low = np.minimum(low - _MARGIN * (median - low), median - tolerance)
    high = np.maximum(high + _MARGIN * (high - median), median + tolerance)
    return low, high


def _outside(own: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    below, above = own < low, own > high
    above[1:3] = False  # nothing is too rich or too sharp
    return bool((below | above).any())


def _limits(low: np.ndarray, high: np.ndarray, pictures: int, away: int) -> FrameLimits:
    told: dict[str, Any] = {name: (float(low[i]), float(high[i])) for i, name in enumerate(FIGURES)}
    told |= {name: told[name][0] for name in ("contrast", "sharpness")}
    return FrameLimits(**told, pictures=pictures, turned_away=away)


def for_any_of(limits: Iterable[FrameLimits]) -> FrameLimits:
    """What a good picture of each class keeps to, where the class is not known beforehand: the
    widest, so that no class has more pictures turned away than by its own.
    """
    held = list(limits)

    def widest(name: str) -> tuple[float, float]:
        ranges = [getattr(each, name) for each in held]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    return FrameLimits(
        brightness=widest("brightness"),
        contrast=min(each.contrast for each in held),
        sharpness=min(each.sharpness for each in held),
        x=widest("x"),
        y=widest("y"),
        pictures=sum(each.pictures for each in held),
        turned_away=sum(each.turned_away for each in held),
    )
