"""Opening an image file: known by its content, read for its pixels, bounded in its memory."""

import io
import os
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from invad_fast.data.metadata import png_metadata_follows, without_metadata
from invad_fast.data.size import Size
from invad_fast.errors import InputError, first_line

T = TypeVar("T")

MAX_PIXELS = "INVAD_FAST_MAX_PIXELS"
"""Environment variable: the most pixels that an image may have, 0 for any number. Without it
PIL's own limit holds."""

# A JPEG far larger than what is asked for is decoded at a half, a quarter or an eighth, as long as
# that is still so many times as large. Measured on photographs: 0.1 grey levels on average, 5 at
# most; at 4 times 0.2 and 9.
REDUCED_AT_LEAST = 8
_PILS_LIMIT = threading.Lock()
_STRIPPED_AT_MOST = 2**30  # bytes of a file that is read whole in search of its pixels
# PIL opens more, among them films, drawings and tables that it cannot turn into pixels.
_FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "BMP",
    "DIB",
    "TIFF",
    "WEBP",
    "PPM",
    "JPEG2000",
    "GIF",
    "AVIF",
) + ("PCX", "SGI", "PSD", "QOI", "DDS", "ICO")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
# Up to a half of its limit PIL is silent, from there on it warns of an attack.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# PIL knows 16 bits with WhiteIsZero in one byte order alone.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> how the stored pixels are turned to stand upright."""


@dataclass(frozen=True)
class Decoded:
    """The pixels of a file as they are stored, and what is to know about them.

    Attributes:
        orientation: 1 to 8 as in EXIF; see `TURNS`.
        extent: (height, width) of the picture in pixels of ``image``: a fraction less than its
            size where it was decoded reduced.
        lossy: compressed with loss: edges have traces around them.
        white_is_zero: 16-bit pixels that count darkness.
        deep_colours: the file has 16 bits a channel, of which ``image`` has one byte.
    """

    image: Image.Image
    orientation: int
    extent: tuple[float, float]
    lossy: bool
    white_is_zero: bool
    deep_colours: bool


def decode(path: Path, size: Size | None = None, low_bytes: bool = False) -> Decoded:
    """The image in the file at ``path``; whatever a decoder raises becomes one line.

    Args:
        size: (height, width), upright, that the image will be resized to: a much larger JPEG is
            then decoded reduced.
        low_bytes: of colours of 16 bits a channel, which PIL cuts to their high bytes, give the
            low bytes instead.
    """

    def load(image: Image.Image) -> Decoded:
        deep_colours = _deep_colours(image)
        if deep_colours and low_bytes:
            image.tile = [_other_byte(tile) for tile in image.tile]  # type: ignore[attr-defined]
        lossy, white_is_zero = _lossy(image), _white_is_zero(image)
        orientation, reduced = _orientation(image), None
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            if orientation >= 5:
                # PIL would map an uncompressed file into memory with its sides exchanged.
                image.filename = ""
            orientation = 1  # PIL turns a TIFF itself
        if size is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
            height, width = size[::-1] if orientation >= 5 else size
            asked = (REDUCED_AT_LEAST * width, REDUCED_AT_LEAST * height)
            reduced = image.draft(image.mode, asked)
        image.load()
        extent = reduced[1][:1:-1] if reduced else (image.height, image.width)
        return Decoded(image, orientation, extent, lossy, white_is_zero, deep_colours)

    return _read(path, load)


def stored_size(path: Path) -> tuple[Size, int]:
    """The size as the file stores the image, undecoded, and its EXIF orientation 1 to 8."""

    def look(image: Image.Image) -> tuple[Size, int]:
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # whose size PIL has turned already
            tags = image.tag_v2
            size = (tags[TiffImagePlugin.IMAGELENGTH], tags[TiffImagePlugin.IMAGEWIDTH])
            return size, _orientation(image)
        size = (image.height, image.width)
        if isinstance(image, PngImagePlugin.PngImageFile):
            known = {"exif", "Raw profile type exif", "XML:com.adobe.xmp"} & {*image.info}
            if not known and image.fp and not png_metadata_follows(image.fp):
                return size, 1  # PIL would decode the pixels in search of more
        return size, _orientation(image)

    return _read(path, look)


def upright_size(path: Path) -> Size:
    """(height, width) as the image stands, without decoding its pixels."""
    stored, orientation = stored_size(path)
    return stored[::-1] if orientation >= 5 else stored


def is_image(path: Path) -> bool:
    """Whether the file begins as an image does, whatever its name."""
    Image.init()
    try:
        with Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN]):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # see _read
        return False


def _read(path: Path, take: Callable[[Image.Image], T]) -> T:
    """What ``take`` makes of the opened image; at a second try without the file's metadata."""
    try:
        return _open(path, take)
    except MemoryError:
        raise InputError(f"{path}: too large to decode in the memory that is free") from None
    except Exception as error:  # decoders raise SyntaxError, struct.error, IndexError, ...
        stripped = _stripped(path, error)
        if stripped is not None:
            try:
                return _open(io.BytesIO(stripped), take)
            except Exception:
                pass  # the first reason is the one to tell
        raise _unreadable(path, error) from None


def _open(source: Path | io.BytesIO, take: Callable[[Image.Image], T]) -> T:
    limit = os.environ.get(MAX_PIXELS)
    if limit is None:
        with Image.open(source) as image:
            return take(image)
    if not limit.isdecimal():
        raise InputError(f"{MAX_PIXELS} must be a number of pixels, or 0 for any, not {limit!r}")
    with _opened_at_any_size(source) as image:
        if 0 < int(limit) < image.width * image.height:
            raise Image.DecompressionBombError(
                f"{image.width * image.height} pixels exceed the limit of {limit}"
            )
        return take(image)


def _opened_at_any_size(source: Path | io.BytesIO) -> Image.Image:
    """PIL's limit is one for the whole process, so others' must be there again afterwards."""
    with _PILS_LIMIT:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(source)  # reads the header, where PIL looks at the limit
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _stripped(path: Path, error: Exception) -> bytes | None:
    if isinstance(error, (Image.DecompressionBombError, InputError)):
        return None
    try:
        if not path.is_file() or path.stat().st_size > _STRIPPED_AT_MOST:
            return None
        return without_metadata(path.read_bytes())
    except OSError:
        return None


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 where the file says none or says it in a way nobody can read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value) if value in TURNS else 1
    except Exception:  # as decoders do, see _read
        return 1


def _deep_colours(image: Image.Image) -> bool:
    """Whether colours have 16 bits in the file; PIL gives the high byte of each."""
    raw_modes = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    return ";16" in raw_modes and not image.mode.startswith("I")


def _other_byte(tile: Any) -> Any:
    """The tile with its byte order turned, so that PIL takes the low byte for the high one."""
    native = "L" if sys.byteorder == "little" else "B"

    def turned(raw_mode: str) -> str:
        order = native if raw_mode[-1] == "N" else raw_mode[-1]
        return raw_mode[:-1] + ("B" if order == "L" else "L")

    raw = tile[3]
    arguments = turned(raw) if isinstance(raw, str) else (turned(raw[0]), *raw[1:])
    fields = (*tile[:3], arguments)
    return fields if type(tile) is tuple else type(tile)(*fields)  # PIL before 11 has tuples


def _lossy(image: Image.Image) -> bool:
    if image.format == "TIFF":
        return image.info.get("compression") in _LOSSY_TIFF
    if image.format == "WEBP":
        stream = image.fp  # type: ignore[attr-defined]
        stream.seek(0)
        return b"VP8L" not in stream.read()
    return image.format in ("JPEG", "MPO", "JPEG2000", "AVIF")


def _white_is_zero(image: Image.Image) -> bool:
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not image.mode.startswith("I;16"):
        return False
    return image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such image file")
    if isinstance(error, PermissionError):
        return InputError(f"{path}: this file may not be read (permission denied)")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: a folder, not an image file")
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return InputError(
            f"{path}: too large to decode ({first_line(error)}); where it is meant to be so large, "
            f"set the environment variable {MAX_PIXELS} to more pixels, or to 0 for any number"
        )
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return InputError(f"{path}: cannot be opened ({error.strerror})")
    try:
        empty = path.stat().st_size == 0
    except (OSError, ValueError):
        empty = False
    reason = "the file is empty" if empty else first_line(error)
    return InputError(f"{path}: not a readable image, damaged or cut short ({reason})")
