"""Pixels of every format as 8-bit grey or colours, some rows at a time.

A strip of rows is converted, used and forgotten, so that besides the decoded image (four bytes a
pixel at most) hardly any memory is needed, however large it is.
"""

import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from invad_fast.data.image_file import Decoded
from invad_fast.data.levels import FULL_RANGE, Levels
from invad_fast.errors import InputError, InputWarning
from invad_fast.names import visible

_STRIP_PIXELS = 2**20
_FEW_BITS = 14  # 16-bit pixels that need no more are noted: cameras of 10, 12 and 14 bits

Strip = tuple[int, Image.Image]
"""The first row, and the rows from it on."""


def strips(image: Image.Image) -> Iterator[Strip]:
    """The image cut into strips of whole rows, as it is."""
    rows = max(1, _STRIP_PIXELS // max(1, image.width))
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def eight_bit_strips(decoded: Decoded, path: Path, levels: Levels | None) -> Iterator[Strip]:
    """Strips of mode L or RGB, transparency composited over white.

    ``levels`` become 0 and 255 where the pixels are grey with more than 8 bits; None for all 16.
    """
    image = decoded.image
    if image.mode == "F":
        raise InputError(f"{path}: floating-point pixels have no fixed range; save 8 or 16 bits")
    if image.mode.startswith("I"):  # I;16, I;16B and, from some decoders, 16 bits within I
        yield from _deep_grey(decoded, path, levels)
        return
    brightest = 0
    for top, strip in shown(image, path, 255):
        if decoded.deep_colours:
            extrema: Any = strip.getextrema()
            brightest = max(brightest, np.max(extrema))
        yield top, strip
    if decoded.deep_colours and levels is None and brightest:
        _note_few_bits(256 * brightest + 255, path)


def shown(image: Image.Image, path: Path, background: int) -> Iterator[Strip]:
    """Strips of mode L or RGB: what is to be seen of the image on a plain grey background."""
    composited = _may_be_transparent(image, path) and _has_alpha(image, path)
    for top, strip in strips(image):
        if composited:
            strip = strip.convert("RGBA")
            plain = Image.new("RGBA", strip.size, (background,) * 3 + (255,))
            strip = Image.alpha_composite(plain, strip)
        yield top, _converted(strip, "L" if strip.mode in ("1", "L") else "RGB", path)


def _has_alpha(image: Image.Image, path: Path) -> bool:
    """Whether the alpha says anything. It was never filled in (many BMPs) where it is 0
    everywhere but hides a picture."""
    darkest, brightest = [255] * 3, [0] * 3
    for _, strip in strips(image):
        extrema: Any = strip.convert("RGBA").getextrema()
        if extrema[3][1] != 0:
            return True
        darkest = [min(a, b[0]) for a, b in zip(darkest, extrema)]
        brightest = [max(a, b[1]) for a, b in zip(brightest, extrema)]
    if darkest == brightest:
        return True  # nothing is hidden
    _note(path, "images whose alpha is 0 everywhere are read as if they had none")
    return False


def _may_be_transparent(image: Image.Image, path: Path) -> bool:
    try:
        return image.has_transparency_data
    except AssertionError:  # PIL's, of a palette that a damaged file has not
        raise InputError(f"{path}: its colours are in a palette that is not there") from None


def _converted(strip: Image.Image, mode: str, path: Path) -> Image.Image:
    if strip.mode == mode:
        return strip
    try:
        if _may_be_transparent(strip, path):
            strip = strip.convert("RGBA")
        return strip.convert(mode)
    except ValueError as error:
        raise InputError(f"{path}: {strip.mode} pixels cannot be read ({error})") from None


def rescale(high: Image.Image, low: Image.Image, levels: Levels) -> None:
    """Brings 16-bit colours to 8 by ``levels``: their high bytes, in place, with their low ones."""
    table = _table(levels)
    for top, strip in strips(high):
        upper = np.asarray(strip)
        lower = np.asarray(low.crop((0, top, strip.width, top + strip.height)))
        pixels = table[upper.astype(np.uint16) * 256 + lower]
        if high.mode in ("RGBA", "LA"):  # transparency has no levels
            pixels[..., -1] = upper[..., -1]
        high.paste(Image.fromarray(pixels), (0, top))


def _deep_grey(decoded: Decoded, path: Path, levels: Levels | None) -> Iterator[Strip]:
    table = _table(levels or FULL_RANGE)
    brightest = 0
    for top, strip in strips(decoded.image):
        pixels = np.asarray(strip)
        if pixels.dtype.itemsize > 2:
            if pixels.min() < 0 or pixels.max() > 65535:
                raise InputError(f"{path}: 32-bit pixels outside 0..65535; save 8 or 16 bits")
            pixels = pixels.astype(np.uint16)
        brightest = max(brightest, int(pixels.max()))
        grey = table[pixels]
        yield top, Image.fromarray(255 - grey if decoded.white_is_zero else grey)
    if levels is None:
        _note_few_bits(brightest, path)


@lru_cache(maxsize=8)
def _table(levels: Levels) -> np.ndarray:
    """uint8 65536: what becomes of a 16-bit value."""
    low, high = levels
    values = np.arange(65536, dtype=np.int64) - low
    span = high - low
    return np.clip((values * 255 + span // 2) // span, 0, 255).astype(np.uint8)


def _note_few_bits(brightest: int, path: Path) -> None:
    if 0 < brightest < 2**_FEW_BITS:
        bits = next(bits for bits in (8, 10, 12, _FEW_BITS) if brightest < 2**bits)
        _note(
            path,
            f"images of 16 bits use {bits} of them at most and come out dark; give the range that "
            "the camera fills as levels, for 12 bits (0, 4095)",
        )


def _note(path: Path, what: str) -> None:
    """Tells what becomes of images like the one at ``path``: once a folder, since Python shows a
    warning of the same text once."""
    warnings.warn(f"{visible(str(path.parent))}: {what}", InputWarning, stacklevel=2)
