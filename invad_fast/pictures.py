"""Pictures of maps: one fixed colour scale, contours of the mask and of what was found.

They have the photo's own size and shape, whatever the map's. Nothing of the photo's size is held
in floating point, and all that touches each of its pixels is done by PIL.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import contourpy
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from invad_fast.metrics.region_scores import counted
from invad_fast.prediction import ALL_CLASSES, Predictor, ScoreRule, Verdict, exceeds

TRUTH_COLOUR = (0, 229, 255)
FOUND_COLOUR = (255, 48, 48)
_HALO_COLOUR = (16, 16, 16)
_GAP, _GAP_COLOUR = 6, (136, 136, 136)  # seen on a light page and on a dark one
_PLATES = {Verdict.REJECT: (190, 24, 24), Verdict.PASS: (30, 112, 50)}
_SMALLEST_LETTERS = 10  # pixels; below it they cannot be read
_CLEAR = 0.3  # of the colour scale, which is twice the threshold: up to it the photo is as it was
_MOST_OPAQUE = 0.55


def picture_scale(predictor: Predictor, otherwise: Iterable[float | None] = ()) -> float:
    """The score drawn in the brightest colour: the same for every picture of a model.

    Twice the threshold for any class; without it, twice the highest of the others.

    Args:
        otherwise: thresholds for a model that has none.
    """
    own = predictor.thresholds
    limits = [own[ALL_CLASSES]] if ALL_CLASSES in own else [*own.values()]
    usable = [limit for limit in limits or otherwise if limit is not None and limit > 0]
    return 2 * max(usable) if usable else 1.0


def colour_map(scores: np.ndarray, scale: float) -> np.ndarray:
    """H×W scores → H×W×3 uint8: black at 0, the brightest colour from ``scale`` on."""
    return _colours()[_shades(scores, scale)]


def overlay(
    photo: np.ndarray,
    scores: np.ndarray,
    scale: float,
    threshold: float | None,
    verdict: str,
    score: float,
    rule: ScoreRule | None = None,
) -> Image.Image:
    """The photo with its map over it, what was found outlined, and verdict and score stamped.

    Args:
        photo: H×W×3 uint8; the picture has its size.
        scores: h×w, the map, of any size.
        scale: score that gets the brightest colour, see `picture_scale`.
        threshold: what lies above it is outlined in red; None for no outline.
        verdict: REJECT, PASS or NOT_INSPECTED.
        score: the image's.
        rule: by which it was made: what does not count is not outlined.
    """
    drawn = _heat(photo, scores, scale)
    if threshold is not None:
        _outline_found(drawn, scores, threshold, rule)
    _stamp(drawn, scores, threshold, verdict, score)
    return drawn


def panel(
    photo: np.ndarray,
    scores: np.ndarray,
    scale: float,
    mask: np.ndarray | None = None,
    threshold: float | None = None,
    rule: ScoreRule | None = None,
) -> Image.Image:
    """Photo with the mask's contour, map, and overlay with the contour of what was found.

    Side by side, or below each other where the photo is more than twice as wide as high.

    Args:
        photo: H×W×3 uint8.
        scores: h×w, of any size.
        scale: score that gets the brightest colour.
        mask: of any size, outlined in cyan.
        threshold: what lies above it is outlined in red.
        rule: by which scores are made: what does not count is not outlined.
    """
    first = Image.fromarray(photo)
    if mask is not None and mask.any():
        _outline(first, mask.astype(np.float64), 0.5, TRUTH_COLOUR)
    last = _heat(photo, scores, scale)
    if threshold is not None:
        _outline_found(last, scores, threshold, rule)
    parts = [first, _scaled_map(scores, scale, first.size), last]
    width, height = first.size
    across, down = (0, height + _GAP) if width > 2 * height else (width + _GAP, 0)
    whole = Image.new("RGB", (width + 2 * across, height + 2 * down), _GAP_COLOUR)
    for place, part in enumerate(parts):
        whole.paste(part, (place * across, place * down))
    return whole


def comparison(score: float, threshold: float | None) -> str:
    """The score beside its threshold, in as many digits as tell the two apart."""
    if threshold is None or not math.isfinite(score):
        return f"{score:.4g}"
    sign = ">" if exceeds(score, threshold) else "≤"
    digits = 4
    while score != threshold and f"{score:.{digits}g}" == f"{threshold:.{digits}g}":
        digits += 1
    return f"{score:.{digits}g} {sign} {threshold:.{digits}g}"


@functools.cache
def _colours() -> np.ndarray:
    """256×3 uint8, dark to bright."""
    from matplotlib import colormaps

    return (colormaps["inferno"](np.arange(256))[:, :3] * 255).astype(np.uint8)


def _shades(scores: np.ndarray, scale: float) -> np.ndarray:
    """H×W uint8: 0 at a score of 0 (or none), 255 from ``scale`` on."""
    shares = np.nan_to_num(np.asarray(scores, np.float32) / np.float32(max(scale, 1e-12)))
    return (np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _coloured(shades: Image.Image) -> Image.Image:
    coloured = shades.copy()
    coloured.putpalette(_colours().tobytes())
    return coloured.convert("RGB")


def _scaled_map(scores: np.ndarray, scale: float, size: tuple[int, int]) -> Image.Image:
    shades = Image.fromarray(_shades(scores, scale))
    return _coloured(shades.resize(size, Image.Resampling.BILINEAR))


def _heat(photo: np.ndarray, scores: np.ndarray, scale: float) -> Image.Image:
    """The map over the photo, more opaque where the score is higher."""
    drawn = Image.fromarray(photo)
    shades = _shades(scores, scale)
    seen = shades > _CLEAR * 255
    if not seen.any():
        return drawn
    # Only the part of the photo that changes is worked on: of most photos it is small.
    rows, columns = shades.shape
    width, height = drawn.size
    top, bottom = _extent(np.any(seen, axis=1), rows / height)
    left, right = _extent(np.any(seen, axis=0), columns / width)
    x, y = left * width // columns, top * height // rows
    right, bottom = -(-right * width // columns), -(-bottom * height // rows)
    part = Image.fromarray(shades).resize(
        (right - x, bottom - y),
        Image.Resampling.BILINEAR,
        (x * columns / width, y * rows / height, right * columns / width, bottom * rows / height),
    )
    drawn.paste(_coloured(part), (x, y), part.point(_opacities()))
    return drawn


def _extent(marks: np.ndarray, pixel: float) -> tuple[int, int]:
    """From the first mark to after the last, and as far around them as a resized pixel reaches."""
    places, around = np.flatnonzero(marks), 1 + math.ceil(pixel)
    return max(int(places[0]) - around, 0), min(int(places[-1]) + 1 + around, len(marks))


@functools.cache
def _opacities() -> list[int]:
    """For each shade 0 to 255: what lies below stays visible also under the brightest."""
    share = np.clip((np.arange(256) / 255 - _CLEAR) / (1 - _CLEAR), 0, 1)
    return (_MOST_OPAQUE * 255 * share**0.7).astype(int).tolist()


def _outline_found(
    image: Image.Image, scores: np.ndarray, threshold: float, rule: ScoreRule | None
) -> None:
    values = np.asarray(scores, np.float64)
    above = exceeds(values, threshold)
    found = above
    if rule is not None:
        found = counted(above, rule.least_area, rule.inside(values.shape))
    if found.any():
        below = 2 * threshold - values.max()
        _outline(image, np.where(above & ~found, below, values), threshold, FOUND_COLOUR)


def _outline(
    image: Image.Image, field: np.ndarray, level: float, colour: tuple[int, int, int]
) -> None:
    """Draws the line around all that lies above ``level``, dark on both sides.

    Regions that touch the edge of the picture are closed along it.
    """
    field = np.nan_to_num(field, nan=level, posinf=level + 1, neginf=level - 1)
    around = level - max(float(field.max()) - level, 1e-9)
    padded = np.pad(field, 1, constant_values=around)
    lines: Any = contourpy.contour_generator(z=padded).lines(level)
    thickness = max(1, round(min(image.size) / 160))
    halo = thickness + 2 * max(1, round(0.5 * thickness))
    scale = np.array(image.size) / field.shape[::-1]
    inside = np.array(image.size) - 1 - thickness // 2
    draw = ImageDraw.Draw(image)
    drawn = [
        np.clip((line - 0.5) * scale - 0.5, thickness // 2, inside).round(1).ravel().tolist()
        for line in lines
    ]
    for width, ink in ((halo, _HALO_COLOUR), (thickness, colour)):
        for points in drawn:
            draw.line(points, ink, width, joint="curve" if width > 3 else None)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / "DejaVuSans-Bold.ttf"), size)


def _stamp(
    image: Image.Image, scores: np.ndarray, threshold: float | None, verdict: str, score: float
) -> None:
    """Verdict and score on a plate in a corner where nothing was found; none where none fits."""
    verdict = Verdict(verdict)
    word = verdict.value.replace("_", " ")
    fitting = _fitting_text((f"{word} {comparison(score, threshold)}", word), image.size)
    if fitting is None:
        return
    text, size = fitting
    draw = ImageDraw.Draw(image)
    pad = max(2, size // 3)
    left, top, right, bottom = draw.textbbox((0, 0), text, _font(size))
    plate = (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad)
    x, y = _free_corner(image.size, plate, scores, threshold)
    draw.rectangle((x, y, x + plate[0] - 1, y + plate[1] - 1), _PLATES.get(verdict, (80, 80, 80)))
    draw.text((x + pad - left, y + pad - top), text, (255, 255, 255), _font(size))


def _fitting_text(texts: Iterable[str], size: tuple[int, int]) -> tuple[str, int] | None:
    """The first text that fits, in letters that can be read, and their size in pixels."""
    for text in texts:
        letters = max(12, round(0.045 * min(size)))
        while letters >= _SMALLEST_LETTERS:
            if _font(letters).getlength(text) + letters <= size[0] and 3 * letters <= size[1]:
                return text, letters
            letters = min(letters - 1, int(0.9 * letters))
    return None


def _free_corner(
    size: tuple[int, int], plate: tuple[int, int], scores: np.ndarray, threshold: float | None
) -> tuple[int, int]:
    """Where the plate hides nothing that was found, top left first; else where it hides least."""
    width, height = size
    corners = [(x, y) for y in (0, height - plate[1]) for x in (0, width - plate[0])]
    rows, columns = scores.shape

    def hidden(corner: tuple[int, int]) -> float:
        if threshold is None:
            return 0.0
        x, y = corner
        part = scores[
            y * rows // height : math.ceil((y + plate[1]) * rows / height),
            x * columns // width : math.ceil((x + plate[0]) * columns / width),
        ]
        return float(exceeds(part, threshold).mean())

    return min(corners, key=hidden)
