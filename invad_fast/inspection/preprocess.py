"""A camera's frame ─> the model's input: unpacked, scaled to 8 bits, RGB, resized.

The pixels are those that the same picture has as a file (`invad_fast.data.load_image`): the same
rounding, the same filter. Compiled code without torch (csrc/frames), or NumPy and PIL.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from invad_fast.checked import unknown_name
from invad_fast.data.levels import Levels, levels_of
from invad_fast.data.preparation import Interpolation
from invad_fast.errors import InputError
from invad_fast.inspection.part import Reason
from invad_fast.inspection.pixel_formats import PIXEL_FORMATS, PixelFormat
from invad_fast.metrics.engines.native_scores import native_module

_LARGEST = 2**30  # pixels of a frame


class FrameError(InputError):
    """A frame that cannot be inspected; ``reason`` is how it is counted."""

    def __init__(self, line: str, reason: Reason) -> None:
        super().__init__(line)
        self.reason = reason


def check_pixel_format(name: str) -> PixelFormat:
    """The format of this PFNC name; InputError where there is none: it is never guessed."""
    found = PIXEL_FORMATS.get(name) if isinstance(name, str) else None
    if found is None:
        raise InputError(unknown_name("pixel format", name, PIXEL_FORMATS))
    return found


def frame_size(frame: Any, pixel_format: str) -> tuple[int, int]:
    """(height, width) in pixels of a frame.

    Raises:
        FrameError: where it is no array of this format.
    """
    found = check_pixel_format(pixel_format)
    if not isinstance(frame, np.ndarray):
        raise FrameError(
            f"a frame is a NumPy array, not {type(frame).__name__}", Reason.DAMAGED_FRAME
        )
    channels = {"colours": len(found.order), "yuv": 2}.get(found.layout)
    shape = frame.shape
    if frame.dtype != found.dtype or len(shape) != (2 if channels is None else 3):
        raise FrameError(_misfit(frame, pixel_format, channels, found), Reason.DAMAGED_FRAME)
    if channels is not None and shape[2] != channels:
        raise FrameError(_misfit(frame, pixel_format, channels, found), Reason.DAMAGED_FRAME)
    height, width = shape[:2]
    if found.layout == "packed":
        if width * 8 % found.bits:
            raise FrameError(
                f"rows of {width} bytes hold no whole number of {pixel_format} pixels",
                Reason.WRONG_SIZE,
            )
        width = width * 8 // found.bits
    odd = (found.layout == "bayer" and (height % 2 or width % 2)) or (
        found.layout == "yuv" and width % 2
    )
    if not 0 < height * width <= _LARGEST or odd:
        raise FrameError(
            f"a {pixel_format} frame cannot have {width}×{height} pixels", Reason.WRONG_SIZE
        )
    return height, width


def preprocess(
    frame: np.ndarray,
    pixel_format: str,
    size: tuple[int, int],
    *,
    levels: Levels | None = None,
    out: np.ndarray | None = None,
    interpolation: Interpolation = "bilinear",
) -> np.ndarray:
    """The frame as a model takes it.

    Args:
        frame: as the format says, see :data:`PIXEL_FORMATS`; of any strides.
        pixel_format: its PFNC name.
        size: (height, width) of the result.
        levels: values of a channel of more than 8 bits that become 0 and 255; None for the
            format's full range.
        out: uint8 height×width×3 to write to.
        interpolation: PIL's filter of this name, antialiased.

    Returns:
        uint8 height×width×3, RGB; ``out`` where it was given.

    Raises:
        FrameError: where the frame is no array of this format.
        InputError: where size or levels are none, or out does not fit.
    """
    height, width = frame_size(frame, pixel_format)
    levels = levels_of(levels)  # compiled code divides by their span
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"the size of the result is (height, width) in pixels, not {size!r:.60}")
    if out is None:
        out = np.empty((*size, 3), np.uint8)
    fits = isinstance(out, np.ndarray) and out.shape == (*size, 3) and out.dtype == np.uint8
    if not (fits and out.flags.c_contiguous):
        raise InputError(f"out must be contiguous uint8 {size[0]}×{size[1]}×3")
    native = native_module()
    found = PIXEL_FORMATS[pixel_format]
    if native is not None:
        low, high = levels or (0, 2**found.bits - 1)
        layout = _LAYOUTS.index((found.layout, found.order if found.layout == "packed" else ""))
        cubic = interpolation == "bicubic"
        native.preprocess(frame, layout, found.bits, _order(found), low, high, width, out, cubic)
        return out
    return _by_numpy(frame, found, size, levels, out, interpolation)


# As csrc/frames/preprocess.h counts them.
_LAYOUTS = [("grey", ""), ("colours", ""), ("bayer", ""), ("yuv", ""), ("packed", "lsb"),
            ("packed", "gige")]  # fmt: skip


def _order(found: PixelFormat) -> tuple[int, ...]:
    if found.layout == "colours":
        return (*(found.order.index(colour) for colour in "RGB"), 0)
    if found.layout == "bayer":
        return tuple("RGB".index(colour) for colour in found.order)
    return (1 if found.order == "UYVY" else 0, 0, 0, 0)


def _by_numpy(
    frame: np.ndarray,
    found: PixelFormat,
    size: tuple[int, int],
    levels: Levels | None,
    out: np.ndarray,
    interpolation: Interpolation,
) -> np.ndarray:
    """The same without the compiled core."""
    from PIL import Image

    pixels = _eight_bits(frame, found, levels)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    # The width first, as for files: PIL alone would begin with whichever is cheaper.
    for shape in ((size[1], picture.height), size[::-1]):
        picture = picture.resize(shape, Image.Resampling[interpolation.upper()])
    resized = np.asarray(picture)
    if resized.ndim == 2:
        resized = resized[..., None]
    out[:] = resized
    return out


def _eight_bits(frame: np.ndarray, found: PixelFormat, levels: Levels | None) -> np.ndarray:
    """uint8, H×W of a grey format or H×W×3 RGB."""
    if found.layout == "packed":
        frame = _unpacked(frame, found)
    if found.bits > 8:
        frame = _table(levels or (0, 2**found.bits - 1))[frame]
    if found.layout == "colours":
        return frame[..., [found.order.index(colour) for colour in "RGB"]]
    if found.layout == "bayer":
        return _demosaiced(frame, found.order)
    if found.layout == "yuv":
        return _rgb_of_yuv(frame, found.order)
    return frame


@lru_cache(maxsize=8)
def _table(levels: Levels) -> np.ndarray:
    """uint8 65536: what becomes of a value, rounded as for files (data/pixel_values.py)."""
    low, high = levels
    values, span = np.arange(65536, dtype=np.int64) - low, high - low
    return np.clip((values * 255 + span // 2) // span, 0, 255).astype(np.uint8)


def _unpacked(frame: np.ndarray, found: PixelFormat) -> np.ndarray:
    """Bytes H×B → uint16 H×W."""
    height = frame.shape[0]
    if found.order == "gige":  # first 8 high bits, low nibbles of two in the byte between
        first, both, second = (frame[:, n::3].astype(np.uint16) for n in range(3))
        pair = [first << 4 | both & 15, second << 4 | both >> 4]
        return np.stack(pair, -1).reshape(height, -1)
    bits = np.unpackbits(np.ascontiguousarray(frame), axis=1, bitorder="little")
    weights = (1 << np.arange(found.bits)).astype(np.uint16)
    values: np.ndarray = bits.reshape(height, -1, found.bits).astype(np.uint16) @ weights
    return values


def _demosaiced(frame: np.ndarray, order: str) -> np.ndarray:
    """H×W with the colours ``order`` in each 2×2 → H×W×3: the mean of a colour's neighbours.

    At the edges the picture goes on mirrored, which keeps the pattern.
    """
    rgb = np.empty((*frame.shape, 3), np.uint8)
    around = np.pad(frame, 1, mode="reflect").astype(np.uint16)

    def near(row: int, column: int, down: int, across: int) -> np.ndarray:
        """The neighbours of every second pixel from (row, column) on."""
        shifted = around[1 + row + down :: 2, 1 + column + across :: 2]
        return shifted[: frame.shape[0] // 2, : frame.shape[1] // 2]

    for place, colour in enumerate(order):
        row, column = divmod(place, 2)
        target = rgb[row::2, column::2]
        sides = [near(row, column, 0, d) for d in (-1, 1)]
        above = [near(row, column, d, 0) for d in (-1, 1)]
        corners = [near(row, column, d, e) for d in (-1, 1) for e in (-1, 1)]
        own = frame[row::2, column::2]
        if colour == "G":
            beside = order[2 * row + 1 - column]  # of the same row
            target[..., "RGB".index(beside)] = (sides[0] + sides[1] + 1) // 2
            target[..., "RGB".index("B" if beside == "R" else "R")] = (above[0] + above[1] + 1) // 2
            target[..., 1] = own
        else:
            target[..., "RGB".index(colour)] = own
            target[..., 1] = (sum(sides) + sum(above) + 2) // 4
            target[..., "RGB".index("B" if colour == "R" else "R")] = (sum(corners) + 2) // 4
    return rgb


def _rgb_of_yuv(frame: np.ndarray, order: str) -> np.ndarray:
    """H×W×2 → H×W×3, by ITU-R BT.601 in the full range of 8 bits, as JPEG has it."""
    from PIL import Image

    luma, chroma = frame[..., order.index("Y") % 2], frame[..., 1 - order.index("Y") % 2]
    ycc = np.empty((*luma.shape, 3), np.uint8)
    ycc[..., 0] = luma
    ycc[..., 1] = np.repeat(chroma[:, 0::2], 2, 1)
    ycc[..., 2] = np.repeat(chroma[:, 1::2], 2, 1)
    return np.asarray(Image.fromarray(ycc, "YCbCr").convert("RGB"))


def _misfit(frame: np.ndarray, name: str, channels: int | None, found: PixelFormat) -> str:
    wanted = "H×W" if channels is None else f"H×W×{channels}"
    shape = "×".join(map(str, frame.shape))
    return f"a {name} frame is {found.dtype} {wanted}, and this is {frame.dtype} {shape}"
