"""One image or mask from its file: any common pixel format, upright, 8-bit, resized.

A file is known by its content, never by its name. What becomes of an unusual one:

- grey, palette, CMYK and the like: converted to RGB;
- transparency: composited over white, as viewers show it; alpha that is 0 everywhere was never
  filled in and counts for nothing, with a note;
- 16 bits a channel: the full range 0..65535 is scaled to 0..255, the same for every image (a
  stretch to each image's own range would make equal parts look different). Cameras of 10, 12 or
  14 bits leave most of it empty: a note says so, and ``levels`` gives the range they fill;
- WhiteIsZero (TIFF): inverted, whatever the depth;
- EXIF rotation: applied, so that the pixels stand as a viewer shows them;
- damaged metadata around sound pixels: left out;
- several frames or pages: the first;
- a JPEG many times as large as asked for: decoded reduced (`image_file.REDUCED_AT_LEAST`);
- floating point, damaged, empty, too large, or no image at all: one line that names the file.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from invad_fast.data.image_file import TURNS, Decoded, decode, stored_size
from invad_fast.data.levels import Levels, levels_of
from invad_fast.data.mask_source import MaskFiles, MaskRuns
from invad_fast.data.pixel_values import Strip, eight_bit_strips, rescale, shown, strips
from invad_fast.data.preparation import Interpolation
from invad_fast.data.record import Record
from invad_fast.data.size import Size
from invad_fast.errors import InputError

_FEW_VALUES = 8  # no more than that: drawn, and nothing was lost
FAINTEST_LOSSY = 16  # traces around the edges of a lossy mask stay below it where it is black


def load_image(
    path: str | Path,
    size: Size | None = None,
    levels: Levels | None = None,
    interpolation: Interpolation = "bilinear",
) -> np.ndarray:
    """The image at ``path`` as uint8 H x W x 3, RGB.

    ``size`` (height, width) resizes straight to it, antialiased as PIL does it, by the filter that
    ``interpolation`` names (method.md §1, Training); None keeps the size. ``levels`` are the values
    of a 16-bit channel that become 0 and 255; None for (0, 65535). Raises `InputError` naming the
    file.
    """
    path = Path(path)
    levels = levels_of(levels)
    decoded = decode(path, size)
    if decoded.deep_colours and levels is not None:
        rescale(decoded.image, decode(path, size, low_bytes=True).image, levels)
    pixels = eight_bit_strips(decoded, path, levels)
    if size is None:
        return _turned(_whole(pixels, decoded.image), decoded.orientation)
    stored = size[::-1] if decoded.orientation >= 5 else size
    return _turned(
        np.asarray(_resized(pixels, decoded, stored, interpolation)), decoded.orientation
    )


def decoding(levels: Levels | None = None, interpolation: Interpolation = "bilinear") -> str:
    """What fixes the pixels besides the file: part of the name of whatever is kept of them."""
    # Nothing is said of the usual filter: what was kept before there was another stays valid.
    other = "" if interpolation == "bilinear" else f", {interpolation}"
    return f"PIL {PIL.__version__}, reading 2, levels {levels or 'all'}{other}"


def load_mask(record: Record, size: Size | None = None) -> np.ndarray:
    """The mask of ``record`` as uint8 H x W of 0 and 1; zeros where the part is normal.

    Every pixel above 0 is anomalous (VisA and LOCO number their defects). Compression with loss
    leaves traces around the edges: there it is every pixel above half of the brightest.
    ``size`` (height, width) resizes to the nearest pixel; None gives the upright image's size.

    A mask of another size than the image is taken where it has the same aspect ratio (to 1 %).
    Where it has the size the image is stored in, but not the one it is shown in, it is rotated
    as the image's EXIF tag says. Any other size raises `InputError` naming both files and
    sizes, and so does an anomalous record that has no mask.
    """
    if not record.anomalous and size is not None:
        return np.zeros(size, np.uint8)
    stored, orientation = stored_size(record.image)
    upright = stored[::-1] if orientation >= 5 else stored
    if not record.anomalous:
        return np.zeros(upright, np.uint8)
    sources: tuple[Path | MaskRuns, ...]
    if record.mask is None:
        raise InputError(f"{record.image}: anomalous, but without a mask: no pixel-level figures")
    sources = record.mask.paths if isinstance(record.mask, MaskFiles) else (record.mask,)
    size = size or upright
    result = np.zeros(size, np.uint8)
    for source in sources:
        mask = mask_pixels(source, record.image)
        if orientation >= 5 and mask.shape != upright and mask.shape == stored:
            mask = _turned(mask, orientation)
        if not _same_shape(mask.shape, upright):
            name = source if isinstance(source, Path) else "its run-length mask"
            raise InputError(
                f"{record.image} is {upright[1]}x{upright[0]}, but its mask {name} is "
                f"{mask.shape[1]}x{mask.shape[0]}: the sizes must have the same aspect ratio"
            )
        nearest = Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST)
        result |= np.asarray(nearest)
    return result


def image_size(path: Path) -> Size:
    """(height, width) as the file stores the image, without decoding its pixels."""
    return stored_size(path)[0]


def _whole(pixels: Iterator[Strip], image: Image.Image) -> np.ndarray:
    result = np.empty((image.height, image.width, 3), np.uint8)
    for top, strip in pixels:
        result[top : top + strip.height] = np.asarray(strip.convert("RGB"))
    return result


def _resized(
    pixels: Iterator[Strip], decoded: Decoded, size: Size, interpolation: Interpolation
) -> Image.Image:
    """The image at ``size``, as PIL resizes: all rows first, then all columns.

    The rows are resized strip by strip, which is the same, so that no converted copy of the whole
    image is ever needed.
    """
    height, width = size
    rows, columns = decoded.extent
    kind = Image.Resampling[interpolation.upper()]
    narrow: Image.Image | None = None
    for top, strip in pixels:
        if strip.width != width or columns != width:
            strip = strip.resize((width, strip.height), kind, (0, 0, columns, strip.height))
        if strip.height == decoded.image.height:
            narrow = strip
            continue
        if narrow is None:
            narrow = Image.new(strip.mode, (width, decoded.image.height))
        narrow.paste(strip, (0, top))
    assert narrow is not None, "an image has rows"
    if narrow.height != height or rows != height:
        narrow = narrow.resize((width, height), kind, (0, 0, width, rows))
    return narrow.convert("RGB")


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels stood upright; always an array of its own."""
    if orientation in TURNS:
        return np.array(Image.fromarray(pixels).transpose(TURNS[orientation]))
    return pixels if pixels.flags.writeable else pixels.copy()


def mask_pixels(source: Path | MaskRuns, image: Path) -> np.ndarray:
    """The mask as it is stored (a rotation tag of its own applied): uint8 H x W of 0 and 1."""
    if isinstance(source, MaskRuns):
        try:
            return np.ascontiguousarray(source.decode())
        except InputError as error:
            raise InputError(f"{image}: {error}") from None
    decoded = decode(source)
    mask = decoded.image
    values = np.empty((mask.height, mask.width), np.uint8)
    numbers = mask.mode == "F" or mask.mode.startswith("I")
    # Black is the background, whatever its index in a palette, and so is the transparent.
    for top, strip in strips(mask) if numbers else shown(mask, source, 0):
        pixels = np.asarray(strip)
        if decoded.white_is_zero:
            pixels = 65535 - pixels
        if numbers:
            pixels = np.where(pixels > 0, 255, 0)
        elif pixels.ndim == 3:
            pixels = pixels.max(axis=2)
        values[top : top + strip.height] = pixels
    lossy = decoded.lossy
    if mask.format in ("JPEG2000", "AVIF"):  # which do not say whether anything was lost
        lossy = len(np.unique(values)) > _FEW_VALUES
    limit = max(int(values.max()) // 2, FAINTEST_LOSSY) if lossy else 0
    return _turned((values > limit).astype(np.uint8), decoded.orientation)


def _same_shape(mask: Size, image: Size) -> bool:
    """Equal aspect ratios to 1 %, or to the rounding of the smaller one's sides to a pixel."""
    scale = max(mask[0] / image[0], mask[1] / image[1])
    slack = [max(1.0, 0.01 * side * scale) for side in image]
    return all(abs(m - i * scale) <= s for m, i, s in zip(mask, image, slack, strict=True))
